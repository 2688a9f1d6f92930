"""One size and one colour for pictures of many, and what new ones become: true notes, and nothing lost in silence."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vaekit
from vaekit import VaekitError
from vaekit.data.images.load import load
from vaekit.data.images.read import notes, sizes
from vaekit.data.images.read import pictures as gather
from vaekit.data.images.schema import ImageSchema
from vaekit.tasks.batches import batches
from vaekit.tasks.own_data import own_part

pairs = st.tuples(st.integers(1, 400), st.integers(1, 400))
TINY = {"architecture": "mlp", "hidden": [8], "latent": 2, "steps": 2}


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def grey_noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Stored as RGB, with nothing but grey in it."""
    return np.repeat(noise(height, width, seed)[..., :1], 3, axis=2)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def told(images) -> str:
    return " | ".join(images.notes)


# The size


@given(st.lists(pairs, min_size=1, max_size=40))
def test_at_most_a_tenth_is_enlarged_and_never_beyond_64(found):
    height, width = sizes.choose(Counter(found))
    smaller = sum(h < height or w < width for h, w in found)
    assert smaller <= len(found) // 10
    if len(set(found)) > 1 or max(found[0]) > 128:
        assert height == width <= 64
        assert height < 8 or height % 4 == 0
        larger = sum(min(size) >= height + 4 for size in found)
        assert (
            height == 64 or larger < len(found) - len(found) // 10 or height < 8
        )  # nor any smaller than need be
    else:
        assert (height, width) == found[0]


@pytest.mark.parametrize(
    ("found", "side"),
    [
        ({(20, 28): 5, (30, 25): 5}, 20),
        ({(28, 28): 9, (300, 500): 9}, 28),
        ({(1, 1): 1, (300, 500): 99}, 64),  # one broken thumbnail
        ({(3, 5): 1, (4, 4): 1}, 3),
        ({(200, 30): 7}, 28),  # of one size, but large
    ],
)
def test_sizes_as_one_would_expect(found, side):
    assert sizes.choose(Counter(found)) == (side, side)


def test_small_pictures_of_many_sizes_are_not_enlarged(tmp_path):
    for i in range(6):
        save(tmp_path / f"{i}.png", noise(20 + i, 32 - i, i))
    images = load(tmp_path)
    assert images.raw.shape == (6, 3, 20, 20)
    assert images.schema.resized
    assert (
        "resized to 20x20, which data.size changes (they were of 6 sizes, 20x32 to 25x27)"
        in told(images)
    )


@pytest.mark.parametrize(
    ("found", "size", "sentence"),
    [
        ({(9, 9): 1}, (3, 3), "The image was resized to 3x3 (it was 9x9)"),
        (
            {(9, 8): 1},
            (3, 3),
            "The image was cropped about the centre and resized to 3x3 (it was 9x8)",
        ),
        ({(9, 9): 2}, (3, 3), "The images were resized to 3x3 (they were 9x9)"),
        (
            {(2, 9): 3, (9, 9): 4},
            (4, 4),
            "The images were cropped about the centre and resized to 4x4 "
            "(they were of 2 sizes, 2x9 to 9x9, 3 of them smaller than that)",
        ),
    ],
)
def test_what_was_done_is_told_as_it_was(found, size, sentence):
    assert sizes.resizing(Counter(found), size) == sentence


# New images for a model


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of mixed sizes, with the run of a model trained on it."""
    folder = tmp_path_factory.mktemp("mixed")
    for i in range(12):
        save(folder / f"photos/{'ab'[i % 2]}/{i:02}.png", noise(12 + i % 3, 14, i))
    vaekit.train(folder / "photos", out=folder / "run", **TINY)
    return folder


def test_where_training_resized_new_images_are_resized_as_well(mixed, tmp_path):
    run = vaekit.load(mixed / "run")
    assert run.schema.resized
    images = run.read(mixed / "photos")
    assert images.raw.shape == (12, 3, 12, 12)
    assert "resized to 12x12, as in training" in told(images)
    assert images.files[0] == "a/00.png"
    one = run.read(save(tmp_path / "one.png", noise(50, 70)))
    assert one.notes == (
        "The image was cropped about the centre and resized to 12x12, as in training (it was 50x70)",
    )
    np.save(tmp_path / "array.npy", np.stack([noise(30, 30, i) for i in range(3)]))
    array = run.read(tmp_path / "array.npy")
    assert array.raw.shape == (3, 3, 12, 12)
    assert "The images were resized to 12x12, as in training (they were 30x30)" in array.notes
    same = run.read(save(tmp_path / "same.png", noise(12, 12)))
    assert same.notes == ()
    with pytest.raises(VaekitError, match="size 9 doesn't suit"):
        run.read(tmp_path / "one.png", size=9)


def test_the_same_images_are_read_the_same_way_in_training_and_after(mixed):
    run = vaekit.load(mixed / "run")
    held, again = own_part(run), run.read(mixed / "photos")
    assert len(held.files) == len(held) > 0
    for i, name in enumerate(held.files):
        assert torch.equal(
            held.raw.take(torch.tensor([i]))[0],
            again.raw.take(torch.tensor([again.files.index(name)]))[0],
        )


def test_where_training_did_not_resize_another_size_is_a_mistake(tmp_path):
    for i in range(4):
        save(tmp_path / f"photos/{i}.png", noise(8, 8, i))
    schema = load(tmp_path / "photos").schema
    assert not schema.resized
    one = save(tmp_path / "one.png", noise(9, 9))
    with pytest.raises(
        VaekitError,
        match=r"one\.png: images are 9x9, this model reads 8x8 colour.*resize them to 8",
    ):
        load(one, schema=schema)
    save(tmp_path / "photos/stray.png", noise(9, 7))
    with pytest.raises(VaekitError, match=r"\(stray\.png is 9x7\).*resize them to 8"):
        load(tmp_path / "photos", schema=schema)
    images = load(tmp_path / "photos", schema=schema, size=8)
    assert "as in training" not in told(images)
    assert "resized to 8x8" in told(images)


def test_resizing_arrays_and_digits_is_remembered_too(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([noise(6, 9, i) for i in range(3)]))
    assert load(tmp_path / "a.npy", size=4).schema.resized
    assert not load(tmp_path / "a.npy", size=(6, 9)).schema.resized
    assert load("digits", size=4).schema.resized
    assert not load("digits").schema.resized


def test_the_channels_that_training_asked_for_hold_for_new_images(mixed, tmp_path):
    run = vaekit.train(mixed / "photos", out=tmp_path / "run", channels=1, **TINY)
    images = run.read(save(tmp_path / "one.png", noise(12, 12)))
    assert images.raw.shape == (1, 1, 12, 12)
    assert "1 of 1 image is in colour: read as grey" in images.notes


@pytest.mark.parametrize(
    ("field", "value", "shape"), [("size", 16, (1, 16, 16)), ("channels", 3, (3, 12, 12))]
)
def test_a_run_from_before_its_choices_changed_reads_its_own_images_as_then(
    field, value, shape, tmp_path
):
    """As if `auto` had once made 16x16 or colour images of what is now read as 12x12 grey ones."""
    for i in range(6):
        save(tmp_path / f"photos/{i}.png", grey_noise(12 + i % 2, 14, i))
    run = vaekit.train(
        tmp_path / "photos", out=tmp_path / "run", **{f"data.{field}": value}, **TINY
    )
    assert run.folder is not None
    card = json.loads((run.folder / "config.json").read_text())
    del card["schema"]["resized"]
    card["experiment"]["data"][field] = None
    (run.folder / "config.json").write_text(json.dumps(card))
    text = (run.folder / "experiment.yaml").read_text()
    assert text.count(f"{field}: {value}\n") == 1
    (run.folder / "experiment.yaml").write_text(
        text.replace(f"{field}: {value}\n", f"{field}: null\n")
    )
    old = vaekit.load(run.folder)
    assert load(tmp_path / "photos").schema.shape == (1, 12, 12)
    assert own_part(old).raw.shape[1:] == shape
    assert vaekit.resume(run.folder).schema.shape == shape
    with pytest.raises(VaekitError, match=f"resize them to {shape[1]}"):
        old.read(tmp_path / "photos")


# Grey and colour


def stored_as(mode: str, pixels: np.ndarray) -> Image.Image:
    """Grey pixels as CMYK without any colour, or with a palette that has a colour which no pixel has; else RGB."""
    picture = Image.fromarray(pixels)
    if mode == "CMYK":
        none, ink = (
            Image.new("L", picture.size),
            Image.eval(picture.getchannel(0), lambda level: 255 - level),
        )
        return Image.merge("CMYK", (none, none, none, ink))
    if mode == "P":
        indexed = Image.fromarray(pixels[..., 0].clip(max=254)).convert("P")
        indexed.putpalette([level for level in range(255) for _ in "RGB"] + [255, 0, 0])
        return indexed
    return picture


@pytest.mark.parametrize("kind", ["png", "bmp", "tif", "webp", "CMYK.tif", "P.png", "jpg"])
@pytest.mark.parametrize("budget", [None, 0])
def test_what_is_grey_however_stored_is_read_as_grey(kind, budget, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        picture = stored_as(kind.split(".")[0], grey_noise(8, 8, i))
        picture.save(tmp_path / f"in/{i}.{kind}", lossless=True)
    Image.fromarray(grey_noise(8, 8, 7)[..., 0]).save(tmp_path / "in/plain.png")
    images = load(tmp_path / "in", memory_budget=budget, cache=tmp_path)
    assert images.schema.channels == 1
    assert images.notes == ("3 of 4 images are stored in colour but without colour: read as grey",)
    if kind in ("png", "bmp", "tif"):
        first = torch.from_numpy(grey_noise(8, 8, 0)[..., 0].copy())
        assert torch.equal(images.raw.take(torch.tensor([0]))[0, 0], first)


@pytest.mark.parametrize("budget", [None, 0])
@pytest.mark.parametrize("where", [0, 41, 79])
def test_one_coloured_picture_anywhere_keeps_its_colour(where, budget, tmp_path):
    """Also where it isn't among those that are looked at first."""
    for i in range(80):
        save(tmp_path / f"in/{i:02}.png", grey_noise(4, 4, i))
    pixels = grey_noise(4, 4, where)
    pixels[3, 3] = pixels[3, 3, 0] ^ 1, pixels[3, 3, 1], pixels[3, 3, 2]
    save(tmp_path / f"in/{where:02}.png", pixels)
    images = load(tmp_path / "in", memory_budget=budget, cache=tmp_path)
    assert images.raw.shape == (80, 3, 4, 4)
    assert torch.equal(
        images.raw.take(torch.tensor([where]))[0],
        torch.from_numpy(pixels.transpose(2, 0, 1).copy()),
    )
    assert images.notes == ("79 of 80 images are grey: read as colour",)
    assert (
        len(list((tmp_path / "images").iterdir())) == 2
        if budget == 0
        else not (tmp_path / "images").exists()
    )


def test_a_folder_in_colour_is_decoded_once_but_for_one_picture(tmp_path, monkeypatch):
    for i in range(20):
        save(tmp_path / f"{i}.png", noise(4, 4, i))
    seen = []
    read = gather.read_picture
    monkeypatch.setattr(gather, "read_picture", lambda *words: seen.append(words) or read(*words))
    assert load(tmp_path).schema.channels == 3
    assert len(seen) == 21


@pytest.mark.parametrize(
    ("channels", "model", "stored", "sentence"),
    [
        (None, 1, "grey", "2 of 2 images are stored in colour but without colour: read as grey"),
        (None, 3, "grey", "2 of 2 images are grey: read as colour"),
        (3, None, "grey", "2 of 2 images are grey: read as colour"),
        (1, None, "colour", "2 of 2 images are in colour: read as grey"),
        (1, 1, "colour", "2 of 2 images are in colour: read as grey"),
        (None, 3, "colour", ""),
        (None, None, "colour", ""),
    ],
)
def test_notes_on_colour_are_true(channels, model, stored, sentence, tmp_path):
    for i in range(2):
        save(tmp_path / f"{i}.png", (noise if stored == "colour" else grey_noise)(8, 8, i))
    schema = None if model is None else ImageSchema(height=8, width=8, channels=model)
    images = load(tmp_path, channels=channels, schema=schema)
    assert told(images) == sentence
    assert images.raw.shape[1] == (model or channels or 3)


def test_colour_for_a_grey_model_is_a_mistake_unless_asked_for(tmp_path):
    save(tmp_path / "a.png", noise(8, 8))
    with pytest.raises(VaekitError, match=r"in colour, this model reads grey ones.*channels=1"):
        load(tmp_path, schema=ImageSchema(height=8, width=8, channels=1))


# Names and skipped files


def test_names_follow_their_images(tmp_path):
    for part, name in (("train", "b/2"), ("train", "a/1"), ("train", "b/1"), ("test", "a/9")):
        save(tmp_path / f"in/{part}/{name}.png", noise(8, 8, len(name)))
    (tmp_path / "in/train/a/bad.png").write_bytes(b"bad")
    for _ in range(2):  # decoded, then found
        images = load(tmp_path / "in", memory_budget=0, cache=tmp_path)
        assert images.files == ("train/a/1.png", "train/b/1.png", "train/b/2.png")
        assert images.test.files == ("test/a/9.png",)
        assert images.subset(torch.tensor([2, 0])).files == ("train/b/2.png", "train/a/1.png")
    assert load("digits").files == ()


@settings(max_examples=20)
@given(st.integers(1, 6), st.booleans())
def test_skipped_files_are_counted_and_the_first_are_named(count, training):
    (sentence,) = notes.skips([(f"{i}.txt", "not an image") for i in range(count)], training)
    assert sentence.startswith(
        "1 file was skipped (1" if count == 1 else f"{count} files were skipped ({count}"
    )
    assert [f"{i}.txt" in sentence for i in range(count)] == [i < 3 for i in range(count)]
    assert (f"and {count - 3} more" in sentence) == (count > 3)
    assert ("skipped.tsv of the run's folder" in sentence) == training


def test_what_could_not_even_be_looked_at_is_counted_with_the_rest(tmp_path):
    for i in range(3):
        save(tmp_path / f"{i}.png", noise(8, 8, i))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "words.txt").write_text("words")
    images = load(tmp_path)
    assert len(images.skipped) == 2
    assert "2 files were skipped" in images.notes[-1]
    assert "training lists them" in images.notes[-1]
    assert (
        "training lists them" not in load(tmp_path, schema=images.schema).notes[-1]
    )  # that is no training


# Batches


def test_batches_are_those_of_the_index_in_its_order_and_bits_repeat_by_seed():
    images = load("digits")
    index = torch.arange(1300).flip(0)
    whole = torch.cat([x for x, _ in batches(images, images.schema, 0, index=index)])
    assert torch.equal(whole, images.raw.take(index) / 255)
    schema = images.schema.model_copy(update={"binarise": "dynamic"})
    first, again, other = (
        torch.cat([x for x, _ in batches(images, schema, seed)]) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (1797, 1, 8, 8)
