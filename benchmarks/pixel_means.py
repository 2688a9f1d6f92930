"""Gaussian pixels whose mean is free, or kept within [0, 1] by a sigmoid: which should be the default?

    python benchmarks/pixel_means.py --data DATA --sets mnist faces --note

DATA is a folder with mnist.npz, olivetti_faces.npz and so on, as for first_run.py. Both likelihoods are densities over
the same pixels, each with one shared variance, so their held-out ELBOs may be compared. Beside them stand the ELBO in
probabilities of the 256 grey levels (the outer ones open-ended), the error of held-out reconstructions as they are seen
(clipped to [0, 1]), and the Fréchet distance of samples in the features of a classifier of the set.
Both get the same steps. `--sheets FOLDER` writes samples to look at.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import torch
from first_run import Arrays, parts
from judges import kept_judge, pictures
from torch import Tensor
from torch.distributions import Distribution

from vaekit.api import changed, plan, read
from vaekit.assembly.recipes import choose
from vaekit.core.random import seeded
from vaekit.figures.sheets import sheet
from vaekit.files import new_folder
from vaekit.measures.feature_distances import frechet
from vaekit.runs.run import Ended, Run
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.own_data import held_part
from vaekit.tasks.resample import sampled
from vaekit.tasks.trained import Trained

RESULTS = Path(__file__).parent / "results" / "pixel-means.md"
LIKELIHOODS = ("gaussian", "gaussian-sigmoid")
STEPS = {"mnist": 3000, "faces": 1500, "cifar": 250, "sprites": 350, "coil": 500}
"""About 75 seconds of one thread each, with the net that `auto` takes (for cifar its smallest size)."""
FIELDS = {"cifar": ["model.size=tiny"], "coil": ["model.size=tiny"]}
SAMPLES, MIXTURE, LEVELS = 1500, "gmm:10", 255


def train(arrays: Arrays, fields: list[str], folder: Path) -> tuple[Trained, float]:
    """A run without a report, and the seconds that it took."""
    source = folder / "pictures.npz"
    np.savez(source, x=arrays[0])
    experiment = changed(choose(str(source)), fields)
    run = Run(plan(experiment, read(experiment)), lambda: new_folder(folder / "run"))
    began = time.perf_counter()
    ended = [event for event in run.events() if isinstance(event, Ended)]
    return ended[-1].trained, time.perf_counter() - began


def log_probability(likelihood: Distribution, x: Tensor) -> Tensor:
    """log P of pictures (B, C, H, W) whose pixels are rounded to 256 levels, the outer ones open-ended."""
    normal, half = likelihood.base_dist, 0.5 / LEVELS  # type: ignore[attr-defined]
    low, high = ((x + by - normal.mean) / normal.stddev for by in (-half, half))
    low = torch.where(x <= half, -math.inf, low.double())
    high = torch.where(x >= 1 - half, math.inf, high.double())
    flipped = low > 0  # differences of small tails lose no digits
    low, high = torch.where(flipped, -high, low), torch.where(flipped, -low, high)
    upper, lower = torch.special.log_ndtr(high), torch.special.log_ndtr(low)
    return (upper + torch.log1p(-torch.exp(lower - upper))).sum((1, 2, 3))


@torch.no_grad()
def measured(trained: Trained, held: Tensor) -> tuple[float, float, float]:
    """The held-out ELBO in nats, of densities and of probabilities, and the error of pictures, in grey levels."""
    density, probability, square = [], [], []
    with seeded(1):
        for x in held.split(256):
            trace = trained.model(x)
            density.append(-trace.distortion(x) - trace.rate())
            probability.append(log_probability(trace.likelihood, x) - trace.rate())
            error = trace.likelihood.mean.clamp(0, 1) - x
            square.append(error.square().mean((1, 2, 3)))
    means = [float(torch.cat(part).mean()) for part in (density, probability, square)]
    return means[0], means[1], LEVELS * math.sqrt(means[2])


def row(ask: argparse.Namespace, name: str, likelihood: str, seed: int) -> str:
    training, other = parts(ask.data, name)
    judge = kept_judge(f"first-run-{name}", pictures(other[0]), torch.from_numpy(other[1]).long())
    real = judge.features(pictures(other[0]))
    fields = [f"model.likelihood={likelihood}", f"train.seed={seed}", *FIELDS.get(name, [])]
    fields += [f"train.steps={ask.steps or STEPS[name]}", "train.patience=0"]
    fields += ["train.validations=10", "train.precision='32'", "train.compile=false"]
    with tempfile.TemporaryDirectory() as folder:
        trained, seconds = train(training, fields, Path(folder))
        found = measured(trained, as_tensor(held_part(trained)))
        made = [sampled(trained, w).generate(SAMPLES, seed=0) for w in ("prior", MIXTURE)]
    if ask.sheets:
        ask.sheets.mkdir(parents=True, exist_ok=True)
        sheet(made[1][:64]).save(ask.sheets / f"{name}-{likelihood}-{seed}.png")
    cells = [name, likelihood, seed, f"{ask.steps or STEPS[name]:,}", f"{seconds:.0f}"]
    cells += [f"{value:,.1f}" for value in found]
    cells += [f"{frechet(real, judge.features(x)):.2f}" for x in made]
    return f"| {' | '.join(map(str, [*cells, date.today().isoformat()]))} |"


def rows(ask: argparse.Namespace) -> Iterator[str]:
    for name in ask.sets:
        for seed in ask.seeds:
            for likelihood in LIKELIHOODS:
                yield row(ask, name, likelihood, seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of .npz files")
    parser.add_argument("--sets", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--steps", type=int, help="instead of the set's own number")
    parser.add_argument("--sheets", type=Path, help="a folder for samples")
    parser.add_argument("--note", action="store_true", help="append to the results")
    ask = parser.parse_args()
    for line in rows(ask):
        print(line, flush=True)
        if ask.note:
            with RESULTS.open("a", encoding="utf-8") as table:
                table.write(line + "\n")
