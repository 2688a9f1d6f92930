"""Does a short race between nets choose what the whole run would choose?

    python benchmarks/race.py --data DATA --sets sprites faces --seconds 100 --shares 0.05 0.1 1

DATA is a folder with lpc_sprites_static.npz, olivetti_faces.npz and so on, as for first_run.py.
Each net is trained as a race trains it, for each share of `--seconds` of CPU time, of which the
last is the whole run. CPU time changes little on a busy machine. Each cell is the mean ELBO of the data that judge
a race (nats, higher is better), its standard error, and the number of steps. Run it with
OMP_NUM_THREADS=1.
`--note` appends the rows to benchmarks/results/race.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import torch
from first_run import SETS, parts

from vaekit import api
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import Resolved, resolve
from vaekit.data.dataset import Dataset
from vaekit.measures.bounds import Estimate
from vaekit.runs import race
from vaekit.runs.clock import Clock
from vaekit.runs.events import Ended
from vaekit.runs.run import Run

RESULTS = Path(__file__).parent / "results" / "race.md"
NETS = ("patches", "conv", "mlp")


def trained_for(resolved: Resolved, seconds: float) -> tuple[torch.Tensor, int]:
    """The ELBOs of the judging data (N,) after so many seconds of CPU time, and the steps."""
    short = race.shorten(resolved, seconds)
    whole = short.experiment.override("train.validations=20")
    with tempfile.TemporaryDirectory() as folder:
        run = Run(replace(short, experiment=whole), lambda: Path(folder))
        place = run.plan.steps, seconds / 60, run.progress, run.engine
        run.clock = Clock(*place, now=time.process_time)
        ended = [event for event in run.events() if isinstance(event, Ended)]
        return race._judge(run, ended[-1]), run.progress.step


def cells(data: Dataset, source: str, net: str, ask: argparse.Namespace) -> list[str]:
    """What the net reached after each share of the time."""
    experiment = choose(source).override(f"architecture={net}", f"seed={ask.seed}")
    resolved = resolve(experiment, data)
    found = []
    for share in ask.shares:
        elbos, steps = trained_for(resolved, share * ask.seconds)
        mean = Estimate.of(elbos)
        found.append(f"{mean.value:,.1f} ± {mean.error:,.1f} ({steps:,})")
    return found


def rows(ask: argparse.Namespace, name: str) -> list[str]:
    """A line of the table for each net."""
    (pictures, _), _ = parts(ask.data, name)
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        source = f"{folder}/pictures.npz"
        np.savez(source, x=pictures)
        data = api.read(choose(source))
        for net in ask.nets:
            found = cells(data, source, net, ask)
            lines.append(f"| {' | '.join([name, net, *found])} |")
            print(lines[-1], flush=True)
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of .npz files")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--nets", nargs="+", default=list(NETS))
    parser.add_argument("--seconds", type=float, default=100, help="of CPU time, for a whole run")
    parser.add_argument("--shares", nargs="+", type=float, default=[0.05, 0.1, 1.0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", action="store_true", help="append to the results")
    ask = parser.parse_args()
    lines = [line for name in ask.sets for line in rows(ask, name)]
    if ask.note:
        with RESULTS.open("a", encoding="utf-8") as file:
            head = f"\n{date.today()}, {ask.seconds:g} s, shares {ask.shares}, seed {ask.seed}\n"
            file.write("\n".join([head, *lines]) + "\n")
