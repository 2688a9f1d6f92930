"""Discrete codes: how many of a codebook are in use, and what a learned prior over them is worth.

    python benchmarks/codes.py runs/mnist-vq --data mnist.npz --note "MNIST, vq:512"

For a trained run with a discrete latent (vq:512, fsq:8,5,5,5 ...):

- used, perplexity: the part of the codes that the training images, and the test images, use; exp of their entropy;
- Fréchet and kernel distance, in a judge's features, between the test images and as many samples: with codes from the
  run's own learned prior, with uniform codes through the same decoder, and, as the best that this decoder allows, of
  the test images' own reconstructions.

The judge is a classifier of the file's training images (kept in benchmarks/.cache). Printed, and with `--note`
appended to benchmarks/results/codes.md; `--sheet` writes PNG sheets.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import torch
from judges import digits_judge
from samples import sheet
from torch import Tensor

import vaekit
from vaekit.measures import bounds
from vaekit.measures.classifier import Judge
from vaekit.measures.feature_distances import fidelity
from vaekit.models.codes.priors import AutoregressiveCodes, UniformCodes
from vaekit.models.vae import VAE
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.own_data import own_data, training_part
from vaekit.tasks.trained import Trained

RESULTS = Path(__file__).parent / "results" / "codes.md"


def uniform(run: Trained) -> Trained:
    """The same encoder and decoder with every code as likely as every other."""
    model = run.model
    assert isinstance(model, VAE)
    assert isinstance(model.prior, AutoregressiveCodes)
    prior = UniformCodes(model.prior.codebook, model.prior.grid)
    return replace(run, model=VAE(model.encoder, prior, model.decoder).eval())


def sets(run: Trained, real: Tensor, seed: int) -> Iterator[tuple[str, Tensor]]:
    """Pictures to compare with the real ones, by name."""
    yield "learned", run.generate(len(real), seed)
    yield "uniform", uniform(run).generate(len(real), seed)
    means = [run.model.decode((run.model.encode(x)[0].rsample(),)).mean for x in real.split(512)]
    yield "reconstructed", torch.cat(means).clamp(0, 1)


@torch.no_grad()
def measure(run: Trained, judge: Judge, seed: int, pictures: Path | None) -> dict[str, object]:
    """Code use and distances of one run."""
    images = own_data(run)
    assert images.test is not None, "the file has no test part"
    found: dict[str, object] = {}
    for part, some in (("training", training_part(run)), ("test", images.test)):
        found[part] = bounds.code_use(run.model, run.batches(some))
    real = as_tensor(images.test)
    features = judge.features(real)
    for name, x in sets(run, real, seed):
        score = fidelity(features, judge.features((x * 255).round().byte()))
        found[name] = {
            "frechet": score.frechet,
            "kernel": score.kernel.value,
            "coverage": score.neighbours.coverage,
        }
        if pictures:
            pictures.mkdir(exist_ok=True, parents=True)
            sheet((x * 255).round().byte(), pictures / f"{name}.png")
    return found


def row(note: str, found: dict[str, object]) -> str:
    """A line of the table."""
    use, far = (
        [found[part] for part in ("training", "test")],
        [found[n] for n in ("learned", "uniform", "reconstructed")],
    )
    cells = [f"{u['codes_used']:.1%} ({u['perplexity']:.0f})" for u in use]  # type: ignore[index]
    cells += [f"{f['frechet']:.2f}" for f in far]  # type: ignore[index]
    cells += [
        f"{far[1]['frechet'] / far[0]['frechet']:.1f}",
        f"{far[1]['kernel'] / far[0]['kernel']:.1f}",
    ]  # type: ignore[index]
    return f"| {note} | {' | '.join(cells)} | {found['judge']:.3f} | {date.today()} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument(
        "--data", type=Path, required=True, help="the run's .npz: x_train, y_train, x_test, y_test"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="a folder for PNG sheets")
    parser.add_argument("--note", help="append a row to the table, with this in the first column")
    ask = parser.parse_args()
    judge, accuracy = digits_judge(ask.data)
    found = measure(vaekit.load(ask.run), judge, ask.seed, ask.sheet) | {"judge": accuracy}
    print(json.dumps(found, indent=2))
    if ask.note:
        with RESULTS.open("a", encoding="utf-8") as table:
            table.write(row(ask.note, found))


if __name__ == "__main__":
    main()
