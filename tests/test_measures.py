"""Measures of samples and of codes, each on cases whose answer is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from vaekit.measures.bounds import reconstruction_spread
from vaekit.measures.classifier import Judge, train_judge, which_way_up
from vaekit.measures.disentanglement import dci, disentanglement, factorvae_score, mig, sap
from vaekit.measures.feature_distances import (
    fidelity,
    frechet,
    frechet_of_gaussians,
    kernel_distance,
    prdc,
)
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE


def normals(n: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


# Fréchet distance


def test_frechet_distance_of_gaussians_that_commute_is_that_of_their_spreads() -> None:
    """With covariances diag(s^2) and diag(t^2): |m - n|^2 + sum (s - t)^2; a spread of 0 is a singular covariance."""
    m, n = torch.tensor([1.0, 2, 3]), torch.tensor([0.0, 4, 3])
    s, t = torch.tensor([1.0, 0, 2]), torch.tensor([3.0, 0, 0])
    assert frechet_of_gaussians(m, s.diag() ** 2, n, t.diag() ** 2) == pytest.approx(
        5 + 4 + 4, abs=1e-9
    )


def test_frechet_distance_of_gaussians_that_do_not_commute_is_that_of_the_formula() -> None:
    """The trace of (A B)^1/2, by the eigenvalues of A B, which are not negative."""
    a, b = (torch.cov(normals(9, 4, seed).T) for seed in (1, 2))
    shared = torch.linalg.eigvals(a @ b).real.clamp_min(0).sqrt().sum()
    expected = float(a.trace() + b.trace() - 2 * shared)
    zero = torch.zeros(4)
    assert frechet_of_gaussians(zero, a, zero, b) == pytest.approx(expected, rel=1e-9)
    assert frechet_of_gaussians(zero, b, zero, a) == pytest.approx(expected, rel=1e-9)


@given(
    st.integers(2, 12),
    st.integers(1, 8),
    st.integers(0, 99),
    st.lists(st.floats(-9, 9), min_size=8, max_size=8),
)
@settings(max_examples=40, deadline=None)
def test_a_set_is_at_frechet_distance_zero_from_itself_and_at_the_square_of_a_shift(
    n: int, width: int, seed: int, shift: list[float]
) -> None:
    a, by = normals(n, width, seed), torch.tensor(shift[:width], dtype=torch.float64)
    assert frechet(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet(a, a.flip(0) + by) == pytest.approx(float(by @ by), abs=1e-7)


# Kernel distance


def by_loops(a: Tensor, b: Tensor) -> float:
    """The unbiased squared MMD, as its definition reads."""

    def k(x: Tensor, y: Tensor) -> float:
        return float((x @ y / len(x) + 1) ** 3)

    within = [np.mean([k(x, y) for x, y in itertools.permutations(rows, 2)]) for rows in (a, b)]
    return float(sum(within) - 2 * np.mean([k(x, y) for x in a for y in b]))


def test_kernel_distance_is_its_definition() -> None:
    a, b = normals(6, 3), normals(5, 3, 1) + 1
    assert kernel_distance(a, b, subsets=1).value == pytest.approx(by_loops(a, b), rel=1e-9)


def test_kernel_distance_is_zero_in_the_mean_under_equality_and_its_error_is_honest() -> None:
    distances = [
        kernel_distance(normals(40, 4, 2 * i), normals(60, 4, 2 * i + 1)) for i in range(200)
    ]
    values, errors = (
        np.array(part) for part in zip(*((d.value, d.error) for d in distances), strict=True)
    )
    assert abs(values.mean()) < 4 * values.std() / math.sqrt(200)
    assert (values < 0).mean() > 0.2
    assert np.sqrt((errors**2).mean()) == pytest.approx(values.std(), rel=0.25)


def test_kernel_distance_sees_a_shift_and_not_the_order() -> None:
    a, b = normals(200, 4), normals(300, 4, 1)
    ordered = a[a[:, 0].argsort()]  # as data come that are stored by class
    shifted, equal = kernel_distance(ordered, b + 1), kernel_distance(ordered, b)
    assert shifted.value > 4 * shifted.error > 0
    assert abs(equal.value) < 4 * equal.error
    assert equal.error < 2 * kernel_distance(a, b).error


@given(st.integers(2, 40), st.integers(2, 40), st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_kernel_distance_takes_sets_of_any_sizes(n: int, m: int, subsets: int) -> None:
    got = kernel_distance(normals(n, 3), normals(m, 3, 1), subsets)
    assert math.isfinite(got.value)
    assert math.isfinite(got.error) == (min(subsets, n // 2, m // 2) > 1)


# Precision, recall, density, coverage


def by_brute_force(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    def reach(rows: Tensor, i: int) -> float:
        return sorted(math.dist(rows[i], other) for j, other in enumerate(rows) if j != i)[k - 1]

    in_real = [[math.dist(r, f) <= reach(real, i) for i, r in enumerate(real)] for f in fake]
    in_fake = [[math.dist(r, f) <= reach(fake, j) for j, f in enumerate(fake)] for r in real]
    precision, recall = (np.mean([any(row) for row in rows]) for rows in (in_real, in_fake))
    density = sum(map(sum, in_real)) / (k * len(fake))
    return (
        float(precision),
        float(recall),
        density,
        float(np.mean([any(c) for c in zip(*in_real, strict=True)])),
    )


@given(
    st.integers(6, 14), st.integers(6, 14), st.integers(1, 5), st.integers(0, 999), st.floats(0, 2)
)
@settings(max_examples=25, deadline=None)
def test_neighbours_are_those_of_brute_force(
    n: int, m: int, k: int, seed: int, shift: float
) -> None:
    real, fake = normals(n, 2, seed), normals(m, 2, seed + 1000) + shift
    got = prdc(real, fake, k)
    wanted = by_brute_force(real, fake, k)
    assert (got.precision, got.recall, got.density, got.coverage) == pytest.approx(wanted)


def test_the_same_set_has_everything_even_far_away_and_with_copies_in_it() -> None:
    a = (100 * normals(40, 64)).repeat_interleave(7, 0) + 1000
    got = prdc(a, a[torch.randperm(len(a), generator=torch.Generator().manual_seed(0))])
    assert (got.precision, got.recall, got.coverage) == (1, 1, 1)
    assert got.density == pytest.approx(
        7 / 5
    )  # a ball of radius 0 about each of seven copies holds all seven


def test_disjoint_sets_have_nothing() -> None:
    got = prdc(normals(50, 3), normals(60, 3, 1) + 100)
    assert (got.precision, got.recall, got.density, got.coverage) == (0, 0, 0, 0)


def test_half_of_the_clusters_gives_precision_without_recall_and_the_other_way_round() -> None:
    """Far clusters of equal size: the real are two of them, the fakes are spread over one of those."""
    one, other = normals(100, 2), normals(100, 2, 1) + 50
    both = torch.cat((one, other))
    same = normals(100, 2, 2)
    dropped, invented = prdc(both, same), prdc(same, both)
    assert dropped.precision > 0.9
    assert 0.4 < dropped.recall <= 0.5
    assert 0.4 < dropped.coverage <= 0.5
    assert 0.45 < invented.precision <= 0.5
    assert invented.recall > 0.9


def test_one_far_outlier_deceives_precision_but_not_density() -> None:
    """An outlier's ball reaches back to the data and holds whatever lies between. Naeem et al. 2020, figure 2."""
    real = torch.cat((normals(100, 2), torch.tensor([[100.0, 100.0]])))
    fake = normals(100, 2, 1) + 30
    got = prdc(real, fake)
    assert got.precision == 1
    assert got.density <= 0.2 + 1e-9
    assert got.coverage < 0.02


def test_fidelity_gathers_the_measures() -> None:
    a, b = normals(60, 3), normals(50, 3, 1) + 1
    got = fidelity(a.numpy(), b.float(), k=3, seed=7)
    assert got.frechet == pytest.approx(frechet(a, b), rel=1e-5)
    assert got.kernel.value == pytest.approx(kernel_distance(a, b, seed=7).value, rel=1e-5)
    assert got.neighbours == prdc(a, b.float(), k=3)
    assert (got.n_real, got.n_fake) == (60, 50)


def test_fidelity_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match="the same number of columns"):
        frechet(normals(5, 3), normals(5, 2))
    with pytest.raises(ValueError, match="finite"):
        frechet(normals(5, 3), normals(5, 3) / 0)
    with pytest.raises(ValueError, match="more than 5"):
        prdc(normals(5, 3), normals(50, 3))


# Disentanglement

SIZES = (3, 4, 5)


def grid(copies: int = 20) -> np.ndarray:
    return np.array(list(itertools.product(*map(range, SIZES))) * copies)


def toy(kind: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Codes of five dimensions and their three factors: each in its own dimension, or turned, or told by none."""
    v, rng = grid(), np.random.default_rng(seed)
    own = v / (np.array(SIZES) - 1) - 0.5
    turn = np.eye(3) - 2 / 3  # every factor in two dimensions alike, and some in the third
    told = {"perfect": own, "rotated": own @ turn, "noise": rng.normal(size=own.shape)}[kind]
    idle = 0.02 * rng.normal(size=(len(v), 2))
    return np.concatenate((idle[:, :1], told, idle[:, 1:]), axis=1), v


TOP_OF_SAP = 1 - sum(1 / size for size in SIZES) / len(SIZES)
"""The second dimension still guesses one value in so many."""


def test_mig_by_hand() -> None:
    """Bits v_1, v_2; z_1 is v_1, z_2 is v_1 in three cases of four, z_3 is v_2: gaps of h(1/4) bits and of one bit."""
    v1, v2, u = np.array(list(itertools.product((0, 1), (0, 1), range(4)))).T
    z = np.stack((v1, v1 ^ (u == 0), v2), axis=1)
    assert mig(z, np.stack((v1, v2), axis=1)) == pytest.approx((0.8112781245 + 1) / 2)


def test_a_factor_in_a_dimension_of_its_own_scores_the_most() -> None:
    got = disentanglement(*toy("perfect"))
    assert got.mig > 0.97
    assert got.sap == pytest.approx(TOP_OF_SAP, abs=0.05)
    assert got.factorvae == 1
    assert min(got.dci.disentanglement, got.dci.completeness) > 0.99
    assert got.dci.informativeness == 1


def test_a_rotation_tells_as_much_but_scores_low() -> None:
    got = disentanglement(*toy("rotated"))
    assert got.mig < 0.5
    assert got.sap < 0.5 * TOP_OF_SAP
    assert got.factorvae < 1
    assert max(got.dci.disentanglement, got.dci.completeness) < 0.7
    assert got.dci.informativeness > 0.9


def test_noise_scores_nothing() -> None:
    got = disentanglement(*toy("noise"))
    assert got.mig < 0.03
    assert got.sap < 0.06
    assert got.factorvae < 1 / 3 + 0.1
    assert max(got.dci.disentanglement, got.dci.completeness) < 0.1
    assert got.dci.informativeness < 1 / 3


def test_a_factor_told_twice_is_disentangled_but_not_complete() -> None:
    """What tells completeness, MIG and SAP from disentanglement."""
    z, v = toy("perfect")
    twice = np.concatenate(
        (z, z[:, 1:4] + 1e-9 * np.random.default_rng(1).normal(size=v.shape)), axis=1
    )
    got = disentanglement(twice, v)
    assert got.mig < 0.01
    assert got.sap < 0.01
    assert got.factorvae == 1
    assert got.dci.disentanglement > 0.99
    assert got.dci.completeness == pytest.approx(1 - math.log(2) / math.log(8), abs=0.03)


def test_two_factors_in_one_dimension_are_complete_but_not_disentangled() -> None:
    v = grid()[:, :2]
    z = np.stack((v[:, 0] * 4 + v[:, 1], np.random.default_rng(0).normal(size=len(v))), axis=1) / 4
    got = dci(z, v)
    assert got.completeness > 0.95
    assert got.disentanglement < 0.05
    assert got.informativeness == 1


@given(
    st.permutations(range(5)), st.lists(st.sampled_from((-3.0, 0.5, 1.0)), min_size=5, max_size=5)
)
@settings(max_examples=5, deadline=None)
def test_order_and_sign_and_scale_of_the_dimensions_do_not_matter(
    order: list[int], scales: list[float]
) -> None:
    z, v = toy("rotated")
    moved = z[:, order] * scales
    assert mig(moved, v) == pytest.approx(mig(z, v), abs=0.02)
    assert sap(moved, v) == pytest.approx(sap(z, v), abs=0.02)
    chosen = {"collapsed": 0.001, "votes": 1000}
    assert factorvae_score(moved, v, **chosen) == pytest.approx(
        factorvae_score(z, v, **chosen), abs=0.02
    )


def test_collapsed_dimensions_have_no_vote() -> None:
    z, v = toy("perfect")
    still = z * [1e-3, 1, 1, 1, 1e-3]
    still[:, 0] += 1e-9 * v[:, 0]
    assert factorvae_score(still, v) == 1
    assert factorvae_score(0.01 * z, v) == 0


def test_a_factor_that_never_varies_and_names_of_values_do_not_matter() -> None:
    z, v = toy("rotated")
    renamed = np.concatenate((v * 7 - 3, np.full((len(v), 1), 4)), axis=1)
    assert disentanglement(z, renamed) == disentanglement(torch.tensor(z), torch.tensor(v))


def test_one_dimension_and_one_factor_are_enough() -> None:
    v = grid()[:, :1]
    got = disentanglement(v - 1.0, v)
    assert (got.mig, got.sap, got.factorvae) == (pytest.approx(1), 1, 1)
    assert (got.dci.disentanglement, got.dci.completeness, got.dci.informativeness) == (1, 1, 1)


def test_disentanglement_says_what_it_wants() -> None:
    with pytest.raises(ValueError, match=r"codes \(N, Z\) and factors \(N, F\)"):
        mig(np.zeros((5, 2)), np.zeros(5))
    with pytest.raises(ValueError, match="no factor varies"):
        mig(np.zeros((5, 2)), np.zeros((5, 1)))
    with pytest.raises(ValueError, match="finite"):
        mig(np.full((5, 2), math.nan), np.arange(5)[:, None])
    with pytest.raises(ValueError, match="all data have different values"):
        factorvae_score(np.arange(5)[:, None], np.arange(5)[:, None])


# Judge


def bars(n: int, seed: int, height: int = 16, width: int = 12) -> tuple[Tensor, Tensor]:
    """Noisy grey pictures with a bright bar that lies (0) or stands (1) somewhere."""
    rng = np.random.default_rng(seed)
    x, y = rng.integers(0, 80, (n, 1, height, width)).astype(np.uint8), rng.integers(0, 2, n)
    for picture, label in zip(x[:, 0], y, strict=True):
        down, right = rng.integers(2, height - 6), rng.integers(2, width - 6)
        picture[down : down + (5 if label else 2), right : right + (2 if label else 5)] = 200
    return torch.from_numpy(x), torch.from_numpy(y)


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(*bars(600, 0), classes=2, steps=60, batch=64)


def test_a_judge_learns_what_it_is_told(judge: Judge) -> None:
    assert judge.accuracy(*bars(300, 1)) > 0.95


def test_the_features_of_a_judge_know_more_noise_from_less(judge: Judge) -> None:
    real, other = (bars(300, seed)[0].float() / 255 for seed in (2, 3))
    noise = torch.rand(real.shape, generator=torch.Generator().manual_seed(0)) - 0.5
    distances = [
        frechet(judge.features(real), judge.features((other + size * noise).clamp(0, 1)))
        for size in (0, 0.5, 1, 2)
    ]
    assert distances == sorted(distances)
    assert distances[2] > 2 * distances[0]


def test_a_judge_says_the_same_of_a_picture_alone_and_of_both_kinds_of_pixels(judge: Judge) -> None:
    x, _ = bars(5, 4)
    judge.train()  # asking sets it to rights
    features = judge.features(x)
    assert features.shape == (5, 64)
    torch.testing.assert_close(judge.features(x[3:4]), features[3:4], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(judge.features(x.double() / 255), features, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(judge.classify(x).sum(1), torch.ones(5))


def test_a_judge_comes_back_from_its_state(judge: Judge) -> None:
    x, _ = bars(5, 5)
    assert torch.equal(Judge.from_state(*judge.state()).classify(x), judge.classify(x))


def test_a_judge_is_the_same_from_the_same_seed_and_touches_no_other_randomness() -> None:
    x, y = bars(40, 0)
    told: list[tuple[int, int]] = []
    before = torch.get_rng_state()
    one, same, other = (
        train_judge(
            x, y, 2, seed=seed, steps=3, batch=16, progress=lambda *at: told.append(at)
        ).features(x)
        for seed in (0, 0, 1)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(before, torch.get_rng_state())
    assert told == [(1, 3), (2, 3), (3, 3)] * 3


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 128), (2, 50, 64), (3, 128, 100)])
def test_a_judge_looks_at_pictures_of_any_size(shape: tuple[int, int, int]) -> None:
    x = torch.rand(3, *shape)
    judge = train_judge(x, torch.arange(3), 3, steps=1, batch=2)
    assert judge.features(x).shape == (3, 64)
    assert torch.isfinite(judge.classify(x)).all()


def test_pictures_without_labels_are_labelled_by_their_turn() -> None:
    x, square = bars(50, 0)[0], bars(50, 0, 16, 16)[0]
    turned, y = which_way_up(square)
    assert set(y.tolist()) == {0, 1, 2, 3}
    for picture, quarters, before in zip(turned, y, square, strict=True):
        assert torch.equal(picture.rot90(-int(quarters), (1, 2)), before)
    turned, y = which_way_up(x)
    assert set(y.tolist()) == {0, 1}
    assert torch.equal(turned[y == 1], x[y == 1].flip(2, 3))


def test_a_judge_says_what_it_wants(judge: Judge) -> None:
    x, y = bars(5, 0)
    with pytest.raises(ValueError, match="pictures of shape"):
        judge.features(x[:, :, 1:])
    with pytest.raises(ValueError, match=r"labels \(N,\)"):
        train_judge(x, y[:3], 2)
    with pytest.raises(ValueError, match=r"0\.\.1, got 0\.\.2"):
        train_judge(x, torch.tensor([0, 1, 2, 0, 1]), 2)


def test_every_bin_of_mig_counts() -> None:
    """A factor that only one of the twenty bins tells is told in full, whichever it is; a constant tells nothing."""
    z = np.stack((np.repeat(np.arange(20.0), 10), np.zeros(200)), axis=1)
    for told in range(20):
        assert mig(z, (z[:, :1] == told).astype(int)) == pytest.approx(1)


# Spread of reconstructions


class Scaled(nn.Module):
    """A part that returns a normal about `scale` times what it is given."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, value: Tensor, context: Tensor | None = None) -> Independent:
        return Independent(Normal(value * self.scale, torch.ones(())), 1)


def test_reconstructions_that_are_fainter_by_a_factor_have_a_spread_of_its_square() -> None:
    """Values by which no data differ do not count, nor do missing ones; more than all is all."""
    x = torch.randn(40, 5)
    x[:, 3] = 2.0
    x[::7, 4] = torch.nan
    faint = torch.tensor([1.0, 0.5, 0.0, 1.0, 3.0])
    model = VAE(Scaled(torch.ones(())), StandardNormal(5), Scaled(faint))
    batches = [(part, None) for part in x.split(8)]
    expected = (1.0 + 0.25 + 0.0 + 1.0) / 4
    assert reconstruction_spread(model, batches) == pytest.approx(expected, rel=1e-5)
    assert math.isnan(reconstruction_spread(model, [(torch.ones(4, 5), None)]))
