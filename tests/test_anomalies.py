"""Scores of images by the run's own model."""

from __future__ import annotations

import pytest
import torch

import vaekit
from vaekit.errors import VaekitError
from vaekit.tasks import score
from vaekit.tasks.own_data import held_part, training_part
from vaekit.tasks.trained import Trained

TINY = {"model.size": "tiny", "steps": 12, "batch": 64, "validations": 1, "seed": 0}
KINDS = {
    "plain": {},
    "flow": {"prior": "flow"},
    "levels": {"levels": 2},
    "codes": {"latent": "vq:16"},
    "posterior": {"posterior": "flow"},
    "told": {"data.condition": ["label"]},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trained]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: vaekit.train("digits", folder / name, **TINY, **more) for name, more in KINDS.items()
    }


@pytest.mark.parametrize("kind", ["plain", "flow", "told"])
@pytest.mark.parametrize("by", score.BY[1:])
def test_an_image_has_the_same_score_alone_and_parts_add_up(
    trained: dict[str, Trained], kind: str, by: str
) -> None:
    model = trained[kind]
    held = held_part(model)
    many = held.subset(torch.arange(70))
    found, alone = (model.score(part, by) for part in (many, many.subset(torch.tensor([66]))))
    assert torch.equal(alone.scores, found.scores[66:67])
    assert torch.equal(alone.parts, found.parts[66:67])
    assert found.parts.shape == (70, 1, 8, 8)
    rest = 0.0 if found.rest is None else found.rest
    assert torch.allclose(found.parts.flatten(1).double().sum(1) + rest, found.scores)
    assert (found.rest is None) == (by == "reconstruction")
    p = model.score(held, by).p_values
    assert torch.allclose(
        p.sort().values.mean(), torch.tensor(0.5, dtype=p.dtype), atol=0.05
    )  # the held among itself


def test_scores_are_of_the_bound_and_the_likelihood(trained: dict[str, Trained]) -> None:
    model = trained["plain"]
    held = held_part(model)
    mean = {
        by: float(model.score(held, by).scores.mean()) for by in ("elbo", "nll", "reconstruction")
    }
    told = model.evaluate(held, draws=0)["elbo"]
    assert mean["elbo"] == pytest.approx(-told["value"], abs=6 * told["error"])
    assert mean["nll"] < mean["elbo"]
    assert mean["reconstruction"] < mean["elbo"]


@pytest.mark.parametrize("kind", ["levels", "codes", "posterior"])
def test_what_a_model_cannot_be_asked_is_told(trained: dict[str, Trained], kind: str) -> None:
    model = trained[kind]
    some = held_part(model).subset(torch.arange(9))
    assert model.score(some, "reconstruction").scores.isfinite().all()
    for by in ("elbo", "nll", "latent"):
        with pytest.raises(
            VaekitError, match=f"score by {by}: expected .* one normal latent.*; use reconstruction"
        ):
            model.score(some, by)
    with pytest.raises(VaekitError, match="score by ensemble: there is no detector for images"):
        model.score(some, "ensemble")


def test_codes_far_from_those_of_training_are_odd(trained: dict[str, Trained]) -> None:
    """The Mahalanobis distance of the training codes themselves has a mean square of about their dimensions."""
    model = trained["plain"]
    learned = training_part(model)
    square = model.score(learned, "latent").scores.square().mean()
    assert 0.8 * model.latent < square <= 1.01 * model.latent
