"""What people do with a trained model: repeatable, in range, and told plainly when it can't be."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from vaekit import VaekitError
from vaekit.data.images.model.binarise import draw_bits
from vaekit.measures.bounds import in_words
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.own_data import own_part
from vaekit.tasks.trained import Trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    fields = {
        "architecture": "mlp",
        "hidden": [24],
        "latent": 3,
        "steps": 40,
        "validations": 2,
        "prior": "learned",
    }
    return vaekit.train("digits", out=folder, **fields)


@pytest.fixture(scope="module")
def held(run: Trained) -> torch.Tensor:
    return as_tensor(own_part(run))


def test_generation_is_repeatable_by_seed_and_leaves_the_global_state(run: Trained) -> None:
    state = torch.get_rng_state()
    first, again, other = (
        run.generate(600, seed=1),
        run.generate(600, seed=1),
        run.generate(600, seed=2),
    )
    assert torch.equal(state, torch.get_rng_state())
    assert first.shape == (600, 1, 8, 8)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 1


def test_drawn_pixels_scatter_around_the_mean(run: Trained) -> None:
    means, drawn = (run.generate(300, seed=1, reading=name) for name in ("mean", "sample"))
    assert (drawn - means).abs().mean() > 0.01


def test_reconstruction_is_the_decoded_posterior_mean(run: Trained, held: torch.Tensor) -> None:
    codes = run.encode(held)
    assert codes.mean.shape == codes.scale.shape == (len(held), 3)
    assert (codes.scale > 0).all()
    torch.testing.assert_close(run.reconstruct(held), run.decode(codes.mean))
    torch.testing.assert_close(
        run.reconstruct(held[:1]), run.reconstruct(held)[:1], rtol=1e-4, atol=1e-5
    )


def test_interpolation_runs_between_the_reconstructions(run: Trained, held: torch.Tensor) -> None:
    line = run.interpolate(held[0], held[1], steps=5)
    assert line.shape == (5, 1, 8, 8)
    torch.testing.assert_close(line[[0, -1]], run.reconstruct(held[:2]), rtol=1e-4, atol=1e-5)


def test_a_name_stands_for_the_data_that_are_read_there(run: Trained, tmp_path: Path) -> None:
    pixels = run.read("digits").raw.take(torch.arange(3))
    np.savez(tmp_path / "three.npz", images=pixels[:, 0].numpy())
    name, data = str(tmp_path / "three.npz"), run.read(tmp_path / "three.npz")
    x = as_tensor(data)
    for given in (name, tmp_path / "three.npz", data):
        assert torch.equal(run.encode(given).mean, run.encode(x).mean)
        assert torch.equal(run.reconstruct(given), run.reconstruct(x))
        assert torch.equal(run.interpolate(given, given, 3), run.interpolate(x[0], x[0], 3))


def test_a_saved_and_loaded_model_is_the_same(
    run: Trained, held: torch.Tensor, tmp_path: Path
) -> None:
    vaekit.save(run, tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    for folder in (tmp_path / "model", run.folder):
        assert folder is not None
        assert torch.equal(vaekit.load(folder).reconstruct(held), run.reconstruct(held))


def test_evaluation_repeats_and_its_numbers_fit_together(run: Trained) -> None:
    numbers = run.evaluate(own_part(run), draws=20, seed=3)
    assert numbers == run.evaluate(own_part(run), draws=20, seed=3)
    assert numbers["elbo"]["value"] == pytest.approx(
        -numbers["distortion"]["value"] - numbers["rate"]["value"]
    )
    assert -numbers["nll"]["value"] > numbers["elbo"]["value"]
    assert numbers["nll"]["draws"] == 20
    assert 0 <= numbers["active_units"] <= 3
    assert "bits_per_dim" not in numbers  # a density has none


@pytest.mark.parametrize("error", [None, float("nan")])
def test_an_estimate_without_an_error_is_told_without_one(error: float | None) -> None:
    assert in_words({"value": 1.005, "error": error, "n": 1}) == "1.00"
    assert in_words({"value": 1.005, "error": 0.25, "n": 2}, 3) == "1.005 ± 0.250"


def test_the_run_kept_its_held_out_images_apart(run: Trained) -> None:
    part = own_part(run)
    assert len(part) == 180
    assert len(run.read("digits")) == 1797


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda run: run.generate(0), "at least 1 image, got 0"),
        (lambda run: run.decode(torch.zeros(2, 5)), r"shape \(N, 3\), got \(2, 5\)"),
        (lambda run: run.encode(torch.zeros(2, 1, 9, 9)), r"\(N, 1, 8, 8\), got \(2, 1, 9, 9\)"),
        (
            lambda run: run.interpolate(torch.zeros(1, 8, 8), torch.zeros(1, 8, 8), 1),
            "at least 2 steps, got 1",
        ),
        (lambda run: run.encode([[0.0]]), "the name of a picture.*got an object of type list"),
        (
            lambda run: run.interpolate(torch.zeros(1, 8, 8), "digits"),
            "two tensors or two files",
        ),
    ],
)
def test_misuse_is_told(run: Trained, call, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(VaekitError, match=words):
        call(run)


def test_the_report_shows_everything_and_needs_nothing_else(run: Trained) -> None:
    assert run.folder is not None
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(pictures) == 6
    assert all(base64.b64decode(p).startswith(b"\x89PNG") for p in pictures)
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    elbo = json.loads((run.folder / "evaluation.json").read_text())["elbo"]["value"]
    assert f"{elbo:.2f}" in page


def test_a_run_folder_holds_what_is_promised(run: Trained) -> None:
    assert run.folder is not None
    for name in (
        "config.json",
        "experiment.yaml",
        "model.safetensors",
        "resume.safetensors",
        "metrics.csv",
    ):
        assert (run.folder / name).stat().st_size > 0
    assert any((run.folder / "tensorboard").iterdir())
    for name in ("samples", "reconstructions", "interpolations", "latent", "losses", "traversals"):
        assert Image.open(run.folder / "plots" / f"{name}.png").width > 100


def test_the_written_experiment_trains_the_same_model(run: Trained, tmp_path: Path) -> None:
    assert run.folder is not None
    experiment = vaekit.Experiment.read(run.folder / "experiment.yaml")
    assert experiment == run.experiment
    values = {
        f"{s}.{f}": v
        for s, part in experiment.model_dump().items()
        for f, v in part.items()
        if v is not None
    }
    again = vaekit.train(
        "digits", out=tmp_path / "again", **{k: v for k, v in values.items() if k != "data.source"}
    )
    for mine, theirs in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("raw", ["uint8", "float32"])
def test_bits_are_ink_as_often_as_the_grey_level_says(raw: str) -> None:
    levels = torch.tensor([0, 1, 64, 128, 254, 255], dtype=torch.uint8)
    grey = levels.repeat(200_000, 1)
    bits = draw_bits(grey if raw == "uint8" else grey / 255)
    p = levels.double() / 255
    error = (p * (1 - p) / 200_000).sqrt()
    assert ((bits.double().mean(0) - p).abs() <= 5 * error + 2**-17).all()
    assert set(bits.unique().tolist()) == {0.0, 1.0}
    assert (bits[:, 0] == 0).all()
    assert (bits[:, -1] == 1).all()


def test_bits_repeat_with_a_generator_and_do_not_without() -> None:
    grey = torch.full((4, 1, 9, 9), 100, dtype=torch.uint8)
    first, again = (draw_bits(grey, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(draw_bits(grey), draw_bits(grey))


def test_a_run_knows_its_facts(tmp_path):
    run = vaekit.train("digits", out=tmp_path / "run", steps=2)
    facts = run.info()
    assert facts["steps_done"] == 2
    assert facts["count"] == 1797
    with pytest.raises(VaekitError, match="has no run folder"):
        dataclasses.replace(run, folder=None).info()
