"""Codes and scores of a datum are bitwise the same alone, in any batch and order, with any
threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Independent, Normal

import vaekit
import zoo
from vaekit.core.fixed_batches import FEWEST, MOST, VALUES, batch_size, in_fixed_batches
from vaekit.core.trace import Model
from vaekit.estimators import VAEDetector, VAESynthesizer, VAETransformer
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.score import OF_MODEL
from vaekit.tasks.trained import _joined

COUNTS = (1, 2, 31, 33)
ALL = 500
EVERY = pytest.mark.parametrize("name", zoo.MODELS)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def require_the_same_in_any_company(
    function: Callable[[np.ndarray], tuple[Tensor, ...]], among: int
) -> None:
    """`function` gives each of the data at some places among (n,) its own result, bit for bit."""
    together = function(np.arange(among))
    random = np.random.default_rng(0)
    order = random.permutation(among)
    some = [order, *(np.arange(n) for n in COUNTS), *(order[-n:] for n in COUNTS)]
    alone = [np.array([place]) for place in (0, 32, 63, 64, among - 1)]
    for places in [*some, *alone]:
        for found, expected in zip(function(places), together, strict=True):
            assert torch.equal(found, expected[torch.from_numpy(places)])


def company(name: str) -> tuple[Model, Tensor, Tensor | None]:
    """A model of the zoo in evaluation, `ALL` data, some of which are equal, and their
    conditions.
    """
    model, x, context = zoo.batch(name, ALL)
    return model.eval(), x, context


def codes_at(name: str) -> Callable[[np.ndarray], tuple[Tensor, ...]]:
    model, x, context = company(name)

    def moments(x: Tensor, context: Tensor | None) -> tuple[Tensor, ...]:
        posteriors = model.encode(x, context)
        return _joined(posteriors, "mean"), _joined(posteriors, "stddev")

    return lambda places: in_fixed_batches(
        moments, 64, x[places], None if context is None else context[places]
    )


@EVERY
def test_codes_are_the_same_in_any_company(name: str) -> None:
    require_the_same_in_any_company(codes_at(name), ALL)


def has_one_normal_posterior(model: Model, x: Tensor, context: Tensor | None) -> bool:
    q, *others = model.encode(x[:1], None if context is None else context[:1])
    return not others and isinstance(q, Independent) and isinstance(q.base_dist, Normal)


@EVERY
def test_scores_are_the_same_in_any_company(name: str) -> None:
    """By each score that the model has: without one normal posterior, by reconstruction only."""
    model, x, context = company(name)
    whole = has_one_normal_posterior(model, x, context)
    for by in OF_MODEL if whole else ["reconstruction"]:

        def scores(places: np.ndarray, by: str = by) -> tuple[Tensor, ...]:
            some = None if context is None else context[places]
            return in_fixed_batches(lambda x, c: OF_MODEL[by](model, x, c), 64, x[places], some)

        require_the_same_in_any_company(scores, 200)


@EVERY
def test_reconstructions_are_the_same_in_any_company(name: str) -> None:
    model, x, context = company(name)

    def means(x: Tensor, context: Tensor | None) -> tuple[Tensor]:
        latents = tuple(q.mean for q in model.encode(x, context))
        return (model.decode(latents, context).mean,)

    require_the_same_in_any_company(
        lambda places: in_fixed_batches(
            means, 64, x[places], None if context is None else context[places]
        ),
        200,
    )


def test_a_run_reconstructs_rows_the_same_in_any_company(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    mixed(200).write_csv(file)
    run = vaekit.train(file, out=tmp_path / "run", steps=3, **{"model.size": "tiny"})
    x = as_tensor(run.read(file))
    require_the_same_in_any_company(lambda places: (run.reconstruct(x[places]),), len(x))


@pytest.mark.parametrize("name", ["conv", "patches", "told, a flow", "hierarchy"])
def test_the_number_of_threads_changes_no_code(name: str) -> None:
    codes, places = codes_at(name), np.arange(ALL)
    expected = codes(places)
    with threads(3):
        found = codes(places)
        assert torch.get_num_threads() == 3
    for one, many in zip(expected, found, strict=True):
        assert torch.equal(one, many)


# Estimators


def mixed(rows: int) -> pl.DataFrame:
    """Numbers of several units, whole numbers, words, dates and missing cells."""
    random = np.random.default_rng(1)
    table = pl.DataFrame(
        {
            "kind": random.choice(["a", "b", "c"], rows),
            "size": random.normal(size=rows),
            "price": np.round(np.exp(random.normal(6, 2, rows)), 2),
            "count": random.poisson(3, rows),
            "day": np.datetime64("2024-01-01")
            + random.integers(0, 900, rows).astype("timedelta64[D]"),
        }
    )
    gap = pl.int_range(rows) % 7 == 3
    return table.with_columns(pl.when(gap).then(None).otherwise(pl.col("size")).alias("size"))


def written(rows: int) -> pl.DataFrame:
    """Numbers and dates in words, and numbers of 32 bits."""
    random = np.random.default_rng(4)
    price, noise = np.round(random.normal(1000, 300, rows), 3), random.normal(size=rows)
    return pl.DataFrame(
        {
            "comma": [f"{cell:.3f}".replace(".", ",") for cell in price],
            "day": [f"{1 + i % 28}/{1 + i % 12}/2020" for i in range(rows)],
            "noise": pl.Series(noise, dtype=pl.Float32),
            "price": pl.Series(price, dtype=pl.Float32),
        }
    )


FRAMES = {
    "numbers": lambda rows: np.random.default_rng(2).normal(size=(rows, 3)),
    "narrow": lambda rows: np.random.default_rng(3).normal(size=(rows, 3)).astype(np.float32),
    "mixed": mixed,
    "written": written,
}
ESTIMATORS = {
    "transform": lambda: VAETransformer(max_steps=60, random_state=0),
    "two components": lambda: VAETransformer(2, max_steps=60, random_state=0),
    "synthesizer": lambda: VAESynthesizer(max_steps=30, random_state=0),
    "detector": lambda: VAEDetector(max_steps=30, random_state=0),
    "few remembered": lambda: VAEDetector(
        members=4, hidden=5, latent=3, remembered=7, max_steps=30, random_state=0
    ),
}
VERBS = ("transform", "score_samples", "decision_function", "attribute", "p_values", "predict")


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators_say_the_same_of_a_row_in_any_company(name: str, frame: str) -> None:
    rows = FRAMES[frame](ALL)
    estimator = ESTIMATORS[name]().fit(rows)
    verbs = [verb for verb in VERBS if hasattr(estimator, verb)]
    assert verbs

    def found(places: np.ndarray) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(getattr(estimator, verb)(rows[places])) for verb in verbs)

    require_the_same_in_any_company(found, ALL)


def test_a_row_that_lies_elsewhere_in_memory_has_the_same_code() -> None:
    rows = FRAMES["narrow"](ALL)
    estimator = VAETransformer(2, max_steps=30, random_state=0).fit(rows)
    expected = estimator.transform(rows)
    columns_first = np.asfortranarray(rows)
    shifted = np.empty(rows.size + 1, rows.dtype)[1:].reshape(rows.shape)
    shifted[:] = rows
    for other in (columns_first, shifted, np.repeat(rows, 2, axis=1)[:, ::2]):
        assert np.array_equal(estimator.transform(other), expected)


# Batches and products


@pytest.mark.parametrize("values", [0, 1, 20, 127, 128, 129, 784, 2048, 2049, 12288, 10**7])
def test_a_batch_is_a_power_of_two_of_about_so_many_values(values: int) -> None:
    size = batch_size(values)
    assert FEWEST <= size <= MOST
    assert size & (size - 1) == 0
    assert size == FEWEST or size * values <= VALUES
    assert size == MOST or 2 * size * values > VALUES


@pytest.mark.parametrize("n", [1, 31, 32, 33, 100])
def test_every_batch_has_the_size_and_nothing_is_lost(n: int) -> None:
    x, labels, seen = torch.randn(n, 3), torch.arange(n), []

    def watched(x: Tensor, none: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
        assert none is None
        seen.append(len(x))
        return 2 * x, labels

    doubled, same = in_fixed_batches(watched, 32, x, None, labels)
    assert torch.equal(doubled, 2 * x)
    assert torch.equal(same, labels)
    assert seen == [32] * -(-n // 32)


def test_there_are_no_gradients_and_an_error_comes_through() -> None:
    net = nn.Linear(3, 2)
    (found,) = in_fixed_batches(lambda x: [net(x)], 32, torch.randn(4, 3))
    assert not found.requires_grad

    def broken(x: Tensor) -> list[Tensor]:
        raise ValueError("of the net")

    for count in (1, 2):
        with threads(count):
            with pytest.raises(ValueError, match="of the net"):
                in_fixed_batches(broken, 32, torch.randn(100, 3))
            assert torch.get_num_threads() == count


def weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


PRODUCTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a few columns": lambda x: x.flatten(1) @ weights(40, 3),
    "a column": lambda x: x.flatten(1) @ weights(40),
    "a layer": lambda x: F.linear(x.flatten(1), weights(7, 40), weights(7)),
    "a layer without bias": lambda x: F.linear(x.flatten(1), weights(7, 40)),
    "many columns": lambda x: F.linear(x.flatten(1), weights(64, 40), weights(64)),
    "weighted": lambda x: torch.addmm(weights(7), x.flatten(1), weights(40, 7), alpha=-1, beta=2),
    "alone": lambda x: torch.addmm(
        torch.full((7,), torch.nan), x.flatten(1), weights(40, 7), beta=0
    ),
    "a weighted column": lambda x: torch.addmv(weights(1), x.flatten(1), weights(40), alpha=3),
    "each with itself": lambda x: x @ x.transpose(1, 2),
    "each and a bias": lambda x: torch.baddbmm(weights(5, 5), x, x.transpose(1, 2), alpha=0.5),
    "by names": lambda x: torch.einsum("bik,kj->bij", x, weights(8, 3)),
    "of members": lambda x: torch.baddbmm(
        weights(3, 1, 2), x.flatten(1).expand(3, -1, -1), weights(3, 40, 2)
    ).transpose(0, 1),
    "distances": lambda x: torch.cdist(x.flatten(1), weights(5, 40)),
}


@pytest.mark.parametrize("name", PRODUCTS)
def test_products_are_right_and_the_same_wherever_a_row_lies(name: str) -> None:
    x = weights(200, 5, 8)
    (found,) = in_fixed_batches(lambda x: [PRODUCTS[name](x)], 32, x)
    torch.testing.assert_close(found, PRODUCTS[name](x), rtol=1e-4, atol=1e-4)
    assert found.is_contiguous()
    require_the_same_in_any_company(
        lambda places: in_fixed_batches(lambda x: [PRODUCTS[name](x)], 32, x[places]), 200
    )
    row = x[:1].expand(32, -1, -1)
    (same,) = in_fixed_batches(lambda x: [PRODUCTS[name](x)], 32, row)
    assert (same == same[:1]).all()
