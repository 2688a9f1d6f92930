"""The metrics of `evaluate`: measures of a trained model that need more than its bound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vaekit.data.dataset import Dataset, Progress
from vaekit.data.modality import FEWEST, Kept, Parts, Tell
from vaekit.data.registry import modality
from vaekit.data.storage.cache import default_folder
from vaekit.disk import checkpoint
from vaekit.errors import VaekitError
from vaekit.tasks import evaluation
from vaekit.tasks.own_data import own_data, training_part

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained

Page = Callable[[str, dict[str, Any], Tell], tuple[str, dict[str, Any]]]
"""(title, numbers, tell) -> a page as HTML, and facts to report beside the numbers."""


@dataclass(frozen=True)
class Ask:
    """What to measure: the metrics, the draws and number of data for the NLL (None: all), the
    sampler of new data, and the seed."""

    metrics: tuple[str, ...]
    draws: int
    limit: int | None
    sampler: str | None
    seed: int


def evaluate(
    trained: Trained, data: Dataset, ask: Ask, progress: Progress, tell: Tell, **options: Any
) -> tuple[dict[str, Any], Page | None]:
    """The numbers of all metrics in `ask`, and the page that shows them, if there is one.

    Raises VaekitError for an unknown metric.
    """
    known = ("nll", *trained.modality.measures.named)
    for name in ask.metrics:
        if name not in known:
            raise VaekitError(f"metrics {name}: expected some of {', '.join(known)}")
    draws = ask.draws if "nll" in ask.metrics else 0
    numbers = evaluation.evaluate(trained, data, draws, ask.seed, ask.limit, progress)
    compared = parts(trained, data, ask.sampler, ask.seed, progress, tell)
    found, page = measure(compared, ask.metrics, **options)
    reasons = numbers.get("left_out", {}) | found.pop("left_out", {})
    return numbers | found | ({"left_out": reasons} if reasons else {}), page


def parts(
    trained: Trained, other: Dataset, sampler: str | None, seed: int, progress: Progress, tell: Tell
) -> Parts:
    """What measures compare: new data (drawn by `sampler`), training data, and `other` data."""
    return Parts(
        trained.sampling(sampler, tell) if sampler else trained,
        lambda: training_part(trained),
        other,
        lambda: own_data(trained),
        seed,
        progress,
        _cached,
    )


def _cached(name: str, make: Callable[[], Kept]) -> Kept:
    """What is kept under this name in the cache; it is made and kept if it is not there."""
    path = default_folder() / f"{name}.safetensors"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        checkpoint.save_tensors(path, *make())
    return checkpoint.load_tensors(path)


def measure(
    parts: Parts, asked: Sequence[str], **options: Any
) -> tuple[dict[str, Any], Page | None]:
    """The numbers of the measures in `asked`, and the page that shows them, if there is one."""
    named = modality(parts.trained.schema.modality).measures.named
    numbers: dict[str, Any] = {}
    reasons: dict[str, str] = {}
    page: Page | None = None
    for name in (name for name in named if name in asked):
        found = named[name](parts, **options)
        reasons |= found.numbers.pop("left_out", {})
        numbers |= found.numbers
        page = found.page or page
    return numbers | ({"left_out": reasons} if reasons else {}), page


def too_few(data: Dataset, asked: Sequence[str]) -> dict[str, str]:
    """{"samples": the reason} if `asked` includes `samples` but `data` are too few; else {}."""
    if "samples" not in asked or len(data) >= FEWEST:
        return {}
    plural = modality(data.schema.modality).plural
    told = (
        f"expected at least {FEWEST} held-out {plural} to compare with, got {len(data)}; "
        "name data that have more"
    )
    return {"samples": told}
