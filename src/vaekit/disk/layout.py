"""The names of the files and folders in a run's folder."""

CONFIG = "config.json"
"""The experiment and the data schema: with the weights, all that is needed to use the model."""

WEIGHTS = "model.safetensors"
"""The weights that scored best on held-out data."""

EXPERIMENT = "experiment.yaml"
"""The complete experiment, without `auto`."""

ENVIRONMENT = "environment.json"
"""Versions, platform and threads; the number of data, their fingerprint, notes and absolute paths;
the reasons for settings."""

RESUME = "resume.safetensors"
"""Everything that resuming needs."""

LOCK = ".lock"
"""The process that trains, while it trains."""

METRICS = "metrics.jsonl"
"""The log: each term of the loss by step, and the measurements on held-out data."""

METRICS_TABLE = "metrics.csv"
"""The log as a table, written at the end."""

TENSORBOARD = "tensorboard"
"""A folder with the log for TensorBoard."""

EVALUATION = "evaluation.json"
"""The numbers in the report."""

REPORT = "report.html"
"""One page that shows the run."""

PLOTS = "plots"
"""A folder with the report's plots as PNG files."""

SKIPPED = "skipped.tsv"
"""Files that could not be read, and why."""

SAMPLER_CHOICE = "sampler.json"
"""The density that samples are drawn from, and the scores of all candidates."""

SAMPLER = "sampler-{}.safetensors"
"""A density fitted to the codes. Its word replaces the braces, with a hyphen for the colon."""

DETECTOR = "detector.safetensors"
"""The anomaly detector, fitted to the training rows."""
