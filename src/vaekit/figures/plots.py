"""Plots of a run, as PNG files. matplotlib is imported when it is first needed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit import files
from vaekit.figures.names import NAMES

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed")

ABREAST = 3
"""The largest number of panels in a row."""

WIDTH = 8.7
"""The width of a row of panels in inches: as wide as a page, so that plots are not scaled down."""

FURTHER = 2.0
"""A histogram's axis is cut if the column's range is more than this many times as wide as the range
of the middle 98 % of the real values."""


def losses(
    path: Path, rows: list[dict[str, Any]], terms: list[str], datum: str, kept: int | None = None
) -> None:
    """The loss terms in training by step, and the held-out bound and its parts.

    If `kept` is given, a vertical line marks the step whose weights are kept.
    """
    shown = ["loss", *terms]
    figure, axes = _figure(len(shown), 2.8)
    train = [row for row in rows if row["split"] == "train"]
    val = [row for row in rows if row["split"] == "val"]
    for axis, name, colour in zip(axes, shown, cycle(COLOURS), strict=False):
        axis.plot(
            [r["step"] for r in train],
            [r[name] for r in train],
            color=colour,
            linewidth=1,
            label="training",
        )
        held = [
            (r["step"], -r["elbo"] if name == "loss" else r[name])
            for r in val
            if name == "loss" or name in r
        ]
        if held:
            axis.plot(
                *zip(*held, strict=True),
                color="black",
                linewidth=1.2,
                linestyle="--",
                label="held out",
            )
        if kept:
            axis.axvline(kept, color="#6b7280", linewidth=1, linestyle=":", label="kept weights")
        axis.set_title("loss | held out: -ELBO" if name == "loss" else NAMES.get(name, name))
        axis.set_xlabel("step")
        _zoom(axis, [r[name] for r in train] + [value for _, value in held])
        axis.legend(frameon=False)
    axes[0].set_ylabel(f"nats per {datum}")
    _save(figure, path)


def latent_map(
    path: Path,
    codes: Tensor,
    labels: Tensor | None,
    classes: tuple[str, ...],
    below: Tensor | None = None,
) -> None:
    """Posterior means (N, Z) in two dimensions (their first two principal components), coloured by
    class. `below` (M, Z), if given, are the posterior means of training data, drawn behind in grey.
    """
    figure, axes = _figure(1, 5.2)
    axis = axes[0]
    both = codes if below is None else torch.cat((codes, below))
    points, share = _two_dimensions(both)
    if below is not None:
        axis.scatter(*points[len(codes) :].T, s=5, color="#d1d5db", linewidths=0, label="training")
    points = points[: len(codes)]
    groups = sorted(set(labels.tolist())) if labels is not None else [None]
    for group in groups:
        chosen = points if labels is None else points[labels == group]
        name = (
            "unlabelled"
            if group == -1
            else classes[group]
            if group is not None and group < len(classes)
            else group
        )
        name = "held out" if group is None else name
        axis.scatter(
            *chosen.T, s=7, alpha=0.75, label=name, linewidths=0, color=_colour(group, len(groups))
        )
    if len(groups) <= 20:
        axis.legend(frameon=False, markerscale=2.5, bbox_to_anchor=(1, 1), loc="upper left")
    axis.set_title(f"posterior means: two principal axes, {share:.0%} of the variance")
    axis.set_aspect("equal", "datalim")
    _save(figure, path)


def columns(path: Path, shown: Sequence[tuple[Any, Any, Any, float]]) -> None:
    """Histograms of columns. Each item of `shown` is (column of the schema, real values (N,), new
    values (M,), distance between them); missing values are NaN."""
    figure, axes = _figure(len(shown), 2.0)
    for axis, (column, real, new, distance) in zip(axes, shown, strict=True):
        _compare(axis, column, real[real == real], new[new == new])
        axis.set_title(f"{column.name[:24]}  d = {distance:.3f}", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
    _save(figure, path)


BARS = 12
"""The largest number of classes of a category that are drawn: the most frequent real ones."""


def _compare(axis: Any, column: Any, real: Any, new: Any) -> None:
    if column.discrete:
        _bars(axis, column, real, new)
        return
    _histogram(axis, real, new, *span(real, column.low, column.high))
    if column.kind == "date":
        _dates(axis, column)


def span(values: Any, low: float, high: float) -> tuple[float, float]:
    """The two ends of the axis for a histogram of `values` (N,).

    They are `low` and `high`, unless that range is more than `FURTHER` times as wide as the range
    of the middle 98 % of the values. Then they are the ends of the latter, moved out by a tenth.
    """
    import numpy as np

    if high <= low:
        return low, low + 1
    outer = max(1, len(values) // 100)
    if len(values) <= 2 * outer:
        return low, high
    first, last = (float(value) for value in np.sort(values)[[outer, -1 - outer]])
    width = last - first
    if width <= 0 or high - low <= FURTHER * width:
        return low, high
    return max(low, first - width / 10), min(high, last + width / 10)


def _histogram(axis: Any, real: Any, new: Any, low: float, high: float) -> None:
    """Bars show shares of all values; the shares outside the axis are written below it."""
    import numpy as np

    parts = [real, new]
    shares = [np.full(len(part), 1 / max(1, len(part))) for part in parts]
    look = {"color": ["#9ca3af", COLOURS[0]], "histtype": "stepfilled", "alpha": 0.6}
    axis.hist(parts, bins=np.linspace(low, high, 41), weights=shares, **look)
    axis.set_xlim(low, high)
    beyond = [float(np.mean((part < low) | (part > high))) if len(part) else 0.0 for part in parts]
    if any(beyond):
        axis.set_xlabel(f"outside: {beyond[0]:.2%} real, {beyond[1]:.2%} new", fontsize=7)


def _dates(axis: Any, column: Any) -> None:
    """Label days since 1970-01-01 as dates, or as times of day if the column holds only times."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=6)
    of_day = column.dtype == "Time" or "%Y" not in (column.format or "%Y")
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(
        DateFormatter("%H:%M") if of_day else ConciseDateFormatter(locator)
    )
    axis.xaxis.get_offset_text().set_size(7)


def _bars(axis: Any, column: Any, real: Any, new: Any) -> None:
    import numpy as np

    counts = [
        np.bincount(part.astype(int), minlength=column.size) / max(1, len(part))
        for part in (real, new)
    ]
    first = np.argsort(-counts[0])[:BARS]
    places = np.arange(len(first))
    for shift, part, colour in zip((-0.2, 0.2), counts, ("#9ca3af", COLOURS[0]), strict=True):
        axis.bar(places + shift, part[first], 0.4, color=colour)
    axis.set_xticks(places, [column.classes[k][:12] for k in first], rotation=40, ha="right")


def matrix(path: Path, values: Any, names: Sequence[str]) -> None:
    """A matrix (C, C) of values in [0, 1] as colours. Rows and columns are labelled if C <= 40."""
    figure, (axis,) = _figure(1, 5.2)
    axis.grid(False)
    drawn = axis.imshow(
        values, cmap="magma_r", vmin=0, vmax=max(0.1, float(values.max(initial=0.0)))
    )
    figure.colorbar(drawn, shrink=0.8)
    if len(names) <= 40:
        axis.set_xticks(range(len(names)), [name[:16] for name in names], rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), [name[:16] for name in names], fontsize=7)
    _save(figure, path)


def _colour(group: int | None, groups: int) -> Any:
    from matplotlib import colormaps

    return (
        COLOURS[0]
        if group is None
        else "#999999"
        if group == -1
        else colormaps["tab10" if groups <= 10 else "turbo"](
            group % 10 if groups <= 10 else group / groups
        )
    )


def _two_dimensions(codes: Tensor) -> tuple[Tensor, float]:
    if min(codes.shape) == 1:
        codes = codes[:, :1]
        return torch.cat((codes, torch.zeros_like(codes)), 1), 1.0
    centred = codes - codes.mean(0)
    _, scales, axes = torch.linalg.svd(centred, full_matrices=False)
    squares = scales**2
    return centred @ axes[:2].T, float(squares[:2].sum() / squares.sum().clamp_min(1e-12))


def _zoom(axis: Any, values: list[float]) -> None:
    """Limit the y axis to the 97 % quantile: the peak of the first steps would hide the rest."""
    finite = torch.tensor([v for v in values if v == v and abs(v) != float("inf")])
    if len(finite) > 20:
        low, high = float(finite.min()), float(torch.quantile(finite, 0.97))
        axis.set_ylim(low - 0.05 * (high - low), high + 0.1 * (high - low) + 1e-9)


def _figure(panels: int, height: float) -> tuple[Any, list[Any]]:
    """Panels side by side, at most `ABREAST` in a row."""
    from matplotlib.figure import Figure

    columns, rows = min(panels, ABREAST), -(-panels // ABREAST)
    figure = Figure(
        figsize=(WIDTH if columns > 1 else 6.5, height * rows), layout="constrained", dpi=110
    )
    axes = [figure.add_subplot(rows, columns, i + 1) for i in range(panels)]
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(alpha=0.25)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    files.write(path, buffer.getvalue())
