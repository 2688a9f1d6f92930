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
        ("file,age\na.png,1\nb.png,inf\n", "'inf', which is no number"),
        ("file,age,age\na.png,1,2\nb.png,2,3\n", "two columns are called 'age'"),
        ("file,age\na.png,1\na.png,2\nb.png,3\n", "a.png stands in several rows"),
        ("file,age\na.png,0.1\nb.png,0.1\n", "one value only"),
        ("file,age\na.png," + 200_000 * "9" + "\n", "no table that can be read"),
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
    assert "age: not known of 1 of 3 images" in images.notes
    assert images.schema.conditions[0].mean == 1.0


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
    with pytest.raises(VaekitError, match="counts classes up to 2, and has 2 names"):
        load(tmp_path / "few.npz", array="images", condition=["kind"])
