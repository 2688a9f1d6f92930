"""One picture file where its name asks for one: a single image as it is, several on a sheet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from commands import call
from vaekit import VaekitError
from vaekit.data.images.read.picture import Unreadable, read_header, read_range
from vaekit.data.images.write import is_picture_file, write_picture
from vaekit.figures.sheets import sheet

TINY = ["--architecture", "mlp", "--latent", 2, "--steps", 2, "--device", "cpu", "--quiet"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert call("train", "digits", *TINY, "model.hidden=[8]", "--out", folder).code == 0
    return folder


def done(*words: object) -> dict:
    result = call(*words, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("ending", ["png", "webp", "bmp", "tif", "TIFF"])
def test_a_single_image_is_written_as_it_is(channels: int, ending: str, tmp_path: Path) -> None:
    x = torch.randint(0, 256, (1, channels, 5, 7)) / 255
    path = write_picture(x, tmp_path / "deep" / f"one.{ending}")
    with Image.open(path) as picture:
        assert picture.size == (7, 5)
        found = np.asarray(picture.convert("L" if channels == 1 else "RGB"))
    assert np.array_equal(found.reshape(5, 7, channels), (x[0] * 255).round().permute(1, 2, 0))


def test_several_images_are_one_sheet(tmp_path: Path) -> None:
    x = torch.rand(6, 3, 8, 8)
    path = write_picture(x, tmp_path / "many.png", columns=3)
    assert np.array_equal(np.asarray(Image.open(path)), np.asarray(sheet(x, 3)))


def test_jpeg_is_near_and_nothing_is_overwritten(tmp_path: Path) -> None:
    x = torch.linspace(0, 1, 256).reshape(1, 1, 16, 16)
    path = write_picture(x, tmp_path / "one.jpg")
    found = np.asarray(Image.open(path)).astype(float)
    assert np.abs(found - x[0, 0].numpy() * 255).max() < 16
    before = path.read_bytes()
    with pytest.raises(VaekitError, match=r"one.jpg: is there already"):
        write_picture(x, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["one.jpg"]


def test_names_of_pictures_and_of_folders() -> None:
    assert all(is_picture_file(name) for name in ("a.png", "b/a.JPG", "a.webp", "a.tiff"))
    assert not any(is_picture_file(name) for name in ("a", "a.png/b", "png", "digits-10k", "v1.2"))


def test_generate_makes_one_image_or_a_sheet_of_a_picture_file(run: Path, tmp_path: Path) -> None:
    one = done("generate", run, "--seed", 3, "--out", tmp_path / "one.png")
    assert one == {"picture": str(tmp_path / "one.png"), "n": 1}
    wanted = (vaekit.load(run).generate(1, 3)[0, 0] * 255).round()
    assert np.array_equal(np.asarray(Image.open(one["picture"])), wanted)
    many = done("generate", run, "-n", 16, "--out", tmp_path / "sheet.png")
    assert many["n"] == 16
    assert min(Image.open(many["picture"]).size) >= 4 * 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "sheet.png"]
    again = call("generate", run, "--out", tmp_path / "one.png")
    assert again.code == 1
    assert "is there already" in again.err


def test_a_folder_is_made_of_any_other_name(run: Path, tmp_path: Path) -> None:
    told = done("generate", run, "--out", tmp_path / "new")
    assert told["n"] == 64
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["samples.npy", "samples.png"]


def test_reconstructions_and_interpolations_fit_into_a_picture_file(
    run: Path, tmp_path: Path
) -> None:
    done("reconstruct", run, "-n", 4, "--out", tmp_path / "pairs.png")
    done("interpolate", run, 0, 1, "--steps", 5, "--out", tmp_path / "line.png")
    for name in ("pairs", "line"):
        width, height = Image.open(tmp_path / f"{name}.png").size
        assert width > height  # 4 x 2 and 5 x 1 images
    assert sorted(p.name for p in tmp_path.iterdir()) == ["line.png", "pairs.png"]


def test_how_many_must_be_at_least_one(run: Path, tmp_path: Path) -> None:
    result = call("generate", run, "-n", 0, "--out", tmp_path / "one.png")
    assert result.code == 1
    assert not (tmp_path / "one.png").exists()


def test_what_was_opened_is_closed(tmp_path: Path) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "well.png")
    (tmp_path / "bad.png").write_bytes(b"no picture")
    opened: list[BinaryIO] = []

    def source(name: str) -> BinaryIO:
        opened.append((tmp_path / name).open("rb"))
        return opened[-1]

    read_header(lambda: source("well.png"))
    read_range(lambda: source("well.png"))
    with pytest.raises(Unreadable):
        read_header(lambda: source("bad.png"))
    assert [file.closed for file in opened] == [True] * 3
