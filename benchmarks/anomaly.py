"""T9 and T10: anomaly detection on a file of tables, beside scikit-learn's detectors and PyOD's.

    python benchmarks/anomaly.py adbench_dev.npz                                    # everything, three seeds
    python benchmarks/anomaly.py adbench_dev.npz --protocol semi --side ours --seeds 1   # a part of it

The file holds `X_<name>` (N, C) and `y_<name>` (N,), 1 = anomaly. `semi`: trained on half of the normal rows, scored on
the others and all anomalies. `unsupervised`: trained on all rows, which are then scored. Nothing is tuned: one setting
for all tables. Every result is kept in benchmarks/results/anomaly.jsonl, in the place of an earlier one of the same
method, table and seed, and benchmarks/results/anomaly.md is written from all that are kept. PyOD gets an environment of
its own in benchmarks/.envs/pyod, made on first use.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import venv
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomaly_tables import Array, Scorer, tasks
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from vaekit import VAEDetector

HERE = Path(__file__).parent
PEER = HERE / ".envs" / "pyod"
RESULTS = HERE / "results" / "anomaly.md"
KEPT = RESULTS.with_suffix(".jsonl")
NEEDS = ("pyod==3.6.7", "tqdm")

Result = dict[str, Any]
"""protocol, method, table, seed, auroc (in hundredths), seconds."""


def vaes(
    train: Array, test: Array, seed: int, contamination: float | str = "auto"
) -> dict[str, Array]:
    """The default, and what its parts are worth alone."""
    fitted = VAEDetector(contamination, random_state=seed).fit(train)
    unexplained, nearest, coarse = fitted.detector_.parts(torch.tensor(test)).sum(2).numpy()
    whole = {"": unexplained + nearest + coarse, ": its VAEs alone": unexplained}
    if contamination != "auto":
        return whole
    return whole | {": VAEs and nearest row": unexplained + nearest, ": nearest row alone": nearest}


def forest(train: Array, test: Array, seed: int) -> dict[str, Array]:
    return {"": -IsolationForest(random_state=seed).fit(train).score_samples(test)}


def neighbours(train: Array, test: Array, seed: int) -> dict[str, Array]:
    """The distance to the fifth neighbour, a row of the training set not being its own."""
    own = train is test
    distances = NearestNeighbors(n_neighbors=5 + own).fit(train).kneighbors(test)[0][:, own:]
    return {"": distances[:, -1], ", mean distance": distances.mean(1)}


def components(train: Array, test: Array, seed: int) -> dict[str, Array]:
    """The squared distance in the principal components, each in units of its deviation, the still ones left out."""
    _, size, axes = np.linalg.svd(train - train.mean(0), full_matrices=False)
    kept = size > 1e-6 * size[0]
    return {"": (((test - train.mean(0)) @ axes[kept].T / size[kept]) ** 2).sum(1)}


def density(train: Array, test: Array, seed: int) -> dict[str, Array]:
    factor = LocalOutlierFactor(20, novelty=train is not test).fit(train)
    return {"": -(factor.negative_outlier_factor_ if train is test else factor.score_samples(test))}


def contaminated(train: Array, test: Array, seed: int) -> dict[str, Array]:
    return vaes(train, test, seed, 0.1)


METHODS: dict[str, Scorer] = {
    "VAEDetector()": vaes,
    "KNN(5)": neighbours,
    "PCA": components,
    "local outlier factor": density,
    "isolation forest": forest,
}


def ours(data: Path, protocol: str, seeds: int) -> Iterator[Result]:
    """Everything that runs in this environment."""
    methods = dict(METHODS)
    if protocol == "unsupervised":
        methods["VAEDetector(contamination=0.1)"] = contaminated
    for task in tasks(data, protocol, seeds):
        same = protocol == "unsupervised"
        for name, method in methods.items():
            began = time.perf_counter()
            found = method(task.train, task.train if same else task.test, task.seed)
            seconds = time.perf_counter() - began
            for suffix, scores in found.items():
                about = {
                    "method": name + suffix,
                    "table": task.table,
                    "seed": task.seed,
                    "seconds": seconds,
                }
                yield about | {"auroc": task.auroc(scores)}
        print(f"{protocol} {task.table} {task.seed}", file=sys.stderr)


def pyod(data: Path, protocol: str, seeds: int) -> Iterator[Result]:
    """What PyOD's detectors reach, in their own environment."""
    python = PEER / "bin" / "python"
    if not python.exists():
        venv.create(PEER, with_pip=True)
        here = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
        (next(PEER.glob("lib*/**/site-packages")) / "shared_torch.pth").write_text(
            "\n".join(here), encoding="utf-8"
        )
        subprocess.run([str(python), "-m", "pip", "install", "-q", *NEEDS], check=True)
    script = [str(python), str(HERE / "peers" / "pyod_scores.py"), str(data)]
    done = subprocess.run(
        [*script, "--protocol", protocol, "--seeds", str(seeds)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    yield from map(json.loads, done.stdout.splitlines())


def summary(results: list[Result]) -> list[str]:
    """A line a method: its mean over the tables and how it varies with the seed, the median, the gain over KNN(5)."""
    found = by_method(results)
    lines = [
        "| method | mean | sd over seeds | median | gain over KNN(5), a table left out | better on | seconds a table |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    knn = table_means(found["KNN(5)"])
    for name, rows in sorted(found.items(), key=lambda item: -table_means(item[1]).mean()):
        means, seconds = table_means(rows), float(np.mean([r["seconds"] for r in rows]))
        by_seed = [
            np.mean([r["auroc"] for r in rows if r["seed"] == s])
            for s in sorted({r["seed"] for r in rows})
        ]
        gain = means - knn
        without = (gain.sum() - gain) / (len(gain) - 1)
        lines.append(
            f"| {name} | {means.mean():.2f} | {np.std(by_seed):.2f} | {np.median(means):.2f} | "
            f"{without.min():+.2f} to {without.max():+.2f} | {int((gain > 0).sum())} of {len(gain)} | {seconds:.1f} |"
        )
    return lines


def by_table(results: list[Result], methods: list[str]) -> list[str]:
    """A line a table, a column a method."""
    found = by_method(results)
    methods = [name for name in methods if name in found]
    names = sorted({r["table"] for r in results}, key=str.lower)
    columns = [table_means(found[name]) for name in methods]
    lines = ["| table | " + " | ".join(methods) + " |", "| --- |" + " ---: |" * len(methods)]
    return lines + [
        f"| {t} | " + " | ".join(f"{c[i]:.1f}" for c in columns) + " |" for i, t in enumerate(names)
    ]


def by_method(results: list[Result]) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        found[result["method"]].append(result)
    return found


def table_means(rows: list[Result]) -> Array:
    """The mean over the seeds for every table, by name."""
    names = sorted({r["table"] for r in rows}, key=str.lower)
    return np.array([np.mean([r["auroc"] for r in rows if r["table"] == name]) for name in names])


def page(results: list[Result], command: str) -> str:
    """The results as Markdown."""
    titles = {"semi": "T9, semi-supervised", "unsupervised": "T10, unsupervised"}
    parts = [
        "# T9, T10: anomaly detection on tables",
        "Area under the ROC curve in hundredths; the mean over the tables is what counts. One setting for all tables, "
        "nothing tuned by table. `gain over KNN(5), a table left out`: the least and the greatest mean gain when any "
        "one table is left out. Seconds are of fitting and scoring together, on a busy machine, one thread. PyOD's "
        "detectors have its defaults, and one seed.",
        f"```\n{command}\n```",
        f"{date.today()}; torch {torch.__version__}.",
    ]
    shown = ["VAEDetector()", "VAEDetector(contamination=0.1)", "VAEDetector(): its VAEs alone"]
    for protocol, title in titles.items():
        if mine := [r for r in results if r["protocol"] == protocol]:
            seeds = len({r["seed"] for r in mine})
            parts += [f"## {title}, {seeds} seed{'s' * (seeds > 1)}", "\n".join(summary(mine))]
            parts.append(
                "\n".join(by_table(mine, [*shown, "KNN(5)", "PCA", "isolation forest", "PyOD VAE"]))
            )
    return "\n\n".join(parts) + "\n"


def keep(new: list[Result]) -> list[Result]:
    """All results, new ones in the place of old ones."""
    old = (
        [json.loads(line) for line in KEPT.read_text(encoding="utf-8").splitlines()]
        if KEPT.is_file()
        else []
    )
    every = {
        tuple(r[name] for name in ("protocol", "method", "table", "seed")): r for r in old + new
    }
    KEPT.write_text(
        "".join(json.dumps(result) + "\n" for result in every.values()), encoding="utf-8"
    )
    return list(every.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "--seeds", type=int, default=3, help="of everything but PyOD, which is run once"
    )
    parser.add_argument(
        "--protocol", choices=("semi", "unsupervised"), default=None, help="only this one"
    )
    parser.add_argument("--side", choices=("ours", "pyod"), default=None, help="only this one")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    results: list[Result] = []
    for protocol in (asked.protocol,) if asked.protocol else ("semi", "unsupervised"):
        new = list(ours(asked.data, protocol, asked.seeds)) if asked.side != "pyod" else []
        new += pyod(asked.data, protocol, 1) if asked.side != "ours" else []
        results = keep([{"protocol": protocol} | r for r in new])
    RESULTS.write_text(
        page(results, f"python benchmarks/anomaly.py {asked.data.name}"), encoding="utf-8"
    )
    print(RESULTS.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
