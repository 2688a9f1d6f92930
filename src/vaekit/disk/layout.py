"""What the files and folders in a run's folder are called."""

CONFIG = "config.json"
"""Experiment and data schema: with the weights, all that it takes to use the model."""

WEIGHTS = "model.safetensors"
"""The weights that scored best on held-out data."""

EXPERIMENT = "experiment.yaml"
"""The whole experiment, every `auto` settled."""

ENVIRONMENT = "environment.json"
"""Versions, platform and threads; how many data there were, their fingerprint, notes and absolute paths."""

RESUME = "resume.safetensors"
"""Everything that resuming needs."""

LOCK = ".lock"
"""While it trains: by which process."""

METRICS = "metrics.jsonl"
"""Each term of the loss by step, and the held-out measurements."""

METRICS_TABLE = "metrics.csv"
"""The same as a table, written at the end."""

TENSORBOARD = "tensorboard"
"""A folder with the same for TensorBoard."""

EVALUATION = "evaluation.json"
"""The numbers in the report."""

REPORT = "report.html"
"""One page that shows the run."""

PLOTS = "plots"
"""A folder with the report's pictures as PNG."""

SKIPPED = "skipped.tsv"
"""Files that could not be read, and why."""

SAMPLER_CHOICE = "sampler.json"
"""What samples are drawn from, and the scores of its competitors."""

SAMPLER = "sampler-{}.safetensors"
"""A density fitted to the codes; the braces stand for its word, with a hyphen for the colon."""

DETECTOR = "detector.safetensors"
"""The detector of odd rows, fitted to the training rows."""
