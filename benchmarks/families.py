"""What each family costs to train, held against a bare loop over its own networks.

    OMP_NUM_THREADS=1 python benchmarks/families.py            # all of them, about ten minutes
    python benchmarks/families.py --only vq,flow --json

For each family vaekit begins a real run (its engine, log, guard and averaged weights, float32, not compiled), and a
bare loop trains a copy of the same networks by formulas written out by hand in benchmarks/formulas.py: index_select,
forward, backward, fused AdamW, and nothing else. They take turns, `--windows` times a stretch of as many steps, and CPU
time is what is compared: the ratio in the table is the median over the turns of vaekit's over the bare loop's.
Data are random black-or-white blobs of MNIST's shape; results are appended to benchmarks/results/families.md.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Generator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from formulas import FAMILIES, Family
from nets import digits

from vaekit import api
from vaekit.assembly.settle import resolve
from vaekit.config import Data, Experiment, Network, Training
from vaekit.runs.events import Logged
from vaekit.runs.run import Run

RESULTS = Path(__file__).parent / "results" / "families.md"
STRETCH = 8
"""Steps of a turn: vaekit logs so often in a run of 400 times as many."""


def experiment(family: Family, source: Path, batch: int) -> Experiment:
    """A long run of the family that is left early."""
    network = Network(architecture="mlp", hidden=(512,), likelihood="bernoulli", latent=16)
    training = Training(
        batch=batch, steps=400 * STRETCH, precision="32", compile=False, validations=1
    )
    base = Experiment(data=Data(source=str(source), holdout=0.001), model=network, train=training)
    return base.override(*family.fields)


def turns(run: Run) -> Generator[float]:
    """CPU seconds a step of vaekit's own loop, a stretch at a time; what happens between stretches is not counted."""
    began, step = time.process_time(), 0
    for event in run.events():
        if isinstance(event, Logged) and event.row["split"] == "train":
            yield (time.process_time() - began) / (event.row["step"] - step)
            began, step = time.process_time(), event.row["step"]


def bare(run: Run, family: Family) -> Callable[[], float]:
    """A stretch of the bare loop over a copy of the run's networks: CPU seconds a step."""
    model, raw = copy.deepcopy(run.learner.model).train(), run.data.raw.take(run.train_index)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    context = None if run.data.context is None else run.data.context[run.train_index]

    def stretch() -> float:
        began = time.process_time()
        for _ in range(STRETCH):
            index = torch.randint(len(raw), (run.feed.batch,))
            x = raw.index_select(0, index).float().div(255)
            loss = family.loss(model, x, None if context is None else context[index])
            loss.backward()
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        return (time.process_time() - began) / STRETCH

    return stretch


def measure(
    family: Family, source: Path, folder: Path, windows: int, batch: int
) -> tuple[float, float, float]:
    """Milliseconds a step, vaekit's and the bare loop's, and the median ratio."""
    wanted = experiment(family, source, batch)
    run = Run(resolve(wanted, api.read(wanted)), lambda: folder)
    ours, other = turns(run), bare(run, family)
    next(ours), other()  # a first turn of each, to warm up
    pairs = [(next(ours), other()) for _ in range(windows)]
    ours.close()
    mine, theirs = (statistics.median(times) * 1000 for times in zip(*pairs, strict=True))
    return mine, theirs, statistics.median(a / b for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", help="names of families, with commas")
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--json", action="store_true", help="print JSON, append nothing")
    asked = parser.parse_args()
    names = asked.only.split(",") if asked.only else list(FAMILIES)
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "blobs.npz"
        pictures = digits(6_000)[:, 0].numpy() * np.uint8(255)
        np.savez(source, images=pictures, labels=np.arange(len(pictures)) % 10)
        for name in names:
            folder = Path(place) / name.replace(" ", "-")
            folder.mkdir()
            mine, theirs, ratio = measure(
                FAMILIES[name], source, folder, asked.windows, asked.batch
            )
            if asked.json:
                print(
                    json.dumps(
                        {"family": name, "vaekit_ms": mine, "bare_ms": theirs, "ratio": ratio}
                    ),
                    flush=True,
                )
                continue
            fields = " ".join(FAMILIES[name].fields) or "the plain VAE"
            line = (
                f"| {name} | {fields} | {mine:.1f} | {theirs:.1f} | {ratio:.2f} | {date.today()} |"
            )
            print(line, flush=True)
            with RESULTS.open("a", encoding="utf-8") as table:
                table.write(line + "\n")


if __name__ == "__main__":
    main()
