"""T7: how close samples are to real test digits, for vaekit's samplers and for Pythae's, in one judge's features.

    python benchmarks/samples.py real --data mnist.npz                  # training digits: the best there is
    python benchmarks/samples.py runs/mnist --data mnist.npz --samplers prior gmm:10 flow
    python benchmarks/samples.py runs/pythae-mse --data mnist.npz       # what peers/pythae_samples.py wrote

The judge is a classifier trained on the real training digits (kept in benchmarks/.cache). 10,000 pictures, rounded to
8 bits on every side, against the 10,000 test digits. Printed, and with `--note` appended to
benchmarks/results/samples-mnist.md. `--sheet` writes the first 100 of each as a PNG.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import torch
from judges import digits_judge
from torch import Tensor

import vaekit
from vaekit.measures.feature_distances import fidelity
from vaekit.tasks.resample import sampled

RESULTS = Path(__file__).parent / "results" / "samples-mnist.md"

Made = tuple[str, Tensor, float]
"""A sampler, its pictures (N, 1, 28, 28) as uint8, the seconds that fitting it took."""


def ours(folder: Path, words: Sequence[str], number: int, seed: int) -> Iterator[Made]:
    """Samples of a vaekit run: the means of its likelihood."""
    run = vaekit.load(folder)
    for word in words:
        began = time.perf_counter()
        model = run if word == "prior" else sampled(run, word)
        fitting = time.perf_counter() - began
        yield word, (model.generate(number, seed) * 255).round().byte(), fitting


def theirs(folder: Path) -> Iterator[Made]:
    """Samples that a peer wrote."""
    for path in sorted(folder.glob("*.npz")):
        kept = np.load(path)
        yield path.stem, torch.from_numpy(kept["x"]), float(kept["fit_s"])


def real(data: Path, number: int, seed: int) -> Iterator[Made]:
    """Training digits."""
    x = torch.from_numpy(np.load(data)["x_train"])[:, None]
    yield (
        "real",
        x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:number]],
        0.0,
    )


def sheet(x: Tensor, path: Path) -> None:
    """The first 100 pictures side by side."""
    from PIL import Image

    rows = x[:100].unflatten(0, (10, 10)).permute(0, 3, 1, 4, 2)  # 10 down, H, 10 across, W, C
    Image.fromarray(rows.flatten(2, 3).flatten(0, 1).squeeze(-1).numpy()).save(path)


def row(word: str, x: Tensor, fitting: float, features: Tensor, ask: argparse.Namespace) -> str:
    """Measure one set of pictures: a line of the table."""
    judge, _ = digits_judge(ask.data)
    found = fidelity(features, judge.features(x))
    near, kernel = found.neighbours, found.kernel
    cells = [f"{found.frechet:.3f}", f"{kernel.value:.4f} ± {kernel.error:.4f}"]
    cells += [
        f"{value:.3f}" for value in (near.precision, near.recall, near.density, near.coverage)
    ]
    print(
        json.dumps({"sampler": word, "frechet": found.frechet, "cells": cells, "fit_s": fitting}),
        flush=True,
    )
    return f"| {ask.note} | {word} | {' | '.join(cells)} | {fitting:.0f} | {date.today()} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "run", type=Path, help="a vaekit run, a folder of a peer's .npz, or the word real"
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="mnist.npz with x_train, y_train, x_test, y_test"
    )
    parser.add_argument(
        "--samplers", nargs="+", default=["prior", "gmm:10", "flow"], help="of a vaekit run"
    )
    parser.add_argument("--number", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="a folder for PNG sheets")
    parser.add_argument("--note", help="append to the table, with this in the first column")
    ask = parser.parse_args()
    judge, _ = digits_judge(ask.data)
    features = judge.features(torch.from_numpy(np.load(ask.data)["x_test"])[:, None])
    if str(ask.run) == "real":
        sets = real(ask.data, ask.number, ask.seed)
    elif (ask.run / "config.json").is_file():
        sets = ours(ask.run, ask.samplers, ask.number, ask.seed)
    else:
        sets = theirs(ask.run)
    for word, x, fitting in sets:
        line = row(word, x, fitting, features, ask)
        if ask.note:
            with RESULTS.open("a", encoding="utf-8") as table:
                table.write(line)
        if ask.sheet:
            ask.sheet.mkdir(exist_ok=True, parents=True)
            sheet(x, ask.sheet / f"{word.replace(':', '-')}.png")


if __name__ == "__main__":
    main()
