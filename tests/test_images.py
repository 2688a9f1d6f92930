"""What must hold of images from every source: they come back as they were, from memory as from disk."""

import gzip
import json
import pickle
import struct
import subprocess
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from vaekit.data.dataset import Resident
from vaekit.data.images.load import load, recognises
from vaekit.data.images.schema import ImageSchema, from_tensor, to_tensor
from vaekit.data.images.write import write
from vaekit.data.storage.disk import DiskImages
from vaekit.errors import VaekitError
from vaekit.figures.sheets import sheet

laws = settings(max_examples=25, deadline=None)
sides = st.integers(2, 7)
channel_counts = st.sampled_from([1, 3])


def schema_of(values: torch.Tensor) -> ImageSchema:
    _, channels, height, width = values.shape
    dtype = "float32" if values.dtype == torch.float32 else "uint8"
    return ImageSchema(height=height, width=width, channels=channels, dtype=dtype)


@st.composite
def pixel_arrays(draw, dtype=np.uint8):
    """(N, H, W) or (N, H, W, C) that holds more than zeros and ones."""
    shape = (draw(st.integers(2, 9)), draw(sides), draw(sides))
    channels = draw(channel_counts)
    shape += (3,) if channels == 3 else draw(st.sampled_from([(), (1,)]))
    array = draw(hnp.arrays(dtype, shape, elements=st.integers(0, 255)))
    array.flat[0] = 200
    return array


def planes(array: np.ndarray) -> torch.Tensor:
    """(N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    array = array[..., None] if array.ndim == 3 else array
    return torch.from_numpy(np.ascontiguousarray(array.transpose(0, 3, 1, 2)))


def everything(raw) -> torch.Tensor:
    return raw.take(torch.arange(len(raw)))


def random_pictures(
    count: int, height: int, width: int, channels: int, seed: int = 0
) -> np.ndarray:
    shape = (count, height, width) if channels == 1 else (count, height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def export(folder: Path, array: np.ndarray, form: str = "{:04d}.png") -> None:
    """Write the pictures of `array` below `folder`."""
    for i, picture in enumerate(array):
        path = folder / form.format(i)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path)


# Values and schema


@laws
@given(hnp.arrays(np.uint8, (2, 3, 4, 5)))
def test_bytes_survive_the_way_through_the_network(array):
    raw = torch.from_numpy(array)
    x = to_tensor(raw, schema_of(raw))
    assert x.dtype == torch.float32
    assert x.min() >= 0
    assert x.max() <= 1
    assert torch.equal(from_tensor(x, schema_of(raw)), raw)


@laws
@given(hnp.arrays(np.float32, (2, 1, 4, 5), elements=st.floats(0, 1, width=32)))
def test_floats_survive_the_way_through_the_network(array):
    raw = torch.from_numpy(array)
    assert torch.equal(from_tensor(to_tensor(raw, schema_of(raw)), schema_of(raw)), raw)


def test_from_tensor_clamps_what_lies_outside():
    schema = ImageSchema(height=1, width=3, channels=1)
    assert from_tensor(torch.tensor([-1.0, 0.5, 2.0]), schema).tolist() == [0, 128, 255]


def test_the_schema_is_plain_data():
    schema = ImageSchema(height=4, width=5, channels=3, classes=("a", "b"))
    assert ImageSchema.model_validate_json(schema.model_dump_json()) == schema
    assert (schema.shape, schema.dims) == ((3, 4, 5), 60)
    with pytest.raises(ValueError, match="extra"):
        ImageSchema(height=1, width=1, channels=1, depth=3)


# Arrays


@laws
@given(pixel_arrays(), st.sampled_from(["npy", "npz", "savez_compressed"]), st.booleans())
def test_arrays_come_back_from_memory_and_from_disk(array, kind, fits):
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("a.npy" if kind == "npy" else "a.npz")
        {"npy": np.save, "npz": np.savez, "savez_compressed": np.savez_compressed}[kind](
            path, array
        )
        images = load(path, memory_budget=1 << 20 if fits else 0, cache=Path(folder))
        assert isinstance(images.raw, Resident if fits else DiskImages)
        assert images.schema == schema_of(planes(array))
        assert torch.equal(everything(images.raw), planes(array))


@laws
@given(
    hnp.arrays(
        np.uint8, st.tuples(st.integers(2, 5), st.just(3), st.integers(5, 8), st.integers(5, 8))
    )
)
def test_channels_first_is_seen(array):
    array.flat[0] = 9
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/a.npy", array)
        assert torch.equal(everything(load(f"{folder}/a.npy").raw), torch.from_numpy(array))


@pytest.mark.parametrize("dtype", ["int16", "uint16", ">i4", "int64", "uint64"])
def test_whole_numbers_of_any_width(dtype, tmp_path):
    array = random_pictures(5, 4, 6, 1)
    np.save(tmp_path / "a.npy", array.astype(dtype))
    assert torch.equal(everything(load(tmp_path / "a.npy").raw), planes(array))


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4"])
@pytest.mark.parametrize("fits", [True, False])
def test_floats_on_the_grid_of_255ths_become_bytes(dtype, fits, tmp_path):
    array = random_pictures(5, 4, 6, 3)
    np.save(tmp_path / "a.npy", (array / 255).astype(dtype))
    images = load(tmp_path / "a.npy", memory_budget=None if fits else 0, cache=tmp_path)
    assert images.schema.dtype == "uint8"
    assert "255ths" in images.notes[0]
    assert torch.equal(everything(images.raw), planes(array))


@laws
@given(hnp.arrays(np.float32, (3, 4, 5), elements=st.floats(0, 1, width=32)), st.booleans())
def test_finer_floats_stay_floats(array, fits):
    array.flat[0] = 0.1234
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/a.npy", array)
        images = load(f"{folder}/a.npy", memory_budget=1 << 20 if fits else 0, cache=Path(folder))
        assert images.schema.dtype == "float32"
        assert torch.equal(everything(images.raw), planes(array))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_marks_become_black_and_white(dtype, tmp_path):
    array = random_pictures(4, 5, 5, 1) > 127
    np.save(tmp_path / "a.npy", array.astype(dtype))
    assert torch.equal(
        everything(load(tmp_path / "a.npy").raw),
        planes(array) * torch.tensor(255, dtype=torch.uint8),
    )


def test_column_major_arrays(tmp_path):
    array = random_pictures(4, 5, 6, 3)
    np.save(tmp_path / "a.npy", np.asfortranarray(array))
    for budget in (None, 0):
        images = load(tmp_path / "a.npy", memory_budget=budget, cache=tmp_path)
        assert torch.equal(everything(images.raw), planes(array))


def test_transparent_arrays_are_laid_over_white(tmp_path):
    array = random_pictures(4, 9, 9, 4)
    array[..., 3] = np.array([255, 0, 255, 0]).reshape(4, 1, 1)
    np.save(tmp_path / "a.npy", array)
    values = everything(load(tmp_path / "a.npy").raw)
    assert torch.equal(values[::2], planes(array[..., :3])[::2])
    assert (values[1::2] == 255).all()


@pytest.mark.parametrize(
    "names", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels"]
)
def test_train_and_test_with_labels(names, tmp_path):
    x, y, x_test, y_test = names.split()
    arrays = {x: random_pictures(6, 4, 4, 1), y: np.array([3, 5, 5, 3, 9, 9])}
    arrays |= {x_test: random_pictures(3, 4, 4, 1, seed=1), y_test: np.array([[5], [5], [3]])}
    np.savez(tmp_path / "a.npz", **arrays)
    images = load(tmp_path / "a.npz")
    assert images.schema.classes == ("3", "5", "9")
    assert images.labels.tolist() == [0, 1, 1, 0, 2, 2]
    assert images.test.labels.tolist() == [1, 1, 0]
    assert torch.equal(everything(images.test.raw), planes(arrays[x_test]))


def test_the_valid_part_joins_train(tmp_path):
    parts = {
        f"{part}_images": random_pictures(4, 5, 5, 1, seed)
        for seed, part in enumerate(["train", "val", "test"])
    }
    np.savez(tmp_path / "a.npz", **parts, train_labels=np.arange(4))
    images = load(tmp_path / "a.npz")
    assert torch.equal(everything(images.raw)[4:], planes(parts["val_images"]))
    assert images.labels.tolist() == [0, 1, 2, 3, -1, -1, -1, -1]
    assert "val_images" in images.notes[0]


def test_names_of_arrays_and_classes(tmp_path):
    arrays = {
        "a": random_pictures(4, 5, 5, 1),
        "b": random_pictures(4, 6, 6, 1),
        "kind": np.array([1, 0, 1, -1]),
    }
    np.savez(tmp_path / "a.npz", **arrays, class_names=np.array(["cat", "dog"]))
    images = load(tmp_path / "a.npz", array="b", labels="kind")
    assert images.raw.shape == (4, 1, 6, 6)
    assert images.schema.classes == ("cat", "dog")
    assert images.labels.tolist() == [1, 0, 1, -1]


@pytest.mark.parametrize("budget", [None, 0])
def test_arrays_are_resized_and_recoloured_when_asked(budget, tmp_path):
    np.save(tmp_path / "a.npy", np.full((3, 20, 30), 77, np.uint8))
    images = load(tmp_path / "a.npy", size=(8, 6), channels=3, memory_budget=budget, cache=tmp_path)
    assert images.raw.shape == (3, 3, 8, 6)
    assert (everything(images.raw) == 77).all()


# Raw images


@laws
@given(pixel_arrays(), st.data())
def test_disk_gives_what_memory_gives(array, data):
    index = torch.tensor(
        data.draw(st.lists(st.integers(0, len(array) - 1), max_size=20)), dtype=torch.int64
    )
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/a.npy", array)
        resident = load(f"{folder}/a.npy")
        disk = load(f"{folder}/a.npy", memory_budget=0)
        assert torch.equal(disk.raw.take(index), resident.raw.take(index))
        assert torch.equal(
            pickle.loads(pickle.dumps(disk.raw)).take(index), resident.raw.take(index)
        )
        if len(index):
            last = torch.tensor([len(index) - 1])
            assert torch.equal(
                disk.subset(index).raw.take(last), resident.subset(index).raw.take(last)
            )


def test_threads_may_share_disk_images(tmp_path):
    array = random_pictures(200, 8, 8, 1)
    np.save(tmp_path / "a.npy", array)
    disk, values = load(tmp_path / "a.npy", memory_budget=0).raw, planes(array)
    indexes = [torch.from_numpy(np.random.default_rng(i).integers(0, 200, 64)) for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert all(
            torch.equal(got, values[index])
            for got, index in zip(pool.map(disk.take, indexes), indexes, strict=True)
        )


@pytest.mark.parametrize("bad", [-1, 4])
def test_an_index_outside_is_refused(bad, tmp_path):
    np.save(tmp_path / "a.npy", random_pictures(4, 5, 5, 1))
    for budget in (None, 0):
        with pytest.raises(IndexError):
            load(tmp_path / "a.npy", memory_budget=budget).raw.take(torch.tensor([bad]))


# Digits, idx


def test_digits():
    images = load("digits")
    assert images.raw.shape == (1797, 1, 8, 8)
    assert images.schema.classes == tuple("0123456789")
    assert everything(images.raw).max() == 255
    assert load("digits", size=16, channels=3).raw.shape == (1797, 3, 16, 16)


def write_idx(path: Path, array: np.ndarray) -> None:
    data = struct.pack(f">{array.ndim + 1}I", 0x800 + array.ndim, *array.shape) + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


@laws
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(2, 6), sides, sides)),
    st.sampled_from(["", ".gz"]),
    st.booleans(),
)
def test_idx_files_come_back(array, suffix, fits):
    array.flat[0] = 255
    labels = np.arange(len(array), dtype=np.uint8) % 3
    with TemporaryDirectory() as folder:
        for part in ("train", "t10k"):
            write_idx(Path(folder) / f"{part}-images-idx3-ubyte{suffix}", array)
            write_idx(Path(folder) / f"{part}-labels-idx1-ubyte{suffix}", labels)
        assert recognises(folder)
        images = load(folder, memory_budget=None if fits else 0, cache=Path(folder) / "cache")
        for part in (images, images.test):
            assert torch.equal(everything(part.raw), planes(array))
            assert [part.schema.classes[i] for i in part.labels] == [str(label) for label in labels]


def test_one_idx_file_takes_its_labels_along(tmp_path):
    write_idx(tmp_path / "emnist-letters-test-images-idx3-ubyte", random_pictures(4, 5, 5, 1))
    write_idx(
        tmp_path / "emnist-letters-test-labels-idx1-ubyte", np.array([1, 26, 1, 26], np.uint8)
    )
    for source in (tmp_path, tmp_path / "emnist-letters-test-images-idx3-ubyte"):
        assert load(source).labels.tolist() == [0, 1, 0, 1]


# Folders of pictures


@settings(max_examples=12, deadline=None)
@given(pixel_arrays(), st.sampled_from(["png", "bmp", "tiff", "webp"]), st.booleans())
def test_folders_come_back(array, kind, fits):
    array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    with TemporaryDirectory() as folder:
        for i, picture in enumerate(array):
            Image.fromarray(picture).save(f"{folder}/{i}.{kind}", lossless=True)
        images = load(folder, memory_budget=1 << 20 if fits else 0, cache=Path(folder) / ".cache")
        assert isinstance(images.raw, Resident if fits else DiskImages)
        values = planes(array)
        values = (
            values if (values != values[:, :1]).any() else values[:, :1]
        )  # grey, however it is stored
        assert torch.equal(everything(images.raw), values)


def test_classes_are_folders(tmp_path):
    export(tmp_path, random_pictures(4, 8, 8, 1), "dog/{}.png")
    export(tmp_path, random_pictures(3, 8, 8, 1), "cat/inner/{}.png")
    export(tmp_path, random_pictures(2, 8, 8, 1), "{}.png")
    (tmp_path / "empty").mkdir()
    for ignored in (".hidden/a.png", "__MACOSX/a.png", "dog/Thumbs.db", "dog/.DS_Store"):
        (tmp_path / ignored).parent.mkdir(exist_ok=True)
        (tmp_path / ignored).write_bytes(b"x")
    images = load(tmp_path)
    assert images.schema.classes == ("cat", "dog")
    assert torch.bincount(images.labels + 1).tolist() == [2, 3, 4]
    assert "2 of 9 images lie beside" in " ".join(images.notes)
    assert images.skipped == ()


def test_parts_are_folders(tmp_path):
    for part, count in (("Train", 4), ("val", 3), ("test", 2)):
        for seed, kind in enumerate(("a", "b")):
            export(tmp_path, random_pictures(count, 8, 8, 1, seed), f"{part}/{kind}/{{}}.png")
    images = load(tmp_path)
    assert (len(images), len(images.test)) == (14, 4)
    assert images.schema.classes == ("a", "b")
    assert images.test.labels.tolist() == [0, 0, 1, 1]
    assert "val" in images.notes[0]


def test_one_folder_around_all_is_no_class(tmp_path):
    export(tmp_path, random_pictures(3, 8, 8, 1), "outer/a/{}.png")
    export(tmp_path, random_pictures(3, 8, 8, 1), "outer/b/{}.png")
    (tmp_path / "readme.txt").write_text("hello")
    assert load(tmp_path).schema.classes == ("a", "b")
    assert load(tmp_path / "outer" / "a").labels is None


def test_mixed_sizes_become_squares(tmp_path):
    Image.new("RGB", (300, 100), "red").save(tmp_path / "a.jpg")
    Image.new("L", (40, 90), 128).save(tmp_path / "b.png")
    images = load(tmp_path)
    assert images.raw.shape == (2, 3, 40, 40)
    assert "cropped about the centre and resized to 40x40" in images.notes[0]
    assert "1 of 2 images is grey: read as colour" in images.notes[1]
    assert load(tmp_path, size=(10, 20), channels=1).raw.shape == (2, 1, 10, 20)


@pytest.mark.parametrize(("side", "expected"), [(128, 128), (129, 64)])
def test_images_of_one_size_keep_it_up_to_128(side, expected, tmp_path):
    export(tmp_path, random_pictures(2, side, side, 1))
    assert load(tmp_path).raw.shape == (2, 1, expected, expected)


def test_cropping_is_about_the_centre_and_does_not_blur(tmp_path):
    array = random_pictures(2, 20, 31, 1)
    export(tmp_path, array)
    assert torch.equal(everything(load(tmp_path, size=20).raw), planes(array[:, :, 5:25]))


MODES = ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F", "YCbCr"]
FILES = {"CMYK": "tif", "F": "tif", "I": "tif", "YCbCr": "tif"}
GREY = ["1", "L", "LA", "I", "I;16", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_read(mode, tmp_path):
    levels = np.tile(np.array([[0, 255]], np.uint8).repeat(4, axis=1), (8, 1))
    wide = {"I": np.int32, "I;16": np.uint16}
    for i in range(2):
        if mode in wide:
            picture = Image.fromarray((levels.astype(wide[mode]) * 257).astype(wide[mode]))
        else:
            picture = Image.fromarray(levels).convert(
                "RGB" if mode in ("RGBA", "CMYK", "P") else "L"
            )
            picture = (
                picture.convert("RGB").convert(mode) if mode == "YCbCr" else picture.convert(mode)
            )
        picture.save(tmp_path / f"{i}.{FILES.get(mode, 'png')}")
    images = load(tmp_path)
    values = everything(images.raw).float()
    assert images.skipped == ()
    assert values.shape[1] == (1 if mode in GREY or images.schema.channels == 1 else 3)
    assert (values - torch.from_numpy(levels).float()).abs().max() <= 3


def test_a_grey_palette_is_grey(tmp_path):
    array = random_pictures(2, 8, 8, 1)
    for i, picture in enumerate(array):
        palette = Image.fromarray(picture).convert("P")
        palette.putpalette(bytes(np.arange(256, dtype=np.uint8).repeat(3)))
        palette.save(tmp_path / f"{i}.png")
    assert torch.equal(everything(load(tmp_path).raw), planes(array))


def test_transparency_animation_and_orientation_are_told(tmp_path):
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    clear.save(tmp_path / "a.png")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "b.gif", save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4] = 255  # the left half, which is the upper half when turned
    Image.fromarray(picture).save(tmp_path / "c.png", exif=exif)
    images = load(tmp_path)
    values = everything(images.raw)
    assert (values[0] == 255).all()
    assert values[1, :, 0, 0].tolist() == [255, 0, 0]
    assert (values[2, :, :4] == 255).all()
    assert (values[2, :, 4:] == 0).all()
    told = " ".join(images.notes)
    assert all(word in told for word in ("1 image has several frames", "transparent", "EXIF"))


def test_a_lying_photograph_is_measured_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    for name in "ab":
        Image.new("RGB", (40, 20), "red").save(tmp_path / f"{name}.jpg", exif=exif)
    assert load(tmp_path).raw.shape == (2, 3, 40, 20)


@pytest.mark.parametrize("budget", [1, None])
def test_a_kept_copy_is_what_was_read_first(budget, tmp_path, monkeypatch):
    for part in ("train", "test"):
        export(tmp_path / "in", random_pictures(5, 8, 8, 3), part + "/a/{}.png")
        export(tmp_path / "in", random_pictures(4, 8, 8, 3, seed=1), part + "/b/{}.png")
    (tmp_path / "in/train/a/bad.png").write_bytes(b"bad")
    first = load(tmp_path / "in", memory_budget=1, cache=tmp_path / "kept")
    monkeypatch.setattr(
        "vaekit.data.images.read.pictures.read_header", None
    )  # a second reading would fail
    second = load(tmp_path / "in", memory_budget=budget, cache=tmp_path / "kept")
    assert isinstance(second.raw, DiskImages if budget == 1 else Resident)
    for one, other in ((first, second), (first.test, second.test)):
        assert torch.equal(everything(one.raw), everything(other.raw))
        assert torch.equal(one.labels, other.labels)
        assert (one.schema, one.notes, one.skipped) == (other.schema, other.notes, other.skipped)
    assert len(list((tmp_path / "kept/images").iterdir())) == 2


def test_a_changed_folder_is_read_anew(tmp_path):
    export(tmp_path / "in", random_pictures(3, 8, 8, 1))
    load(tmp_path / "in", memory_budget=0, cache=tmp_path)
    export(tmp_path / "in", random_pictures(4, 8, 8, 1, seed=1))
    images = load(tmp_path / "in", memory_budget=0, cache=tmp_path)
    assert torch.equal(everything(images.raw), planes(random_pictures(4, 8, 8, 1, seed=1)))


@pytest.mark.parametrize("damage", ["{}", "[]", "{", '{"version": 1, "bytes": 3}'])
def test_a_damaged_kept_copy_is_made_anew(damage, tmp_path):
    export(tmp_path / "in", random_pictures(3, 8, 8, 1))
    load(tmp_path / "in", memory_budget=0, cache=tmp_path)
    next((tmp_path / "images").glob("*.json")).write_text(damage)
    assert len(load(tmp_path / "in", memory_budget=0, cache=tmp_path)) == 3
    assert json.loads(next((tmp_path / "images").glob("*.json")).read_text())["counts"] == [3, 0]


def test_progress_reaches_its_end(tmp_path):
    export(tmp_path, random_pictures(40, 8, 8, 1))
    told = []
    load(tmp_path, progress=lambda *step: told.append(step))
    assert told[-1] == ("decoding", 40, 40)


# New data for an existing model


def test_new_data_takes_the_form_of_the_model(tmp_path):
    export(tmp_path, random_pictures(1, 8, 8, 1), "dog/{}.png")
    export(tmp_path, random_pictures(1, 8, 8, 1, seed=1), "eel/{}.png")
    schema = ImageSchema(
        height=8, width=8, channels=3, dtype="float32", classes=("cat", "dog"), binarise="static"
    )
    images = load(tmp_path, schema=schema)
    assert images.schema == schema
    assert images.labels.tolist() == [1, -1]
    assert images.raw.shape == (2, 3, 8, 8)
    assert images.raw.dtype == torch.float32
    assert "eel" in images.notes[-1]
    assert len(load(tmp_path / "dog/0.png", schema=schema)) == 1
    assert len(load(tmp_path / "dog", size=8, schema=schema)) == 1


def test_colour_that_is_grey_suits_a_grey_model(tmp_path):
    array = random_pictures(3, 8, 8, 1)
    export(tmp_path, np.repeat(array[..., None], 3, axis=3))
    schema = ImageSchema(height=8, width=8, channels=1)
    assert torch.equal(everything(load(tmp_path, schema=schema).raw), planes(array))


# The hub


class FakeSplit:
    """As much of `datasets.Dataset` as is used."""

    def __init__(self, features: dict, rows: list[dict]):
        self.features, self.rows = features, rows

    def cast_column(self, name, feature):
        assert feature.decode is False
        return self

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, key):
        return self.rows[key] if isinstance(key, int) else [row[key] for row in self.rows]


def fake_library(tmp_path: Path, splits: dict[str, int]) -> types.ModuleType:
    module = types.ModuleType("datasets")
    module.Image = type(
        "Image", (), {"__init__": lambda self, decode=True: setattr(self, "decode", decode)}
    )
    module.ClassLabel = type("ClassLabel", (), {"names": ["cat", "dog"]})
    features = {"id": object(), "picture": module.Image(), "kind": module.ClassLabel()}
    path = tmp_path / "a.png"
    Image.fromarray(random_pictures(1, 8, 8, 1)[0]).save(path)
    cells = [
        {"bytes": path.read_bytes(), "path": None},
        {"bytes": None, "path": str(path)},
        {"bytes": b"", "path": None},
    ]

    def load_dataset(name):
        if name != "me/pets":
            raise FileNotFoundError(f"{name} doesn't exist on the Hub")
        rows = [{"id": i, "picture": cell, "kind": [1, 0, -1][i]} for i, cell in enumerate(cells)]
        return {split: FakeSplit(features, rows * times) for split, times in splits.items()}

    module.load_dataset = load_dataset
    return module


def test_hub_data_sets(tmp_path, monkeypatch):
    monkeypatch.setitem(
        sys.modules, "datasets", fake_library(tmp_path, {"train": 2, "validation": 1, "test": 1})
    )
    images = load("hf:me/pets")
    assert images.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert len(images.test) == 2
    assert images.schema.classes == ("cat", "dog")
    assert len(images.skipped) == 4
    with pytest.raises(VaekitError, match=r"couldn't be reached.*vaekit train digits"):
        load("hf:me/none")
    with pytest.raises(VaekitError, match="'id' isn't"):
        load("hf:me/pets", array="id")


def test_hub_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(VaekitError, match=r"pip install 'vaekit\[hub\]'"):
        load("hf:me/pets")


# On the way out


def test_a_sheet_shows_each_image(tmp_path):
    x = torch.zeros(5, 3, 8, 8)
    x[4] = 1
    picture = np.asarray(sheet(x, columns=3, scale=1))
    assert picture.shape == (2 * 10 + 2, 3 * 10 + 2, 3)
    assert (picture[12:20, 12:20] == 255).all()
    assert 800 <= sheet(torch.zeros(64, 1, 28, 28), 16).width <= 1200
    assert sheet(torch.zeros(4, 1, 300, 300)).size == (2 * 302 + 2, 2 * 302 + 2)


@laws
@given(pixel_arrays())
def test_what_is_written_loads_again(array):
    raw = planes(array)
    with TemporaryDirectory() as folder:
        picture, path = write(to_tensor(raw, schema_of(raw)), schema_of(raw), folder, "a")
        stored = np.load(path)
        assert stored.ndim == (3 if raw.shape[1] == 1 else 4)
        assert torch.equal(everything(load(path).raw), raw)
        assert Image.open(picture).format == "PNG"
        assert sorted(p.name for p in Path(folder).iterdir()) == ["a.npy", "a.png"]


def test_recognises(tmp_path):
    assert recognises("digits")
    assert recognises("hf:a/b")
    assert recognises("missing.npz")
    assert not recognises("missing.csv")
    assert not recognises(tmp_path)
    np.savez(tmp_path / "table.npz", X=np.zeros((5, 3)), y=np.zeros(5))
    assert not recognises(tmp_path / "table.npz")
    export(tmp_path, random_pictures(1, 8, 8, 1), "deep/in/{}.png")
    assert recognises(tmp_path)


def test_importing_is_light():
    heavy = "torchvision pandas matplotlib datasets huggingface_hub sklearn"
    code = (
        f"import sys, vaekit.data.images; print([m for m in {heavy.split()} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
