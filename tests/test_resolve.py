"""Every `auto` is settled by the data and the machine, the same each time, and nothing is left open."""

from __future__ import annotations

import pytest
import torch

from vaekit import Experiment, VaekitError
from vaekit.assembly.objectives import explain_free_bits
from vaekit.assembly.settle import held_out, resolve, total_steps
from vaekit.data.dataset import Resident
from vaekit.data.images.collection import Images
from vaekit.data.images.schema import ImageSchema


def images(
    n: int = 300,
    shape: tuple[int, int, int] = (1, 12, 12),
    bits: bool = False,
    dtype: str = "uint8",
) -> Images:
    raw = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    raw = (raw > 127).byte() * 255 if bits else raw
    raw = raw if dtype == "uint8" else raw / 256 + 1e-3
    schema = ImageSchema(height=shape[1], width=shape[2], channels=shape[0], dtype=dtype)  # type: ignore[arg-type]
    return Images(Resident(raw), None, schema, "made")


def settled(*changes: str, **kinds: object) -> Experiment:
    return resolve(Experiment().override(*changes), images(**kinds)).experiment  # type: ignore[arg-type]


def test_nothing_stays_auto_and_settling_twice_changes_nothing() -> None:
    data = images()
    once = resolve(Experiment(), data)
    assert "auto" not in {
        v for name in ("model", "train") for v in vars(getattr(once.experiment, name)).values()
    } - {once.experiment.train.strategy}
    assert resolve(once.experiment, data).experiment == once.experiment
    assert once.steps == total_steps(once.experiment, len(data))


@pytest.mark.parametrize(
    ("changes", "kinds", "likelihood", "binarise"),
    [
        ([], {}, "gaussian-sigmoid", "none"),
        ([], {"bits": True}, "bernoulli", "none"),
        (["likelihood=bernoulli"], {}, "bernoulli", "dynamic"),
        (["likelihood=bce"], {}, "bce", "dynamic"),
        (["likelihood=bernoulli", "binarise=static"], {}, "bernoulli", "static"),
        (["likelihood=mse"], {}, "mse", "none"),
    ],
)
def test_likelihood_and_binarisation(
    changes: list[str], kinds: dict, likelihood: str, binarise: str
) -> None:
    model = settled(*changes, **kinds).model
    assert (model.likelihood, model.binarise) == (likelihood, binarise)


@pytest.mark.parametrize(
    ("changes", "kinds", "words"),
    [
        (["likelihood=bernoulli", "binarise=none"], {}, "use model.binarise=dynamic"),
        (["likelihood=gaussian", "binarise=dynamic"], {}, "goes with likelihood bernoulli"),
        (["likelihood=logistic-mixture"], {"dtype": "float32"}, "needs 8-bit pixels"),
        (["likelihood=gausian"], {}, "did you mean 'gaussian'"),
        (["prior=mixtur:3"], {}, "did you mean 'mixture:10'"),
        (["prior=mixture:0"], {}, "whole number of at least 1"),
        (["bound=iwae"], {}, "whole number of at least 1"),
        (["bound=iwae:5", "beta=2"], {}, "has no beta"),
        (["architecture=conv", "hidden=[3]"], {}, "belongs to the mlp"),
        (["device=tpu"], {}, "expected auto, cuda, mps or cpu"),
    ],
)
def test_what_does_not_fit_is_told_before_training(
    changes: list[str], kinds: dict, words: str
) -> None:
    with pytest.raises(VaekitError, match=words):
        settled(*changes, **kinds)


def test_architecture_follows_the_pixels_and_their_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dense net learns few images by heart; patches have no maps for a hierarchy."""
    assert settled().model.architecture == "conv"
    assert settled(shape=(1, 64, 64)).model.architecture == "patches"
    assert settled("levels=2", shape=(1, 64, 64)).model.architecture == "conv"
    monkeypatch.setattr("vaekit.data.images.modality.FEW", 1)
    assert settled().model.architecture == "mlp"
    assert settled(shape=(3, 12, 12)).model.architecture == "conv"
    assert settled(shape=(1, 64, 64)).model.architecture == "patches"


@pytest.mark.parametrize("n", [2, 3, 50, 2000])
def test_small_sets_train_and_hold_out(n: int) -> None:
    experiment = settled(n=n)
    assert 1 <= held_out(experiment, n) < n
    assert int(experiment.train.batch) >= 1
    assert total_steps(experiment, n) >= 1


@pytest.mark.parametrize(
    ("n", "words"),
    [
        (5, "only 1 image is held out: "),
        (2, "only 1 image is held out: "),
        (40, "only 4 images are held out: "),
    ],
)
def test_a_run_with_hardly_any_held_out_images_says_so(n: int, words: str) -> None:
    told = [why for why in resolve(Experiment(), images(n)).reasons if why.startswith(words)]
    assert len(told) == 1
    assert told[0].endswith("data.holdout, now 0.1")


def test_free_bits_are_explained_where_the_objective_has_them() -> None:
    (told,) = explain_free_bits("elbo+mmd:5+free-bits:3/total")
    assert "KL below 3 nats in total costs nothing" in told
    assert "KL in the loss" in told
    assert "0.1 nats in each dimension" in explain_free_bits("elbo+free-bits:0.1")[0]
    assert explain_free_bits("elbo+mmd:5") == []


def test_a_run_with_enough_held_out_images_has_no_warning() -> None:
    for n, holdout in ((100, 0.1), (40, 0.25)):
        reasons = resolve(Experiment().override(f"holdout={holdout}"), images(n)).reasons
        assert not any("held out" in why for why in reasons)


def test_steps_decide_when_given() -> None:
    data = images()
    resolved = resolve(Experiment().override("steps=7"), data)
    assert resolved.steps == 7


def test_compilation_and_bf16_wait_until_they_pay() -> None:
    short = settled("steps=10")
    assert short.train.compile is False
    assert settled("precision=bf16", "compile=true").train.precision == "bf16"


def test_codes_get_a_net_that_keeps_the_grid() -> None:
    many = images(6000, (1, 4, 4))
    for latent, net in (("vq:8", "conv"), ("categorical:4x4", "mlp"), ("16", "mlp")):
        assert (
            resolve(Experiment().override(f"latent={latent}"), many).experiment.model.architecture
            == net
        )
