"""Laws of use: repeatability, saving, and that a datum does not depend on others in its batch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution

import zoo
from vaekit import bound, elbo, nll
from vaekit.core.trace import Model
from vaekit.disk.checkpoint import load_tensors, load_weights, save_tensors
from vaekit.distributions.guidance import extrapolate
from vaekit.measures.bounds import reconstruction_spread

EVERY = pytest.mark.parametrize("name", zoo.MODELS)
TOLD = pytest.mark.parametrize("name", zoo.TOLD)
CONDITIONED = pytest.mark.parametrize("name", zoo.CONDITIONED)


@contextmanager
def noiseless() -> Iterator[None]:
    """Every draw is its posterior's middle, so a datum's cost depends on the datum only."""
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(
            torch.distributions.normal, "_standard_normal", lambda s, dtype, device: torch.zeros(s)
        )
        patch.setattr(torch, "randn", lambda *shape, **kind: torch.zeros(*shape))
        patch.setattr(Tensor, "exponential_", lambda self: self.fill_(1.0))
        yield


def row(context: Tensor | None, index: Tensor | slice) -> Tensor | None:
    return None if context is None else context[index]


def seeded_score(model: Model, x: Tensor, context: Tensor | None) -> Tensor:
    """The bound of every datum, and a generated picture, from one seed."""
    torch.manual_seed(5)
    with torch.no_grad():
        return torch.cat(
            (elbo(model(x, context), x), model.generate(len(x), context).mean.flatten())
        )


def emptied(model: Model) -> Model:
    """The model with all weights and buffers set to 0."""
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.zero_()
    return model


@EVERY
def test_a_datum_scores_the_same_alone_and_in_company(name: str) -> None:
    """Its whole bound is the same in any order of the batch, with its own conditions."""
    model, x, context = zoo.batch(name, 6)
    with noiseless():
        together = elbo(model(x, context), x)
        alone = torch.cat(
            [
                elbo(model(x[i : i + 1], row(context, slice(i, i + 1))), x[i : i + 1])
                for i in range(6)
            ]
        )
        order = torch.tensor([3, 0, 5, 1, 4, 2])
        moved = elbo(model(x[order], row(context, order)), x[order])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(together[order], moved, rtol=1e-4, atol=1e-3)


@EVERY
def test_encoding_is_repeatable_bit_for_bit(name: str) -> None:
    model, x, context = zoo.batch(name)
    for first, second in zip(model.encode(x, context), model.encode(x, context), strict=True):
        assert torch.equal(first.mean, second.mean)
        assert torch.equal(first.stddev, second.stddev)


@EVERY
def test_generation_follows_the_prior_and_the_seed(name: str) -> None:
    model, context = zoo.MODELS[name](), zoo.rows(name, 5)
    pictures = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        pictures.append(model.generate(5, context).mean)
    assert pictures[0].shape[0] == 5
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.equal(pictures[0], pictures[2])


@EVERY
def test_a_model_survives_its_file(name: str, tmp_path: Path) -> None:
    """safetensors keeps all of it: loaded into an empty model, it scores and generates as
    before.
    """
    model, x, context = zoo.batch(name)
    before, other = seeded_score(model, x, context), emptied(zoo.MODELS[name]())
    assert not torch.equal(seeded_score(other, x, context), before)
    save_tensors(tmp_path / "weights", model.state_dict(), {"of": name})
    tensors, about = load_tensors(tmp_path / "weights")
    load_weights(other, tensors, tmp_path / "weights")
    assert about == {"of": name}
    assert torch.equal(seeded_score(other, x, context), before)


@EVERY
def test_a_copy_is_a_model_of_its_own(name: str) -> None:
    """What the model shares within itself, the copy shares within itself. The two share nothing."""
    model, x, context = zoo.batch(name)
    before, twin = seeded_score(model, x, context), copy.deepcopy(model)
    assert torch.equal(seeded_score(twin, x, context), before)
    alike = seeded_score(emptied(zoo.MODELS[name]()), x, context)
    assert torch.equal(
        seeded_score(emptied(twin), x, context).nan_to_num(7.0), alike.nan_to_num(7.0)
    )
    assert torch.equal(seeded_score(model, x, context), before)


@EVERY
def test_use_changes_nothing_in_a_model(name: str) -> None:
    model, x, context = zoo.batch(name)
    before = {place: tensor.clone() for place, tensor in model.state_dict().items()}
    trace = model(x, context, (2,))
    trace.log_weight(x), trace.rate(), model.encode(x, context), model.generate(4, context).mean
    bound(model.train(), [(x, context)])
    nll(model, [(x, context)], draws=2)
    assert model.training
    assert all(torch.equal(before[place], tensor) for place, tensor in model.state_dict().items())


@pytest.mark.parametrize("picture", [0.0, 1.0])
@EVERY
def test_extremes_cost_a_finite_number_and_teach_finitely(name: str, picture: float) -> None:
    """Blank and full images, weights far from their start, and latents that no prior would give."""
    model, x, context = zoo.batch(name)
    x = torch.full_like(x, picture)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(20)
        far = model.decode(
            [1e3 * (1 - 2 * (z > 0).float()) for z in model.sample(4, context)], context
        )
    assert torch.isfinite(far.log_prob(x)).all()
    assert torch.isfinite(far.mean).all()
    cost = -elbo(model.train()(x, context), x).mean()
    cost.backward()
    assert torch.isfinite(cost)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in model.parameters())


# Conditions


@TOLD
def test_what_one_datum_is_told_is_told_to_no_other(name: str) -> None:
    """A condition changes the cost of its own datum, and of no other in the batch."""
    model, x, context = zoo.batch(name, 5)
    assert context is not None
    other = context.clone()
    other[2] = torch.linspace(1, 2, context.shape[1]).round()
    with noiseless():
        before, after = elbo(model(x, context), x), elbo(model(x, other), x)
    changed = (before - after).abs() > 1e-3
    assert changed.tolist() == [False, False, True, False, False]


@TOLD
def test_what_is_told_reaches_posterior_and_likelihood(name: str) -> None:
    model, x, a = zoo.batch(name, 3)
    assert a is not None
    b = a.nan_to_num(1.0).roll(1, 0) + torch.tensor([0.0] + [1.0] * (a.shape[1] - 1))
    z = model.sample(3, a)
    assert not torch.allclose(model.decode(z, a).mean, model.decode(z, b).mean)
    if zoo.MODELS[name].varies:  # both may have the same nearest code
        told = [[q.mean for q in model.encode(x, context)] for context in (a, b)]
        assert all(not torch.allclose(one, other) for one, other in zip(*told, strict=True))


@CONDITIONED
def test_not_being_told_is_the_same_as_nothing_known(name: str) -> None:
    model, x, context = zoo.batch(name)
    nothing = torch.full((4, len(zoo.FIELDS)), torch.nan)
    assert torch.equal(seeded_score(model, x, None), seeded_score(model, x, nothing))
    assert not torch.equal(seeded_score(model, x, context), seeded_score(model, x, nothing))
    z = [draw.z for draw in model(x, None, (3,)).draws]
    assert torch.equal(model.decode(z).mean, model.decode(z, nothing).mean)


@CONDITIONED
def test_conditions_are_left_out_in_training_only(name: str) -> None:
    """With dropout 1, a model sees no conditions in training, but sees them in evaluation."""
    model, x, context = zoo.batch(name)
    model.embedding.dropout = 1.0  # type: ignore[union-attr, assignment]
    assert torch.equal(
        seeded_score(model, x, context), seeded_score(zoo.MODELS[name](), x, context)
    )
    assert context is not None
    embed = model.embedding  # type: ignore[union-attr]
    assert torch.equal(embed.train()(context), embed(torch.full_like(context, torch.nan)))  # type: ignore[operator]


@EVERY
def test_guidance_of_one_changes_nothing_and_of_none_takes_what_was_told_away(name: str) -> None:
    """Weight 1 gives the prediction with the condition, weight 0 the one without."""
    model, x, context = zoo.batch(name)
    latents = model.sample(4, context)
    given, blind = model.decode(latents, context), model.decode([-z for z in latents], context)
    torch.testing.assert_close(
        extrapolate(given, blind, 1.0).log_prob(x), given.log_prob(x), rtol=1e-5, atol=1e-3
    )
    torch.testing.assert_close(
        extrapolate(given, given, 3.0).log_prob(x), given.log_prob(x), rtol=1e-5, atol=1e-3
    )
    if "mixture" not in name and "colour" not in name:
        middle = extrapolate(given, blind, 0.0).mean
        torch.testing.assert_close(middle, blind.mean, rtol=1e-4, atol=1e-4)


class Deaf(torch.nn.Module):
    """A model whose decoder gets the same codes for all data, but the true conditions."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model, self.encode = model, model.encode

    def decode(self, latents: tuple[Tensor, ...], context: Tensor | None = None) -> Distribution:
        return self.model.decode(tuple(torch.zeros_like(z) for z in latents), context)


@EVERY
def test_reconstructions_differ_by_nothing_where_the_decoder_ignores_the_codes(name: str) -> None:
    model, x, context = zoo.batch(name, 6)
    assert reconstruction_spread(Deaf(model), [(x, context)]) == 0.0
    assert 0.0 < reconstruction_spread(model, [(x, context)]) <= 1.0
