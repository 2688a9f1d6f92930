"""The loop: every datum once per epoch, complete schedules, and steps that cannot break a model."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from vaekit.core.objectives import Constant, Cyclical, LinearWarmup
from vaekit.errors import VaekitError
from vaekit.training.loop import EVERY, Average, Feed, Position, Schedule, fit
from vaekit.training.optimisers import OPTIMISERS, Soap, adamw
from vaekit.training.step import LONGEST_BAD_STREAK, Guard, StepByStep


def feed(
    size: int, batch: int, rank: int = 0, world: int = 1, seed: int = 0, ahead: int = 0
) -> Feed:
    return Feed(lambda i: (i, None), lambda raw: raw, size, batch, seed, rank, world, ahead)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 70),
    st.integers(1, 4),
    st.integers(0, 5),
    st.sampled_from([0, 2]),
)
def test_every_datum_once_an_epoch(
    size: int, batch: int, world: int, epoch: int, ahead: int
) -> None:
    """Over all processes each index comes once.

    Processes without a part of a batch get a replacement of weight 0.
    """
    parts = [
        list(feed(size, batch, rank, world, ahead=ahead).epoch(epoch)) for rank in range(world)
    ]
    seen = [i for part in parts for x, _, share in part if share > 0 for i in x.tolist()]
    assert sorted(seen) == list(range(size))
    for step in zip(
        *parts, strict=True
    ):  # the mean over processes of share * local mean is the global mean
        everyone = [i for x, _, share in step if share > 0 for i in x.tolist()]
        weighed = sum(share * x.double().mean() for x, _, share in step) / world
        assert weighed.item() == pytest.approx(sum(everyone) / len(everyone))


def test_epochs_differ_repeat_and_resume() -> None:
    one = feed(50, 8)
    first = [x for x, _, _ in one.epoch(0)]
    assert all(
        torch.equal(a, b) for a, b in zip(first, [x for x, _, _ in one.epoch(0)], strict=True)
    )
    assert not torch.equal(first[0], next(one.epoch(1))[0])
    rest = [x for x, _, _ in one.epoch(0, start=3)]
    assert all(torch.equal(a, b) for a, b in zip(first[3:], rest, strict=True))


def test_an_error_while_fetching_ahead_is_raised() -> None:
    def take(index: torch.Tensor) -> tuple[torch.Tensor, None]:
        raise VaekitError("the disk is gone")

    broken = Feed(take, lambda raw: raw, 10, 2, 0, ahead=2)
    with pytest.raises(VaekitError, match="the disk is gone"):
        list(broken.epoch(0))


@given(st.integers(1, 5000), st.floats(0, 1), st.floats(0, 1))
def test_learning_rate_stays_within_its_bounds(steps: int, warmup: float, floor: float) -> None:
    plan = Schedule(steps, 0.01, warmup, floor)
    rates = [plan.rate(s) for s in {0, steps // 3, steps // 2, steps - 1, steps}]
    assert all(0 <= r <= 0.01 + 1e-12 for r in rates)
    if max(1, round(steps * warmup)) < steps:
        assert plan.rate(steps) == pytest.approx(0.01 * floor)


@given(st.floats(0, 1), st.floats(0.01, 10), st.integers(1, 9), st.floats(0.05, 1))
def test_schedules_reach_their_weight(
    fraction: float, weight: float, cycles: int, rise: float
) -> None:
    for schedule in (
        Constant(weight),
        LinearWarmup(weight, fraction),
        Cyclical(weight, cycles, rise),
    ):
        assert schedule(1.0) == weight
        assert all(0 <= schedule(p / 50) <= weight for p in range(51))
    assert LinearWarmup(weight, 0.5)(0.25) == pytest.approx(weight / 2)
    assert Cyclical(weight, 2, 0.5)(0.5) == pytest.approx(0)


class Quadratic(nn.Module):
    """Loss |w - mean of the batch|^2, which is NaN if the batch contains a 7."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, 2))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x, context, weights):  # type: ignore[no-untyped-def]
        loss = (self.weight - x.float().mean()).square().sum() * torch.where(
            (x == 7).any(), torch.nan, 1.0
        )
        return loss * weights[0], loss.detach()[None]


def train(
    steps: int, data: Feed, lr: float = 0.1, clip: float = 10.0
) -> tuple[Quadratic, Guard, Position, list]:
    model = Quadratic()
    guard, progress = Guard(model.parameters(), clip, torch.device("cpu")), Position()
    average = Average(copy.deepcopy(model), model, 0.5)
    plan = Schedule(steps, lr, clip=clip)
    advance = StepByStep(model, adamw(model, 0.0), guard)
    costs = list(fit(advance, data, plan, lambda p: [1.0], progress, average))
    return model, guard, progress, costs


def test_fit_takes_the_steps_it_was_given_and_learns() -> None:
    model, guard, progress, costs = train(200, feed(6, 4))
    assert progress.step == len(costs) == 200
    assert (progress.epoch, progress.batch) == (100, 0)
    assert guard.bad == 0
    assert model.weight.detach().mean().item() == pytest.approx(2.5, abs=0.5)


def test_a_non_finite_step_changes_nothing_and_is_counted() -> None:
    model, guard, _, _ = train(64, feed(8, 1))  # datum 7 comes once in 8 steps
    assert guard.bad == 8
    assert torch.isfinite(model.weight).all()
    optimiser, before = adamw(model, 0.1), model.weight.detach().clone()
    model.weight.grad = torch.full_like(model.weight, math.inf)
    guard.inspect(optimiser)
    optimiser.step()
    assert torch.equal(model.weight, before)
    assert all(float(state["step"]) == 0 for state in optimiser.state.values())


def test_lasting_trouble_ends_the_run() -> None:
    everywhere = Feed(lambda i: (torch.full_like(i, 7), None), lambda raw: raw, 8, 4, 0)
    _, guard, _, _ = train(LONGEST_BAD_STREAK, everywhere)
    with pytest.raises(VaekitError, match="has not been finite"):
        guard.check()


def test_an_outlying_gradient_is_shortened_to_a_multiple_of_the_mean_length() -> None:
    weight = nn.Parameter(torch.zeros(3))
    guard = Guard([weight], 2.0, torch.device("cpu"))
    optimiser = torch.optim.AdamW([weight], lr=0.0, fused=True)
    for _ in range(100):
        weight.grad = torch.tensor([3.0, 4.0, 0.0])
        guard.inspect(optimiser)
    assert guard.length.item() == pytest.approx(5.0)
    weight.grad = torch.tensor([300.0, 400.0, 0.0])
    guard.inspect(optimiser)
    assert optimiser.grad_scale.item() == pytest.approx(50.0)  # 500 down to 2 x 5
    optimiser.step()
    moment = optimiser.state[weight]["exp_avg"]
    torch.testing.assert_close(moment, 0.1 * torch.tensor([6.0, 8.0, 0.0]), rtol=1e-4, atol=1e-6)


def test_average_follows_the_weights_and_copies_the_buffers() -> None:
    model = Quadratic()
    average = Average(copy.deepcopy(model), model, 0.9)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.seen.fill_(5.0)
    average.update(10_001)  # not this time
    assert average.model.weight.mean().item() == 0
    average.update(10_000)
    assert average.model.weight.mean().item() == pytest.approx(1 - 0.9**EVERY)
    assert average.model.seen.item() == 5.0
    early = Average(copy.deepcopy(model).requires_grad_(True), model, 0.999)
    with torch.no_grad():
        early.model.weight.zero_()
    early.update(104)  # as far as eight steps with decay 105 / 114 go
    assert early.model.weight.mean().item() == pytest.approx(1 - (105 / 114) ** EVERY)
    plain = Average(copy.deepcopy(model), model, 0.0)
    plain.update(0)
    assert torch.equal(plain.model.weight, model.weight)


def test_weight_decay_spares_vectors() -> None:
    groups = adamw(nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)), 0.3).param_groups
    decay = {tuple(p.shape): g["weight_decay"] for g in groups for p in g["params"]}
    assert decay == {(3, 3): 0.3, (3,): 0.0}


def ill_conditioned(name: str, steps: int) -> float:
    """The loss |A w - b|^2 after `steps` steps, with condition number 1e4 and rotated axes."""
    torch.manual_seed(3)
    layer, turn = nn.Linear(12, 8, bias=False), torch.linalg.qr(torch.randn(12, 12))[0]
    x = torch.randn(400, 12) * torch.logspace(0, -2, 12) @ turn
    y = x @ torch.randn(12, 8)
    optimiser = OPTIMISERS[name](layer, 0.0, torch.float32)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 0.03 * (1 - step / steps)
        loss = (layer(x) - y).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (layer(x) - y).square().mean().item()


def test_soap_sees_through_a_rotation_that_adam_does_not() -> None:
    assert ill_conditioned("soap", 300) < 0.3 * ill_conditioned("adamw", 300)


def test_soap_skips_a_non_finite_step_and_scales_gradients() -> None:
    weight = nn.Parameter(torch.ones(3, 2))
    optimiser = Soap([weight], lr=0.1, settle=1)
    weight.grad = torch.full((3, 2), math.nan)
    optimiser.found_inf = torch.tensor(1.0)
    optimiser.step()
    assert torch.equal(weight, torch.ones(3, 2))
    assert not optimiser.state[weight]
    optimiser.found_inf = torch.tensor(0.0)
    weight.grad, optimiser.grad_scale = torch.full((3, 2), 8.0), torch.tensor(4.0)
    optimiser.step()
    torch.testing.assert_close(
        optimiser.state[weight]["L"], torch.full((3, 3), 8.0)
    )  # (8 / 4)^2 over 2 columns


def test_soap_bases_are_orthogonal_and_kernels_keep_their_shape() -> None:
    kernel = nn.Parameter(torch.randn(6, 3, 2, 2))
    optimiser = Soap([kernel], lr=0.01, settle=2, refresh=3, measure=1)
    for _ in range(12):
        kernel.grad = torch.randn_like(kernel)
        optimiser.step()
    state = optimiser.state[kernel]
    for side, size in (("QL", 6), ("QR", 12)):
        torch.testing.assert_close(state[side] @ state[side].T, torch.eye(size), rtol=0, atol=1e-4)
    assert kernel.shape == (6, 3, 2, 2)


def test_fit_weighs_schedules_shares_and_averages_as_by_hand() -> None:
    """Gradient descent on w b: all weights, rates and averages follow from the definitions."""

    class Linear(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(()))

        def forward(self, x, context, weights):  # type: ignore[no-untyped-def]
            return self.w * weights[0] + 2 * self.w * weights[1], torch.zeros(2)

    model, plan = Linear(), Schedule(4, 0.1, warmup=0.5, floor=0.5, clip=1e9)
    average, guard = (
        Average(copy.deepcopy(model), model, 0.9),
        Guard(model.parameters(), 1e9, torch.device("cpu")),
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=1.0, fused=True)
    halves = Feed(
        lambda i: (i, None), lambda raw: raw, 3, 3, 0, rank=0, world=2
    )  # two of three data: share 4 / 3
    w, mean = 1.0, 1.0
    run = fit(
        StepByStep(model, optimiser, guard), halves, plan, lambda p: [1.0, p], Position(), average
    )
    for step, _ in enumerate(run):
        w -= plan.rate(step) * (1 + 2 * step / 4) * 4 / 3
        mean += (w - mean) * (1 - min(0.9, (1 + step) / (10 + step)))
        assert model.w.item() == pytest.approx(w, rel=1e-5)
        assert average.model.w.item() == pytest.approx(mean, rel=1e-5)
    assert [plan.rate(s) for s in (0, 1, 2)] == pytest.approx([0.05, 0.1, 0.1])


def test_a_good_step_ends_a_streak_of_bad_ones() -> None:
    weight = nn.Parameter(torch.zeros(3))
    guard, optimiser = (
        Guard([weight], 10.0, torch.device("cpu")),
        torch.optim.AdamW([weight], fused=True),
    )
    for good in [False] * (LONGEST_BAD_STREAK - 1) + [True] + [False] * (LONGEST_BAD_STREAK - 1):
        weight.grad = torch.full((3,), 1.0 if good else math.nan)
        guard.inspect(optimiser)
    guard.check()
    assert guard.streak == LONGEST_BAD_STREAK - 1


def test_an_outlier_hardly_moves_the_mean_length() -> None:
    weight = nn.Parameter(torch.zeros(1))
    guard, optimiser = (
        Guard([weight], 2.0, torch.device("cpu")),
        torch.optim.AdamW([weight], fused=True),
    )
    for size in (1.0, 1.0, 1e6):
        weight.grad = torch.tensor([size])
        guard.inspect(optimiser)
    assert guard.length.item() <= 1.02 + 1e-6
