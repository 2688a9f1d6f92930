"""Codebooks, compared with an independent implementation and with known results."""

from __future__ import annotations

import copy
import math
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor

from discrete import EACH, GRID, book, features
from vaekit.models.codes.codebooks import (
    Codebook,
    ScalarCodebook,
    k_means,
    nearest,
)


@EACH
def test_codes_and_features_undo_each_other(name: str) -> None:
    codebook, x = book(name), features()
    found = codebook(x)
    assert found.z.shape == x.shape
    assert found.indices.shape == (6, 6 * codebook.depth)
    assert found.indices.max() < codebook.size
    torch.testing.assert_close(codebook.lookup(found.indices, GRID), found.z)
    assert torch.equal(codebook.indices(found.z), found.indices)


@EACH
def test_a_code_found_anew_is_the_code_drawn_by_lot(name: str) -> None:
    codebook = book(name)
    indices = torch.randint(codebook.size, (40, 6 * codebook.depth))
    assert torch.equal(codebook.indices(codebook.lookup(indices, GRID)), indices)


@EACH
@pytest.mark.parametrize("grid", [(), (5,), (2, 3, 2)])
def test_any_grid_will_do(name: str, grid: tuple[int, ...]) -> None:
    codebook, x = book(name), torch.randn(3, 4, *grid)
    found = codebook(x)
    assert found.indices.shape == (3, math.prod(grid) * codebook.depth)
    torch.testing.assert_close(codebook.lookup(found.indices, grid), found.z)


def test_the_nearest_code_is_the_nearest() -> None:
    points, codes = 100 + torch.randn(500, 6), 100 + torch.randn(40, 6)
    assert torch.equal(
        nearest(points, codes), torch.cdist(points.double(), codes.double()).argmin(1)
    )


@EACH
def test_the_gradient_at_the_features_is_the_decoders(name: str) -> None:
    """The gradient goes straight through, and the value is exactly the code's.

    A rounded channel has the slope of the squashing.
    """
    codebook, x = book(name), (1000 * features()).requires_grad_(name != "scalar")
    x = features().requires_grad_() if name == "scalar" else x
    found = codebook(x)
    assert torch.equal(found.z, codebook.lookup(found.indices, GRID)) or name == "residual"
    weight = torch.randn_like(found.z)
    (found.z * weight).sum().backward()
    slope = torch.ones_like(x)
    if isinstance(codebook, ScalarCodebook):
        half = codebook.levels[:, None, None] // 2
        at = x.detach().flatten(2).requires_grad_()
        (slope,) = torch.autograd.grad(codebook._squashed(at).sum(), at)
        slope = slope.view_as(x) / half
    torch.testing.assert_close(x.grad, weight * slope)
    assert all(p.grad is None for p in codebook.parameters())


def test_commitment_teaches_the_features_and_codebook_cost_the_codes() -> None:
    codebook, x = book("learned"), features().requires_grad_()
    found = codebook(x)
    codes = codebook.get_parameter("codes")
    assert (
        torch.autograd.grad(
            found.commitment.sum(), [x, codes], allow_unused=True, retain_graph=True
        )[1]
        is None
    )
    (toward,) = torch.autograd.grad(found.commitment.sum(), x, retain_graph=True)
    torch.testing.assert_close(toward, 2 * (x - found.z).detach())
    assert (
        torch.autograd.grad(found.codebook_cost.sum(), x, allow_unused=True, retain_graph=True)[0]
        is None
    )
    assert torch.autograd.grad(found.codebook_cost.sum(), codes)[0].abs().max() > 0
    torch.testing.assert_close(found.commitment, (x - found.z).square().sum((1, 2, 3)))
    torch.testing.assert_close(found.commitment, found.codebook_cost)


@pytest.mark.parametrize("name", ["moving", "residual", "scalar"])
def test_codes_that_learn_otherwise_have_no_codebook_cost(name: str) -> None:
    found = book(name)(features())
    assert torch.equal(found.codebook_cost, torch.zeros(6))
    assert (found.commitment > 0).all() == (name != "scalar")


def test_moving_averages_are_those_of_another_implementation() -> None:
    """Ten updates of vector-quantize-pytorch, from the same codes with the same weight."""
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle = oracle_module.VectorQuantize(4, 7, decay=0.9, threshold_ema_dead_code=0).train()
    ours = Codebook(7, 4, decay=0.9, revive=0.0).train()
    rows = 6 * 30
    with torch.no_grad():
        state = oracle._codebook
        ours._reset(state.embed[0])
        ours.usage.fill_(1 / 7)
        ours.sums.copy_(ours.codes / 7)
        state.cluster_size.fill_(rows / 7)
        state.embed_avg.copy_(state.embed * rows / 7)
    for _ in range(10):
        x = features(30)
        theirs, indices, _ = oracle(x.flatten(2).transpose(1, 2))
        found = ours(x)
        assert torch.equal(found.indices, indices)
        torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), theirs, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(ours.codes, state.embed[0], rtol=1e-4, atol=1e-5)


def test_residual_codes_are_those_of_another_implementation() -> None:
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle = oracle_module.ResidualVQ(dim=4, codebook_size=5, num_quantizers=2).eval()
    ours, x = book("residual"), features(30)
    with torch.no_grad():
        for level, theirs in zip(ours.levels, oracle.layers, strict=True):  # type: ignore[arg-type]
            theirs._codebook.embed.copy_(level.codes[None])
        quantised, indices, _ = oracle(x.flatten(2).transpose(1, 2), return_all_codes=False)
    found = ours(x)
    assert torch.equal(found.indices, indices.flatten(1))
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), quantised, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("levels", [[8, 5, 5, 5], [3, 3, 4], [7, 6]])
def test_rounded_codes_are_those_of_another_implementation(levels: list[int]) -> None:
    oracle_module = pytest.importorskip("vector_quantize_pytorch")
    oracle, ours = oracle_module.FSQ(levels), ScalarCodebook(levels)
    x = 3 * torch.randn(50, len(levels), *GRID)
    theirs, indices = oracle(x.flatten(2).transpose(1, 2))
    found = ours(x)
    assert torch.equal(found.indices, indices.long())
    torch.testing.assert_close(found.z.flatten(2).transpose(1, 2), theirs)
    assert ours.size == math.prod(levels)


def test_every_rounded_code_can_be_reached() -> None:
    codebook = ScalarCodebook([4, 3, 3])
    everything = torch.cartesian_prod(*[torch.linspace(-9, 9, 60)] * 3)
    found = codebook(everything)
    assert len(found.indices.unique()) == codebook.size == 36
    assert torch.equal(ScalarCodebook([5, 4])(torch.zeros(1, 2)).z, torch.zeros(1, 2))


def test_levels_out_of_range_are_refused() -> None:
    for levels in ([], [2, 5], [300]):
        with pytest.raises(ValueError, match="levels must be"):
            ScalarCodebook(levels)


@EACH
def test_features_of_the_wrong_width_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="features of 4 channels, got 3"):
        book(name)(torch.randn(2, 3, *GRID))


def dead_and_alive() -> tuple[Codebook, Tensor]:
    """Code 2 of 3 is far from all data; the others are in use."""
    codebook = Codebook(3, 2, decay=0.9, revive=0.5).train()
    codebook._reset(torch.tensor([[0.0, 0.0], [5.0, 5.0], [99.0, 99.0]]))
    codebook.usage[2], codebook.sums[2] = 0.1, torch.tensor([9.9, 9.9])
    return codebook, torch.cat((0.3 * torch.randn(50, 2), 5 + 0.3 * torch.randn(50, 2)))


def test_a_dead_code_is_put_on_a_feature_and_the_update_leaves_it_there() -> None:
    codebook, x = dead_and_alive()
    found = codebook(x)
    assert not (found.indices == 2).any()
    assert (codebook.codes[2] == x).all(1).any()
    assert codebook.usage[2] == pytest.approx(2 * 0.5 / 3)
    before = codebook.codes[2].clone()
    codebook(
        x[(x - before).square().sum(1).topk(10).indices]
    )  # this batch does not use the code, so it stays
    torch.testing.assert_close(codebook.codes[2], before, rtol=1e-3, atol=1e-3)
    codebook(x)
    assert (codebook(x).indices == 2).any()


def test_a_code_in_use_is_left_alone_by_revival() -> None:
    codebook, x = dead_and_alive()
    never = copy.deepcopy(codebook)
    never.revive = 0.0
    codebook(x), never(x)
    assert torch.equal(codebook.codes[:2], never.codes[:2])
    assert not torch.equal(codebook.codes[2], never.codes[2])


def test_revival_prefers_features_that_are_badly_served() -> None:
    codebook = Codebook(2, 1, revive=0.5).train()
    codebook._reset(torch.tensor([[0.0], [99.0]]))
    codebook.usage[1] = 0.0
    codebook(torch.cat((0.01 * torch.randn(1000, 1), torch.tensor([[3.0]]))))
    assert codebook.codes[1].item() == pytest.approx(3.0)


def test_without_a_start_the_first_batch_gives_the_codes() -> None:
    codebook, x = Codebook(16, 4).train(), 30 + features(100)
    codebook(x)
    rows = x.flatten(2).transpose(1, 2).reshape(-1, 4)
    gaps = torch.cdist(codebook.codes, rows).min(1).values  # a mean of features, or a feature
    assert gaps.max() < 2
    assert (gaps < 1e-2).sum() >= 8


def test_the_codes_do_not_depend_on_how_often_the_batch_is_repeated() -> None:
    codebook, x = book("moving").train(), features(20)
    codebook.revive = 0.0  # type: ignore[assignment]
    other = copy.deepcopy(codebook)
    codebook(x), other(x.repeat(3, 1, 1, 1))
    torch.testing.assert_close(codebook.codes, other.codes)


def test_evaluation_moves_no_code() -> None:
    codebook = book("moving")
    before = copy.deepcopy(codebook.state_dict())
    codebook(features())
    assert all(torch.equal(before[name], value) for name, value in codebook.state_dict().items())


def test_k_means_finds_clusters_far_apart() -> None:
    centres = 10 * torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0))
    points = (centres[:, None] + 0.1 * torch.randn(16, 100, 2)).flatten(0, 1)
    points = torch.cat((points, 0.1 * torch.randn(3000, 2)))  # most of them in one place
    found = k_means(points, 32)
    assert torch.cdist(centres, found).min(1).values.max() < 0.5


def test_fewer_features_than_codes_will_do() -> None:
    codebook = Codebook(10, 2)
    codebook.fit(torch.randn(3, 2))
    assert torch.isfinite(codebook.codes).all()
    assert torch.isfinite(codebook.train()(torch.randn(1, 2)).z).all()


def _one_of_two(rank: int, x: Tensor, codes: Tensor, store: str) -> None:
    torch.distributed.init_process_group("gloo", f"file://{store}", rank=rank, world_size=2)
    torch.manual_seed(rank)
    codebook = Codebook(len(codes), 4).train()
    codebook._reset(codes)
    codebook.usage[0] = 0.0
    codebook(x[rank::2])
    torch.save(codebook.state_dict(), f"{store}.{rank}")
    torch.distributed.destroy_process_group()


def test_two_processes_agree_and_count_both_halves(tmp_path: Path) -> None:
    """Their codes are equal, including dead ones.

    Those in use equal the codes of one process with all data.
    """
    x, codes = (
        features(20),
        torch.cat((torch.full((1, 4), 50.0), book("moving").get_buffer("codes"))),
    )
    store = str(tmp_path / "store")
    mp.start_processes(_one_of_two, (x, codes, store), nprocs=2, start_method="fork")
    first, second = (torch.load(f"{store}.{rank}", weights_only=True) for rank in (0, 1))
    alone = Codebook(8, 4).train()
    alone._reset(codes)
    alone.usage[0] = 0.0
    alone(x)
    for name, value in alone.state_dict().items():
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name][1:], value[1:])
    assert not torch.equal(first["codes"][0], codes[0])


@EACH
def test_lower_precision_around_it_changes_no_code(name: str) -> None:
    codebook, x = book(name), features(50)
    with torch.autocast("cpu", torch.bfloat16):
        inside = codebook(x)
    assert torch.equal(inside.indices, codebook(x).indices)
    assert inside.z.dtype == torch.float32
