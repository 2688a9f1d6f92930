"""SOAP, compared with its algorithm in double precision, and with Adam where nothing is rotated."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vaekit.models.priors import NormalMixture, VampPrior
from vaekit.nn import MLP
from vaekit.training.optimisers import Soap, adamw


def gradients(steps: int, *shape: int) -> list[Tensor]:
    """Gradients whose rows and columns have their own sizes and directions, as a refresh must
    find.
    """
    generator = torch.Generator().manual_seed(5)
    g = torch.randn(steps, *shape, generator=generator) + 0.5
    return list(g * torch.linspace(0.3, 2.0, shape[-1]))


def run(weight: Tensor, grads: Iterable[Tensor], optimiser: torch.optim.Optimizer) -> list[Tensor]:
    """The weights after every step."""
    path = []
    for g in grads:
        weight.grad = g.clone()
        optimiser.step()
        path.append(weight.detach().clone())
    return path


def by_hand(
    w: np.ndarray,
    grads: list[np.ndarray],
    lr: float,
    b1: float,
    b2: float,
    decay: float,
    settle: int,
    measure: int,
    refresh: int,
    limit: float,
) -> list[np.ndarray]:
    """Vyas et al. 2024, algorithm 3, in the parameter's own coordinates: the mean gradient is not
    rotated.
    """
    m, n = w.shape
    left, right, ql, qr = np.zeros((m, m)), np.zeros((n, n)), np.eye(m), np.eye(n)
    mean, square, path = np.zeros((m, n)), np.zeros((m, n)), []
    for step, g in enumerate(grads, 1):
        t = step - settle
        if t <= 0 or t % measure == 0:
            keep = 1 - 1 / step if t <= 0 else 0.9
            left, right = keep * left + (1 - keep) * g @ g.T, keep * right + (1 - keep) * g.T @ g
        if t == 0:
            ql, qr = np.linalg.eigh(left)[1], np.linalg.eigh(right)[1]
        elif t > 0 and t % refresh == 0:
            ql, qr = np.linalg.qr(left @ ql)[0], np.linalg.qr(right @ qr)[0]
        if t > 0:
            mean = b1 * mean + (1 - b1) * g
            square = b2 * square + (1 - b2) * (ql.T @ g @ qr) ** 2
            ratio = (ql.T @ mean @ qr / (1 - b1**t)) / np.sqrt(square / (1 - b2**t))
            w = w - lr * decay * w - lr * ql @ np.clip(ratio, -limit, limit) @ qr.T
        path.append(w)
    return path


def test_soap_is_its_algorithm_in_double_precision() -> None:
    """It covers two refreshes, a limit that is reached, and decay.

    (A 2 x 2 basis would be its own transpose.)
    """
    start = torch.linspace(-2, 3, 12).view(4, 3)
    how: dict[str, Any] = {"settle": 4, "measure": 2, "refresh": 5, "limit": 0.9}
    weight, grads = nn.Parameter(start.clone()), gradients(18, 4, 3)
    path = run(weight, grads, Soap([weight], lr=0.05, betas=(0.8, 0.95), weight_decay=0.3, **how))
    truth = by_hand(
        start.double().numpy(), [g.double().numpy() for g in grads], 0.05, 0.8, 0.95, 0.3, **how
    )
    torch.testing.assert_close(
        torch.stack(path).double(), torch.from_numpy(np.stack(truth)), rtol=0, atol=2e-5
    )
    assert torch.equal(path[3], start)  # weights do not change while it settles
    assert not torch.equal(path[4], start)


@pytest.mark.parametrize(("shape", "longest"), [((4,), 256), ((3, 2), 1), ((2, 3, 2, 2), 1)])
def test_soap_is_adam_wherever_it_does_not_rotate(shape: tuple[int, ...], longest: int) -> None:
    """Vectors, and matrices and kernels whose sides are both too long; the decay is AdamW's."""
    start, grads, settle = (
        torch.linspace(-1, 2, math.prod(shape)).view(shape),
        gradients(30, *shape),
        3,
    )
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    soap = Soap(
        [ours],
        lr=0.02,
        betas=(0.9, 0.99),
        weight_decay=0.1,
        settle=settle,
        refresh=4,
        longest=longest,
    )
    adam = torch.optim.AdamW([theirs], lr=0.02, betas=(0.9, 0.99), weight_decay=0.1)
    torch.testing.assert_close(run(ours, grads, soap)[settle:], run(theirs, grads[settle:], adam))


def test_a_step_of_soap_is_limited_in_every_coordinate() -> None:
    """After a thousand tiny gradients, a large one makes Adam step 10 times the learning rate.

    That factor is sqrt(1 / (1 - 0.99)).
    """
    weight = nn.Parameter(torch.zeros(2))
    optimiser = Soap([weight], lr=0.5, betas=(0.0, 0.99), settle=1, limit=4.0)
    before, after = run(
        weight, [torch.full((2,), 1e-6)] * 1000 + [torch.tensor([1.0, -1.0])], optimiser
    )[-2:]
    torch.testing.assert_close(after - before, torch.tensor([-2.0, 2.0]), rtol=0, atol=1e-4)


def test_without_a_gradient_soap_only_decays() -> None:
    weight = nn.Parameter(torch.tensor([[2.0, -3.0]]))
    optimiser = Soap([weight], lr=0.1, weight_decay=0.5, settle=1)
    assert [w.tolist()[0] for w in run(weight, [torch.zeros(1, 2)] * 3, optimiser)] == [
        pytest.approx([2.0 * kept, -3.0 * kept]) for kept in (1, 0.95, 0.95**2)
    ]


def states(optimiser: torch.optim.Optimizer) -> list[dict[str, Tensor]]:
    return copy.deepcopy(list(optimiser.state_dict()["state"].values()))


@pytest.mark.parametrize("done", [2, 8, 9])
def test_a_step_of_soap_that_found_infinity_changes_nothing(done: int) -> None:
    """No weight, moment or count changes: while it settles, before an ordinary step, before a
    refresh.
    """
    pair = [nn.Parameter(torch.ones(3, 2)), nn.Parameter(torch.ones(2))]
    optimiser = Soap(pair, lr=0.1, weight_decay=0.1, settle=4, measure=2, refresh=6)
    for pair[0].grad, pair[1].grad in zip(gradients(done, 3, 2), gradients(done, 2), strict=True):
        optimiser.step()
    weights, before = copy.deepcopy(pair), states(optimiser)
    optimiser.found_inf = torch.tensor(1.0)
    pair[0].grad = torch.full((3, 2), math.inf)  # the other's is as good as ever
    optimiser.step()
    assert len(before) == 2
    torch.testing.assert_close([p.data for p in pair], [p.data for p in weights], rtol=0, atol=0)
    torch.testing.assert_close(states(optimiser), before, rtol=0, atol=0)


def test_grad_scale_divides_the_gradients_of_soap_and_of_nothing_else() -> None:
    """A scale of 8 with gradients eight times as long gives the same bits everywhere.

    This includes moments and covariances.
    """
    how: dict[str, Any] = {"lr": 0.1, "weight_decay": 0.1, "settle": 3, "measure": 2, "refresh": 4}
    plain, scaled = (nn.Parameter(torch.ones(3, 2)) for _ in range(2))
    one, other, grads = Soap([plain], **how), Soap([scaled], **how), gradients(12, 3, 2)
    other.grad_scale = torch.tensor(8.0)
    torch.testing.assert_close(
        run(scaled, [8 * g for g in grads], other), run(plain, grads, one), rtol=0, atol=0
    )
    torch.testing.assert_close(states(other), states(one), rtol=0, atol=0)
    assert scaled.grad is not None
    assert torch.equal(scaled.grad, 8 * grads[-1])


@pytest.mark.parametrize("done", [2, 8])
def test_soap_goes_on_from_its_state(done: int) -> None:
    how: dict[str, Any] = {"settle": 4, "measure": 2, "refresh": 3}
    weight, grads = nn.Parameter(torch.ones(3, 2)), gradients(14, 3, 2)
    optimiser = Soap([weight], lr=0.1, **how)
    run(weight, grads[:done], optimiser)
    again = nn.Parameter(weight.detach().clone())
    restored = Soap([again], lr=9.0)
    restored.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    rest = run(weight, grads[done:], optimiser)
    torch.testing.assert_close(run(again, grads[done:], restored), rest, rtol=0, atol=0)


def test_what_is_no_layer_is_not_decayed() -> None:
    """Pseudo-inputs are pictures, and a mixture's means are places: decay to zero would be wrong
    for both.
    """
    encoder = MLP((4,), (5,), (6,))
    model = nn.ModuleDict(
        {
            "net": encoder,
            "vamp": VampPrior(encoder, torch.rand(3, 4)),
            "mixture": NormalMixture(3, 2),
        }
    )
    decayed, left = adamw(model, 0.1).param_groups
    assert decayed["weight_decay"] == 0.1
    assert left["weight_decay"] == 0.0
    assert {id(p) for p in decayed["params"]} == {
        id(p) for name, p in encoder.named_parameters() if "weight" in name
    }
    assert sum(len(group["params"]) for group in (decayed, left)) == len(list(model.parameters()))
