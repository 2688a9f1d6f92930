"""Runs of every kind that the command line's words can ask for, made as cheaply as they come."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from commands import call
from vaekit import api
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve
from vaekit.data.images.load import load
from vaekit.runs.run import Run

IMAGES = 120
SHORT = [
    "latent=3",
    "steps=2",
    "batch=32",
    "condition_width=4",
    "device=cpu",
    "patience=0",
    "validations=1",
]
TINY = ["architecture=mlp", "hidden=[8]", *SHORT]
TINY_CONV = ["architecture=conv", "model.size=tiny", *SHORT]

KINDS = [
    "prior=standard",
    "prior=laplace bound=iwae:3",
    "prior=standard condition=label bound=elbo+free-bits:0.1",
    "prior=standard bound=elbo+free-bits:0.2/dim+mmd:5",
    "prior=learned condition=label,age bound=elbo+beta-tc:6",
    "prior=mixture:4 bound=stl+mmd:10",
    "prior=vamp:6 levels=2 bound=iwae:3 condition=label",
    "prior=vamp:5 posterior=flow condition=age bound=miwae:2x3",
    "prior=flow posterior=flow bound=elbo+factor:10",
    "prior=flow condition=label bound=dreg:3",
    "prior=learned levels=3 architecture=conv condition=label bound=elbo+free-bits:0.1/latent",
    "prior=mixture:3 levels=2 bound=elbo+target-rate:5",
    "prior=mixture:3 architecture=conv bound=ciwae:4,0.5 likelihood=logistic-mixture:2",
    "prior=standard activation=gated dropout=0.2 bound=elbo+dip:10 likelihood=bernoulli condition=label",
    "prior=vamp:4 bound=elbo+dip-i:10+factor:5 condition=label",
    "prior=flow levels=2 bound=stl condition=label likelihood=laplace",
    "latent=categorical:3x4 prior=uniform bound=iwae:3",
    "latent=categorical:3x4 prior=learned condition=label architecture=conv",
    "latent=categorical-hard:3x4 prior=learned condition=label bound=elbo+free-bits:0.5/total",
    "latent=vq:8 prior=autoregressive condition=label",
    "latent=vq:8 prior=uniform architecture=conv",
    "latent=vq-gradient:8 prior=uniform condition=label",
    "latent=rvq:2x4 prior=autoregressive architecture=conv condition=label",
    "latent=fsq:4,3 prior=autoregressive likelihood=continuous-bernoulli",
    "latent=fsq:5 prior=uniform condition=label architecture=conv",
]
"""Combinations in which every word occurs, and in which what is made for one part meets what is made for another."""


def words_of(kind: str) -> dict[str, str]:
    """Its fields and their words."""
    return dict(word.split("=", 1) for word in kind.split())


def kind_of(latent: str) -> str:
    """What a latent of that word is."""
    name = latent.partition(":")[0]
    return (
        "continuous"
        if name.isdigit()
        else "categories"
        if name.startswith("categorical")
        else "codes"
    )


def write_digits(folder: Path) -> Path:
    """Some of scikit-learn's digits with their classes and a number each, and things that do not fit them."""
    x, path = load("digits"), folder / "digits.npz"
    pixels = x.raw.take(torch.arange(IMAGES))[:, 0].numpy()
    assert x.labels is not None
    np.savez(
        path,
        images=pixels,
        labels=x.labels[:IMAGES].numpy(),
        age=np.arange(IMAGES) * 0.5,
        short=np.arange(7),
        same=np.ones(IMAGES),
        word=np.array(["cat", "dog"] * (IMAGES // 2)),
    )
    np.savez(folder / "bare.npz", images=pixels)
    return path


def run_of(source: Path, folder: Path, *changes: str) -> Run:
    """A run that is ready to begin."""
    tiny = TINY_CONV if "architecture=conv" in changes else TINY
    experiment = api.changed(choose(str(source), "images"), [*tiny, *changes])
    return Run(resolve(experiment, api.read(experiment)), lambda: api.new_folder(folder))


def refused(*words: object) -> str:
    """The one sentence with which the command line ends, having done nothing."""
    result = call(*words)
    assert result.code == 1
    assert result.out == ""
    assert "Traceback" not in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert line == result.err.splitlines()[-1]
    assert "this is a bug" not in line
    return line
