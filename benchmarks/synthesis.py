"""T11: synthetic rows of mixed tables by vaekit and by CTGAN's TVAE, beside real ones.

    python benchmarks/synthesis.py --data ../shared/data                       # all tables, three seeds, into results/
    python benchmarks/synthesis.py --data ../shared/data --tables adult --seeds 0 --no-peer --print

Each side learns the real training part and draws as many rows. Boosted trees trained on the drawn rows are tested on
the real test part (macro F1 and AUROC of classes, R^2 of a number). The peer gets an environment of its own in
benchmarks/.envs/ctgan, which sees the torch that runs this. One thread each; seconds are of CPU, since the wall's
depend on what else runs. Adult has its official split; of other tables a third is kept for the test.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from vaekit.data.tables.load import load
from vaekit.data.tables.schema import TableSchema
from vaekit.estimators import VAESynthesizer
from vaekit.measures import row_quality

HERE = Path(__file__).parent
RESULTS = HERE / "results" / "synthesis.md"
PEER = HERE / ".envs" / "ctgan"
PACKAGES = ("ctgan==0.12.1", "rdt==2.0.0")
NEEDS = ("pandas<3", "tqdm", "Faker")
"""CTGAN's own requirements without torch, which the running interpreter has."""

TABLES = {"adult": ("adult_census", "income"), "houses": ("king_county_houses", "price")}
TABLES |= {"insurance": ("medical_insurance", "charges")}
MISSING = {"adult": ["", "?"]}
HEAD = (
    "table",
    "seed",
    "rows by",
    "macro F1",
    "AUROC",
    "R²",
    "column",
    "pair",
    "two-sample",
    "copies",
    "ratio",
)
HEAD += ("ratio of held", "closer", "membership", "fit CPU s", "fit wall s", "draw CPU s")


@dataclass(frozen=True)
class Task:
    """A table's training and test rows, and the column that trees predict."""

    name: str
    train: pl.DataFrame
    test: pl.DataFrame
    target: str


@dataclass(frozen=True)
class Made:
    """Drawn rows and what they cost, in seconds."""

    rows: pl.DataFrame
    fit: float = float("nan")
    fit_cpu: float = float("nan")
    draw_cpu: float = float("nan")


def task(name: str, data: Path) -> Task:
    """A table as it is split."""
    file, target = TABLES[name]
    frame = pl.read_csv(data / f"{file}.csv.gz", null_values=MISSING.get(name))
    frame = frame.drop("id", strict=False)
    if "split" in frame.columns:
        train, test = (
            frame.filter(pl.col("split") == word).drop("split") for word in ("train", "test")
        )
        return Task(name, train, test, target)
    order = np.random.default_rng(0).permutation(len(frame))
    cut = len(frame) * 2 // 3
    return Task(name, frame[order[:cut]], frame[order[cut:]], target)


def sides(given: Task, seed: int, peer: bool, epochs: int) -> Iterator[tuple[str, Made]]:
    """Who makes the rows."""
    random = np.random.default_rng(seed)
    yield "real", Made(given.train)
    yield "bootstrap", Made(given.train[random.integers(0, len(given.train), len(given.train))])
    yield "vaekit", ours(given, seed)
    if peer:
        yield f"TVAE, {epochs} epochs", theirs(given, seed, epochs)


def ours(given: Task, seed: int) -> Made:
    """VAESynthesizer with its defaults."""
    clocks = [(time.perf_counter(), time.process_time())]
    model = VAESynthesizer(random_state=seed).fit(given.train)
    clocks.append((time.perf_counter(), time.process_time()))
    rows = model.sample(len(given.train))
    spent = time.process_time() - clocks[1][1]
    return Made(rows, clocks[1][0] - clocks[0][0], clocks[1][1] - clocks[0][1], spent)


def theirs(given: Task, seed: int, epochs: int) -> Made:
    """TVAE in its own environment. Dates, which it lacks, are numbers to it."""
    schema = load(given.train).schema
    discrete = [column.name for column in schema.columns if column.discrete]
    dates = [name for name, kind in given.train.schema.items() if kind == pl.Date]
    words = [
        column.name
        for column in schema.columns
        if column.kind == "date" and column.dtype == "String"
    ]
    plain = given.train.with_columns(
        [pl.col(name).to_physical() for name in dates]
        + [pl.col(name).str.to_date().to_physical().cast(pl.Int64) for name in words]
    )
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("train.csv", "made.csv")]
        plain.write_csv(files[0])
        command = [
            str(PEER / "bin" / "python"),
            str(HERE / "peers" / "ctgan_rows.py"),
            *map(str, files),
        ]
        command += ["--seed", str(seed), "--epochs", str(epochs), "--discrete", *discrete]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
        made = pl.read_csv(files[1], infer_schema_length=None)
    back = [
        pl.col(name).round().cast(pl.Int32).cast(pl.Date).cast(given.train.schema[name])
        for name in dates
    ]
    back += [pl.col(name).round().cast(pl.Int32).cast(pl.Date).cast(pl.String) for name in words]
    return Made(made.with_columns(back), told["fit"], told["fit_cpu"], told["draw_cpu"])


def measured(given: Task, made: Made, schema: TableSchema, seed: int) -> dict[str, Any]:
    """All measures of one side's rows."""
    train, test, rows = (
        load(part, schema=schema).raw.values.numpy()
        for part in (given.train, given.test, made.rows)
    )
    categories = np.array([column.discrete for column in schema.columns])
    useful = row_quality.utility(rows, test, categories, schema.names.index(given.target))
    return {
        **asdict(useful),
        "column": row_quality.column_error(train, rows, categories),
        "pair": row_quality.pair_error(train, rows, categories),
        "two_sample": row_quality.two_sample(train, rows, categories, seed),
        **asdict(row_quality.privacy(rows, train, test, categories, seed)),
        "fit_cpu": made.fit_cpu,
        "fit": made.fit,
        "draw_cpu": made.draw_cpu,
    }


def line(given: Task, seed: int, side: str, found: dict[str, Any]) -> str:
    keys = (
        "f1",
        "auroc",
        "r2",
        "column",
        "pair",
        "two_sample",
        "copies",
        "ratio",
        "held_ratio",
        "closer",
    )
    cells = [_number(found[key], 3) for key in (*keys, "membership")]
    cells += [_number(found[key], 1) for key in ("fit_cpu", "fit", "draw_cpu")]
    return f"| {given.name} | {seed} | {side} | {' | '.join(cells)} |\n"


def make_peer() -> None:
    """CTGAN's environment, if there is none: its own packages first, then those of the running interpreter."""
    if (PEER / "bin" / "python").exists():
        return
    venv.create(PEER, with_pip=True)
    here = [p for p in sys.path if p.endswith(("site-packages", "dist-packages"))]
    site = next(PEER.glob("lib*/**/site-packages"))
    (site / "shared_torch.pth").write_text("\n".join(here) + "\n", encoding="utf-8")
    pip = [str(PEER / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, "--no-deps", *PACKAGES], check=True)
    subprocess.run([*pip, *NEEDS], check=True)


def _number(value: float, digits: int) -> str:
    return "" if np.isnan(value) else f"{value:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="the folder of the .csv.gz files")
    parser.add_argument("--tables", nargs="+", default=list(TABLES), choices=list(TABLES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=100, help="of the peer")
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument(
        "--print", action="store_true", help="print only, leaving results/synthesis.md alone"
    )
    ask = parser.parse_args()
    torch.set_num_threads(1)
    if not ask.no_peer:
        make_peer()
    out = [
        f"\nMeasured {date.today()}, one thread.\n\n| {' | '.join(HEAD)} |\n|{' --- |' * len(HEAD)}\n"
    ]
    print(out[0], end="", flush=True)
    for given in (task(name, ask.data) for name in ask.tables):
        schema = load(given.train).schema
        for seed in ask.seeds:
            for side, made in sides(given, seed, not ask.no_peer, ask.epochs):
                out.append(line(given, seed, side, measured(given, made, schema, seed)))
                print(out[-1], end="", flush=True)
    if not ask.print:
        with RESULTS.open("a", encoding="utf-8") as table:
            table.writelines(out)


if __name__ == "__main__":
    main()
