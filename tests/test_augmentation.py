"""Whether made data help a classifier: what must hold whoever made them."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

import vaekit
from commands import call
from vaekit.data.images import quality as metrics
from vaekit.measures import augmentation
from vaekit.measures.classifier import unit
from vaekit.tasks.batches import as_tensor

KINDS = np.array([False, False, True, True])
GOAL = 120


def rows(n: int, seed: int, rare: float = 0.5) -> np.ndarray:
    """Two numbers and a category that all tell of the class in the last column, two overlapping ones."""
    random = np.random.default_rng(seed)
    y = (random.random(n) < rare).astype(float)
    numbers = random.normal(size=(n, 2)) + 1.2 * y[:, None]
    word = np.where(random.random(n) < 0.7, y, random.integers(0, 3, n))
    return np.column_stack((numbers, word, y))


def nature(seed: int) -> np.ndarray:
    """Rows as they truly are."""
    return rows(2 * GOAL, 1000 + seed)


def noise(seed: int) -> np.ndarray:
    """Rows whose class has nothing to do with their other columns."""
    made = nature(seed)
    made[:, -1] = np.random.default_rng(seed).permutation(made[:, -1])
    return made


@pytest.fixture(scope="module")
def few() -> np.ndarray:
    return np.concatenate(
        [part[:12] for y in (0, 1) for part in [rows(100, 0)] for part in [part[part[:, -1] == y]]]
    )


@pytest.fixture(scope="module")
def test_rows() -> np.ndarray:
    return rows(1500, 1)


def of_classes(
    few: np.ndarray, test: np.ndarray, make: augmentation.Rows, **more: object
) -> augmentation.Table:
    return augmentation.of_classes(few, test, KINDS, 3, make, GOAL, **more)  # type: ignore[arg-type]


def test_rows_as_they_truly_are_help(few, test_rows) -> None:
    found = augmentation.of_classes(
        few, test_rows, KINDS, 3, lambda seed: rows(800, 1000 + seed), GOAL, seeds=[0, 1]
    )
    for measure, sides in found.items():
        beside = (
            ("real", "repeated", "SMOTE") if measure.endswith("auroc") else ("real", "repeated")
        )
        assert sides["generated"]["value"] > max(sides[name]["value"] for name in beside), measure


def test_noise_is_no_gain(few, test_rows) -> None:
    found = of_classes(few, test_rows, noise, seeds=[0, 1])
    assert (
        found["linear auroc"]["generated"]["value"] < found["linear auroc"]["real"]["value"] - 0.03
    )
    assert (
        found["trees auroc"]["generated"]["value"]
        < found["trees auroc"]["repeated"]["value"] - 0.03
    )


def test_nothing_is_learned_from_the_test_rows(few, test_rows) -> None:
    other = test_rows.copy()
    other[:, -1] = 1 - other[:, -1]
    found, turned = (of_classes(few, test, nature, seeds=[0]) for test in (test_rows, other))
    for name in ("trees auroc", "linear auroc"):
        for side in found[name]:
            assert found[name][side]["value"] == pytest.approx(1 - turned[name][side]["value"])


def test_the_same_seeds_give_the_same_figures(few, test_rows) -> None:
    first, second = (of_classes(few, test_rows, nature, seeds=[3, 4]) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    assert first["trees auroc"]["generated"]["error"] > 0
    assert np.isnan(first["linear auroc"]["real"]["error"])  # nothing in it is drawn


def test_numbers_have_no_classes_to_fill_up(test_rows) -> None:
    found = augmentation.of_numbers(rows(12, 0), test_rows, KINDS, 0, nature)
    assert set(found) == {"trees r2", "linear r2"}
    assert set(found["trees r2"]) == {"real", "repeated", "generated"}
    assert found["trees r2"]["generated"]["value"] > found["trees r2"]["real"]["value"] + 0.05


def test_classes_are_filled_up_to_the_goal() -> None:
    table = rows(60, 0, rare=0.2)
    for made in (augmentation.repeated(table, 3, 100), augmentation.smote(table, KINDS, 3, 100)):
        both = np.concatenate((table, made))
        assert np.unique(both[:, 3], return_counts=True)[1].tolist() == [100, 100]
    known = {row.tobytes() for row in table}
    assert all(row.tobytes() in known for row in augmentation.repeated(table, 3, 100))


@pytest.mark.parametrize(
    "kinds", [KINDS, np.array([False, False, False, True]), np.array([True] * 4)]
)
def test_smote_stays_between_rows_of_a_class(kinds: np.ndarray) -> None:
    table = rows(60, 0, rare=0.2)
    table[:, kinds] = table[:, kinds].round().clip(0)
    table[3, 0] = table[5, 2] = np.nan
    lone = np.array([[9.0, 9, 1, 7]])  # of a class of one row
    made = augmentation.smote(np.concatenate((table, lone)), kinds, 3, 80)
    assert set(made[:, 3]) == {0, 1}
    for y in (0, 1):
        old, new = (part[part[:, 3] == y] for part in (table, made))
        assert (new >= np.nanmin(old, 0)).all()
        assert (new <= np.nanmax(old, 0)).all()
    for column in np.flatnonzero(kinds):
        assert set(made[:, column]) <= set(table[:, column])


def test_without_imbalanced_learn_smote_is_left_out(few, test_rows, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "imblearn", None)
    found = of_classes(few, test_rows, nature, seeds=[0])
    assert set(found["trees f1"]) == {"real", "repeated", "generated"}


# Pictures


def pictures(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bars on a noisy ground, lying (class 0) or standing (1), anywhere."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    x = 0.6 * torch.rand(n, 1, 10, 10, generator=generator)
    places = torch.randint(1, 9, (n,), generator=generator).tolist()
    for picture, label, place in zip(x, y.tolist(), places, strict=True):
        picture[0, place if label == 0 else slice(2, 8), slice(2, 8) if label == 0 else place] += (
            0.4
        )
    return x, y


def shuffled(seed: int) -> tuple[Tensor, Tensor]:
    x, y = pictures(200, 100 + seed)
    return x, y[torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))]


def test_pictures_as_they_truly_are_help_and_noise_does_not() -> None:
    few, (x, y) = pictures(8, 0), pictures(400, 1)
    found = augmentation.of_pictures(
        few, (x, y), 2, lambda seed: pictures(200, 100), [0], steps=40
    )["accuracy"]
    value = {side: part["value"] for side, part in found.items()}
    assert set(value) == {"real", "transforms", "generated", "generated, transforms"}
    assert value["generated"] > max(value["real"], value["transforms"]) + 0.03
    noisy = augmentation.halves(few, shuffled(0))
    assert augmentation.accuracy(noisy, (x, y), 2, unit, 0, steps=40) < value["generated"] - 0.03
    other_way = augmentation.accuracy(few, (x, 1 - y), 2, unit, 0, steps=40)
    assert other_way == pytest.approx(1 - value["real"])  # nothing is learned from the test


def test_half_of_what_is_learned_from_is_real() -> None:
    real, made = (
        (torch.zeros(3, 1, 2, 2), torch.tensor([0, 0, 1])),
        (torch.ones(8, 1, 2, 2), torch.zeros(8).long()),
    )
    x, y = augmentation.halves(real, made)
    assert len(x) == len(y) == 16
    assert x.mean() == 0.5
    assert y.tolist() == [0, 0, 1, 0, 0, 1, 0, 0] + [0] * 8


# The command line

SHORT = ["--size", "tiny", "--steps", "60", "validations=2", "--seed", "0"]


def write(path: Path, table: np.ndarray) -> Path:
    words = [[f"{a:.4f}", f"{b:.4f}", "pqr"[int(c)], ("no", "yes")[int(y)]] for a, b, c, y in table]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["a", "b", "word", "bought"], *words])
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("augmentation")
    write(place / "few.csv", rows(60, 0))
    write(place / "others.csv", rows(150, 1))
    assert call("train", place / "few.csv", *SHORT, "--out", place / "run").code == 0
    told = ["--condition", "bought", "--out", place / "told"]
    assert call("train", place / "few.csv", *SHORT, *told).code == 0
    return place


def measured(place: Path, *words: object) -> dict[str, object]:
    done = call("evaluate", *words, "--metrics", "augmentation", "--json")
    assert done.code == 0, done.err
    return json.loads(done.out)["augmentation"]


@pytest.mark.parametrize("run", ["run", "told"])
def test_a_run_is_tried_on_rows_it_has_not_seen(place, run) -> None:
    found = measured(place, place / run, place / "others.csv", "--target", "bought")
    assert (found["n_real"], found["n_test"], found["n_of_each_class"]) == (54, 150, 500)
    assert set(found["linear auroc"]) == {"real", "repeated", "SMOTE", "generated"}
    assert found["linear auroc"]["real"]["value"] > 0.8
    number = measured(place, place / run, place / "others.csv", "--target", "a")
    assert set(number["trees r2"]) == {"real", "repeated", "generated"}


def test_rows_that_were_trained_on_are_left_out_of_the_test(place) -> None:
    mixed = write(place / "mixed.csv", np.concatenate((rows(60, 0), rows(150, 1))))
    apart, both = (
        measured(place, place / "run", data, "--target", "bought")
        for data in (place / "others.csv", mixed)
    )
    assert both["n_test"] == 156  # 6 were held out of the training
    assert apart["n_real"] == both["n_real"]
    refused = call(
        "evaluate",
        place / "run",
        place / "few.csv",
        "--metrics",
        "augmentation",
        "--target",
        "bought",
    )
    assert refused.code != 0
    assert "there are 6" in refused.err


def test_what_is_left_out_and_what_is_wrong_is_said(place, monkeypatch) -> None:
    ask = ["evaluate", place / "run", place / "others.csv", "--metrics", "augmentation"]
    assert "with --target" in call(*ask).err
    assert "did you mean 'bought'" in call(*ask, "--target", "bougth").err
    monkeypatch.setitem(sys.modules, "imblearn", None)
    done = call(*ask, "--target", "bought")
    assert done.code == 0
    assert (
        "SMOTE left out: it needs one more package: pip install 'vaekit[augmentation]'" in done.err
    )
    assert "SMOTE" not in done.out


def test_a_run_of_pictures(place, monkeypatch) -> None:
    monkeypatch.setattr(augmentation, "STEPS", 5)
    monkeypatch.setattr(augmentation, "SEEDS", (0, 1))
    for name, (x, y) in {"few": pictures(40, 0), "others": pictures(80, 1)}.items():
        np.savez(place / f"{name}.npz", x=(255 * x[:, 0]).byte().numpy(), y=y.numpy())
    told = [*SHORT, "--architecture", "mlp", "--batch", "16"]
    assert (
        call(
            "train", place / "few.npz", *told, "--condition", "label", "--out", place / "pictures"
        ).code
        == 0
    )
    found = measured(place, place / "pictures", place / "others.npz")
    assert (found["n_real"], found["n_test"]) == (36, 80)
    assert set(found["accuracy"]) == {"real", "transforms", "generated", "generated, transforms"}
    again = call("evaluate", place / "pictures", place / "few.npz", "--metrics", "augmentation")
    assert "there are 4" in again.err
    np.savez(place / "nameless.npz", x=np.load(place / "others.npz")["x"])
    nameless = call(
        "evaluate", place / "pictures", place / "nameless.npz", "--metrics", "augmentation"
    )
    assert "has no images of known classes" in nameless.err


def test_new_images_lie_between_two_of_a_class(place) -> None:
    x, y = pictures(20, 3)
    x[y == 1] = 1 - x[y == 1]
    np.savez(place / "two.npz", x=x[:, 0].numpy(), y=y.numpy())
    run = vaekit.train(
        place / "two.npz",
        out=place / "two",
        architecture="mlp",
        hidden=[16],
        steps=20,
        validations=1,
    )
    images = run.read(place / "two.npz")
    made, labels = metrics.between(run, images, 50, seed=1)
    assert made.shape == (50, 1, 10, 10)
    assert labels.tolist() == [k % 2 for k in range(50)]
    assert torch.equal(made, metrics.between(run, images, 50, seed=1)[0])
    assert not torch.equal(made, metrics.between(run, images, 50, seed=2)[0])
    pairs = metrics._of_the_same(y, torch.arange(20))
    assert torch.equal(y[pairs], y)
    codes = run.encode(as_tensor(images))
    ends = replace(codes, scale=torch.zeros_like(codes.scale))
    low, high = (
        torch.stack([part(ends.mean[y == k], 0).values for k in (0, 1)])
        for part in (torch.min, torch.max)
    )
    sure = SimpleNamespace(
        kind="continuous", encode=lambda x, context: ends, decode=lambda z, context: z
    )
    z, classes = metrics.between(sure, images, 200)  # type: ignore[arg-type]
    assert (z >= low[classes] - 1e-5).all()
    assert (z <= high[classes] + 1e-5).all()
