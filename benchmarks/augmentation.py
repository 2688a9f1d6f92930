"""T15: do rows and pictures that a model made help a classifier that has few real ones?

    python benchmarks/augmentation.py --data ../shared/data                     # all, three seeds, into results/
    python benchmarks/augmentation.py --data ../shared/data --sets adult --seeds 0 --print

Few rows or pictures are drawn from a training part; models and classifiers see these alone (and, where it says so,
more without labels); what is learned is tried on the real test part. MNIST and Adult have their official split; of
other tables a third is kept for the test. Rows: `helps`, which is what
`vaekit evaluate RUN TEST --metrics augmentation --target COLUMN` prints. Pictures: the same classifier for the same
number of steps whatever it learns from. One thread.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

import vaekit
from vaekit.core.random import seeded
from vaekit.data.images.quality import between
from vaekit.data.storage.workers import silent
from vaekit.data.tables.quality import helps
from vaekit.measures.augmentation import Labelled, accuracy, halves
from vaekit.measures.classifier import jittered, unit
from vaekit.tasks import further
from vaekit.tasks.trained import Trained

RESULTS = Path(__file__).parent / "results" / "augmentation.md"
HEAD = (
    "data",
    "real",
    "seed",
    "classifier",
    "measure",
    "real alone",
    "beside",
    "generated",
    "with both",
)

TABLES = {
    "adult": ("adult_census.csv.gz", "income"),
    "insurance": ("medical_insurance.csv.gz", "charges"),
}
TABLES |= dict.fromkeys(
    ("PageBlocks", "cardio", "mammography", "yeast"), ("adbench_dev.npz", "odd")
)
PER_CLASS, IN_ALL = (10, 50, 100), (100, 300, 1000)
"""Rows of each class where these are about equally common (Adult); else rows in all, as they come."""

COPIES, UNLABELLED, MADE = 6000, 10_000, 1000
NETWORK = {
    "architecture": "mlp",
    "likelihood": "bernoulli",
    "binarise": "dynamic",
    "prior": "mixture:20",
}
NETWORK |= {"condition": "label", "steps": 1000, "batch": 128, "compile": False, "device": "cpu"}


# Tables


@dataclass(frozen=True)
class Task:
    """A few training rows, test rows, and the column that is predicted."""

    train: pl.DataFrame
    test: pl.DataFrame
    target: str


def frame(name: str, data: Path) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """The training part, the test part and the target of a table."""
    file, target = TABLES[name]
    if file.endswith(".npz"):
        with np.load(data / file) as stored:
            x, y = stored[f"X_{name}"], stored[f"y_{name}"]
        table = pl.DataFrame(
            {f"x{i}": column for i, column in enumerate(x.T)} | {target: np.array(["no", "yes"])[y]}
        )
    else:
        table = pl.read_csv(data / file, null_values=["", "?"]).drop("id", strict=False)
    if "split" in table.columns:
        train, test = (
            table.filter(pl.col("split") == word).drop("split") for word in ("train", "test")
        )
        return train, test, target
    order = np.random.default_rng(0).permutation(len(table))
    cut = len(table) * 2 // 3
    return table[order[:cut]], table[order[cut:]], target


def few_rows(name: str, size: int, seed: int, data: Path) -> Task:
    """`size` rows of each class of Adult, or in all."""
    train, test, target = frame(name, data)
    random = np.random.default_rng(seed)
    groups = [
        np.flatnonzero((train[target] == k).to_numpy()) for k in train[target].unique().sort()
    ]
    each = name == "adult"
    index = (
        np.concatenate([random.choice(g, size, False) for g in groups])
        if each
        else random.permutation(len(train))
    )
    return Task(train[random.permutation(index) if each else index[:size]], test, target)


def of_rows(name: str, size: int, seed: int, data: Path, folder: Path) -> Iterator[tuple[str, ...]]:
    """A line for each classifier and measure."""
    given = few_rows(name, size, seed, data)
    for part in ("train", "test"):
        getattr(given, part).write_csv(folder / f"{part}.csv")
    run = trained(folder / "train.csv", folder / "run", device="cpu", seed=seed)
    test = run.read(folder / "test.csv")
    parts = further.parts(run, test, None, seed, silent, print)
    found = helps(parts, given.target).numbers["augmentation"]
    for word, sides in found.items():
        if isinstance(sides, dict):
            value = {side: f"{part['value']:.3f}" for side, part in sides.items()}
            beside = " / ".join(value[side] for side in ("repeated", "SMOTE") if side in value)
            learner, measure = word.split()
            yield learner, measure, value["real"], beside, value["generated"], ""


# Pictures


def of_pictures(
    size: int, seed: int, steps: int, ways: list[str], data: Path, folder: Path
) -> Iterator[tuple[str, ...]]:
    """A line for each way to make pictures."""
    with np.load(data / "mnist.npz") as stored:
        everything, labels = (torch.from_numpy(stored[f"{word}_train"]) for word in "xy")
        test = (
            torch.from_numpy(stored["x_test"])[:, None],
            torch.from_numpy(stored["y_test"]).long(),
        )
    random = np.random.default_rng(seed)
    index = np.concatenate(
        [random.choice(np.flatnonzero(labels.numpy() == k), size, False) for k in range(10)]
    )
    few = everything[index][:, None], labels[index].long()
    others = everything[np.setdiff1d(random.choice(len(everything), UNLABELLED, False), index)][
        :, None
    ]
    alone, changed = (
        f"{accuracy(few, test, 10, change, seed, steps):.4f}" for change in (unit, jittered)
    )
    for how in ways:
        made = halves(few, WAYS[how](few, others, seed, folder / how))
        both = [
            f"{accuracy(made, test, 10, change, seed, steps):.4f}" for change in (unit, jittered)
        ]
        yield f"convolutional; VAE {how}", "accuracy", alone, changed, *both


def plain(few: Labelled, others: Tensor, seed: int, folder: Path) -> Labelled:
    """Draws of the prior of a VAE that has seen the few pictures alone."""
    return of_prior(taught(*few, seed, folder), few[1], seed)


def transformed(few: Labelled, others: Tensor, seed: int, folder: Path) -> Labelled:
    """The same of a VAE that has seen them in many copies, turned, moved and scaled."""
    times = -(-COPIES // len(few[0]))
    with seeded(seed):
        copies = torch.cat([unit(few[0]), *(jittered(unit(few[0])) for _ in range(times - 1))])
    return of_prior(
        taught((255 * copies).round().byte(), few[1].repeat(times), seed, folder), few[1], seed
    )


def unlabelled(few: Labelled, others: Tensor, seed: int, folder: Path) -> Labelled:
    """Pictures between two of a class, in the codes of a VAE that has also seen others without their labels."""
    times = -(-UNLABELLED // 5 // len(few[0]))
    x = torch.cat((few[0].repeat(times, 1, 1, 1), others))
    run = taught(x, torch.cat((few[1].repeat(times), torch.full((len(others),), -1))), seed, folder)
    np.savez(folder / "few.npz", x=few[0][:, 0].numpy(), y=few[1].numpy())
    return between(run, run.read(folder / "few.npz"), max(MADE, len(few[0])), seed)


def taught(x: Tensor, y: Tensor, seed: int, folder: Path) -> Trained:
    """A VAE of pictures that is told their labels."""
    folder.mkdir()
    np.savez(folder / "x.npz", x=x[:, 0].numpy(), y=y.numpy())
    return trained(folder / "x.npz", folder / "run", seed=seed, **NETWORK)


def of_prior(run: Trained, labels: Tensor, seed: int) -> Labelled:
    each = max(MADE, len(labels)) // 10
    made = [run.generate(each, 10 * seed + k, where={"label": str(k)}) for k in range(10)]
    return torch.cat(made), torch.arange(10).repeat_interleave(each)


WAYS = {"plain": plain, "transformed": transformed, "unlabelled": unlabelled}


# Both


def trained(source: Path, out: Path, **fields: object) -> Trained:
    with contextlib.redirect_stderr(io.StringIO()):
        return vaekit.train(source, out=out, **fields)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="the folder of mnist.npz, adult_census.csv.gz ..."
    )
    parser.add_argument("--sets", nargs="+", default=["mnist", *TABLES], choices=["mnist", *TABLES])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=int,
        help="real ones (default: 10 50 100 of a class, 100 300 1000)",
    )
    parser.add_argument("--steps", type=int, default=150, help="of the classifier of pictures")
    parser.add_argument(
        "--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="to make pictures"
    )
    parser.add_argument(
        "--print", action="store_true", help="print only, leaving results/augmentation.md alone"
    )
    ask = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    command = " ".join(["python benchmarks/augmentation.py --data DATA", *sys.argv[3:]])
    tell(
        f"\n`{command}`, {date.today()}:\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n",
        ask.print,
    )
    for name in ask.sets:
        for seed in ask.seeds:
            for size in ask.sizes or (PER_CLASS if name in ("mnist", "adult") else IN_ALL):
                with tempfile.TemporaryDirectory() as place:
                    folder = Path(place)
                    lines = (
                        of_pictures(size, seed, ask.steps, ask.ways, ask.data, folder)
                        if name == "mnist"
                        else of_rows(name, size, seed, ask.data, folder)
                    )
                    for cells in lines:
                        tell(f"| {name} | {size} | {seed} | {' | '.join(cells)} |\n", ask.print)


def tell(text: str, only_print: bool) -> None:
    """Print it, and append it to the results at once."""
    print(text, end="", flush=True)
    if not only_print:
        with RESULTS.open("a", encoding="utf-8") as table:
            table.write(text)


if __name__ == "__main__":
    main()
