"""Evaluation of a trained model on data: its ELBO, its likelihood, and the use of its latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaekit.data.dataset import Dataset, Progress
from vaekit.measures import bounds

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

NLL_VALUES = 2**22
"""The number of decoded values that the NLL holds in memory at a time."""

MI_DATA = 2000
"""The mutual information is estimated on at most this number of data: it compares all pairs."""

CERTAIN = "a datum has exactly one code, so that all draws are the same: the ELBO is the only bound"
OWN = "a datum has exactly one code, so few data have different codes whatever was learned"
BELOW = (
    "the mean of a latent also depends on the latents above it, so that its variance does not show "
    "its own use: see the KL of each latent"
)
UNPAIRED = (
    "it needs the density of every code under the posterior of every datum, which takes one pass "
    "of this model for each pair"
)
"""The reasons why a number is left out."""


def evaluate(
    trained: Trained,
    data: Dataset,
    draws: int = 500,
    seed: int = 0,
    limit: int | None = None,
    progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Bound, likelihood and use of the latents on `data`, as plain numbers in nats per datum.

    The NLL uses `draws` importance draws (0 leaves it out) on `limit` data chosen by the seed
    (None: all). It takes most of the time; meanwhile `progress` is called with ("scoring", number
    done, number of all).
    """
    bound = bounds.bound(trained.model, trained.batches(data, seed), seed)
    report = {"n": len(data)} | {
        name: vars(getattr(bound, name)) for name in ("elbo", "distortion", "rate")
    }
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
    report |= _use(trained, data, order, seed)
    if len(data) > 1:
        few = trained.batches(data.subset(order[:MI_DATA].sort().values), seed)
        report["reconstruction_spread"] = bounds.reconstruction_spread(trained.model, few)
    if trained.kind == "codes":
        return report | {"left_out": {"nll": CERTAIN, "mutual_information": OWN}}
    if draws:
        report |= _nll(
            trained, data.subset(order[: limit or len(data)].sort().values), draws, seed, progress
        )
    return report


def _use(trained: Trained, data: Dataset, order: Tensor, seed: int) -> dict[str, Any]:
    """How much the latents are used."""
    if trained.kind == "codes":
        return bounds.code_use(trained.model, trained.batches(data, seed))
    if len(trained.shapes) > 1:
        rates = bounds.rates(trained.model, trained.batches(data, seed), seed)
        return {
            "rates": rates,
            "left_out": {"active_units": BELOW, "mutual_information": UNPAIRED},
        }
    means = bounds.posterior_means(trained.model, trained.batches(data, seed))
    use: dict[str, Any] = {"active_units": bounds.active_units(means), "latent": trained.latent}
    if trained.experiment.model.posterior != "normal":
        return use | {"left_out": {"mutual_information": UNPAIRED}}
    few = data.subset(order[:MI_DATA].sort().values)
    return use | {
        "mutual_information": bounds.mutual_information(
            trained.model, trained.batches(few, seed), seed
        )
    }


def _nll(
    trained: Trained, data: Dataset, draws: int, seed: int, progress: Progress
) -> dict[str, Any]:
    told, rows = (
        _told(trained.batches(data, seed), len(data), progress),
        max(16, NLL_VALUES // trained.schema.dims),
    )
    estimate = bounds.nll(trained.model, told, draws, min(rows, 8192), seed)
    numbers: dict[str, Any] = {"nll": vars(estimate) | {"draws": draws}}
    if trained.modality.model.discrete(trained.experiment.model, trained.schema):
        numbers["bits_per_dim"] = bounds.bits_per_dim(estimate.value, trained.schema.dims)
    return numbers


def _told(
    batches: Iterator[tuple[Tensor, Tensor | None]], total: int, progress: Progress
) -> Iterator[tuple[Tensor, Tensor | None]]:
    """The same data in smaller batches, with a call of `progress` before each."""
    done = 0
    for x, context in batches:
        for i in range(0, len(x), 32):
            progress("scoring", done + i, total)
            yield x[i : i + 32], None if context is None else context[i : i + 32]
        done += len(x)
    progress("scoring", total, total)
