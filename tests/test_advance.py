"""Two ways to move the weights: one must do what the other does, whatever the batches bring."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from torch import nn

from vaekit.assembly.model import build_model
from vaekit.config import Network
from vaekit.core.objectives import beta_elbo, importance_weighted
from vaekit.data.images.schema import ImageSchema
from vaekit.training.optimisers import adamw
from vaekit.training.step import CompiledStep, Guard, Step, StepByStep

SCHEMA = ImageSchema(height=8, width=8, channels=1, dtype="float32")
BATCH = 6


def step(likelihood: str = "bernoulli", architecture: str = "mlp", draws: int = 0) -> Step:
    torch.manual_seed(0)
    hidden = (12,) if architecture == "mlp" else None
    network = Network(
        architecture=architecture, size="tiny", hidden=hidden, latent=3, likelihood=likelihood
    )
    return Step(
        build_model(network, SCHEMA), importance_weighted(draws) if draws else beta_elbo()
    ).train()


def pair(
    made: Step, dtype: torch.dtype = torch.float32
) -> tuple[tuple[Step, StepByStep], tuple[Step, CompiledStep]]:
    """The same step twice, moved apart and moved whole."""
    ways = []
    for one in (made, copy.deepcopy(made)):
        guard = Guard(one.parameters(), 1.5, torch.device("cpu"))
        ways.append((one, StepByStep(one, adamw(one, 0.3), guard, usual=BATCH)))
    return ways[0], (ways[1][0], CompiledStep(ways[1][0], ways[1][1], dtype))


def batches(count: int) -> list[torch.Tensor]:
    """Full batches, but a short one each fifth, a NaN in the fourth, and one with far too long a gradient."""
    generator = torch.Generator().manual_seed(1)
    made = [
        torch.rand(BATCH if i % 5 else 2, 1, 8, 8, generator=generator).round()
        for i in range(1, count + 1)
    ]
    made[3][0, 0, 0, 0] = torch.nan
    made[6] = made[6] * 300
    return made


def assert_near(mine: torch.Tensor, theirs: torch.Tensor) -> None:
    """As a whole: where a gradient is nothing but rounding, AdamW makes a step of its sign."""
    assert (mine - theirs).norm() <= 3e-4 * theirs.norm() + 1e-5


@pytest.mark.parametrize(
    "kind", [{}, {"likelihood": "gaussian"}, {"draws": 3}, {"architecture": "conv"}]
)
def test_whole_moves_the_weights_as_apart_does(kind: dict) -> None:
    """Weights, buffers, moments and the guard's counts, through short, broken and outlying batches."""
    (one, apart), (other, whole) = pair(step(**kind))
    with torch.compiler.set_stance("force_eager"):
        for i, x in enumerate(batches(12)):
            torch.manual_seed(i)
            costs = apart(x, None, 1.0, [1.0] * len(one.objective.terms), 3e-3)
            torch.manual_seed(i)
            same = whole(x, None, 1.0, [1.0] * len(one.objective.terms), 3e-3)
            torch.testing.assert_close(costs, same, rtol=1e-4, atol=1e-4, equal_nan=True)
    for mine, theirs in zip(one.state_dict().values(), other.state_dict().values(), strict=True):
        assert_near(mine, theirs)
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        for name, value in apart.inner.state[p].items():
            assert_near(value, whole.apart.inner.state[q][name])
    assert whole.apart.guard.state().keys() == apart.guard.state().keys()
    for name, value in apart.guard.state().items():
        torch.testing.assert_close(value, whole.apart.guard.state()[name], rtol=1e-4, atol=1e-5)
    assert apart.guard.bad == 1


def test_lowered_copies_follow_the_weights_and_cost_nothing_but_their_rounding() -> None:
    (_, _), (one, whole) = pair(step(), torch.bfloat16)
    with torch.compiler.set_stance("force_eager"):
        for x in batches(7):
            whole(x, None, 1.0, [1.0, 1.0], 3e-3)
    types = {name: moved.copy.dtype for name, moved in whole.moved.items()}
    assert set(types.values()) == {torch.bfloat16}  # an mlp is nothing but linear layers
    for name, p in one.named_parameters():
        assert p.dtype == torch.float32
        assert torch.equal(whole.moved[name].copy, p.to(torch.bfloat16))


def test_what_autocast_leaves_alone_is_not_lowered_and_what_is_frozen_not_moved() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.gain = nn.Linear(4, 4), nn.Parameter(torch.ones(4))
            self.fixed = nn.Parameter(torch.ones(4), requires_grad=False)

        def forward(self, x, context, weights):  # type: ignore[no-untyped-def]
            seen.add((self.linear.weight.dtype, self.gain.dtype))
            loss = (self.linear(x) * self.gain * self.fixed).square().mean()
            return loss, loss.detach()[None]

    seen: set = set()
    made = Scaled()
    guard = Guard(made.parameters(), 10.0, torch.device("cpu"))
    whole = CompiledStep(made, StepByStep(made, adamw(made, 0.0), guard, usual=5), torch.bfloat16)  # type: ignore[arg-type]
    with torch.compiler.set_stance("force_eager"):
        whole(torch.randn(5, 4), None, 1.0, [1.0], 1e-3)
    assert seen == {(torch.bfloat16, torch.float32)}
    assert torch.equal(made.fixed, torch.ones(4))


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_the_whole_move_is_one_graph(likelihood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced without a break, once: a short batch in between, new rates and new weights of terms change nothing."""
    torch.compiler.reset()
    graphs = 0

    def count(graph: torch.fx.GraphModule, inputs: list) -> torch.fx.GraphModule:
        nonlocal graphs
        graphs += 1
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=count))
    (_, _), (one, whole) = pair(step(likelihood))
    before = [p.detach().clone() for p in one.parameters()]
    for i, x in enumerate(batches(8)):
        costs = whole(x, None, 1.0, [1.0, 0.1 * i], 1e-3 * (i + 1))
    assert torch.isfinite(costs).all()
    assert graphs == 1
    assert all(not torch.equal(a, b) for a, b in zip(before, one.parameters(), strict=True))
