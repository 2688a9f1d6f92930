"""Noise that depends on its datum only: the same in any batch, and over many data as good as
drawn.
"""

import torch

from vaekit.core.random import own_noise

X = torch.randn(4000, 3, generator=torch.Generator().manual_seed(1))


def test_a_datum_has_the_same_noise_in_any_company() -> None:
    noise = own_noise(X, 5, (2,))
    assert noise.shape == (5, 4000, 2)
    order = torch.randperm(4000)
    assert torch.equal(own_noise(X[order], 5, (2,)), noise[:, order])
    assert torch.equal(own_noise(X[7:8], 5, (2,)), noise[:, 7:8])


def test_equal_data_have_equal_noise_however_zero_and_missing_are_written() -> None:
    x = torch.tensor([[0.0, float("nan"), 1.0], [-0.0, -float("nan"), 1.0]])
    noise = own_noise(x, 3, (2,))
    assert torch.equal(noise[:, 0], noise[:, 1])


def test_over_data_it_is_standard_normal_and_spread_over_all_sets() -> None:
    noise = own_noise(X, 16, (4,))
    assert abs(float(noise.mean())) < 0.02
    assert abs(float(noise.std()) - 1) < 0.02
    places = own_noise(X, 1, (1,)).flatten()
    counts = places.unique(return_counts=True)[1]
    assert len(counts) == 256
    assert int(counts.max()) < 60  # 16 on average


def test_classes_and_small_steps_have_noise_of_their_own() -> None:
    grid = torch.cartesian_prod(torch.arange(8.0), torch.arange(8.0), torch.arange(2.0))
    assert len(own_noise(grid, 1, (1,)).flatten().unique()) > 70  # of 128 data and 256 sets
