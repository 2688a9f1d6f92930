"""Fewer dimensions: VAETransformer beside PCA and UMAP, at 2 and 8 dimensions, on held-out rows.

    python benchmarks/reduction.py                          # scikit-learn's digits, breast cancer and wine
    python benchmarks/reduction.py --mnist mnist.npz --adbench adbench_dev.npz --seeds 0 1 2

70 % of the rows (scaled by them) are learned from, 30 % are measured: the share of the variance that comes back
(R², where there is a way back), trustworthiness with 5 neighbours, and the accuracy of 5 nearest neighbours among the
codes of the training rows. UMAP gets an environment of its own in benchmarks/.envs/umap. One thread each; seconds are
of CPU. Appended to benchmarks/results/reduction.md.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness
from sklearn.neighbors import KNeighborsClassifier

from vaekit import VAETransformer

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "reduction.md"
PEER = HERE / ".envs" / "umap"
PACKAGES = ("umap-learn==0.5.9.post2",)
TABLES = ("pendigits", "satimage_2", "letter", "cardio")
"""Of the anomaly tables, those with some thousand rows; their two classes are no fair task, so kNN is left out."""

HEAD = (
    "data",
    "rows x columns",
    "dimensions",
    "seed",
    "by",
    "R²",
    "trustworthiness",
    "kNN",
    "fit CPU s",
)


@dataclass(frozen=True)
class Task:
    """Scaled rows to learn from and to measure on, and their classes if they have any."""

    name: str
    train: np.ndarray
    test: np.ndarray
    classes: tuple[np.ndarray, np.ndarray] | None


@dataclass(frozen=True)
class Codes:
    """Codes of both parts, the test rows as they come back, and seconds of CPU."""

    train: np.ndarray
    test: np.ndarray
    back: np.ndarray | None
    seconds: float


def task(name: str, x: np.ndarray, y: np.ndarray | None, seed: int) -> Task:
    """The rows split and scaled."""
    order = np.random.default_rng(seed).permutation(len(x))
    cut = len(x) * 7 // 10
    x = x[order].astype(np.float64)
    mean, scale = x[:cut].mean(0), x[:cut].std(0)
    x = (x - mean) / np.where(scale > 0, scale, 1)
    classes = None if y is None else (y[order][:cut], y[order][cut:])
    return Task(name, x[:cut], x[cut:], classes)


def tasks(ask: argparse.Namespace, seed: int) -> Iterator[Task]:
    """All that are asked for."""
    for name, load in {
        "wine": load_wine,
        "breast cancer": load_breast_cancer,
        "digits": load_digits,
    }.items():
        yield task(name, *load(return_X_y=True), seed)
    if ask.mnist:
        with np.load(ask.mnist) as held:
            pick = np.random.default_rng(seed).choice(len(held["x_train"]), 10_000, replace=False)
            yield task(
                "MNIST, 10,000",
                held["x_train"][pick].reshape(len(pick), -1),
                held["y_train"][pick],
                seed,
            )
    if ask.adbench:
        with np.load(ask.adbench) as held:
            for name in TABLES:
                yield task(name, held[f"X_{name}"], None, seed)


def linear(given: Task, n: int, seed: int) -> Codes:
    """PCA."""
    return coded(given, PCA(n, random_state=seed))


def ours(given: Task, n: int, seed: int) -> Codes:
    """VAETransformer with its defaults."""
    return coded(given, VAETransformer(n, random_state=seed))


def coded(given: Task, model: PCA | VAETransformer) -> Codes:
    """What a transformer makes of both parts, fitted to the first."""
    began = time.process_time()
    model.fit(given.train)
    spent = time.process_time() - began
    codes = model.transform(given.test)
    return Codes(model.transform(given.train), codes, model.inverse_transform(codes), spent)


def theirs(given: Task, n: int, seed: int) -> Codes:
    """UMAP in its own environment; it has a way back only of its own making, which is left out."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "rows.npz", Path(folder) / "codes.npz"
        np.savez(source, train=given.train, test=given.test)
        command = [
            str(PEER / "bin" / "python"),
            str(HERE / "peers" / "umap_codes.py"),
            str(source),
            str(target),
        ]
        subprocess.run([*command, str(n), str(seed)], check=True, capture_output=True)
        with np.load(target) as made:
            return Codes(made["train"], made["test"], None, float(made["seconds"]))


def measured(given: Task, codes: Codes) -> list[Any]:
    """R², trustworthiness, accuracy, seconds."""
    back = (
        np.nan
        if codes.back is None
        else 1 - ((given.test - codes.back) ** 2).sum() / (given.test**2).sum()
    )
    near = np.nan
    if given.classes is not None:
        near = (
            KNeighborsClassifier(5)
            .fit(codes.train, given.classes[0])
            .score(codes.test, given.classes[1])
        )
    return [back, trustworthiness(given.test, codes.test, n_neighbors=5), near, codes.seconds]


def make_peer() -> None:
    if not (PEER / "bin" / "python").exists():
        venv.create(PEER, with_pip=True)
        subprocess.run(
            [str(PEER / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES], check=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mnist", type=Path, help="mnist.npz")
    parser.add_argument("--adbench", type=Path, help="adbench_dev.npz")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument(
        "--print", action="store_true", help="print only, leaving the results alone"
    )
    ask = parser.parse_args()
    torch.set_num_threads(1)
    sides = {"PCA": linear, "VAE": ours} | ({} if ask.no_peer else {"UMAP": theirs})
    if not ask.no_peer:
        make_peer()
    out = [
        f"\nMeasured {date.today()}, one thread.\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n"
    ]
    print(out[0], end="", file=sys.stdout)
    for seed in ask.seeds:
        for given in tasks(ask, seed):
            for n in (2, 8):
                for name, side in sides.items():
                    numbers = measured(given, side(given, n, seed))
                    cells = [
                        *(f"{v:.3f}" if v == v else "" for v in numbers[:3]),
                        f"{numbers[3]:.1f}",
                    ]
                    size = f"{len(given.train) + len(given.test):,} x {given.train.shape[1]}"
                    out.append(
                        f"| {given.name} | {size} | {n} | {seed} | {name} | {' | '.join(cells)} |\n"
                    )
                    print(out[-1], end="", flush=True)
    if not ask.print:
        with RESULTS.open("a", encoding="utf-8") as table:
            table.writelines(out)


if __name__ == "__main__":
    main()
