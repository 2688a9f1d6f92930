"""vaekit: variational autoencoders.

The names below are imported when they are first used, so that `import vaekit` and `vaekit --help` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("vaekit")

_HOMES = {
    "api": ["train", "load", "resume"],
    "tasks.trained": ["Codes", "Trained", "save"],
    "config": ["Experiment"],
    "errors": ["VaekitError"],
    "core.trace": ["Draw", "Model", "Trace"],
    "models.vae": ["VAE", "Conditional", "Conditioned"],
    "models.hierarchy": ["Hierarchy", "conv_hierarchy", "dense_hierarchy"],
    "distributions.families": ["normal"],
    "models.priors": [
        "LearnedNormal",
        "NormalMixture",
        "StandardNormal",
        "UnitLaplace",
        "VampPrior",
    ],
    "models.flows": ["FlowPosterior", "FlowPrior"],
    "models.codes.posteriors": [
        "GumbelSoftmax",
        "VectorQuantiser",
        "codebook_cost",
        "commitment",
        "perplexity",
    ],
    "models.codes.codebooks": ["Codebook", "LearnedCodebook", "ResidualCodebook", "ScalarCodebook"],
    "models.codes.priors": [
        "AutoregressiveCodes",
        "LearnedCategories",
        "UniformCategories",
        "UniformCodes",
    ],
    "core.objectives": [
        *("Constant", "Cyclical", "LinearWarmup", "Objective", "Term"),
        *("ciwae", "dreg", "elbo", "iwae", "miwae"),
        *(
            "beta_elbo",
            "convexly_weighted",
            "doubly_reparameterised",
            "importance_weighted",
            "multiply_weighted",
        ),
        "sticking_the_landing",
    ],
    "estimators": ["VAEDetector", "VAESynthesizer", "VAETransformer"],
    "core.extra_costs": [
        "FactorTC",
        "FreeBits",
        "TargetRate",
        "TotalCorrelation",
        "dip_i",
        "dip_ii",
        "mmd",
    ],
    "measures.disentanglement": ["dci", "factorvae_score", "mig", "sap"],
    "measures.feature_distances": ["frechet", "kernel_distance", "prdc"],
    "measures.bounds": [
        "Bound",
        "Estimate",
        "active_units",
        "bound",
        "bits_per_dim",
        "mutual_information",
        "nll",
    ],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME, "__version__"])


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'vaekit' has no attribute '{name}'")
    return getattr(import_module(f"vaekit.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
