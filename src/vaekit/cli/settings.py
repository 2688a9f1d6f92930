"""The settings of an experiment that `vaekit train` has options for, whatever the data are."""

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
        "What the model is conditioned on, with commas between several: label (the classes), arrays, columns of the "
        "table.",
        field="data.condition",
    ),
    of_model(
        "latent",
        "Dimensions (16), or discrete: categorical:20x10, vq:512, rvq:4x256, fsq:8,5,5,5.",
        field="model.latent",
    ),
    of_model(
        "levels",
        "Latents on top of each other: a hierarchy, from the top down.",
        int,
        field="model.levels",
    ),
    of_model("posterior", "normal, or flow.", field="model.posterior"),
    of_model("size", "How large the networks are: tiny, small, base or large.", field="model.size"),
    of_model(
        "architecture",
        "auto (for pictures a short race); patches, conv or mlp for pictures; chain or mlp for tables.",
        field="model.architecture",
    ),
    of_model(
        "prior",
        "standard, laplace, learned, mixture:K, vamp:K, flow; of codes: autoregressive, uniform.",
        field="model.prior",
    ),
    of_model(
        "likelihood",
        "auto (by the data), bernoulli, gaussian, mse, logistic-mixture:K ...; of tables binned, student-t ...",
        field="model.likelihood",
    ),
    of_training("epochs", "Passes over the data.", int, field="train.epochs"),
    of_training("steps", "Steps, instead of epochs.", int, field="train.steps"),
    of_training("batch", "Data in a step, over all processes.", int, field="train.batch"),
    of_training("lr", "Highest learning rate.", float, field="train.lr"),
    of_training("beta", "Weight of the KL; 1 is the honest bound.", float, field="objective.beta"),
    of_training(
        "bound",
        "elbo, iwae:K, miwae:MxK, ciwae:K, dreg:K, stl; + terms, as elbo+beta-tc:6.",
        flag="--objective",
        also="--bound",
        field="objective.bound",
    ),
    of_training("seed", "Everything random follows from it.", int, field="train.seed"),
    of_training(
        "max_time",
        "End the run, with its whole schedule, after so many minutes at most: 10, 90s or 1h30m. Without it about 10. "
        "Whatever the time, there are no more steps than planned (--steps, --epochs).",
        metavar="MINUTES",
        parse=minutes,
        field="train.max_minutes",
    ),
    of_machine("device", "auto (the fastest here), cpu, cuda or mps.", field="train.device"),
    of_machine("devices", "How many of them, a process each.", int, field="train.devices"),
    of_machine("nodes", "How many machines.", int, field="train.nodes"),
    of_machine(
        "precision", "auto, 32 or bf16 (products of the networks).", field="train.precision"
    ),
)
"""In the order of the help."""
