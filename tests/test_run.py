"""A run: what it learns from, what it measures itself by, and which of its weights it keeps."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import vaekit
from vaekit import bound
from vaekit.api import read
from vaekit.assembly.objectives import objective as build_objective
from vaekit.assembly.recipes import choose
from vaekit.assembly.settle import resolve, split
from vaekit.config import Experiment
from vaekit.disk import checkpoint
from vaekit.errors import VaekitError
from vaekit.runs.events import Ended, Logged
from vaekit.runs.run import Run
from vaekit.runs.window import Window
from vaekit.tasks.own_data import own_part
from vaekit.tasks.trained import Trained, load_model

TINY = ["architecture=mlp", "hidden=[16]", "latent=2", "device=cpu", "likelihood=gaussian-learned"]
GREY = np.random.default_rng(0).integers(0, 256, (90, 6, 5), dtype=np.uint8)
SHADES = (GREY // 8 + np.random.default_rng(1).integers(0, 224, (90, 1, 1))).astype(np.uint8)
PARTS = ("elbo", "distortion", "rate")

KINDS = {
    "grey levels": [],
    "from disk": ["memory_budget=100"],
    "fixed bits": ["likelihood=bernoulli", "binarise=static"],
    "bits drawn anew": ["likelihood=bernoulli", "binarise=dynamic"],
    "iwae": ["bound=iwae:3"],
}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEKIT_CACHE", str(tmp_path / "cache"))


def begin(folder: Path, pixels: np.ndarray, *changes: str) -> Run:
    folder.mkdir()
    np.savez(folder / "set.npz", images=pixels)
    experiment = choose(str(folder / "set.npz"), "images").override(*TINY, *changes)
    return Run(resolve(experiment, read(experiment)), lambda: folder)


def validations(run: Run) -> Iterator[dict[str, Any]]:
    """The rows of the validations, each as soon as it is made."""
    for event in run.events():
        if isinstance(event, Logged) and event.row["split"] == "val":
            yield event.row


def go(run: Run) -> tuple[list[dict[str, Any]], Trained]:
    """Train to the end: the rows of the validations, and what the run hands over."""
    events = list(run.events())
    assert isinstance(events[-1], Ended)
    rows = [
        event.row for event in events if isinstance(event, Logged) and event.row["split"] == "val"
    ]
    return rows, events[-1].trained


def learnt(folder: Path) -> dict[str, torch.Tensor]:
    """The weights at the end of training, and their average."""
    tensors = checkpoint.load_tensors(folder / "resume.safetensors")[0]
    kept = {name: t for name, t in tensors.items() if name.startswith(("weights.", "average."))}
    assert len(kept) > 10
    return kept


def alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    assert one.keys() == other.keys()
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


# Which weights are kept


def test_the_weights_kept_are_those_of_the_best_validation(tmp_path: Path) -> None:
    """A rate that comes to weigh a hundred times its worth drives out again what was learnt."""
    how = [
        "beta=100",
        "objective.warmup=1",
        "likelihood=gaussian:0.1",
        "lr=0.02",
        "lr_floor=1",
        "ema=0",
    ]
    run = begin(tmp_path / "run", SHADES, "steps=80", "validations=8", *how)
    scores, were = {}, {}
    for event in run.events():
        if isinstance(event, Logged) and event.row["split"] == "val":
            step = event.row["step"]
            scores[step], were[step] = (
                -event.row["elbo"],
                copy.deepcopy(run.trained.model.state_dict()),
            )
            best = min(scores, key=scores.__getitem__)
            assert (event.row["best"], event.row["best_step"]) == (scores[best], best)
            assert alike(load_model(run.folder).model.state_dict(), were[best])
    assert 10 < best < step  # neither the first nor the last: else this would tell nothing
    assert scores[best] < scores[step] - 5
    assert not alike(were[best], were[step])
    assert isinstance(event, Ended)
    assert alike(event.trained.model.state_dict(), were[best])
    about = checkpoint.load_tensors(run.folder / "model.safetensors")[1]
    assert about == {"step": best, "score": scores[best]}


def test_what_is_measured_and_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    run = begin(tmp_path / "run", SHADES, "steps=40", "validations=1", "lr=0.01")
    row = next(validations(run))
    kept = load_model(run.folder)
    assert alike(kept.model.state_dict(), run.trained.model.state_dict())
    assert not alike(kept.model.state_dict(), run.learner.model.state_dict())
    rate = bound(
        kept.model, kept.batches(own_part(kept))
    ).rate.value  # in closed form, so whatever the seed
    assert row["rate"] == pytest.approx(rate, rel=1e-6)


# What it is measured by


@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_a_run_is_judged_by_the_bound_with_beta_one(beta: float, tmp_path: Path) -> None:
    how = [f"beta={beta}", "objective.warmup=0", "likelihood=gaussian:0.1", "lr=0.01"]
    rows, _ = go(begin(tmp_path / "run", SHADES, "steps=30", "validations=3", *how))
    assert len(rows) == 3
    for row in rows:
        assert row["rate"] > 0.1  # else no beta would show
        assert row["elbo"] == pytest.approx(-(row["distortion"] + row["rate"]), rel=1e-6)
    best = min(row["distortion"] + row["rate"] for row in rows)
    assert rows[-1]["best"] == pytest.approx(best, rel=1e-6)
    assert checkpoint.load_tensors(tmp_path / "run" / "model.safetensors")[1][
        "score"
    ] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_weights_score_the_same_at_every_validation(kind: str, tmp_path: Path) -> None:
    """Steps too short to change a float32: only chance could make the rows differ."""
    rows, _ = go(
        begin(tmp_path / "run", GREY, "steps=6", "validations=3", "lr=1e-30", *KINDS[kind])
    )
    names = [*PARTS, "nll"] if kind == "iwae" else PARTS
    first, *others = ([row[name] for name in names] for row in rows)
    assert others == [first, first]


def test_the_held_out_bits_are_the_same_for_every_model(tmp_path: Path) -> None:
    """Decoders that do not heed the latents, of which the models draw unlike numbers: the bits alone decide."""
    pixels, seen = np.random.default_rng(1).integers(0, 256, (1300, 3, 3), dtype=np.uint8), []
    for latent in (1, 4):
        changes = [
            *KINDS["bits drawn anew"],
            "holdout=0.5",
            "steps=1",
            "lr=1e-30",
            "ema=0",
            f"latent={latent}",
        ]
        run = begin(tmp_path / str(latent), pixels, *changes)
        decoder: Any = run.learner.model.decoder
        torch.nn.init.zeros_(decoder.net.head.weight)
        seen.append(next(validations(run))["distortion"])
    assert seen[0] == seen[1]
    assert seen[0] != pytest.approx(9 * math.log(2), abs=1e-6)  # the bits do show


# What it learns from


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_learnt_from_what_is_held_out(kind: str, tmp_path: Path) -> None:
    """Other pixels in the held-out images: the same weights bit for bit, other scores. In one other image: not so."""
    changes = ["steps=12", "validations=1", "batch=16", *KINDS[kind]]  # two epochs and more
    run = begin(tmp_path / "one", GREY, *changes)
    train, held = split(run.experiment, len(GREY))
    assert sorted([*train.tolist(), *held.tolist()]) == list(range(len(GREY)))
    assert 0 < len(held) < len(train)
    unheld, untrained = GREY.copy(), GREY.copy()
    unheld[held], untrained[train[0]] = 255 - GREY[held], 255 - GREY[train[0]]
    rows = [go(run)[0][0]]
    rows += [
        go(begin(tmp_path / name, p, *changes))[0][0]
        for name, p in (("two", unheld), ("three", untrained))
    ]
    assert alike(learnt(tmp_path / "one"), learnt(tmp_path / "two"))
    assert rows[0]["distortion"] != rows[1]["distortion"]
    assert not alike(learnt(tmp_path / "one"), learnt(tmp_path / "three"))


@pytest.mark.parametrize("kind", ["grey levels", "bits drawn anew", "iwae"])
def test_measuring_leaves_no_trace_in_what_is_learnt(kind: str, tmp_path: Path) -> None:
    for number in (1, 4):
        go(begin(tmp_path / str(number), GREY, "steps=8", f"validations={number}", *KINDS[kind]))
    assert alike(learnt(tmp_path / "1"), learnt(tmp_path / "4"))


def test_skipped_steps_have_no_part_in_the_logged_means() -> None:
    engine: Any = type("E", (), {"device": torch.device("cpu")})()
    window = Window(build_objective(Experiment().objective), engine, cast(Any, None), 1)
    for cost in (100.0, math.nan, 50.0, math.inf):
        window.add(torch.tensor([cost, 10.0]))
    assert (window.total[:-1] / window.total[-1]).tolist() == [75.0, 10.0]


def test_a_run_without_a_finite_bound_says_so(tmp_path: Path) -> None:
    fields = {
        "architecture": "mlp",
        "hidden": (4,),
        "latent": 1,
        "steps": 8,
        "lr": 1e30,
        "lr_warmup": 0,
        "lr_floor": 1,
    }
    with pytest.raises(VaekitError, match=r"no validation gave a finite bound.*lower train.lr"):
        vaekit.train("digits", tmp_path / "run", recipe="images", **fields)
    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_other_images_are_noticed(tmp_path: Path) -> None:
    """Of another number, in another order or with other pixels: what was held out is not known any more."""
    path, values = (
        tmp_path / "x.npy",
        np.random.default_rng(0).integers(0, 255, (40, 8, 8), np.uint8),
    )
    np.save(path, values)
    trained = vaekit.train(
        path, tmp_path / "run", architecture="mlp", hidden=(4,), latent=1, steps=4
    )
    assert len(own_part(trained)) == 4
    for other in (values[:-1], values[::-1], values ^ 1):
        np.save(path, other)
        with pytest.raises(
            VaekitError,
            match=r"x\.npy: .*(images have changed|have another shape)",
        ):
            own_part(trained)
        with pytest.raises(VaekitError, match="put the data back as they were"):
            vaekit.resume(tmp_path / "run")
    np.save(path, values)
    assert len(own_part(vaekit.resume(tmp_path / "run"))) == 4


def test_an_iwae_run_is_judged_by_its_nll(tmp_path: Path) -> None:
    fields = {
        "architecture": "mlp",
        "hidden": (4,),
        "latent": 2,
        "steps": 12,
        "validations": 4,
        "bound": "iwae:3",
    }
    vaekit.train("digits", tmp_path / "run", recipe="images", **fields)
    rows = [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    held = [row for row in rows if row["split"] == "val"]
    assert all(row["best"] == min(r["nll"] for r in held[: i + 1]) for i, row in enumerate(held))
