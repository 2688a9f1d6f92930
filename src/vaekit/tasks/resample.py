"""A density fitted to a trained model's codes, kept beside the model, and the model that samples from it."""

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
"""The sampler that is the model's own prior."""


def suits(trained: Trained, word: str) -> None:
    """A VaekitError where no such sampler can be fitted to this model, and what can be done instead."""
    sampler(word, 1)
    if trained.kind != "continuous" or len(trained.shapes) > 1:
        what = "several latents" if len(trained.shapes) > 1 else f"latents that are {trained.kind}"
        raise VaekitError(
            f"sampler {word}: is fitted to one continuous latent; this model has {what}: leave it out"
        )
    if word != "flow" and trained.schema.conditions and _category(trained) is None:
        names = ", ".join(field.name for field in trained.schema.conditions)
        raise VaekitError(
            f"sampler {word}: goes by classes, and this model is told {names}; use sampler flow"
        )


def sampled(
    trained: Trained, word: str, tell: Callable[[str], None] = lambda sentence: None
) -> Trained:
    """The same model with a density fitted to its codes in its prior's place: `gmm:10`, `flow`; or `prior`.

    It is fitted once, on the run's own training data, and kept in the run's folder. Where the weights have moved it
    is fitted again.
    """
    if word == PRIOR:
        return replace(trained, sampler=word)
    suits(trained, word)
    if trained.folder is None:
        raise VaekitError(
            "a sampler is fitted to a run's own data and kept in its folder; this model has none"
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
    """Tell a fit's progress at most four times."""
    seen = {0}

    def progress(done: int, total: int) -> None:
        if (quarter := 4 * done // total) not in seen:
            seen.add(quarter)
            tell(f"step {done:,} of at most {total:,}")

    return progress


def place(folder: Path, word: str) -> Path:
    """Where the run keeps that sampler."""
    return folder / SAMPLER.format(word.replace(":", "-"))


def fit(
    trained: Trained,
    data: Dataset,
    word: str,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> nn.Module:
    """The sampler of that word, fitted to a draw from the posterior of every datum."""
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
    """The sampler of that word for codes z (N, Z) of data of which `known` (N, F) is known."""
    conditions = trained.schema.conditions
    contexts, labels = None, None
    if conditions:  # each code twice: asked for nothing, the sampler gives of everything
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
    """Tensors and plain data from which `restored` makes the same sampler."""
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
    """The sampler whose `state` was kept at `path`."""
    found = sampler(about["word"], about["latent"], about["context"], about["classes"])
    checkpoint.load_weights(found, tensors, path)
    return found.eval()


def sampling_from(model: Model, fitted: nn.Module) -> Model:
    """The same model with another density in its prior's place; its bounds are no longer those of the model."""
    if isinstance(model, Conditioned):
        return Conditioned(sampling_from(model.model, fitted), model.embedding, model.columns)
    assert isinstance(model, VAE)
    return VAE(model.encoder, fitted, model.decoder).eval()


def _components(word: str, data: int) -> int:
    wanted = int(word.partition(":")[2] or 10)
    if 2 * wanted > data:
        raise VaekitError(
            f"sampler {word}: {wanted:,} normals for {data:,} data; ask for fewer, such as gmm:10"
        )
    return wanted


def _category(trained: Trained) -> Condition | None:
    """The one condition, if it is a category."""
    fields = trained.schema.conditions
    return fields[0] if len(fields) == 1 and fields[0].kind == "category" else None


@torch.no_grad()
def codes_of(trained: Trained, data: Dataset, seed: int) -> tuple[Tensor, Any]:
    """A draw z (N, Z) from every datum's posterior, and what is known of the data (N, F)."""
    with seeded(seed):
        posteriors = [
            trained.model.encode(x, context)[0] for x, context in trained.batches(data, seed)
        ]
        return torch.cat([q.sample().cpu() for q in posteriors]), data.context


@torch.no_grad()
def embedded(trained: Trained, context: Tensor) -> Tensor:
    assert isinstance(trained.model, Conditioned)
    return trained.model.embedding(context.to(trained.device)).cpu()
