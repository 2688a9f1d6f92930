"""T17: what each net has learned after the same minutes on a few pictures: held-out bound and Fréchet distance.

    python benchmarks/first_run.py --data DATA --sets sprites faces --nets patches:small conv:small --minutes 10

DATA is a folder with lpc_sprites_static.npz, olivetti_faces.npz, cifar10_subset.npz and so on. Each net is trained for
the same minutes on the same pictures. The Fréchet distance is taken between 1,500 samples and pictures that were not
trained on (of the faces: all 400), in the features of a classifier that was trained on the set's own labels and is kept
in benchmarks/.cache. `--note` appends the rows to benchmarks/results/first-run-nets.md. With `--runs FOLDER` runs that
are there already are measured instead; `--export FOLDER` writes the pictures that a set is trained on as files.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from judges import kept_judge, pictures
from numpy.typing import NDArray
from PIL import Image

import vaekit
from vaekit.measures.classifier import Judge
from vaekit.measures.feature_distances import frechet
from vaekit.tasks.own_data import held_part
from vaekit.tasks.resample import sampled
from vaekit.tasks.trained import Trained

RESULTS = Path(__file__).parent / "results" / "first-run-nets.md"
SAMPLES = 1500
SAMPLERS = ("prior", "gmm:50")

Arrays = tuple[NDArray, NDArray]
"""Pictures (N, H, W) or (N, H, W, 3) and labels (N,)."""


@dataclass(frozen=True)
class Pictures:
    """A file of the shelf, how it is read, and how many of its pictures are trained on."""

    file: str
    read: Callable[[dict[str, NDArray]], Arrays]
    number: int


def undifferenced(p: NDArray) -> NDArray:
    """(3, N, H, W) of differences between neighbours and from green, as (N, H, W, 3)."""
    x = np.cumsum(np.cumsum(p, axis=3, dtype=np.uint8), axis=2, dtype=np.uint8)
    x[0] += x[1]
    x[2] += x[1]
    return np.ascontiguousarray(np.moveaxis(x, 0, -1))


def clothes(found: dict[str, NDArray]) -> NDArray:
    """One label for each pair of hair and topwear."""
    names = list(found["factor_names"])
    hair, topwear = (found["factors"][:, names.index(name)] for name in ("hair", "topwear"))
    return hair.astype(int) * (int(topwear.max()) + 1) + topwear


def decades(years: NDArray) -> NDArray:
    """Ages in ten groups of about equal size."""
    return np.searchsorted(np.quantile(years, np.linspace(0, 1, 11)[1:-1]), years)


SETS = {
    "sprites": Pictures(
        "lpc_sprites_static.npz", lambda f: (f["palette"][f["palette_index"]], clothes(f)), 1500
    ),
    "faces": Pictures("olivetti_faces.npz", lambda f: (f["x"], f["subject"]), 400),
    "cifar": Pictures(
        "cifar10_subset.npz", lambda f: (undifferenced(f["x_train_d2"]), f["y_train"]), 2000
    ),
    "coil": Pictures("coil20_32.npz", lambda f: (f["x"], f["object_id"]), 900),
    "ages": Pictures(
        "utkface64_subset.npz",
        lambda f: (undifferenced(f["x_train_d2"]), decades(f["age_train"])),
        500,
    ),
    "mnist": Pictures("mnist.npz", lambda f: (f["x_train"], f["y_train"]), 10_000),
}


def parts(data: Path, name: str) -> tuple[Arrays, Arrays]:
    """What is trained on, and what samples are compared with."""
    kind = SETS[name]
    with np.load(data / kind.file, allow_pickle=False) as found:
        x, y = kind.read(dict(found))
    order = np.random.default_rng(0).permutation(len(x))
    training, rest = order[: kind.number], order[kind.number :][:5000]
    other = rest if len(rest) else order
    return (x[training], y[training]), (x[other], y[other])


def train(arrays: Arrays, net: str, minutes: float, folder: Path, extra: dict) -> Trained:
    """A run of so many minutes with the net ARCHITECTURE:SIZE."""
    architecture, _, size = net.partition(":")
    source = folder / "pictures.npz"
    np.savez(source, x=arrays[0])
    fields = {"architecture": architecture, "size": size or "small", "max_minutes": minutes}
    return vaekit.train(source, folder / "run", **(fields | extra))


def measured(
    trained: Trained, judge: Judge, real: torch.Tensor, samplers: tuple[str, ...] = SAMPLERS
) -> list[str]:
    """The cells of a row: held-out ELBO, reconstruction and KL, and a Fréchet distance for each sampler."""
    found = trained.evaluate(held_part(trained), draws=0)
    cells = [f"{found[part]['value']:,.1f}" for part in ("elbo", "distortion", "rate")]
    for word in samplers:
        made = sampled(trained, word).generate(SAMPLES, seed=0)
        cells.append(f"{frechet(real, judge.features(made)):.2f}")
    return cells


def rows(ask: argparse.Namespace, name: str) -> list[str]:
    """A line of the table for each net."""
    training, other = parts(ask.data, name)
    judge = kept_judge(f"first-run-{name}", pictures(other[0]), torch.from_numpy(other[1]).long())
    real = judge.features(pictures(other[0]))
    extra = dict(field.split("=", 1) for field in ask.fields)
    lines = []
    for folder in ask.runs:
        trained = vaekit.load(folder)
        samplers = ("prior", trained.samples_from)
        cells = [name, str(folder), *measured(trained, judge, real, samplers), trained.samples_from]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if ask.runs:
        return lines
    for net in ask.nets:
        with tempfile.TemporaryDirectory() as folder:
            trained = train(training, net, ask.minutes, Path(folder), extra)
            cells = [name, " ".join([net, *ask.fields]), f"{ask.minutes:g}"]
            cells += measured(trained, judge, real)
        lines.append(f"| {' | '.join([*cells, date.today().isoformat()])} |")
        print(lines[-1], flush=True)
    return lines


def export(ask: argparse.Namespace, name: str) -> None:
    """The pictures that a set is trained on, as files; grey ones as JPEG."""
    (x, _), _ = parts(ask.data, name)
    folder = ask.export / name
    folder.mkdir(parents=True)
    for k, picture in enumerate(x):
        path = folder / f"{k:05}.{'jpg' if picture.ndim == 2 else 'png'}"
        Image.fromarray(picture).save(path, quality=95)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of .npz files")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=["sprites"])
    parser.add_argument("--nets", nargs="+", default=["patches:small", "conv:small", "mlp:base"])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--fields", nargs="*", default=[], help="such as likelihood=gaussian")
    parser.add_argument("--note", action="store_true", help="append to the results")
    parser.add_argument("--runs", nargs="*", type=Path, default=[], help="folders of runs")
    parser.add_argument("--export", type=Path, help="a folder for the pictures as files")
    ask = parser.parse_args()
    if ask.export:
        for name in ask.sets:
            export(ask, name)
        raise SystemExit
    lines = [line for name in ask.sets for line in rows(ask, name)]
    if ask.note:
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write("\n".join(["", *lines]) + "\n")
