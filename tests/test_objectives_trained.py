"""Every objective in training: compiled or not, in one graph or in parts, in bfloat16 or
float32.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import zoo
from vaekit.core import kl
from vaekit.core.extra_costs import (
    FactorTC,
    FreeBits,
    TargetRate,
    TotalCorrelation,
    dip_i,
    dip_ii,
    in_total,
    mmd,
    of_each_latent,
)
from vaekit.core.objectives import (
    Constant,
    Objective,
    Term,
    beta_elbo,
    convexly_weighted,
    doubly_reparameterised,
    multiply_weighted,
    sticking_the_landing,
)
from vaekit.training.optimisers import adamw
from vaekit.training.step import CompiledStep, Guard, Step, StepByStep


def _factor() -> Objective:
    tc = FactorTC(zoo.LATENT, width=8, hidden=2)
    return (
        beta_elbo()
        .plus("factor", Term(tc, Constant(5.0)))
        .plus("discriminator", Term(tc.discrimination))
    )


def _instead(term: Callable, weight: float = 1.0) -> Objective:
    return beta_elbo().watching("rate").plus("other", Term(term, Constant(weight)))


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "miwae": lambda: multiply_weighted(2, 3),
    "ciwae": lambda: convexly_weighted(4),
    "dreg": lambda: doubly_reparameterised(4),
    "stl": sticking_the_landing,
    "stl of three draws": lambda: sticking_the_landing(1.0, (3,)),
    "free bits a dimension": lambda: _instead(FreeBits(0.1)),
    "free bits a latent": lambda: _instead(FreeBits(0.5, of_each_latent)),
    "free bits in total": lambda: _instead(FreeBits(0.5, in_total)),
    "target rate": lambda: _instead(TargetRate(2.0), 10.0),
    "total correlation": lambda: beta_elbo().plus(
        "tc", Term(TotalCorrelation(1000), Constant(5.0))
    ),
    "factor": _factor,
    "dip i": lambda: beta_elbo().plus("dip", Term(dip_i, Constant(10.0))),
    "dip ii": lambda: beta_elbo().plus("dip", Term(dip_ii, Constant(10.0))),
    "mmd": lambda: beta_elbo().plus("mmd", Term(mmd, Constant(100.0))),
    "mmd of three draws": lambda: beta_elbo(draws=(3,)).plus("mmd", Term(mmd, Constant(100.0))),
}
EACH = pytest.mark.parametrize("name", OBJECTIVES)


def made(name: str, prior: str = "standard") -> tuple[Step, Tensor, Tensor]:
    """A step of a small model in training, a batch, and the terms' weights half way through the
    run.
    """
    model = zoo.model(prior=prior)
    objective = OBJECTIVES[name]()
    return Step(model, objective).train(), zoo.data(model, 6), torch.tensor(objective.weights(0.5))


@pytest.mark.parametrize(
    ("name", "backend"), [*((name, "eager") for name in OBJECTIVES), ("dreg", "aot_eager")]
)
def test_every_objective_compiles_into_one_graph_with_the_same_gradient(
    name: str, backend: str
) -> None:
    torch.distributions.kl._KL_MEMOIZE.clear()
    kl._lookup.cache_clear()
    torch.compiler.reset()
    step, x, weights = made(name)
    other = copy.deepcopy(step)
    torch.manual_seed(5)
    loss, costs = torch.compile(step, fullgraph=True, backend=backend)(x, None, weights)
    loss.backward()
    torch.manual_seed(5)
    same, _ = other(x, None, weights)
    same.backward()
    torch.testing.assert_close(loss, same)
    assert costs.shape == weights.shape
    for mine, theirs in zip(step.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-5)


@EACH
def test_every_objective_moves_the_weights_whole_as_apart(name: str) -> None:
    """`torch.func.grad` with respect to weights that are passed in gives the ordinary gradient."""
    step, x, weights = made(name)
    other = copy.deepcopy(step)
    apart = StepByStep(step, adamw(step, 0.1), Guard(step.parameters(), 1.5, torch.device("cpu")))
    beside = StepByStep(
        other, adamw(other, 0.1), Guard(other.parameters(), 1.5, torch.device("cpu")), usual=len(x)
    )
    whole = CompiledStep(other, beside, torch.float32)
    with torch.compiler.set_stance("force_eager"):
        for seed in range(3):
            torch.manual_seed(seed)
            costs = apart(x, None, 1.0, weights.tolist(), 1e-3)
            torch.manual_seed(seed)
            torch.testing.assert_close(
                whole(x, None, 1.0, weights.tolist(), 1e-3), costs, rtol=1e-4, atol=1e-4
            )
    for mine, theirs in zip(step.state_dict().values(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["dreg", "factor"])
def test_the_whole_move_of_what_is_peculiar_is_one_graph(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.compiler.reset()
    compile_eagerly = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda f, **kind: compile_eagerly(f, **kind, backend="eager")
    )
    step, x, weights = made(name)
    apart = StepByStep(
        step, adamw(step, 0.1), Guard(step.parameters(), 1.5, torch.device("cpu")), usual=len(x)
    )
    assert torch.isfinite(
        CompiledStep(step, apart, torch.float32)(x, None, 1.0, weights.tolist(), 1e-3)
    ).all()


@EACH
def test_every_objective_is_finite_under_autocast_and_for_a_datum_alone(name: str) -> None:
    step, x, weights = made(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss, costs = step(x[:1], None, weights)
        assert costs.dtype == torch.float32
    loss.backward()
    assert torch.isfinite(costs).all()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in step.parameters())


@pytest.mark.parametrize(
    "name", ["miwae", "dreg", "stl", "free bits a latent", "mmd", "total correlation", "dip i"]
)
def test_objectives_take_a_prior_that_is_no_normal(name: str) -> None:
    step, x, weights = made(name, prior="mixture")
    loss, _ = step(x, None, weights)
    loss.backward()
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all() for p in step.model.prior.parameters()
    )


def test_what_a_term_learns_is_part_of_the_step_once() -> None:
    step, _, _ = made("factor")
    discriminator = step.objective.terms["factor"].cost
    assert isinstance(discriminator, nn.Module)
    names = [
        name
        for name, _ in step.named_parameters(remove_duplicate=False)
        if not name.startswith("model.")
    ]
    assert len(names) == len(list(discriminator.parameters())) == 6
    assert set(names) <= set(step.state_dict())
    plain = Step(zoo.model(), beta_elbo())
    assert all(name.startswith("model.") for name in plain.state_dict())
    copied = copy.deepcopy(step)
    (there,) = {id(term.cost.__self__) for term in [copied.objective.terms["discriminator"]]}  # type: ignore[attr-defined]
    assert there == id(copied.costs["factor"])
    assert "progress" in dict(made("target rate")[0].costs["other"].named_buffers())
