"""Anomaly scores: laws that hold for any table."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor

from vaekit.anomaly import UNSEEN, Detector, DetectorConfig, NumericRows, fit, p_values
from vaekit.anomaly.ensemble import _times
from vaekit.anomaly.members import CellScales, build, explained
from vaekit.anomaly.neighbours import Nearest
from vaekit.anomaly.scaling import KNOTS, Scaling
from vaekit.core.objectives import elbo
from vaekit.distributions.pixels import CellNormal
from vaekit.errors import VaekitError
from vaekit.nn.batched import ManyMLP

QUICK = DetectorConfig(steps=80)


def table(n: int, seed: int = 0) -> Tensor:
    """Five columns of other units that hang together: two are a line, one is skewed, one counts, one is alone."""
    g = torch.Generator().manual_seed(seed)
    a, b, c = torch.randn(3, n, generator=g)
    count = torch.randint(0, 4, (n,), generator=g).float()
    return torch.stack((1000 * a, a + 0.1 * b, b.exp(), count, 0.01 * c), dim=1)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return fit(table(600), QUICK, seed=1)


@pytest.fixture(scope="module")
def gappy() -> Detector:
    return fit(with_gaps(table(400)), QUICK, seed=1)


def with_gaps(x: Tensor) -> Tensor:
    g = torch.Generator().manual_seed(3)
    return torch.where(torch.rand(x.shape, generator=g) < 0.1, math.nan, x)


# The score


def test_a_row_has_the_same_score_alone_as_in_company(detector: Detector) -> None:
    x = table(700, seed=5)
    together = detector.scores(x)
    alone = torch.cat([detector.scores(x[i : i + 1]) for i in (0, 300, 511, 512, 699)])
    assert torch.equal(alone, together[[0, 300, 511, 512, 699]])
    assert torch.equal(detector.scores(x.flip(0)), together.flip(0))


def test_the_number_of_threads_changes_nothing(detector: Detector) -> None:
    x = table(1000, seed=5)
    expected, before = detector.scores(x), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(detector.scores(x), expected)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_folded_is_what_the_members_say(detector: Detector, gappy: Detector) -> None:
    """The quick way to u is the mean over the members of what each says, model by model."""
    for one, rows in ((detector, table(40, seed=6)), (gappy, with_gaps(table(40, seed=6)))):
        views = one.scaling(rows)
        x = views[one.config.views()]
        said = (-explained(one.model, x).log_probs(x) - one.member_centre) / one.member_spread
        expected = torch.where(rows.isnan(), 0.0, said.mean(0))
        assert torch.allclose(one.parts(rows)[0].float(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [1, 7, 16, 33])
def test_a_row_has_the_same_score_at_any_place(columns: int) -> None:
    g = torch.Generator().manual_seed(2)
    x = torch.randn(600, columns, generator=g)
    one = fit(x[:100], DetectorConfig(steps=2))
    assert torch.equal(one.scores(x).flip(0), one.scores(x.flip(0)))
    assert torch.equal(one.scores(x)[-7:-6], one.scores(x[-7:-6]))


def test_attributions_add_up_to_the_score(detector: Detector, gappy: Detector) -> None:
    x = table(50, seed=6)
    for one, rows in ((detector, x), (gappy, with_gaps(x))):
        assert torch.equal(one.attributions(rows).sum(1), one.scores(rows))
        assert torch.allclose(one.parts(rows).sum((0, 2)), one.scores(rows))
        assert one.attributions(rows).isfinite().all()


def test_the_same_seed_makes_the_same_detector() -> None:
    x, config = table(60), DetectorConfig(steps=5)
    first, again, other = (fit(x, config, seed).scores(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_fitting_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(table(30), DetectorConfig(steps=2))
    assert torch.equal(torch.rand(3), expected)


def test_a_row_is_odder_the_farther_it_is_out(detector: Detector) -> None:
    far = table(1, seed=8).repeat(6, 1)
    far[:, 4] = 0.01 * torch.tensor([4.0, 6.0, 10.0, 100.0, 1e4, 1e7])
    scores = detector.scores(far)
    assert (scores.diff() >= 0).all()
    assert scores.isfinite().all()
    assert (detector.attributions(far)[1:].argmax(1) == 4).all()


def test_a_broken_relation_is_odd_where_each_column_is_not(detector: Detector) -> None:
    whole = table(200, seed=9)
    broken = whole.clone()
    broken[:, 1] = -broken[:, 1]  # the same margins, another line
    broken = broken[whole[:, 1].abs() > 1]
    assert detector.scores(broken).median() > torch.quantile(detector.scores(whole), 0.95)


def test_units_do_not_matter() -> None:
    x, config = table(200), DetectorConfig(steps=20)
    here, there = fit(x, config), fit(x * 1024 + 512, config)
    assert torch.allclose(here.scores(x), there.scores(x * 1024 + 512), rtol=1e-2, atol=1e-2)


def test_a_missing_cell_adds_only_what_it_does_to_distances(gappy: Detector) -> None:
    x = table(20, seed=4)
    x[:, 2] = math.nan
    assert (gappy.parts(x)[0, :, 2] == 0).all()
    assert gappy.scores(torch.full((1, 5), math.nan)).isfinite().all()


@pytest.mark.parametrize("seed", [0, 1])
def test_columns_that_tell_nothing_break_nothing(seed: int) -> None:
    x = table(80, seed)
    x[:, 0], x[:, 1] = 7.0, math.nan
    one = fit(x, DetectorConfig(steps=20))
    moved = x[:2].clone()
    moved[:, 0] = 14.0
    assert one.scores(x).isfinite().all()
    assert (one.scores(moved) > one.scores(x[:2]) + 1).all()


def test_of_very_many_rows_some_are_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaekit.anomaly.ensemble.MOST", 50)
    assert len(fit(table(90), DetectorConfig(steps=2)).calibration) == 50


# The p-values


def test_p_values_of_new_normal_rows_are_uniform(detector: Detector) -> None:
    p = detector.p_values(table(2000, seed=11))
    for level in (0.05, 0.1, 0.25, 0.5, 0.75):
        assert abs(float((p <= level).double().mean()) - level) < 0.06
    assert p.min() >= 1 / 601


def test_p_values_count_what_is_as_high() -> None:
    calibration, scores = torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 3.0, 4.0])
    assert torch.equal(p_values(calibration, scores), torch.tensor([5, 4, 2, 1]) / 5)


@pytest.mark.parametrize("fpr", [0.002, 0.01, 0.05, 0.2, 0.5])
def test_above_the_threshold_is_where_p_is_small(detector: Detector, fpr: float) -> None:
    x = torch.cat((table(300, seed=12), 1.5 * table(100, seed=13)))
    flagged = detector.scores(x) > detector.threshold(fpr)
    assert torch.equal(flagged, detector.p_values(x) <= fpr)


def test_too_few_rows_cannot_tell_of_rare_alarms() -> None:
    assert fit(table(30), DetectorConfig(steps=2)).threshold(0.01) == math.inf


# Contamination


def test_a_second_fit_leaves_the_oddest_out() -> None:
    clean, odd = table(300), table(30, seed=2) * torch.tensor([1.0, -1.0, 1.0, 1.0, 30.0])
    x = torch.cat((clean, odd))
    robust = fit(x, DetectorConfig(steps=60), contamination=0.1)
    assert len(robust.calibration) == 297
    assert not len(robust.nearest.rows)
    ranks = robust.scores(x).argsort(descending=True)[:30]
    assert (ranks >= 300).double().mean() > 0.7


# State


def test_a_detector_comes_back_from_tensors_and_json(gappy: Detector) -> None:
    tensors, about = gappy.state()
    again = Detector.restored(
        {k: t.clone() for k, t in tensors.items()}, json.loads(json.dumps(about))
    )
    x = with_gaps(table(40, seed=5))
    assert torch.equal(again.scores(x), gappy.scores(x))
    assert torch.equal(again.p_values(x), gappy.p_values(x))


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (torch.zeros(1, 3), "at least 2 rows"),
        (torch.zeros(3, 0), "1 column"),
        (torch.zeros(4), "shape"),
    ],
)
def test_what_is_no_table_is_said_so(x: Tensor, said: str) -> None:
    with pytest.raises(VaekitError, match=said):
        fit(x)


@pytest.mark.parametrize(
    "wrong", [{"members": 3}, {"members": 5}, {"latent": 0}, {"steps": 0}, {"beta": -1.0}]
)
def test_settings_without_sense_are_refused(wrong: dict) -> None:
    with pytest.raises(VaekitError, match=next(iter(wrong))):
        DetectorConfig(**wrong)


def test_contamination_is_a_share() -> None:
    with pytest.raises(VaekitError, match=r"between 0 and 0\.5"):
        fit(table(10), contamination=0.7)


# The parts


def test_many_networks_are_so_many_networks() -> None:
    many = ManyMLP(3, 4, (5, 6), 2)
    x = torch.randn(3, 7, 4)
    out = many(x)
    for m in range(3):
        h = x[m]
        for i, (weight, bias) in enumerate(zip(many.weights, many.biases, strict=True)):
            h = h @ weight[m] + bias[m]
            h = torch.nn.functional.silu(h) if i < 2 else h
        assert torch.allclose(out[m], h, atol=1e-6)


def test_members_learn_nothing_of_each_other() -> None:
    low = torch.full((4, 1, 3), -9.0)
    model = build(low, -low, torch.zeros(4, 1, 1), torch.tensor([], dtype=torch.long), 2, 8)
    x = torch.randn(4, 5, 3)
    elbo(model(x), x)[1].sum().backward()
    for p in model.parameters():
        assert p.grad is not None
        assert not p.grad[[0, 2, 3]].any()


def test_missing_cells_add_nothing_and_send_no_gradient() -> None:
    mean, log_scale = torch.zeros(2, 3, requires_grad=True), torch.zeros(1, 3, requires_grad=True)
    x = torch.tensor([[1.0, math.nan, 2.0], [math.nan] * 3])
    p = CellNormal(mean, log_scale)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(torch.tensor([1.0, 2.0])).sum()
    assert torch.allclose(p.log_prob(x), torch.stack((expected, torch.tensor(0.0))))
    p.log_prob(x).sum().backward()
    assert mean.grad is not None
    assert log_scale.grad is not None
    assert torch.equal(mean.grad, torch.tensor([[1.0, 0.0, 2.0], [0.0] * 3]))
    assert log_scale.grad.isfinite().all()


def test_scales_have_a_floor() -> None:
    family = CellScales(2, 3)
    torch.nn.init.constant_(family.log_scale, -50.0)
    assert torch.allclose(
        family(torch.zeros(2, 1, 3)).log_scale.exp(), torch.tensor(0.03), rtol=1e-3
    )


def test_normal_scores_are_normal_monotone_and_never_end() -> None:
    x = table(5000)
    scaling = Scaling.fitted(x)
    standard, scores = scaling(x)
    assert torch.allclose(standard.mean(0), torch.zeros(5), atol=1e-4)
    assert torch.allclose(standard.std(0), torch.ones(5), atol=1e-3)
    assert torch.allclose(scores[:, [0, 1, 2, 4]].std(0), torch.ones(4), atol=0.02)
    line = x.mean(0) + torch.linspace(-20, 20, 4001)[:, None] * x.std(0)
    assert (scaling(line)[1].diff(dim=0) >= 0).all()
    assert (scaling(line)[1][-1] > 5).all()


def test_normal_scores_of_few_values_are_their_middle_ranks() -> None:
    x = torch.tensor([0.0] * 3 + [5.0])[:, None]
    scores = Scaling.fitted(x)(torch.tensor([[0.0], [5.0]]))[1]
    expected = torch.special.ndtri(torch.tensor([[1.5 / 4], [3.5 / 4]]))
    assert torch.allclose(scores, expected, atol=1e-6)
    assert KNOTS > 2


def test_the_nearest_row_is_found_and_never_the_row_itself() -> None:
    rows = torch.randn(2, 40, 3)
    expected = torch.cdist(torch.ones(1, 3), rows).min(-1).values.mean()
    assert torch.allclose(Nearest(rows)(torch.ones(1, 3)).sum(), expected, atol=1e-5)
    away = torch.cdist(rows[0], rows[0]).fill_diagonal_(math.inf).min(1).values
    assert torch.allclose(Nearest(rows[:1])(rows[0]).sum(1), away, atol=1e-4)
    twice = torch.cat((rows[0], rows[0]))[None]
    assert not Nearest(twice)(rows[0]).any()


# Classes


def test_classes_as_plain_numbers_and_back_to_columns() -> None:
    nan = math.nan
    raw = torch.tensor(
        [[7.0, 0.0, 0.0, 3.0], [8.0, 1.0, 1.0, 19.0], [nan, 0.0, 0.0, nan], [9.0, 0.0, 2.0, 3.0]]
    )
    plain = NumericRows.learned((0, 2, 3, 20), raw)
    x = plain(torch.cat((raw, torch.full((1, 4), UNSEEN))))
    assert x.shape == (5, 1 + 1 + 4 + 1)
    assert torch.equal(x[:4, :2].isnan(), raw[:, :2].isnan())
    assert torch.equal(x[:4, 3:6], torch.eye(3, dtype=torch.float64)[[0, 1, 0, 2]])
    assert not x[4, 3:6].any()
    shares = torch.tensor([3.0, 3.0, 3.0, 3.0, 0.5]).double()  # 1 to 4 times: as 2.5 times
    assert torch.allclose(x[:, 2], -(shares / 5.5).log())
    many = torch.tensor([0.0] * 9 + [1.0] * 4 + [2.0])[:, None]
    often = NumericRows.learned((3,), many)
    assert torch.allclose(
        often(many)[:, 0].exp(), 15.5 / torch.tensor([9.5] * 9 + [3.0] * 5).double()
    )
    alone = often.fitted(many)[:, 0].exp()  # as if each row were new: once is never
    assert torch.allclose(alone, 15.5 / torch.tensor([9.5] * 9 + [3.0] * 4 + [0.5]).double())
    assert x[4, 6] > x[:2, 6].max()
    assert x[4, 1] > 1  # beyond the rarer of two
    assert torch.equal(
        plain.by_column(torch.ones(2, 7)), torch.tensor([[1.0, 1.0, 4.0, 1.0]]).expand(2, 4)
    )


def test_rows_with_a_gap_are_not_taken_for_each_other() -> None:
    x = torch.randn(50, 4)
    x[:20, 1] = torch.nan
    x[20:25] = x[20]
    counts = _times(x)
    assert (counts[:20] == 1).all()
    assert (counts[20:25] == 5).all()
    assert (counts[25:] == 1).all()
