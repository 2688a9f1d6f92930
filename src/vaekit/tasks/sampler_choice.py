"""The choice of the density that a run draws samples from, by the likelihood of held-out codes.

The model's own prior competes with densities fitted to the codes of training data. The score of
each is the mean log density of draws from the posteriors of held-out data. The prior wins unless
the best other density beats it by more than the standard error of the difference.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vaekit import files
from vaekit.core.trace import Model
from vaekit.data.dataset import Dataset
from vaekit.disk import checkpoint
from vaekit.disk.layout import SAMPLER_CHOICE
from vaekit.errors import VaekitError
from vaekit.models.vae import VAE, Conditioned
from vaekit.tasks import resample
from vaekit.tasks.resample import PRIOR

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

FEWEST_HELD = 30
"""With fewer held-out data there is no competition, and the prior is used."""

SECONDS, TOLD = 60.0, 3000
"""No further density is fitted after `SECONDS` seconds. With `TOLD` or more codes a message
announces the fits."""

MOST_CODES = 20_000
"""The most training codes for a fit, and the most held-out codes for its score."""

FLOW_CODES, FLOW_LATENT = 5000, 32
"""A flow competes only with at least `FLOW_CODES` codes of at most `FLOW_LATENT` dimensions. With
fewer codes a mixture is better."""


@dataclass(frozen=True)
class Score:
    """The mean log density of held-out codes under a sampler, and its gain over the prior's, in
    nats per datum."""

    word: str
    log_density: float
    gain: float
    error: float  # the standard error of the gain


@dataclass(frozen=True)
class Choice:
    """The winner, why it won, the number of held-out data, and all scores."""

    word: str
    reason: str
    held: int
    scores: tuple[Score, ...]
    weights: str  # the digest of the weights of the model that made the codes


def candidates(n: int, latent: int) -> list[str]:
    """The samplers for which n codes of `latent` dimensions are enough, the simplest first."""
    words = ["gmm:1"] if n >= 2 * latent else []
    words += [f"gmm:{k}" for k in (3, 10, 30, 100) if n >= k * max(20, 2 * latent)]
    words += [f"diag:{k}" for k in (10, 100) if n >= 20 * k]
    if n >= FLOW_CODES and latent <= FLOW_LATENT:
        words.append("flow")
    return words


def choose(
    trained: Trained,
    training: Dataset,
    held: Dataset,
    seed: int = 0,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Choice | None:
    """Compare all samplers and keep the winner in the run's folder; None if no sampler can be
    fitted to this model."""
    if trained.folder is None or not _can_compete(trained):
        return None
    choice, fitted = _compete(trained, training, held, seed, tell)
    if fitted is not None:
        path = resample.place(trained.folder, choice.word)
        tensors, about = resample.state(fitted, trained, choice.word)
        checkpoint.save_tensors(path, tensors, {**about, "weights": choice.weights})
    files.write(trained.folder / SAMPLER_CHOICE, files.to_json(asdict(choice)))
    return choice


def _can_compete(trained: Trained) -> bool:
    """Whether the kind of data uses fitted samplers, and the model has one continuous latent."""
    if not trained.modality.model.fitted_priors:
        return False
    try:
        resample.suits(trained, "gmm:1")
    except VaekitError:
        return False
    return True


def _compete(
    trained: Trained, training: Dataset, held: Dataset, seed: int, tell: Callable[[str], None]
) -> tuple[Choice, nn.Module | None]:
    weights = resample.digest(trained)
    if len(held) < FEWEST_HELD:
        reason = f"{len(held)} held-out {trained.modality.plural} are too few to compare samplers"
        return Choice(PRIOR, reason, len(held), (), weights), None
    z, known = resample.codes_of(trained, _at_most(training), seed)
    judges = resample.codes_of(trained, _at_most(held), seed + 1)
    own = log_density(trained, _prior(trained.model), *judges)
    scores = [Score(PRIOR, float(own.mean()), 0.0, 0.0)]
    best: tuple[Score, nn.Module] | None = None
    for word, fitted in _fitted(trained, z, known, seed, tell):
        score = _score(word, log_density(trained, fitted, *judges), own)
        scores.append(score)
        if score.gain > score.error and (best is None or score.gain > best[0].gain):
            best = score, fitted
    reason = _reason(best[0] if best else None, len(held), trained.modality.plural)
    won = best[0].word if best else PRIOR
    return Choice(won, reason, len(held), tuple(scores), weights), best[1] if best else None


def _at_most(data: Dataset) -> Dataset:
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    return data.subset(order[:MOST_CODES].sort().values)


def _fitted(
    trained: Trained, z: Tensor, known: Any, seed: int, tell: Callable[[str], None]
) -> Iterator[tuple[str, nn.Module]]:
    began = time.perf_counter()
    if len(z) >= TOLD:
        tell(f"fitting densities to the codes, for at most about {SECONDS:g} s")
    for word in candidates(len(z), trained.latent):
        if time.perf_counter() - began < SECONDS:
            yield word, resample.fit_to(trained, z, known, word, seed)


def _score(word: str, theirs: Tensor, own: Tensor) -> Score:
    gain = (theirs - own).double()
    error = float(gain.std() / len(gain) ** 0.5)
    return Score(word, float(theirs.mean()), float(gain.mean()), error)


def _reason(best: Score | None, held: int, plural: str) -> str:
    if best is None:
        return f"no fitted density gives the codes of {held:,} held-out {plural} a higher density"
    return (
        f"the codes of {held:,} held-out {plural} are likelier under it than under the prior, "
        f"by {best.gain:.2f} ± {best.error:.2f} nats"
    )


@torch.no_grad()
def log_density(trained: Trained, density: nn.Module, z: Tensor, known: Any) -> Tensor:
    """log p(z | c) in nats (N,), of codes z (N, Z) of data with conditions `known` (N, F)."""
    context = resample.embedded(trained, known) if trained.schema.conditions else None
    parts = torch.arange(len(z)).split(512)
    found = []
    device = next((t.device for t in density.parameters()), torch.device("cpu"))
    for part in parts:
        given = None if context is None else context[part].to(device)
        found.append(density(given).log_prob(z[part].to(device)).cpu())
    return torch.cat(found)


def _prior(model: Model) -> nn.Module:
    inner = model.model if isinstance(model, Conditioned) else model
    assert isinstance(inner, VAE)
    return inner.prior


def kept_choice(folder: Path | None) -> Choice | None:
    """The choice that is kept in a run's folder, or None."""
    if folder is None or not (folder / SAMPLER_CHOICE).is_file():
        return None
    try:
        kept = json.loads((folder / SAMPLER_CHOICE).read_text(encoding="utf-8"))
        scores = tuple(Score(**score) for score in kept.pop("scores"))
        return Choice(scores=scores, **kept)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise VaekitError(
            f"{folder / SAMPLER_CHOICE}: is damaged; delete it to draw from the prior"
        ) from None


def chosen(trained: Trained) -> Trained:
    """The same model with its prior replaced by the winner; with its prior if that won, or if
    nothing was chosen for the present weights."""
    choice = kept_choice(trained.folder)
    if choice is None or choice.word == PRIOR or choice.weights != resample.digest(trained):
        return replace(trained, sampler=PRIOR)
    assert trained.folder is not None
    path = resample.place(trained.folder, choice.word)
    fitted = resample.restored(*checkpoint.load_tensors(path), path).to(trained.device)
    return replace(
        trained, model=resample.sampling_from(trained.model, fitted), sampler=choice.word
    )


def in_words(choice: Choice) -> str:
    """One sentence that says what samples are drawn from, and why."""
    if choice.word == PRIOR:
        return f"samples are drawn from the prior: {choice.reason}"
    return (
        f"samples are drawn from {choice.word}, fitted to the codes: {choice.reason} "
        "(sampler prior: use the prior instead)"
    )


def sentence(folder: Path) -> str:
    """What the run in `folder` draws samples from, and why; "" if nothing was chosen."""
    choice = kept_choice(folder)
    return in_words(choice) if choice else ""


def source_in_words(folder: Path | None) -> str:
    """What samples of the run come from, and why: "gmm:10: the codes ... are likelier under it"."""
    choice = kept_choice(folder)
    if choice is None:
        return "the prior"
    name = "the prior" if choice.word == PRIOR else choice.word
    return f"{name}: {choice.reason}"
