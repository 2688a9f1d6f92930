"""The options of `vaekit train` that exist for every kind of data."""

from __future__ import annotations

from functools import partial

from vaekit.cli.words import minutes
from vaekit.data.options import Option

of_data, of_model, of_training, of_machine = (
    partial(Option, panel=panel) for panel in ("Data", "Model", "Training", "Machine")
)

SETTINGS = (
    of_data(
        "condition",
        "What the model is conditioned on: label (the classes), arrays or columns of the table; separate several "
        "by commas.",
        field="data.condition",
    ),
    of_model(
        "latent",
        "The number of latent dimensions (16), or discrete latents: categorical:20x10, vq:512, rvq:4x256, fsq:8,5,5,5.",
        field="model.latent",
    ),
    of_model(
        "levels",
        "The number of levels of a hierarchy of latents.",
        int,
        field="model.levels",
    ),
    of_model("posterior", "The posterior: normal or flow.", field="model.posterior"),
    of_model("size", "How large the networks are: tiny, small, base or large.", field="model.size"),
    of_model(
        "architecture",
        "auto (pictures: the winner of a short race); pictures: patches, conv or mlp; tables: chain or mlp.",
        field="model.architecture",
    ),
    of_model(
        "prior",
        "standard, laplace, learned, mixture:K, vamp:K, flow; for discrete latents autoregressive, uniform.",
        field="model.prior",
    ),
    of_model(
        "likelihood",
        "auto (by the data); images: bernoulli, gaussian, mse, logistic-mixture:K ...; tables: binned, student-t ...",
        field="model.likelihood",
    ),
    of_training("epochs", "Passes over the data.", int, field="train.epochs"),
    of_training(
        "steps", "The number of training steps, instead of epochs.", int, field="train.steps"
    ),
    of_training(
        "batch", "Batch size: data per step, over all processes together.", int, field="train.batch"
    ),
    of_training("lr", "Highest learning rate.", float, field="train.lr"),
    of_training("beta", "Weight of the KL; 1 is the ELBO itself.", float, field="objective.beta"),
    of_training(
        "bound",
        "elbo, iwae:K, miwae:MxK, ciwae:K, dreg:K, stl; add terms with +, as in elbo+beta-tc:6.",
        flag="--objective",
        also="--bound",
        field="objective.bound",
    ),
    of_training("seed", "Seed of all random numbers.", int, field="train.seed"),
    of_training(
        "max_time",
        "Plan the whole run to fit in this time: 10, 90s or 1h30m (default: about 10 minutes). More time adds no "
        "steps to those that are planned (--steps, --epochs).",
        metavar="MINUTES",
        parse=minutes,
        field="train.max_minutes",
    ),
    of_machine("device", "auto (the fastest here), cpu, cuda or mps.", field="train.device"),
    of_machine(
        "devices", "The number of devices; each has its own process.", int, field="train.devices"
    ),
    of_machine("nodes", "The number of machines.", int, field="train.nodes"),
    of_machine(
        "precision",
        "auto, 32, or bf16 (bfloat16 for matrix products only).",
        field="train.precision",
    ),
)
"""The options, in the order in which the help shows them."""
