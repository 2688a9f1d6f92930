"""Samplers: densities fitted to a model's codes, to draw new data from instead of the prior."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vaekit.core.random import seeded
from vaekit.core.trace import Model
from vaekit.data.conditions import Condition
from vaekit.data.dataset import Dataset
from vaekit.disk import checkpoint
from vaekit.disk.layout import SAMPLER
from vaekit.errors import VaekitError
from vaekit.models.fitted_priors import fit_flow, fit_gmm, sampler
from vaekit.models.vae import VAE, Conditioned
from vaekit.tasks.own_data import training_part

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

PRIOR = "prior"
"""The name of the sampler that is the model's own prior."""


def suits(trained: Trained, word: str) -> None:
    """Raise a VaekitError if this sampler cannot be fitted to this model, and say what to do."""
    sampler(word, 1)
    if trained.kind != "continuous" or len(trained.shapes) > 1:
        what = "several latents" if len(trained.shapes) > 1 else f"latents that are {trained.kind}"
        raise VaekitError(
            f"sampler {word}: expected a model with one continuous latent; this model has {what}; "
            "leave the sampler out"
        )
    if word != "flow" and trained.schema.conditions and _category(trained) is None:
        names = ", ".join(field.name for field in trained.schema.conditions)
        raise VaekitError(
            f"sampler {word}: the only condition it supports is one category; this model has the "
            f"conditions {names}; use sampler flow"
        )


def sampled(
    trained: Trained, word: str, tell: Callable[[str], None] = lambda sentence: None
) -> Trained:
    """The same model with its prior replaced by a density fitted to its codes (`gmm:10`, `flow`),
    or with its own prior (`prior`).

    The density is fitted once, to the codes of the run's training data, and kept in the run's
    folder. If the model's weights have changed since, it is fitted again.
    """
    if word == PRIOR:
        return replace(trained, sampler=word)
    suits(trained, word)
    if trained.folder is None:
        raise VaekitError(
            "a sampler is fitted to the data of a run and kept in its folder; this model has none"
        )
    path = place(trained.folder, word)

    def made() -> tuple[dict[str, Tensor], dict[str, Any]]:
        tell(f"fitting {word} to the codes of the training {trained.modality.plural}, once")
        said = _quarters(tell)
        fitted = fit(trained, training_part(trained), word, progress=said)
        return state(fitted, trained, word)

    kept = checkpoint.kept(path, {"weights": digest(trained)}, made)
    return replace(
        trained,
        model=sampling_from(trained.model, restored(*kept, path).to(trained.device)),
        sampler=word,
    )


def _quarters(tell: Callable[[str], None]) -> Callable[[int, int], None]:
    """A progress function that reports at most four times."""
    seen = {0}

    def progress(done: int, total: int) -> None:
        if (quarter := 4 * done // total) not in seen:
            seen.add(quarter)
            tell(f"step {done:,} of at most {total:,}")

    return progress


def place(folder: Path, word: str) -> Path:
    """The file in which the run keeps that sampler."""
    return folder / SAMPLER.format(word.replace(":", "-"))


def fit(
    trained: Trained,
    data: Dataset,
    word: str,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> nn.Module:
    """The sampler named `word`, fitted to one draw from the posterior of every datum."""
    suits(trained, word)
    return fit_to(trained, *codes_of(trained, data, seed), word, seed, progress)


def fit_to(
    trained: Trained,
    z: Tensor,
    known: Tensor | None,
    word: str,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> nn.Module:
    """The sampler named `word`, fitted to codes z (N, Z) of data with conditions `known` (N, F)."""
    conditions = trained.schema.conditions
    contexts, labels = None, None
    if conditions:  # each code also without conditions, to be able to sample without any
        assert known is not None
        blind = torch.full_like(known, torch.nan)
        contexts = torch.cat((embedded(trained, known), embedded(trained, blind)))
        z = torch.cat((z, z))
    if word == "flow":
        return fit_flow(z, contexts, seed, progress=progress)
    if conditions:
        assert known is not None
        classes = len(conditions[0].classes)
        labels = torch.cat((known[:, 0].nan_to_num(classes), torch.full_like(known[:, 0], classes)))
    components = _components(word, len(z) // 2 if conditions else len(z))
    return fit_gmm(z, components, seed, labels, contexts, word.startswith("diag"))


def state(
    fitted: nn.Module, trained: Trained, word: str
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and plain data from which `restored` rebuilds the sampler."""
    conditions = trained.schema.conditions
    context = trained.experiment.model.condition_width if conditions else 0
    classes = len(conditions[0].classes) + 1 if conditions and word != "flow" else 1
    return fitted.state_dict(), {
        "word": word,
        "latent": trained.latent,
        "context": context,
        "classes": classes,
    }


def digest(trained: Trained) -> str:
    """A digest of the model's weights."""
    digest = hashlib.sha256()
    for tensor in trained.model.state_dict().values():
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()


def restored(tensors: dict[str, Tensor], about: dict[str, Any], path: Path) -> nn.Module:
    """The sampler with the `state` that was kept at `path`."""
    found = sampler(about["word"], about["latent"], about["context"], about["classes"])
    checkpoint.load_weights(found, tensors, path)
    return found.eval()


def sampling_from(model: Model, fitted: nn.Module) -> Model:
    """The model with `fitted` as its prior; its bounds are no longer those of the model."""
    if isinstance(model, Conditioned):
        return Conditioned(sampling_from(model.model, fitted), model.embedding, model.columns)
    assert isinstance(model, VAE)
    return VAE(model.encoder, fitted, model.decoder).eval()


def _components(word: str, data: int) -> int:
    wanted = int(word.partition(":")[2] or 10)
    if 2 * wanted > data:
        raise VaekitError(
            f"sampler {word}: {wanted:,} components need at least twice as many data, there are "
            f"{data:,}; ask for fewer, such as gmm:10"
        )
    return wanted


def _category(trained: Trained) -> Condition | None:
    """The condition, if there is exactly one and it is a category; else None."""
    fields = trained.schema.conditions
    return fields[0] if len(fields) == 1 and fields[0].kind == "category" else None


@torch.no_grad()
def codes_of(trained: Trained, data: Dataset, seed: int) -> tuple[Tensor, Any]:
    """One draw from the posterior of every datum, z (N, Z), and the data's conditions (N, F)."""
    with seeded(seed):
        posteriors = [
            trained.model.encode(x, context)[0] for x, context in trained.batches(data, seed)
        ]
        return torch.cat([q.sample().cpu() for q in posteriors]), data.context


@torch.no_grad()
def embedded(trained: Trained, context: Tensor) -> Tensor:
    assert isinstance(trained.model, Conditioned)
    return trained.model.embedding(context.to(trained.device)).cpu()
