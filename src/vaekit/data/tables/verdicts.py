"""Verdicts on the measures of new rows: good, fair or bad, each stated with its thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from vaekit.measures.row_quality import NEAR

FEW = 200
"""With fewer held-out rows, chance has a large part in every measure, and the page says so."""

LEARNABLE = {"auroc": 0.6, "r2": 0.1}
"""If real rows do not predict a column better than this, it cannot show how useful new rows are."""


@dataclass(frozen=True)
class Verdict:
    """A sentence on one measure, its mark (good, fair or bad), and the thresholds of the mark."""

    about: str
    mark: str
    sentence: str
    threshold: str


def verdicts(
    numbers: Mapping[str, Any], held: int, training: int, target: str | None = None
) -> list[Verdict]:
    """Verdicts on the results of `vaekit.data.tables.quality.rows`.

    `held` is the number of held-out rows, `training` the number of training rows.
    """
    return [
        *_fidelity(numbers, held, training),
        *_utility(numbers, target),
        *_privacy(numbers["privacy"], held, training),
    ]


def _fidelity(numbers: Mapping[str, Any], held: int, training: int) -> Iterator[Verdict]:
    floor = numbers["floor"]
    for about, name, what in (
        ("single columns", "column_error", "The distributions of single columns are"),
        ("pairs of columns", "pair_error", "The joint tables of two columns are"),
    ):
        if math.isfinite(numbers[name]):
            sentence = (
                f"{what} {numbers[name]:.3f} away from those of held-out rows; "
                f"those of training rows are {floor[name]:.3f} away"
            )
            yield _judged(about, sentence, numbers[name] - floor[name], 0.02, 0.05)
    told = "Trees distinguish new rows from held-out rows with an AUROC of"
    sentence = f"{told} {numbers['two_sample']:.3f}, and training rows with {floor['two_sample']:.3f} (0.5 is chance)"
    chance = 2 * _auroc_error(held / 2, training / 2)
    yield _judged(
        "told apart",
        sentence,
        numbers["two_sample"] - max(0.5, floor["two_sample"]),
        0.05,
        0.15,
        chance,
    )


def _utility(numbers: Mapping[str, Any], target: str | None) -> Iterator[Verdict]:
    if "utility" not in numbers:
        return
    found, floor = numbers["utility"], numbers["utility"]["floor"]
    name = "auroc" if "auroc" in found else "r2"
    word = {"auroc": "AUROC", "r2": "R²"}[name]
    sentence = (
        f"Trees that learned {target} from new rows reach an {word} of {found[name]:.3f} on held-out rows; those that "
        f"learned it from the training rows reach {floor[name]:.3f}"
    )
    if floor[name] < LEARNABLE[name]:
        told = f"below {LEARNABLE[name]} even from training rows: the column cannot be learned from any rows"
        yield Verdict("useful", "fair", f"{sentence}. Nothing can be said of the new rows", told)
        return
    yield _judged("useful", sentence, floor[name] - found[name], 0.03, 0.1, how="less")


def _privacy(numbers: Mapping[str, Any], held: int, training: int) -> Iterator[Verdict]:
    n = min(held, training)
    sentence = (
        f"{numbers['copies']:.1%} of new rows equal a training row; "
        f"{numbers['held_copies']:.1%} of held-out rows do"
    )
    chance = 2 * _share_error(numbers["held_copies"], n)
    yield _judged(
        "copies",
        sentence,
        numbers["copies"] - numbers["held_copies"],
        0.001,
        0.01,
        chance,
        words=_percent,
    )
    near = numbers["held_near_copies"]
    sentence = (
        f"{numbers['near_copies']:.1%} of new rows are as near to a training row as only the nearest {NEAR:.0%} of "
        f"training rows are to another; {near:.1%} of held-out rows are"
    )
    fresh = max(near, NEAR)  # NEAR is the share among fresh rows, by definition
    chance = 2 * _share_error(fresh, n)
    excess, how = numbers["near_copies"] - fresh, f"above {fresh:.1%}"
    yield _judged("near copies", sentence, excess, 0.005, 0.02, chance, how=how, words=_percent)
    sentence = (
        f"The nearest training row is {numbers['ratio']:.2f} times as far from a new row as the second nearest "
        f"(median); for held-out rows it is {numbers['held_ratio']:.2f} times"
    )
    yield _judged(
        "distance ratio", sentence, numbers["held_ratio"] - numbers["ratio"], 0.05, 0.15, how="less"
    )
    sentence = (
        f"{numbers['closer']:.1%} of new rows are nearer to a training row than to any of the same number of "
        "held-out rows"
    )
    yield _judged(
        "closer",
        sentence,
        numbers["closer"] - 0.5,
        0.05,
        0.1,
        2 * _share_error(0.5, n),
        how="above a half",
        words=_percent,
    )
    sentence = (
        "Distances to new rows distinguish training rows from held-out rows "
        f"with an AUROC of {numbers['membership']:.3f}"
    )
    yield _judged(
        "membership",
        sentence,
        numbers["membership"] - 0.5,
        0.05,
        0.1,
        2 * _auroc_error(n, n),
        how="above 0.5",
    )


def _judged(
    about: str,
    sentence: str,
    excess: float,
    good: float,
    bad: float,
    chance: float = 0.0,
    how: str = "more",
    words: Callable[[float], str] = "{:.2g}".format,
) -> Verdict:
    """A verdict on `excess`: good up to `good` or `chance`, bad above both `bad` and `chance`."""
    best, worst = max(good, chance), max(bad, chance)
    mark = "good" if excess <= best else "bad" if excess > worst else "fair"
    lucky = ", which chance can explain with this number of rows" if chance > good else ""
    return Verdict(
        about,
        mark,
        sentence,
        f"good: at most {words(best)} {how}{lucky}; bad: over {words(worst)} {how}",
    )


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _auroc_error(a: float, b: float) -> float:
    """The standard error of an AUROC of 1/2 with a and b rows (Mann and Whitney 1947)."""
    return math.sqrt((a + b + 1) / (12 * max(1, a) * max(1, b)))


def _share_error(share: float, n: int) -> float:
    """The standard error of a share of n rows."""
    return math.sqrt(share * (1 - share) / n)


def cautions(numbers: Mapping[str, Any], held: int) -> list[str]:
    """Sentences on what makes the measures unreliable."""
    told = []
    if held < FEW:
        told.append(
            f"Only {held:,} rows are held out, so differences are partly chance; use more rows."
        )
    if numbers["privacy"]["held_copies"] > 0.5:
        told.append("Most held-out rows equal training rows: use rows that the model has not seen.")
    return told
