"""Conditional MNIST: does the class that is asked for come, and as varied as real ones?

    python benchmarks/conditional.py runs/mnist --data mnist.npz

A classifier is trained on the real training digits (the 60,000, their labels; kept in benchmarks/.cache). A trained
conditional run then makes `--number` digits of each class, by `vaekit`'s own generate and nothing else: what comes is
what counts. Printed, and appended to benchmarks/results/conditional-mnist.md:

- named: the fraction of the made digits that the classifier names as the class that was asked for;
- variety: the mean distance of two digits of a class in the classifier's features, made ones over real test ones,
  mean and least over the classes.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

import numpy as np
import torch
from judges import digits_judge
from torch import Tensor

import vaekit
from vaekit.tasks.resample import sampled

RESULTS = Path(__file__).parent / "results" / "conditional-mnist.md"


def spread(features: Tensor) -> float:
    """The mean distance of two different rows."""
    distances = torch.cdist(features[:1000].double(), features[:1000].double())
    return float(distances.sum() / (len(distances) * (len(distances) - 1)))


def measure(
    folder: Path, data: Path, number: int, guidance: float, seed: int, sampler: str | None
) -> dict[str, float]:
    """Named and variety of one run."""
    arrays = np.load(data)
    judge, accuracy = digits_judge(data)
    run, right, ratios = vaekit.load(folder), [], []
    run = sampled(run, sampler) if sampler else run
    for k in range(10):
        made = run.generate(number, seed + k, where={"label": k}, guidance=guidance)
        real = torch.from_numpy(arrays["x_test"][arrays["y_test"] == k])[:, None]
        right.append(float((judge.classify(made).argmax(1) == k).float().mean()))
        ratios.append(spread(judge.features(made)) / spread(judge.features(real)))
    return {
        "named": float(np.mean(right)),
        "named_least": min(right),
        "variety": float(np.mean(ratios)),
        "variety_least": min(ratios),
        "classifier": accuracy,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--data", type=Path, required=True, help="mnist.npz with x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--number", type=int, default=1000, help="of each class")
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--sampler", help="gmm:10 or flow, instead of the prior")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", help="append a row to the table, with this remark")
    asked = parser.parse_args()
    found = measure(asked.run, asked.data, asked.number, asked.guidance, asked.seed, asked.sampler)
    print(json.dumps(found, indent=2))
    if asked.note:
        row = [
            f"{found[name]:.4f}"
            for name in ("named", "named_least", "variety", "variety_least", "classifier")
        ]
        with RESULTS.open("a", encoding="utf-8") as table:
            table.write(
                f"| {asked.note} | {asked.guidance:g} | {' | '.join(row)} | {date.today()} |\n"
            )


if __name__ == "__main__":
    main()
