"""Pictures of more than 8 bits a channel: one range for all, remembered for new ones, and told."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaekit
from vaekit.data.images.load import load
from vaekit.data.images.read import depth as depths
from vaekit.data.images.read.depth import Depth
from vaekit.data.images.schema import ImageSchema

TINY = {"architecture": "mlp", "hidden": [8], "latent": 2, "steps": 2, "device": "cpu"}


def save(path: Path, values: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint16)).save(path)
    return path


def ramp(high: int, side: int = 8) -> np.ndarray:
    """(side, side) of evenly spread values 0..high."""
    return np.linspace(0, high, side * side).round().reshape(side, side)


def pixels(images) -> np.ndarray:
    return images.raw.take(torch.arange(len(images)))[:, 0].numpy()


@pytest.fixture
def camera(tmp_path: Path) -> Path:
    """Three 12-bit pictures, one of them dark."""
    for i, high in enumerate((4000, 3000, 1000)):
        save(tmp_path / "camera" / f"{i}.png", ramp(high))
    return tmp_path / "camera"


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_twelve_bits_in_sixteen_use_all_grey_levels(ending, budget, tmp_path):
    highs = (4000, 3000, 1000)
    for i, high in enumerate(highs):
        save(tmp_path / "set" / f"{i}.{ending}", ramp(high))
    images = load(tmp_path / "set", memory_budget=budget, cache=tmp_path / "cache")
    wanted = np.stack([ramp(high) / 4095 * 255 for high in highs])
    assert np.abs(pixels(images) - wanted).max() <= 0.5 + 1e-6
    assert images.schema.value_range == (0, 4095)
    assert images.notes == (
        "3 images have more than 8 bits a channel: 0..4,095 became 0..255, "
        "so about 16 neighbouring levels became one",
    )


def test_new_pictures_are_read_with_the_range_of_training(camera, tmp_path):
    schema = load(camera).schema
    dark = save(tmp_path / "dark.png", ramp(500))
    images = load(dark, schema=schema)
    assert pixels(images).max() == round(500 / 4095 * 255)
    assert "0..4,095 became 0..255, as in training" in images.notes[0]
    assert len(images.notes) == 1


def test_what_is_brighter_than_in_training_is_cut_off_and_told(camera, tmp_path):
    bright = save(tmp_path / "bright.png", ramp(60000))
    images = load(bright, schema=load(camera).schema)
    assert pixels(images).max() == 255
    assert "1 image has values outside of the range" in images.notes[1]


def test_a_trained_model_remembers_the_range(camera, tmp_path):
    vaekit.train(camera, tmp_path / "run", **TINY)
    schema = vaekit.load(tmp_path / "run").schema
    assert isinstance(schema, ImageSchema)
    assert schema.value_range == (0, 4095)


def test_a_source_with_a_single_bright_picture_keeps_the_others_comparable(tmp_path):
    for i, high in enumerate((900, 65535)):
        save(tmp_path / f"{i}.png", ramp(high))
    images = load(tmp_path)
    assert pixels(images)[0].max() == round(900 / 65535 * 255)
    assert images.schema.value_range == (0, 65535)


def test_pictures_of_eight_bits_beside_deep_ones_stay_as_they_are(camera):
    usual = ramp(255).astype(np.uint8)
    Image.fromarray(usual).save(camera / "usual.png")
    images = load(camera)
    assert np.array_equal(pixels(images)[images.files.index("usual.png")], usual)
    assert images.notes[0].startswith("3 images have more than 8 bits")


def test_usual_pictures_have_no_range(tmp_path):
    for i in range(2):
        Image.fromarray(ramp(255 - i).astype(np.uint8)).save(tmp_path / f"{i}.png")
    images = load(tmp_path)
    assert images.schema.value_range is None
    assert images.notes == ()


RANGES = st.tuples(st.integers(0, 65535), st.integers(0, 65535)).map(
    lambda pair: tuple(sorted(pair))
)


@given(st.lists(RANGES, min_size=1, max_size=9))
def test_the_range_holds_every_value_and_wastes_at_most_half(ranges):
    chosen = depths.choose(ranges)
    low, high = min(r[0] for r in ranges), max(r[1] for r in ranges)
    assert chosen.black <= low <= high <= chosen.white
    assert low == high or chosen.white <= 255 or 2 * (high - low) >= chosen.white - chosen.black


@pytest.mark.parametrize(
    ("low", "high", "span"),
    [
        (0, 4012, (0, 4095)),
        (12, 1023, (0, 1023)),
        (0, 65535, (0, 65535)),
        (0, 200, (0, 255)),  # 8-bit values in files of 16 bits
        (30000, 34000, (30000, 34000)),
        (700, 700, (0, 1023)),
        (0, 0, (0, 255)),
    ],
)
def test_ranges_as_one_would_expect(low, high, span):
    assert depths.choose([(low, high)]).span == span


def test_sixteen_bits_are_scaled_as_ever():
    values = np.arange(65536)
    assert np.array_equal(Depth().to_bytes(values), np.rint(values / 257))


@pytest.mark.parametrize(
    ("depth", "words"),
    [
        (Depth(0, 65535), "so about 256 neighbouring levels became one"),
        (Depth(0, 255), "which keeps every level"),
        (Depth(0, 4095, known=True), "as in training"),
    ],
)
def test_the_note_says_what_is_lost(depth, words):
    assert words in depths.sentence(depth, 1, 0)[0]
    assert depths.sentence(depth, 0, 0) == []
