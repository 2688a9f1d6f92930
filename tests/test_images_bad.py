"""Every mistake with images is told in one sentence; no damaged file takes the good ones with it."""

import contextlib
import errno
import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vaekit.data.images.load import load, recognises
from vaekit.data.images.schema import ImageSchema
from vaekit.data.images.write import write
from vaekit.errors import VaekitError
from vaekit.figures.sheets import sheet


def picture(seed: int = 0, side: int = 8) -> Image.Image:
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, (side, side), dtype=np.uint8)
    )


def encoded(form: str = "PNG", side: int = 8) -> bytes:
    buffer = io.BytesIO()
    picture(side=side).save(buffer, form)
    return buffer.getvalue()


def good_files(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(i).save(folder / f"good{i}.png")


def npz(path: Path, **arrays) -> Path:
    np.savez(path, **{name: np.asarray(array) for name, array in arrays.items()})
    return path


def refused(source, *words: str, **options) -> str:
    """The text of the error, which is one sentence with all of `words` in it."""
    with pytest.raises(VaekitError) as caught:
        load(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text
    return text


IMAGES = np.full((4, 5, 6), 9, np.uint8)
GREY8 = ImageSchema(height=8, width=8, channels=1)


# Names and options


def test_a_missing_path_is_told_with_the_nearest_name(tmp_path):
    good_files(tmp_path / "photos")
    refused(tmp_path / "phtos", "phtos", f"did you mean {tmp_path / 'photos'}?")
    refused("digts", "did you mean digits?")
    refused("/nowhere/at/all.npz", "no such file or folder")
    refused("a\0b", "no such file or folder")
    refused("x" * 5000, "no such file or folder")


@pytest.mark.parametrize("size", [0, -3, (4,), (4, 0), (4, 4, 4), 10**9])
def test_impossible_sizes(size):
    refused("digits", "size: expected a side", size=size)


def test_options_that_do_not_apply(tmp_path):
    good_files(tmp_path)
    refused("digits", "channels: expected 1 (grey) or 3 (colour)", channels=2)
    refused("digits", "array names", array="x")
    refused(tmp_path, "labels names", "folder of pictures", labels="y")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    refused(tmp_path / "pipe.png", "neither a file nor a folder")
    good_files(tmp_path)
    assert load(tmp_path).skipped == (("pipe.png", "not a file"),)


# Folders


def test_an_empty_folder(tmp_path):
    refused(tmp_path, str(tmp_path), "empty", "at least 2 images")
    (tmp_path / ".hidden").write_bytes(b"x")
    refused(tmp_path, "empty")


def test_a_folder_without_pictures_names_three(tmp_path):
    for name in "abcde":
        (tmp_path / f"{name}.txt").write_text("words")
    text = refused(tmp_path, "none of its 5 files", "a.txt (not an image)", "c.txt", "and 2 more")
    assert "d.txt" not in text


def test_one_image_is_too_few(tmp_path):
    good_files(tmp_path, 1)
    refused(tmp_path, "has 1 image; a VAE needs at least 2")
    refused(tmp_path / "good0.png", "has 1 image")
    refused(npz(tmp_path / "a.npz", x=IMAGES[:1]), "has 1 image")
    assert len(load(tmp_path / "good0.png", schema=GREY8)) == 1
    assert len(load(npz(tmp_path / "a.npz", x=np.full((1, 8, 8), 9, np.uint8)), schema=GREY8)) == 1


def test_a_file_that_is_no_picture(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    refused(tmp_path / "table.csv", "table.csv (not an image)")


BAD_FILES = {
    "empty.png": (b"", "an empty file"),
    "text.jpg": (b"hello", "not an image"),
    "cut.png": (encoded(side=40)[:200], "damaged"),
    "cut.jpg": (encoded("JPEG", side=40)[:-300], "damaged"),
    "header.png": (encoded()[:20], "damaged"),
    "script.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "not an image"),
    "notes.txt": (b"not a picture", "not an image"),
}


@pytest.mark.parametrize("budget", [None, 0])
def test_bad_files_are_skipped_with_their_reasons(budget, tmp_path):
    good_files(tmp_path)
    for name, (data, _) in BAD_FILES.items():
        (tmp_path / name).write_bytes(data)
    images = load(tmp_path, memory_budget=budget, cache=tmp_path / ".cache", size=8)
    assert len(images) == 3
    reasons = dict(images.skipped)
    assert set(reasons) == set(BAD_FILES)
    for name, (_, reason) in BAD_FILES.items():
        assert reasons[name].startswith(reason), (name, reasons[name])
    assert f"{len(BAD_FILES)} files were skipped" in images.notes[-1]
    for i in range(3):
        assert torch.equal(
            images.raw.take(torch.tensor([i]))[0, 0],
            torch.from_numpy(np.asarray(picture(i)).copy()),
        )


@pytest.mark.filterwarnings("error")
def test_decompression_bombs_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    good_files(tmp_path)
    picture(side=40).save(tmp_path / "warned.png")
    picture(side=60).save(tmp_path / "refused.png")
    images = load(tmp_path)
    assert len(images) == 3
    assert [reason.split(":")[0] for _, reason in images.skipped] == ["too large", "too large"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_files_without_rights_are_skipped(tmp_path):
    good_files(tmp_path)
    (tmp_path / "good0.png").chmod(0)
    assert load(tmp_path).skipped == (("good0.png", "can't be opened: permission denied"),)


def test_links_that_lead_nowhere_or_in_circles(tmp_path):
    good_files(tmp_path / "a")
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "a" / "round").symlink_to(tmp_path, target_is_directory=True)
    images = load(tmp_path / "a")
    assert [name for name, _ in images.skipped] == ["gone.png"]


def test_names_that_are_not_text(tmp_path):
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        os.mkdir(folder)
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    good_files(tmp_path / "b")
    picture().save(os.fsdecode(folder + b"/\xff.png"))
    images = load(tmp_path, memory_budget=0, cache=tmp_path / ".cache")
    assert images.schema.classes == ("b", "caf\ufffd")
    assert ImageSchema.model_validate_json(images.schema.model_dump_json()) == images.schema


def test_values_that_do_not_fit_bytes(tmp_path):
    good_files(tmp_path)
    Image.fromarray(np.full((8, 8), 1e6, np.float32)).save(tmp_path / "float.tif")
    Image.fromarray(np.full((8, 8), 10**6, np.int32)).save(tmp_path / "int.tif")
    assert [reason.startswith("its values go from") for _, reason in load(tmp_path).skipped] == [
        True,
        True,
    ]


# The disk


def test_a_full_disk_is_seen_before(tmp_path, monkeypatch):
    good_files(tmp_path / "in")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=5))
    refused(tmp_path / "in", "make room", "VAEKIT_CACHE", memory_budget=0, cache=tmp_path / "kept")


def test_a_disk_that_fills_up_leaves_nothing(tmp_path, monkeypatch):
    good_files(tmp_path / "in")

    class Full(io.BufferedWriter):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fdopen", lambda handle, mode: Full(io.FileIO(handle, "wb")))
    refused(
        tmp_path / "in",
        "No space left on device",
        "VAEKIT_CACHE",
        memory_budget=0,
        cache=tmp_path / "kept",
    )
    assert list((tmp_path / "kept/images").iterdir()) == []


def test_a_cache_that_cannot_be_made(tmp_path):
    good_files(tmp_path / "in")
    (tmp_path / "file").write_bytes(b"")
    refused(tmp_path / "in", "VAEKIT_CACHE", memory_budget=0, cache=tmp_path / "file")


def test_a_file_that_shrinks_after_loading(tmp_path):
    np.save(tmp_path / "a.npy", IMAGES)
    images = load(tmp_path / "a.npy", memory_budget=0)
    os.truncate(tmp_path / "a.npy", 150)
    with pytest.raises(VaekitError, match="ends early"):
        images.raw.take(torch.tensor([3]))
    os.remove(tmp_path / "a.npy")
    with pytest.raises(VaekitError, match="couldn't be read"):
        pickle.loads(pickle.dumps(images.raw)).take(torch.tensor([0]))


# Arrays


def test_several_arrays_are_listed(tmp_path):
    path = npz(tmp_path / "a.npz", left=IMAGES, right=IMAGES, y=np.arange(4))
    refused(path, "left uint8 (4, 5, 6)", "right uint8 (4, 5, 6)", "choose one with array=NAME")
    refused(path, "'middle'", "left uint8", array="middle")
    refused(path, "y is int64 (4,)", array="y")
    refused(path, "'z' for labels", array="left", labels="z")
    refused(path, "labels of 4 images", array="left", labels="right")


def test_no_array_is_like_images(tmp_path):
    refused(
        npz(tmp_path / "a.npz", x=np.zeros((5, 3))),
        "no array looks like images",
        "x float64 (5, 3)",
    )
    refused(npz(tmp_path / "b.npz", x=np.zeros((5, 4, 4), complex)), "no array looks like images")
    refused(npz(tmp_path / "c.npz"), "NumPy")
    refused(npz(tmp_path / "d.npz", x=np.zeros((0, 4, 4), np.uint8)), "has no images")
    refused(
        npz(tmp_path / "e.npz", x=np.zeros((9, 9, 3), np.uint8)),
        "one colour picture",
        "(1, 9, 9, 3)",
    )


def test_parts_must_be_alike(tmp_path):
    refused(npz(tmp_path / "a.npz", x_train=IMAGES, x_test=IMAGES[:, 1:]), "one image size")
    refused(npz(tmp_path / "b.npz", x_train=IMAGES, x_test=IMAGES / 255), "one dtype")


def test_python_objects_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    trap = np.empty(3, object)
    trap[:] = [Trap()] * 3
    np.save(tmp_path / "a.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=trap)
    (tmp_path / "b.npy").write_bytes(pickle.dumps(Trap()))
    for name in ("a.npy", "a.npz"):
        refused(tmp_path / name, "Python objects, which could run code")
    refused(tmp_path / "a.npz", "Python objects, which could run code", array="x")
    refused(tmp_path / "b.npy", "pickle, which could run code")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers(bad, tmp_path):
    array = np.full((4, 5, 6), 0.5, np.float32)
    array[2, 3, 1] = bad
    refused(npz(tmp_path / "a.npz", x=array), "a.npz: x", "[2, 3, 1]", str(bad))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.linspace(-1, 1, 80).reshape(4, 4, 5), ("between 0 and 1", "from -1 to 1", "uint8")),
        (np.linspace(0, 255, 80).reshape(4, 4, 5), ("from 0 to 255", "scale")),
        (np.full((4, 4, 5), 300), ("from 300 to 300", "uint8")),
        (np.full((4, 4, 5), -1, np.int8), ("from -1",)),
    ],
)
def test_values_out_of_range(array, words, tmp_path):
    refused(npz(tmp_path / "a.npz", x=array), "a.npz: x", *words)


def test_damaged_array_files(tmp_path):
    np.save(tmp_path / "cut.npy", IMAGES)
    os.truncate(tmp_path / "cut.npy", 160)
    refused(tmp_path / "cut.npy", "cut.npy", "ends before")
    (tmp_path / "empty.npy").write_bytes(b"")
    refused(tmp_path / "empty.npy", "empty")
    (tmp_path / "text.npz").write_text("hello")
    refused(tmp_path / "text.npz", "isn't a NumPy file")
    data = npz(tmp_path / "good.npz", x=IMAGES).read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut.npz", "cut.npz", "damaged")
    flipped = bytearray(data)
    flipped[data.index(bytes([9] * 50)) + 5] ^= 255
    (tmp_path / "flipped.npz").write_bytes(flipped)
    refused(tmp_path / "flipped.npz", "flipped.npz", "damaged", "CRC")
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("a.png", encoded())
    refused(tmp_path / "pictures.zip", "unpack it and give the folder")


def test_an_array_that_announces_too_much(tmp_path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 900, 900)}
    )
    (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
    refused(tmp_path / "a.npy", "ends before the end of the array")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(100))
    refused(tmp_path / "a.npz", "ends before the end of the array")


# idx


def idx_bytes(magic: int, *lengths: int, data: bytes) -> bytes:
    return struct.pack(f">{1 + len(lengths)}I", magic, *lengths) + data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x00\x00", ("too few",)),
        (idx_bytes(0x801, 2, 3, 3, data=bytes(18)), ("0x0803", "0x0801")),
        (idx_bytes(0x803, 9, 3, 3, data=bytes(18)), ("announces 97 bytes", "has 34")),
        (idx_bytes(0x803, 2, 0, 3, data=b""), ("2 images of 0x3",)),
    ],
)
def test_damaged_idx_files(data, words, tmp_path):
    (tmp_path / "train-images-idx3-ubyte").write_bytes(data)
    refused(tmp_path, "train-images-idx3-ubyte", *words)


def test_damaged_gzipped_idx_files(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(0x803, 9, 3, 3, data=bytes(18))))
    refused(tmp_path, "ends before the 9 images")
    path.write_bytes(gzip.compress(idx_bytes(0x803, 2, 300, 3, data=os.urandom(1800)))[:900])
    refused(tmp_path, "damaged")
    path.write_bytes(b"plain")
    refused(tmp_path, "couldn't be read")


def test_idx_labels_and_sets(tmp_path):
    images = idx_bytes(0x803, 2, 3, 3, data=bytes(range(18)))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(0x801, 3, data=bytes(3)))
    refused(tmp_path, "3 labels for 2 images")
    (tmp_path / "train-labels-idx1-ubyte").unlink()
    (tmp_path / "emnist-letters-train-images-idx3-ubyte").write_bytes(images)
    refused(tmp_path, "several sets", "emnist-letters", "array=NAME")
    assert len(load(tmp_path, array="emnist-letters")) == 2
    refused(tmp_path, "no set 'emnist-x'", array="emnist-x")


# Data that doesn't suit a model


def test_data_of_another_size(tmp_path):
    good_files(tmp_path / "photos")
    schema = ImageSchema(height=28, width=20, channels=1)
    refused(tmp_path / "photos", "8x8", "this model reads 28x20 grey", "to 28x20", schema=schema)
    refused(tmp_path / "photos", "size 8 doesn't suit", "use size 28x20", size=8, schema=schema)
    refused(npz(tmp_path / "a.npz", x=IMAGES), "5x6 grey", "28x20 grey", schema=schema)
    assert load(tmp_path / "photos", size=(28, 20), schema=schema).raw.shape == (3, 1, 28, 20)
    picture(side=9).save(tmp_path / "photos" / "other.png")
    refused(tmp_path / "photos", "2 sizes, 8x8 to 9x9", schema=GREY8)


def test_data_of_another_colour_or_dtype(tmp_path):
    colour = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    path = npz(tmp_path / "a.npz", x=colour)
    refused(path, "in colour", "reads grey ones", "channels=1", schema=GREY8)
    assert load(path, channels=1, schema=GREY8).raw.shape == (3, 1, 8, 8)
    refused(path, "channels 3 doesn't suit", channels=3, schema=GREY8)
    fine = npz(tmp_path / "b.npz", x=np.random.default_rng(0).random((3, 8, 8)))
    refused(fine, "floats", "uint8", schema=GREY8)


# On the way out


def test_what_cannot_be_shown_or_written(tmp_path):
    with pytest.raises(VaekitError, match="at least 1 image"):
        sheet(torch.zeros(0, 1, 4, 4))
    with pytest.raises(VaekitError, match="1 or 3 channels"):
        sheet(torch.zeros(2, 2, 4, 4))
    with pytest.raises(VaekitError, match="expected images of shape"):
        write(torch.zeros(2, 1, 4, 4), GREY8, tmp_path, "a")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(VaekitError, match="choose another folder"):
        write(torch.zeros(2, 1, 8, 8), GREY8, tmp_path / "file", "a")


# Fuzz


@st.composite
def damaged(draw) -> bytes:
    """Random bytes, or a picture or array file that was cut or has some bytes changed."""
    whole = draw(
        st.sampled_from(
            [encoded(form, 12) for form in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")]
        )
    )
    data = bytearray(draw(st.sampled_from([b"", whole[:12]])) + draw(st.binary(max_size=60)))
    if draw(st.booleans()):
        data = bytearray(whole[: draw(st.integers(0, len(whole)))])
        for _ in range(draw(st.integers(0, 4)) if data else 0):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=60, deadline=None)
@given(st.lists(damaged(), min_size=1, max_size=6))
def test_no_file_breaks_a_folder_or_loses_a_good_one(files):
    with TemporaryDirectory() as name:
        folder = Path(name)
        good_files(folder)
        for i, data in enumerate(files):
            (folder / f"z{i}.png").write_bytes(data)
        assert recognises(folder)
        images = load(folder, size=8, channels=1)
        assert len(images) + len(images.skipped) == 3 + len(files)
        for i in range(3):
            kept = images.raw.take(torch.tensor([i]))[0, 0]
            assert torch.equal(kept, torch.from_numpy(np.asarray(picture(i)).copy()))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_array_file_raises_anything_else(data):
    buffer = io.BytesIO()
    kind = data.draw(st.sampled_from(["npy", "npz", "zipped"]))
    {"npy": np.save, "npz": np.savez, "zipped": np.savez_compressed}[kind](buffer, IMAGES)
    content = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = (
        content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    )
    with TemporaryDirectory() as name, contextlib.suppress(VaekitError):
        path = Path(name) / ("a.npy" if kind == "npy" else "a.npz")
        path.write_bytes(content)
        recognises(path)
        load(path, memory_budget=1 << 20, cache=Path(name))


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=40), st.booleans())
def test_no_idx_file_raises_anything_else(data, labelled):
    with TemporaryDirectory() as name, contextlib.suppress(VaekitError):
        images = idx_bytes(0x803, 2, 3, 3, data=bytes(range(18)))
        (Path(name) / "train-images-idx3-ubyte").write_bytes(images if labelled else data)
        (Path(name) / "train-labels-idx1-ubyte").write_bytes(data)
        load(name)
