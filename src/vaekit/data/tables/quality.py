"""Measure new rows: how close to real ones, how useful, how private, how helpful in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from vaekit.config import nearest
from vaekit.core.random import seeded
from vaekit.data.dataset import Dataset
from vaekit.data.modality import FEWEST, Measured, Parts, TrainedModel, require_enough
from vaekit.data.tables.balance import balanced
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.units import fold, from_tensor
from vaekit.data.tables.compared import Tables
from vaekit.data.tables.evaluation import page
from vaekit.data.tables.sampling import drawn
from vaekit.data.tables.schema import TableSchema
from vaekit.errors import VaekitError
from vaekit.measures import augmentation, row_quality

MOST = 10_000
"""At most ten times this number of rows are compared."""


def samples(parts: Parts, target: str | None = None, **options: Any) -> Measured:
    """Compare new rows with training rows and others: numbers, and a page of verdicts on them."""
    found = tables(parts.trained, parts.training(), parts.other, parts.seed)
    return Measured(rows(found, target, parts.seed), partial(page, found, target))


def tables(trained: TrainedModel, training: Dataset, other: Dataset, seed: int = 0) -> Tables:
    """New rows, as many as there are training rows, beside training rows and `other` rows."""
    if (n := min(len(other), len(training))) < FEWEST:
        raise VaekitError(
            f"samples are compared with at least {FEWEST} rows that were not trained on; there are {n}: name a table "
            "that has more, or measure only the bound (metrics nll)"
        )
    schema = cast(TableSchema, trained.schema)
    index = torch.linspace(0, len(training) - 1, min(len(training), 10 * MOST)).round().long()
    context = None if training.context is None else training.context[index]
    with seeded(seed), torch.no_grad():
        x = drawn(trained.model, schema, len(index), context)
    return Tables(
        schema, from_tensor(x, schema, clip=True).numpy(), _raw(training.subset(index)), _raw(other)
    )


def rows(tables: Tables, target: str | None = None, seed: int = 0) -> dict[str, Any]:
    """How close new rows are to unseen rows, how useful they are, and whether they are copies.

    `floor` holds the same measures for the training rows themselves: the values of a perfect model.
    With `target`, boosted trees learn that column from new rows and are tested on unseen rows.
    """
    schema, categories = tables.schema, tables.categories
    made, seen, real = tables.made, tables.seen, tables.real
    result: dict[str, Any] = _close(real, made, categories, seed) | {
        "floor": _close(real, seen, categories, seed)
    }
    result["privacy"] = asdict(row_quality.privacy(made, seen, real, categories, seed))
    if target is not None:
        place = schema.names.index(target)
        found, floor = (
            asdict(row_quality.utility(part, real, categories, place, seed))
            for part in (made, seen)
        )
        known = [measure for measure, value in found.items() if value == value]
        result["utility"] = {name: found[name] for name in known} | {
            "floor": {name: floor[name] for name in known}
        }
    return {"samples": result}


def _close(
    real: np.ndarray, made: np.ndarray, categories: np.ndarray, seed: int
) -> dict[str, float]:
    return {
        "column_error": row_quality.column_error(real, made, categories),
        "pair_error": row_quality.pair_error(
            *(part[..., : row_quality.PAIRED] for part in (real, made, categories))
        ),
        "two_sample": row_quality.two_sample(real, made, categories, seed),
    }


def _raw(data: Dataset) -> np.ndarray:
    raw = data.raw.take(torch.arange(len(data)))
    return fold(raw, cast(TableSchema, data.schema)).numpy()


FULLER, LEAST = 2, 500
"""Every class is filled up to FULLER times the largest class, but to at least LEAST rows."""


def helps(parts: Parts, target: str | None = None, **options: Any) -> Measured:
    """Whether new rows help to learn the column `target` from training rows, tested on other rows.

    They are compared with repeated rows of rare classes, and with SMOTE. Other rows that equal a
    training row, or lack the target, are left out. Raises VaekitError.
    """
    trained, training, seed = parts.trained, parts.training(), parts.seed
    schema = cast(TableSchema, trained.schema)
    place, discrete = _column(schema, target)
    both = (training, parts.other)
    train, test = (_table(_raw(part), part.context, schema, place) for part in both)
    test = test[~row_quality.copied(test, train) & ~np.isnan(test[:, place])]
    require_enough(len(test), "rows with a known " + str(target))
    categories = np.array([*(column.discrete for column in schema.columns), discrete])[
        : test.shape[1]
    ]
    seeds = [seed + k for k in augmentation.SEEDS]
    sizes = {"n_real": len(train), "n_test": len(test)}
    if not discrete:
        make = partial(_drawn, trained, training, place)
        of_numbers = augmentation.of_numbers(train, test, categories, place, make, seeds)
        return Measured({"augmentation": of_numbers | sizes})
    counts = np.unique(train[~np.isnan(train[:, place]), place], return_counts=True)[1]
    goal = max(FULLER * int(counts.max(initial=0)), LEAST)
    make = partial(_filled_up, trained, training, str(target), place, goal)
    found = augmentation.of_classes(train, test, categories, place, make, goal, seeds) | sizes
    left = {} if augmentation.can_smote() else {"left_out": {"SMOTE": augmentation.NO_SMOTE}}
    return Measured({"augmentation": found | {"n_of_each_class": goal}} | left)


def _column(schema: TableSchema, target: str | None) -> tuple[int, bool]:
    """The index of a target, and whether it is a category.

    Conditions are numbered after the modelled columns.
    """
    if target is None:
        raise VaekitError(
            "augmentation: name the column that a classifier should learn, with --target (in Python: target=)"
        )
    if target in schema.names:
        place = schema.names.index(target)
        return place, schema.columns[place].discrete
    told = [field.name for field in schema.conditions]
    if target not in told:
        raise VaekitError(
            f"target {target}: the model has no such column{nearest(target, [*schema.names, *told])}"
        )
    return len(schema.names) + told.index(target), bool(
        schema.conditions[told.index(target)].classes
    )


def _table(raw: np.ndarray, context: Tensor | None, schema: TableSchema, place: int) -> np.ndarray:
    """Rows with the column at `place`, but without other conditions."""
    if place < len(schema.names):
        return raw
    told = (
        np.full(len(raw), np.nan)
        if context is None
        else context[:, place - len(schema.names)].numpy()
    )
    return np.column_stack((raw, told))


def _filled_up(
    trained: TrainedModel, training: Dataset, target: str, place: int, goal: int, seed: int
) -> np.ndarray:
    schema = cast(TableSchema, trained.schema)
    with seeded(seed), torch.no_grad():
        made = balanced(
            trained.model, cast(Table, training), schema, target, goal, lambda sentence: None
        )
    return _table(fold(made.raw, schema).numpy(), made.context, schema, place)


def _drawn(trained: TrainedModel, training: Dataset, place: int, seed: int) -> np.ndarray:
    """New rows, one for each training row, drawn with its conditions."""
    schema = cast(TableSchema, trained.schema)
    with seeded(seed), torch.no_grad():
        x = drawn(trained.model, schema, len(training), training.context)
    return _table(from_tensor(x, schema, clip=True).numpy(), training.context, schema, place)


def check(
    schema: TableSchema,
    metrics: Sequence[str],
    target: str | None = None,
    out: Path | None = None,
) -> None:
    """Raise a VaekitError for options that cannot be used, before anything takes time."""
    for option, value, of in (
        ("--target", target, {"samples", "augmentation"}),
        ("--out", out, {"samples"}),
    ):
        if value is not None and not of & set(metrics):
            raise VaekitError(
                f"{option} {value}: is for new rows; add --metrics {','.join([*metrics, 'samples'])}"
            )
    if target is not None and "samples" in metrics and target not in schema.names:
        raise VaekitError(
            f"--target {target}: the model has no such column{nearest(target, list(schema.names))}"
        )
    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise VaekitError(f"--out {out}: expected the name of a page that ends in .html")
    if out is not None and out.exists():
        raise VaekitError(f"--out {out}: is there already; choose another name, or move it away")


MEASURES = {"samples": samples, "augmentation": helps}
"""The measures of `vaekit evaluate --metrics` that are for tables only."""
