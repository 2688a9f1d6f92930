"""vaekit augment on pictures: rare classes filled up, in a file that can be trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit
from commands import call

TINY = ("--steps", 60, "--size", "tiny", "--architecture", "mlp", "--latent", 4, "--device", "cpu")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares at the left (60) and at the right (12)."""
    folder = tmp_path_factory.mktemp("augmented")
    random = np.random.default_rng(0)
    images = np.zeros((72, 8, 8), np.uint8)
    for i, image in enumerate(images):
        left = 0 if i < 60 else 4
        image[random.integers(0, 4) :, left : left + 4] = random.integers(100, 255)
    names = np.repeat([0, 1], (60, 12))
    np.savez(folder / "squares.npz", images=images, labels=names)
    return folder


@pytest.fixture(scope="module", params=["plain", "conditional"])
def run(place: Path, request: pytest.FixtureRequest) -> Path:
    given = ("--condition", "label") if request.param == "conditional" else ()
    told("train", place / "squares.npz", *given, *TINY, "--out", place / request.param)
    return place / request.param


def told(*words: object) -> dict:
    result = call(*words, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_rare_classes_are_filled_up_and_can_be_trained_on(run: Path, tmp_path: Path) -> None:
    facts = told("augment", run, "--out", tmp_path / "more")
    kept = np.load(facts["array"])
    counts = np.bincount(kept["labels"])
    assert counts[0] == counts[1]
    assert kept["synthetic"].sum() == facts["new"] == facts["1"]
    assert (kept["labels"][kept["synthetic"]] == 1).all()
    assert kept["images"].shape == (counts.sum(), 8, 8)
    assert Path(facts["sheet"]).stat().st_size > 0
    again = told("train", facts["array"], *TINY, "--steps", 5, "--out", tmp_path / "run")
    assert vaekit.load(again["run"]).schema.shape == (1, 8, 8)


def test_new_pictures_are_of_their_class(place: Path, tmp_path: Path) -> None:
    """Between two squares at the right there is a square at the right."""
    told("train", place / "squares.npz", *TINY, "--steps", 400, "--out", tmp_path / "run")
    made = vaekit.load(tmp_path / "run").augment(n=100, seed=1)
    new = made.x[made.synthetic & (made.labels == 1)]
    right, left = new[..., 4:].mean((1, 2, 3)), new[..., :4].mean((1, 2, 3))
    assert (right > left).float().mean() > 0.9
    assert torch.equal(made.x, vaekit.load(tmp_path / "run").augment(n=100, seed=1).x)


def test_what_cannot_be_filled_up_is_told(run: Path, place: Path, tmp_path: Path) -> None:
    refused = call("augment", run, "-n", 5)
    assert refused.code == 1
    assert "every class already has 5 pictures or more" in refused.err
    np.save(place / "plain.npy", np.load(place / "squares.npz")["images"])
    told("train", place / "plain.npy", *TINY, "--out", tmp_path / "none")
    assert "has no classes; put the pictures" in call("augment", tmp_path / "none").err
