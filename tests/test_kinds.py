"""Every word of the command line: it resolves, builds, trains, is kept and resumed, and serves every use."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import vaekit
from commands import call
from kinds import KINDS, kind_of, run_of, words_of, write_digits
from vaekit import api
from vaekit.assembly.latents import LATENTS, POSTERIORS
from vaekit.assembly.objectives import BOUNDS, GROUPS, TERMS
from vaekit.assembly.priors import PRIORS
from vaekit.runs.events import Ended, Logged
from vaekit.runs.run import Run
from vaekit.tasks.own_data import own_part
from vaekit.tasks.resample import sampled


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(
    digits: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[Run, list[Logged | Ended]]]:
    """The run of a kind and what came of it, once for all tests."""
    done: dict[str, tuple[Run, list[Logged | Ended]]] = {}

    def get(kind: str) -> tuple[Run, list[Logged | Ended]]:
        if kind not in done:
            run = run_of(digits, tmp_path_factory.mktemp("kind") / "run", *kind.split())
            done[kind] = run, list(run.events())
        return done[kind]

    return get


EACH = pytest.mark.parametrize("kind", KINDS)


def test_every_word_occurs() -> None:
    """A new word of any table wants a line in KINDS."""
    seen = [words_of(kind) for kind in KINDS]
    names = {key: {w.get(key, "").partition(":")[0] for w in seen} for key in ("latent", "prior")}
    assert names["latent"] >= set(LATENTS)
    for kind, known in PRIORS.items():
        suited = [w for w in seen if kind == kind_of(w.get("latent", "3"))]
        assert {w["prior"].partition(":")[0] for w in suited} == set(known)
    assert {w.get("posterior", "normal") for w in seen} == set(POSTERIORS)
    parts = [part for w in seen for part in w.get("bound", "elbo").split("+")]
    assert {part.partition(":")[0] for part in parts} == set(BOUNDS) | set(TERMS)
    assert {part.partition("/")[2] for part in parts if part.startswith("free-bits")} == {
        "",
        *GROUPS,
    }


@EACH
def test_it_trains(trained: Callable, kind: str) -> None:
    """Two steps, both good, with every term of the objective in the log and a finite bound on what was held out."""
    run, events = trained(kind)
    assert run.progress.step == 2
    assert run.learner.guard.bad == 0
    logged = [event.row for event in events if isinstance(event, Logged)]
    train, held_out = (
        next(row for row in logged if row["split"] == split) for split in ("train", "val")
    )
    for name in run.objective.terms:
        assert np.isfinite(train[name]), name
    assert np.isfinite([held_out[name] for name in ("elbo", "distortion", "rate")]).all()


@pytest.mark.parametrize("kind", [k for k in KINDS if "categorical" in k or "target-rate" in k])
def test_what_changes_over_a_run_is_told_how_far_it_is(trained: Callable, kind: str) -> None:
    """Temperatures and targets: at the second step of two, half of the run is done."""
    run, _ = trained(kind)
    told = [
        float(buffer)
        for name, buffer in run.learner.bare.named_buffers()
        if name.endswith("progress")
    ]
    assert told == [0.5]


@EACH
def test_it_is_kept(trained: Callable, kind: str) -> None:
    """What is loaded from its folder is what was trained: weights, words and what it is told."""
    run, events = trained(kind)
    (ended,) = (event for event in events if isinstance(event, Ended))
    again = vaekit.load(run.folder)
    assert again.experiment == ended.trained.experiment
    assert again.schema == ended.trained.schema
    assert all(again.experiment.model.model_dump()[k] is not None for k in ("prior", "likelihood"))
    for (name, now), then in zip(
        again.model.state_dict().items(), ended.trained.model.state_dict().values(), strict=True
    ):
        assert torch.equal(now, then), name


@EACH
def test_it_serves_every_use(trained: Callable, kind: str) -> None:
    """It generates, encodes, decodes, reconstructs and walks between images, repeatably, with or without conditions."""
    run, _ = trained(kind)
    model = vaekit.load(run.folder)
    images = own_part(model).subset(torch.arange(6))
    x = next(model.batches(images))[0]
    asked = {field.name: "3" for field in model.schema.conditions}
    for where, guidance in (({}, 1.0), (asked, 1.0), (asked, 2.0 if asked else 1.0)):
        new = model.generate(3, 5, where=where, guidance=guidance)
        assert_pictures(new, 3)
        assert torch.equal(new, model.generate(3, 5, where=where, guidance=guidance))
    codes = model.encode(x, images.context)
    assert codes.mean.shape == codes.scale.shape == (6, model.latent)
    assert torch.equal(codes.mean, model.encode(x, images.context).mean)
    back = model.reconstruct(x, images.context)
    assert_pictures(back, 6)
    assert torch.equal(back, model.decode(codes.mean, images.context))
    between = None if images.context is None else images.context[:2]
    line = model.interpolate(x[0], x[1], 4, between)
    assert_pictures(line, 4)
    torch.testing.assert_close(line[0], back[0], rtol=1e-4, atol=1e-4)


def assert_pictures(x: Tensor, n: int) -> None:
    assert x.shape == (n, 1, 8, 8)
    assert x.min() >= 0
    assert x.max() <= 1


def assert_use(model: vaekit.Trained, numbers: dict[str, Any]) -> None:
    """Of one latent, how many of its dimensions are in use; of several, what each of them says."""
    levels = len(model.shapes)
    if levels == 1:
        assert 0 <= numbers["active_units"] <= numbers["latent"] == model.latent
    else:
        assert len(numbers["rates"]) == levels
        assert sum(numbers["rates"]) == pytest.approx(numbers["rate"]["value"], rel=1e-4)


@EACH
def test_it_is_measured(trained: Callable, kind: str) -> None:
    """The NLL of several draws, or why there is none; what use is made of the latent."""
    run, _ = trained(kind)
    model = vaekit.load(run.folder)
    numbers = model.evaluate(own_part(model), draws=3)
    assert numbers["n"] == 12
    assert np.isfinite(numbers["elbo"]["value"])
    if kind_of(words_of(kind).get("latent", "3")) == "codes":
        assert "exactly one code" in numbers["left_out"]["nll"]
        assert "nll" not in numbers
        assert 0 < numbers["codes_used"] <= 1
        assert 1 <= numbers["perplexity"] <= numbers["codes"]
    else:
        assert numbers["nll"]["draws"] == 3
        assert np.isfinite(numbers["nll"]["value"])
        assert_use(model, numbers)


RESUMED = [
    kind
    for kind in KINDS
    if any(word in kind for word in ("factor", "vq:", "categorical:", "target-rate"))
]


@pytest.mark.parametrize("kind", RESUMED)
def test_a_run_that_is_stopped_ends_where_it_would_have_ended(
    digits: Path, tmp_path: Path, kind: str
) -> None:
    """Bit for bit, with what codebooks, discriminators, temperatures and targets remember."""
    longer = ["steps=6", *(word for word in kind.split())]
    whole = run_of(digits, tmp_path / "whole", *longer)
    list(whole.events())
    stopped = run_of(digits, tmp_path / "parts", *longer)
    count = itertools.count()
    list(stopped.events(lambda: next(count) >= 2))
    assert stopped.progress.step == 3
    again = api.reopen(tmp_path / "parts")
    list(again.events())
    assert again.progress.step == 6
    for (name, one), other in zip(
        whole.learner.bare.state_dict().items(),
        again.learner.bare.state_dict().values(),
        strict=True,
    ):
        assert torch.equal(one, other), name


@pytest.mark.parametrize("kind", ["prior=standard", "prior=flow condition=label bound=dreg:3"])
def test_a_sampler_is_fitted_to_its_codes(trained: Callable, kind: str) -> None:
    """Once, kept beside the run, and asked for a class where the model is told one."""
    run, _ = trained(kind)
    model, sampler = vaekit.load(run.folder), run.folder / "sampler-gmm-3.safetensors"
    first = sampled(model, "gmm:3")
    written = sampler.stat().st_mtime_ns
    second = sampled(model, "gmm:3")
    where = {field.name: "3" for field in model.schema.conditions}
    assert sampler.stat().st_mtime_ns == written
    assert_pictures(first.generate(5, 0, where=where), 5)
    assert torch.equal(first.generate(5, 0, where=where), second.generate(5, 0, where=where))
    assert not torch.equal(first.generate(5, 0, where=where), model.generate(5, 0, where=where))


def test_disentanglement_is_measured_by_the_factors_that_are_named(trained: Callable) -> None:
    run, _ = trained("prior=standard")
    result = call(
        "evaluate", run.folder, "--metrics", "disentanglement", "--factors", "label,word", "--json"
    )
    measured = json.loads(result.out)["disentanglement"]
    assert measured["n"] == 120
    assert all(0 <= measured[name] <= 1 for name in ("mig", "sap", "factorvae"))
    assert 0 <= measured["dci"]["informativeness"] <= 1
