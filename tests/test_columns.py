"""Rows of mixed columns: grids, cells and chains against answers known by other means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, NegativeBinomial, Normal

from vaekit.data.tables.model.bins import grid_of, with_grid
from vaekit.data.tables.model.likelihoods import NAMES, family
from vaekit.data.tables.model.networks import CellEmbedding, ChainDecoder, RowDecoder, RowEncoder
from vaekit.data.tables.schema import Column, TableSchema
from vaekit.distributions.bins import Binned, Grid, pick
from vaekit.distributions.rows import Cell, Classes, Columns, CountUnits, LogNormalUnits
from vaekit.errors import VaekitError

ATOL = 1e-5


def spiky(rows: int = 400) -> np.ndarray:
    """Numbers that are 0 as often as not, the rest spread out, some missing."""
    random = np.random.default_rng(0)
    values = np.where(random.random(rows) < 0.5, 0.0, random.gamma(2.0, 3.0, rows))
    values[::50] = np.nan
    return values


def measured(values: np.ndarray, **more: object) -> Column:
    known = values[~np.isnan(values)]
    base = Column(
        name="n",
        kind="number",
        mean=float(known.mean()),
        scale=float(known.std()) or 1.0,
        missing=True,
    )
    seen = {"low": float(known.min()), "high": float(known.max())}
    return with_grid(base.model_copy(update=seen | more), values)


def schema() -> TableSchema:
    """A category, a number with a spike and missing cells, and a boolean."""
    return TableSchema(
        columns=(
            Column(name="c", kind="category", classes=("a", "b", "c")),
            measured(spiky()),
            Column(name="b", kind="boolean", classes=("no", "yes"), missing=True),
        )
    )


def rows(n: int = 50) -> Tensor:
    random = torch.Generator().manual_seed(1)
    x = torch.stack(
        (
            torch.randint(3, (n,), generator=random).float(),
            torch.randn(n, generator=random),
            torch.randint(2, (n,), generator=random).float(),
        ),
        dim=1,
    )
    x[::7, 1] = math.nan
    x[::5, 2] = math.nan
    return x


def grid() -> Grid:
    return Grid(
        torch.tensor([0.0, 2.0]), torch.tensor([[-1.0, -0.5, 0.2, 1.0], [1.0, 2.0, 2.5, 4.0]])
    )


def test_places_are_in_order_of_value_and_points_beat_bins() -> None:
    x = torch.tensor([-9.0, -0.9, 0.0, 0.9, 1.0, 2.0, 3.9, 9.0])
    assert grid().place(x).tolist() == [0, 0, 1, 0, 3, 2, 3, 3]
    assert (grid().middle(torch.arange(4)).diff() >= 0).all()
    assert grid().middle(torch.tensor([1, 2])).tolist() == [0.0, 2.0]


def test_density_of_a_grid_integrates_to_one() -> None:
    logits = torch.randn(4)
    x = torch.linspace(-41, 44, 400_001)[:-1] + 1.0625e-4
    density = Binned(logits.expand(len(x), 4), grid()).log_prob(x).exp()
    continuous = float(density.double().sum() * 85 / 400_000)
    places = grid().place(torch.tensor([0.0, 2.0]))
    points = logits.softmax(0)[places].sum()
    assert continuous + float(points) == pytest.approx(1, abs=1e-3)


def test_draws_come_from_the_density() -> None:
    logits = torch.tensor([0.3, -1.0, 0.7, 0.1])
    draws = Binned(logits, grid()).sample((40_000,))
    shares = torch.bincount(grid().place(draws), minlength=4) / 40_000
    assert torch.allclose(shares, logits.softmax(0), atol=0.01)
    low = draws[(draws < 1) & (draws != 0)]
    assert float((low < -0.5).float().mean()) == pytest.approx(
        1 / 3, abs=0.02
    )  # a third between each two knots


def test_learned_grids_give_values_back_and_keep_spikes() -> None:
    values = spiky()
    column = measured(values)
    assert column.points == (0.0,)
    cut = grid_of(column)
    x = torch.from_numpy((values[~np.isnan(values)] - column.mean) / column.scale).float()
    place = cut.place(x)
    assert (cut.middle(place)[x == x.mode().values] == x.mode().values).all()
    assert cut.log_density(x, place).isfinite().all()
    counts = torch.bincount(place, minlength=len(cut))
    assert counts.min() > 0


def test_whole_numbers_few_and_many() -> None:
    few = measured(np.tile(np.arange(10.0), 30), decimals=0)
    assert few.points == tuple(range(10))
    assert few.edges == ()
    many = measured(np.random.default_rng(0).integers(0, 5000, 3000).astype(float), decimals=0)
    assert np.allclose(np.array(many.edges)[0] % 1, 0.5)  # bins begin between two whole numbers
    lone = measured(np.array([3.0, 3.0, 3.0]))
    assert len(grid_of(lone)) == 1
    constant = measured(np.array([1.0, 2.0]))
    assert (
        grid_of(constant)
        .log_density(torch.zeros(1), grid_of(constant).place(torch.zeros(1)))
        .isfinite()
        .all()
    )


def test_classes_are_categorical() -> None:
    logits, k = torch.randn(7, 3), torch.randint(3, (7,))
    assert torch.allclose(
        Classes(logits).log_prob(k.float()), Categorical(logits=logits).log_prob(k), atol=ATOL
    )
    assert pick(torch.randn(2, 5, 3), torch.zeros(5, dtype=torch.long)).shape == (2, 5)


def test_counts_are_negative_binomial() -> None:
    log_mean, log_size = torch.randn(6), torch.randn(6)
    units = CountUnits(log_mean, log_size, shift=3.0, scale=2.0)
    counts = torch.arange(6.0)
    known = NegativeBinomial(log_size.exp(), logits=log_mean - log_size).log_prob(counts)
    assert torch.allclose(units.log_prob((counts - 3) / 2), known, atol=ATOL)
    draws = units.sample((20_000,)) * 2 + 3
    assert torch.allclose(draws.mean(0), log_mean.exp(), rtol=0.1)


def test_log_normal_in_units() -> None:
    units = LogNormalUnits(torch.tensor([0.5]), torch.tensor([0.7]), shift=2.0, scale=3.0)
    raw = torch.tensor([1.7])
    known = torch.distributions.LogNormal(0.5, 0.7).log_prob(raw) + math.log(3)
    assert torch.allclose(units.log_prob((raw - 2) / 3), known, atol=ATOL)
    assert torch.allclose(units.sample((50_000,)).mean(0), units.mean, atol=0.02)


def test_a_missing_cell_costs_its_probability_and_nothing_else() -> None:
    logit = torch.tensor([0.3, 0.3])
    x = torch.tensor([math.nan, 0.4])
    log_prob = Cell(Normal(torch.zeros(2), torch.ones(2)), logit).log_prob(x)
    known = Normal(0.0, 1.0).log_prob(torch.tensor(0.4)) + torch.log(1 - torch.sigmoid(logit[1]))
    assert torch.allclose(
        log_prob, torch.stack((torch.log(torch.sigmoid(logit[0])), known)), atol=ATOL
    )
    assert Cell(Normal(torch.zeros(2), torch.ones(2))).log_prob(x)[0] == 0
    share = (
        Cell(Normal(torch.zeros(1), torch.ones(1)), logit[:1])
        .sample((20_000,))
        .isnan()
        .float()
        .mean()
    )
    assert float(share) == pytest.approx(float(torch.sigmoid(logit[0])), abs=0.02)


@pytest.mark.parametrize("name", NAMES)
def test_every_family_begins_at_its_column_and_passes_gradients(name: str) -> None:
    values = spiky() + 1
    column = measured(values).model_copy(update={"kind": "count" if name == "counts" else "number"})
    made = family(column, name)
    x = torch.from_numpy((values - column.mean) / column.scale).float()
    raw = made.begin(x).expand(len(x), -1).clone().requires_grad_()
    cell = made(raw)
    total = cell.log_prob(x).sum()
    total.backward()
    assert total.isfinite()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()
    drawn = cell.sample()
    assert float(drawn.isnan().float().mean()) == pytest.approx(0.02, abs=0.03)
    assert float(drawn.nanmean()) == pytest.approx(float(x.nanmean()), abs=0.5)
    assert cell.mode().shape == cell.mean().shape == x.shape


def test_a_family_nobody_knows_is_named() -> None:
    with pytest.raises(VaekitError, match="there is no likelihood 'gausian'"):
        family(schema().columns[1], "gausian")


@pytest.mark.parametrize("kind", ["rows", "chain"])
def test_decoders_are_distributions_of_rows(kind: str) -> None:
    decoder = RowDecoder(schema(), 4) if kind == "rows" else ChainDecoder(schema(), 4, hidden=16)
    decoder.begin(rows())
    decoder.eval()
    x, z = rows(), torch.randn(50, 4)
    p = decoder(z)
    assert p.batch_shape == (50,)
    assert p.event_shape == (3,)
    assert torch.allclose(p.log_prob(x), p.log_probs(x).sum(-1), atol=ATOL)
    many = decoder(torch.stack((z, z + 1)))  # two draws a datum
    assert torch.allclose(many.log_prob(x)[0], p.log_prob(x), atol=1e-4)
    drawn = p.sample((2,))
    assert drawn.shape == (2, 50, 3)
    assert p.log_prob(drawn).isfinite().all()
    assert torch.equal(p.mean, decoder(z).mean)
    assert p.mode.shape == (50, 3)


def test_rows_of_independent_columns_are_a_product() -> None:
    logits = torch.randn(5, 3)
    p = Columns([Cell(Classes(logits)), Cell(Normal(torch.zeros(5), torch.ones(5)))])
    x = torch.stack((torch.tensor([0.0, 1, 2, 0, 1]), torch.randn(5)), dim=1)
    known = Categorical(logits=logits).log_prob(x[:, 0].long()) + Normal(0.0, 1.0).log_prob(x[:, 1])
    assert torch.allclose(p.log_prob(x), known, atol=ATOL)


def small_chain() -> ChainDecoder:
    two = TableSchema(
        columns=(
            Column(name="a", kind="category", classes=("0", "1", "2")),
            Column(name="b", kind="category", classes=("0", "1"), missing=True),
        )
    )
    torch.manual_seed(0)
    return ChainDecoder(two, 2, hidden=16).eval()


def all_rows() -> Tensor:
    return torch.tensor([[a, b] for a in (0.0, 1, 2) for b in (0.0, 1, math.nan)])


def test_probabilities_of_all_rows_sum_to_one() -> None:
    p = small_chain()(torch.randn(1, 2).expand(9, 2))
    assert p.log_prob(all_rows()).exp().sum().item() == pytest.approx(1, abs=ATOL)


def test_a_chain_draws_as_often_as_it_says() -> None:
    decoder, z = small_chain(), torch.randn(1, 2)
    chances = decoder(z.expand(9, 2)).log_prob(all_rows()).exp()
    drawn = decoder(z.expand(30_000, 2)).sample().nan_to_num(2.0)
    shares = torch.bincount((drawn[:, 0] * 3 + drawn[:, 1]).long(), minlength=9) / 30_000
    assert torch.allclose(shares, chances, atol=0.012)


def test_filling_a_chain_weighs_what_was_known() -> None:
    decoder, z = small_chain(), torch.randn(1, 2)
    known = torch.tensor([math.nan, 1.0])
    filled, weight = decoder(z.expand(30_000, 2)).fill(known)
    assert (filled[:, 1] == 1).all()
    chances = decoder(z.expand(3, 2)).log_prob(torch.tensor([[0.0, 1], [1, 1], [2, 1]])).exp()
    assert weight.exp().mean().item() == pytest.approx(chances.sum().item(), abs=0.01)
    shares = torch.zeros(3).index_add(0, filled[:, 0].long(), weight.exp()) / weight.exp().sum()
    assert torch.allclose(shares, chances / chances.sum(), atol=0.015)


def test_a_column_follows_those_before_it_and_no_others() -> None:
    decoder = ChainDecoder(schema(), 4, hidden=16).eval()
    x, z = rows(), torch.randn(50, 4)
    moved = x.clone()
    moved[:, 1] += 1
    before, after = decoder(z).log_probs(x), decoder(z).log_probs(moved)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.allclose(before[:, 2], after[:, 2])
    short = ChainDecoder(schema(), 4, hidden=16, reach=1).eval()
    turned = x.clone()
    turned[:, 0] = (x[:, 0] + 1) % 3
    assert torch.equal(short(z).log_probs(x)[:, 2], short(z).log_probs(turned)[:, 2])


def test_a_context_reaches_every_part() -> None:
    context = torch.randn(50, 2)
    decoder = ChainDecoder(schema(), 4, hidden=16, context=2).eval()
    encoder = RowEncoder(schema(), 8, context=2)
    z = torch.randn(50, 4)
    assert not torch.allclose(
        decoder(z, context).log_prob(rows()), decoder(z, -context).log_prob(rows())
    )
    assert decoder(torch.randn(3, 50, 4), context).log_prob(rows()).shape == (3, 50)
    assert not torch.allclose(encoder(rows(), context), encoder(rows(), -context))
    assert RowDecoder(schema(), 4, context=2)(torch.randn(3, 50, 4), context).log_prob(
        rows()
    ).shape == (3, 50)


def test_no_nan_reaches_a_gradient() -> None:
    encoder, decoder = RowEncoder(schema(), 8), ChainDecoder(schema(), 8, hidden=16)
    x = rows()
    x[0] = math.nan
    decoder(encoder(x)).log_prob(x).sum().backward()
    grads = [p.grad for part in (encoder, decoder) for p in part.parameters() if p.grad is not None]
    assert grads
    assert all(g.isfinite().all() for g in grads)


def test_many_levels_cost_little() -> None:
    column = Column(name="c", kind="category", classes=tuple(map(str, range(5000))))
    wide = TableSchema(columns=(column, *schema().columns))
    count = sum(
        p.numel()
        for part in (RowEncoder(wide, 16), ChainDecoder(wide, 8))
        for p in part.parameters()
    )
    assert count * 4 < 4e6  # bytes
    assert CellEmbedding(column)(torch.tensor([4999.0, math.nan])).shape == (2, 16)


def test_states_travel() -> None:
    first, second = (
        ChainDecoder(schema(), 4, hidden=16).eval(),
        ChainDecoder(schema(), 4, hidden=16).eval(),
    )
    second.load_state_dict(first.state_dict())
    z = torch.randn(50, 4)
    assert torch.equal(first(z).log_prob(rows()), second(z).log_prob(rows()))
    again = TableSchema.model_validate_json(schema().model_dump_json())
    assert [len(family(c).begin(torch.zeros(3))) for c in again.columns] == [
        3,
        len(grid_of(again.columns[1])) + 1,
        3,
    ]


@pytest.mark.slow
def test_a_chain_compiles_whole() -> None:
    decoder = ChainDecoder(schema(), 4, hidden=16).eval()
    x, z = rows(), torch.randn(50, 4)
    compiled = torch.compile(lambda z, x: decoder(z).log_prob(x), fullgraph=True)
    assert torch.allclose(compiled(z, x), decoder(z).log_prob(x), atol=1e-4)


def test_what_lies_beyond_all_that_was_seen_is_the_less_likely_the_farther() -> None:
    x = torch.tensor([3.9, 4.0, 4.5, 9.0, 40.0, math.inf])
    log_prob = Binned(torch.zeros(4).expand(len(x), 4), grid()).log_prob(x)
    assert log_prob[0] == log_prob[1]
    assert (log_prob.diff()[1:] < 0).all()
    assert log_prob.isfinite().all()


def test_a_value_between_points_is_hardly_one_of_them() -> None:
    points = Grid(torch.tensor([1.0, 2.0, 3.0]), torch.zeros(0, 4))
    log_prob = Binned(torch.zeros(5, 3), points).log_prob(torch.tensor([3.0, 3.5, 4.0, 5.0, -7.0]))
    assert log_prob[0] == pytest.approx(math.log(0.99 / 3))
    assert (log_prob[1:] < math.log(0.011 / 3)).all()
    assert (log_prob.diff() < 0).all()


def test_what_lies_between_and_beyond_points_is_a_density() -> None:
    """With the points' own probabilities it has mass 1, also where two points all but meet."""
    points = torch.tensor([0.0, 0.5, 1.0, 1.3999996, 1.4, 2.5, 4.0])
    spread = Binned(torch.zeros(7), Grid(points, torch.zeros(0, 4)))
    at = spread.log_prob(points).exp().double().sum()
    far = torch.logspace(-4, 6, 40_001, dtype=torch.float64)
    inner = torch.linspace(0, 4, 400_003, dtype=torch.float64)[1:-1]
    mass = 0.0
    for x in (-far.flip(0), inner, 4 + far):
        density = spread.log_prob(x.float()).double().exp()
        near = (x[:, None] - points).abs().amin(1) < 1e-5
        mass += torch.trapezoid(density.masked_fill(near, 0.0), x).item()
    assert at + mass == pytest.approx(
        1, abs=2e-3
    )  # the two sides between 1.3999996 and 1.4 are left out


def test_one_new_value_decides_no_mean() -> None:
    """Neither the smallest gap between points nor the distance makes it cost thousands of nats."""
    points = torch.tensor([0.0, 0.5, 1.0, 1.3999996, 1.4, 2.5, 4.0])
    for grid_ in (Grid(points, torch.zeros(0, 4)), grid()):
        new = torch.tensor([3.0, -2.0, 1e4, 1e30, math.inf])
        log_prob = Binned(torch.zeros(len(new), len(grid_)), grid_).log_prob(new)
        assert (log_prob > -45).all()
        assert log_prob[0] > -10
