"""Tables of attributes that would mislead are refused, and what they leave open is told."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaekit import VaekitError
from vaekit.data.images.load import load


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,age\na.png,1\nb.png,inf\n", "'inf', which is not a finite number"),
        ("file,age,age\na.png,1,2\nb.png,2,3\n", "two columns are called 'age'"),
        ("file,age\na.png,1\na.png,2\nb.png,3\n", "a.png stands in several rows"),
        ("file,age\na.png,0.1\nb.png,0.1\n", "only one value"),
        ("file,age\na.png," + 200_000 * "9" + "\n", "cannot be read as a table"),
    ],
)
def test_a_table_that_misleads_is_refused(text: str, said: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(VaekitError, match=said):
        load(tmp_path, condition=["age:number"])


def test_a_table_of_some_images_says_of_how_many(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        Image.new("L", (8, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "metadata.csv").write_text("file;age\na.png;0,5\nb.png;1,5\n")
    images = load(tmp_path, condition=["age"])
    assert "age: unknown for 1 of 3 images" in images.notes
    assert images.schema.conditions[0].mean == 1.0


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four pictures, one of them in a sub-folder."""
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for i, name in enumerate(("a", "b", "c", "sub/d")):
        Image.new("L", (8, 8), 50 * i).save(tmp_path / "photos" / f"{name}.png")
    return tmp_path / "photos"


TEXT = "file_name,kind\na.png,x\nb.png,y\nc.png,x\nsub/d.png,y\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", TEXT),
        ("metadata.csv", TEXT),
        ("Marks.CSV", TEXT.replace("file_name", "whatever")),  # the first column
        ("labels.tsv", TEXT.replace(",", "\t")),
        ("labels.csv", "kind,path\nx,a.png\ny,b.png\nx,c.png\ny,sub\\d.png\n"),
        ("labels.csv", "id;kind\na;x\nb;y\nc;x\nd;y\n"),  # names without a suffix
    ],
)
def test_a_table_that_names_the_pictures_is_found_and_no_skipped_picture(name, text, photos):
    (photos / name).write_text(text)
    images = load(photos, condition=["kind"])
    assert images.skipped == ()
    assert images.schema.conditions[0].classes == ("x", "y")
    kinds = [int(value) for value in images.context[:, 0]]
    assert dict(zip(images.files, kinds, strict=True)) == {
        "a.png": 0,
        "b.png": 1,
        "c.png": 0,
        "sub/d.png": 1,
    }


def test_a_table_that_is_not_used_is_told_with_its_columns(photos):
    (photos / "labels.csv").write_text(TEXT)
    assert load(photos).notes == (
        "labels.csv names the images; its column can be a condition: kind",
    )


@pytest.mark.parametrize(
    "text", ["", "kind\nx\n", "file_name,kind\nz.png,x\n", "\x00", "file_name"]
)
def test_a_table_that_names_no_picture_is_skipped_as_before(text, photos):
    (photos / "other.csv").write_text(text)
    (photos / "broken.csv.gz").write_bytes(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03 nothing")
    assert [name for name, _ in load(photos).skipped] == ["broken.csv.gz", "other.csv"]


def test_several_tables_are_named_and_one_is_asked_for(photos):
    for name in ("labels.csv", "marks.csv"):
        (photos / name).write_text(TEXT)
    with pytest.raises(
        VaekitError, match=r"2 tables name the images \(labels.csv, marks.csv\).*table=labels.csv"
    ):
        load(photos, condition=["kind"])
    assert load(photos, condition=["kind"], table="marks.csv").context is not None
    (photos / "metadata.csv").write_text(TEXT.replace("kind", "mood"))
    assert load(photos, condition=["mood"]).context is not None


def test_a_named_table_is_looked_for_here_and_in_the_folder_of_pictures(
    photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (photos / "labels.csv").write_text(TEXT)
    assert load("photos", condition=["kind"], table="labels.csv").context is not None
    (tmp_path / "labels.csv").write_text(TEXT.replace("kind", "mood"))
    assert load("photos", condition=["mood"], table="labels.csv").context is not None
    with pytest.raises(VaekitError, match=r"lost.csv: .* neither here nor in photos;"):
        load("photos", condition=["kind"], table="lost.csv")


def test_numbers_of_named_classes_are_their_names(tmp_path: Path) -> None:
    images, kind = np.zeros((6, 8, 8), np.uint8), np.array([0, 1, 2, 2, -1, 0])
    np.savez(
        tmp_path / "named.npz", images=images, kind=kind, kind_names=np.array(["cat", "dog", "owl"])
    )
    found = load(tmp_path / "named.npz", array="images", condition=["kind"])
    (field,) = found.schema.conditions
    assert found.context is not None
    told = [
        "" if math.isnan(value) else field.classes[int(value)]
        for value in found.context[:, 0].tolist()
    ]
    assert told == ["cat", "dog", "owl", "owl", "", "cat"]
    np.savez(tmp_path / "few.npz", images=images, kind=kind, kind_names=np.array(["cat", "dog"]))
    with pytest.raises(VaekitError, match="has class numbers up to 2, but only 2 names"):
        load(tmp_path / "few.npz", array="images", condition=["kind"])
