"""Conditions: from classes, arrays and tables to rows, from rows to models, and back from what people ask for."""

from __future__ import annotations

import csv
import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import vaekit
import zoo
from commands import call
from vaekit.data import conditions
from vaekit.data.conditions import Condition, blank, encode, learn, where
from vaekit.data.images.load import load
from vaekit.distributions.guidance import extrapolate
from vaekit.errors import VaekitError
from vaekit.models.priors import LearnedNormal
from vaekit.models.vae import Conditioned
from vaekit.nn import ConditionEmbedding
from vaekit.tasks import codes

# Fields from values


@pytest.mark.parametrize(
    ("values", "names", "kind"),
    [
        (np.array(["a", "b", "a"]), (), "category"),
        (np.array([0, 1, 2, 1]), (), "category"),
        (np.arange(100), (), "number"),
        (np.array([0.5, 1.5]), (), "number"),
        (np.array(["1.5", "2.25", "?"]), (), "number"),
        (np.arange(100), tuple(map(str, range(100))), "category"),
        (np.array([[0, 1], [1, 1]]), (), "flags"),
        (np.array([[-1, 1], [1, 1]]), ("a", "b"), "flags"),
    ],
)
def test_what_values_look_like_decides_what_they_are(values, names, kind):
    assert learn("x", values, names).kind == kind


def test_the_kind_can_be_said():
    assert learn("zip", np.arange(100), kind="category").classes[:3] == ("0", "1", "2")
    assert learn("stars", np.array([1, 2, 3]), kind="number").mean == 2


@pytest.mark.parametrize(
    ("values", "kind", "says"),
    [
        (np.array(["a", "a", "?"]), "", "only one value"),
        (np.array(["", "NA"]), "category", "no values"),
        (np.array(["tall", "1.5"]), "number", "'tall', which is not a finite number"),
        (np.array([2.5, 2.5]), "number", "only one value"),
        (np.array([[0.5, 1.0]]), "", "expected flags"),
        (np.arange(20_001), "category", "20,001 different values"),
        (np.arange(3), "colour", "expected x:category or x:number"),
        (np.zeros((4, 2, 2)), "", "of shape \\(2, 2\\) each"),
        (np.array(["a", "b", "c", "d"]), "", "has 4 values, all different"),
    ],
)
def test_a_column_that_tells_nothing_apart_is_refused(values, kind, says):
    with pytest.raises(VaekitError, match=says):
        learn("x", values, kind=kind)


@given(st.lists(st.sampled_from(["red", "green", "blue", "?", ""]), min_size=1, max_size=30))
def test_categories_are_their_numbers_and_unknown_ones_are_open(words):
    field = Condition(name="c", kind="category", classes=("blue", "green", "red"))
    rows = encode({"c": np.array(words)}, [field], len(words))[:, 0]
    for word, value in zip(words, rows.tolist(), strict=True):
        assert field.classes[int(value)] == word if word in field.classes else math.isnan(value)


@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=2, max_size=30))
def test_numbers_are_standardised_and_come_back(numbers):
    field = Condition(name="n", kind="number", mean=3.0, scale=7.0)
    rows = encode({"n": np.array(numbers)}, [field], len(numbers))[:, 0].double().numpy()
    np.testing.assert_allclose(rows * 7 + 3, numbers, rtol=1e-5, atol=1e-2)


FIELDS = (
    Condition(name="label", kind="category", classes=("cat", "dog")),
    Condition(name="age", kind="number", mean=30, scale=10),
    Condition(name="attr", kind="flags", classes=("Smiling", "Male")),
)


@pytest.mark.parametrize(
    ("words", "row"),
    [
        ({}, [math.nan] * 4),
        ({"label": "dog"}, [1, math.nan, math.nan, math.nan]),
        ({"age": "45"}, [math.nan, 1.5, math.nan, math.nan]),
        ({"attr": "Smiling,-Male"}, [math.nan, math.nan, 1, 0]),
        ({"Male": "yes"}, [math.nan, math.nan, math.nan, 1]),
        ({"label": "cat", "age": "?", "Smiling": "no"}, [0, math.nan, 0, math.nan]),
    ],
)
def test_what_is_asked_for_becomes_a_row_and_the_rest_is_open(words, row):
    torch.testing.assert_close(where(words, FIELDS)[0], torch.tensor(row).float(), equal_nan=True)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ({"lable": "cat"}, "no condition 'lable'; did you mean 'label'"),
        ({"label": "dgo"}, "no class 'dgo'; did you mean 'dog'"),
        ({"age": "old"}, "age=old: expected a number"),
        ({"age": "inf"}, "age=inf: expected a number"),
        ({"attr": "Smilng"}, "no flag 'Smilng'; did you mean 'Smiling'"),
        ({"Male": "perhaps"}, "Male=perhaps: expected yes or no"),
    ],
)
def test_what_cannot_be_asked_for_is_told_with_what_can(words, says):
    with pytest.raises(VaekitError, match=says):
        where(words, FIELDS)


def test_a_model_without_conditions_says_so():
    with pytest.raises(VaekitError, match="trained without conditions"):
        where({"label": "7"}, ())


# Where they come from


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    path = tmp_path / "faces.npz"
    np.savez(
        path,
        x_train=random.integers(0, 256, (12, 8, 8), np.uint8),
        x_test=random.integers(0, 256, (5, 8, 8), np.uint8),
        y_train=np.arange(12) % 3,
        y_test=np.arange(5) % 3,
        age_train=np.arange(12) * 2.5,
        age_test=np.arange(5) * 2.5,
        attr_train=np.arange(24).reshape(12, 2) % 2,
        attr_test=np.ones((5, 2), int),
        attr_names=np.array(["Smiling", "Male"]),
        short=np.arange(3),
    )
    return path


def test_arrays_beside_the_images_of_both_parts(arrays):
    images = load(arrays, condition=["label", "age", "attr"])
    assert [field.name for field in images.schema.conditions] == ["label", "age", "attr"]
    assert images.schema.conditions[2].classes == ("Smiling", "Male")
    assert images.context.shape == (12, 4)
    assert images.context[:, 0].tolist() == [0, 1, 2] * 4
    assert images.context[:, 2:].tolist() == [[0, 1]] * 12
    age = images.schema.conditions[1]
    np.testing.assert_allclose(
        images.context[:, 1] * age.scale + age.mean, np.arange(12) * 2.5, atol=1e-4
    )
    np.testing.assert_allclose(
        images.test.context[:, 1] * age.scale + age.mean, np.arange(5) * 2.5, atol=1e-4
    )
    assert images.subset(torch.tensor([3, 1])).context.equal(images.context[[3, 1]])


def test_other_conditions_are_other_data(arrays):
    assert load(arrays, condition=["label"]).fingerprint != load(arrays).fingerprint


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["agee"], "no array 'agee'.*did you mean 'age"),
        (["short"], "'short' has 3 values for 12 images"),
        (["age", "age"], "'age' is named twice"),
        (["age:flags"], "expected age:category or age:number"),
    ],
)
def test_arrays_that_do_not_fit_are_told(arrays, words, says):
    with pytest.raises(VaekitError, match=says):
        load(arrays, condition=words)


def picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8), level, np.uint8)).save(path)


def table(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.mark.parametrize(
    "called", [lambda p: p, lambda p: p.rsplit("/", 1)[-1], lambda p: p.split("/")[-1][:-4]]
)
def test_a_table_speaks_of_files_by_path_name_or_stem(tmp_path, called):
    names = [f"{kind}/{kind}{i}.png" for kind in ("cat", "dog") for i in range(4)]
    for i, name in enumerate(names):
        picture(tmp_path / "pets" / name, 20 * i)
    rows = [[called(name), 1.5 * i] for i, name in enumerate(names) if i != 2]
    ages = table(tmp_path / "ages.csv", [["file", "age"], *reversed(rows)])
    images = load(tmp_path / "pets", condition=["label", "age"], table=str(ages))
    field = images.schema.conditions[1]
    known = dict(
        zip(images.files, (images.context[:, 1] * field.scale + field.mean).tolist(), strict=True)
    )
    assert math.isnan(known.pop("cat/cat2.png"))
    assert {name: round(value, 3) for name, value in known.items()} == {
        name: 1.5 * i for i, name in enumerate(names) if i != 2
    }


def test_names_that_two_files_share_are_not_taken_for_either(tmp_path):
    for i, name in enumerate(["a/1.png", "a/2.png", "b/1.png", "b/2.png"]):
        picture(tmp_path / "set" / name, 40 * i)
    ages = table(tmp_path / "ages.csv", [["file", "age"], ["1.png", 3.5], ["2.png", 4.5]])
    with pytest.raises(VaekitError, match="no column holds the pictures' file names"):
        load(tmp_path / "set", condition=["age"], table=str(ages))


def test_a_folder_may_hold_its_own_table(tmp_path):
    for i in range(4):
        picture(tmp_path / "set" / f"{i}.png", 40 * i)
    table(
        tmp_path / "set" / "metadata.csv",
        [["file_name", "kind"], *([f"{i}.png", "xy"[i % 2]] for i in range(4))],
    )
    images = load(tmp_path / "set", condition=["kind"])
    assert images.context[:, 0].tolist() == [0, 1, 0, 1]


def test_a_table_has_a_row_for_each_image_of_an_array(arrays, tmp_path):
    sizes = table(tmp_path / "t.csv", [["size"], *([f"{i}.5"] for i in range(17))])
    images = load(arrays, condition=["size"], table=str(sizes))
    field = images.schema.conditions[0]
    assert round(float(images.test.context[0, 0] * field.scale + field.mean), 3) == 12.5
    with pytest.raises(VaekitError, match="has 3 rows for 12 images"):
        load(
            arrays,
            condition=["size"],
            table=str(table(tmp_path / "s.csv", [["size"], ["1"], ["2"], ["3"]])),
        )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no rows"),
        (b"file,age\n", "has no rows"),
        (b"file,age\n1.png,3\n2.png\n", "line 3 has a different number of columns"),
        (b"\xff\xfe\x00\x01", "is not a CSV file in UTF-8"),
        (b"file,years\n1.png,3\n", "no column 'age'"),
    ],
)
def test_a_broken_table_is_told(tmp_path, content, says):
    for i in range(3):
        picture(tmp_path / "set" / f"{i}.png", 40 * i)
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(VaekitError, match=says):
        load(tmp_path / "set", condition=["age"], table=str(tmp_path / "t.csv"))


def test_new_images_are_known_as_far_as_they_are(arrays, tmp_path):
    schema = load(arrays, condition=["label", "age"]).schema
    np.savez(tmp_path / "new.npz", images=np.zeros((3, 8, 8), np.uint8), labels=np.array([2, 1, 7]))
    new = load(tmp_path / "new.npz", schema=schema)
    assert new.context[:2, 0].tolist() == [2, 1]
    assert new.context[2, 0].isnan()
    assert new.context[:, 1].isnan().all()
    assert any("left open: age" in note for note in new.notes)


# What the model makes of them


def embedding(dropout: float = 0.1) -> ConditionEmbedding:
    torch.manual_seed(0)
    return ConditionEmbedding(conditions.sizes(FIELDS), 16, dropout).eval()


def test_every_column_and_its_absence_matter():
    embed, rows = embedding(), [where({}, FIELDS)]
    rows += [
        where({name: word}, FIELDS)
        for name, word in [("label", "cat"), ("age", "30"), ("Male", "no")]
    ]
    rows += [
        where({name: word}, FIELDS)
        for name, word in [("label", "dog"), ("age", "31"), ("Male", "yes")]
    ]
    vectors = embed(torch.cat(rows))
    assert vectors.isfinite().all()
    assert (torch.cdist(vectors, vectors) + torch.eye(7) > 1e-4).all()


def test_conditions_are_dropped_in_training_only():
    embed, row = (
        embedding(0.5),
        where({"label": "cat", "age": "50", "attr": "Smiling,Male"}, FIELDS).expand(4000, -1),
    )
    assert (embed(row) == embed(row)[0]).all()
    kept = ~embed.train()._drop(row).isnan()
    torch.testing.assert_close(
        kept.float().mean(0), torch.full((4,), 0.25), atol=0.04, rtol=0
    )  # twice a half
    assert (
        0.4 < float((~kept.any(1)).float().mean()) < 0.65
    )  # all of them together, half the time and some more


def conditioned() -> Conditioned:
    inner = zoo.model(context=16)
    return Conditioned(inner, embedding(), 4).eval()


def test_the_prior_is_told_what_is_asked_for() -> None:
    """Under two classes the same noise gives two latents, and with no class a third."""
    inner = zoo.model(prior="learned", context=16)
    inner.prior = LearnedNormal(zoo.LATENT, context=16)
    for parameter in inner.prior.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model, drawn = Conditioned(inner, embedding(), 4).eval(), []
    for rows in (*(where({"label": name}, FIELDS).expand(3, -1) for name in ("cat", "dog")), None):
        torch.manual_seed(0)
        drawn.append(model.sample(3, rows)[0])
    assert not any(torch.allclose(a, b) for a, b in itertools.combinations(drawn, 2))


def test_not_being_told_is_the_same_as_nothing_known():
    model = conditioned()
    x = zoo.data(model.model, 3, torch.zeros(1, 16))
    assert torch.equal(model.encode(x)[0].mean, model.encode(x, blank(FIELDS, 3))[0].mean)
    told = model.encode(x, where({"label": "dog"}, FIELDS).expand(3, -1))[0].mean
    assert not torch.allclose(told, model.encode(x)[0].mean)
    torch.manual_seed(0)
    one = model.generate(5).mean
    torch.manual_seed(0)
    torch.testing.assert_close(one, model.generate(5, blank(FIELDS, 5)).mean)


@pytest.mark.parametrize("pixels", zoo.LIKELIHOODS)
def test_guidance_goes_from_the_blind_prediction_through_the_told_one(pixels):
    model = zoo.model(pixels=pixels, context=2)
    z = (torch.randn(3, zoo.LATENT),)
    given, blind = (model.decode(z, torch.full((3, 2), level)) for level in (1.0, 0.0))
    torch.testing.assert_close(
        extrapolate(given, blind, 0.0).mean, blind.mean, atol=0.02, rtol=0.05
    )
    torch.testing.assert_close(extrapolate(given, blind, 1.0).mean, given.mean)
    near, far = (extrapolate(given, blind, weight).mean.detach() for weight in (1.5, 3.0))
    assert (far - blind.mean.detach()).norm() > (near - blind.mean.detach()).norm()


def test_guidance_of_bits_is_the_sharpened_ratio():
    """p_w is proportional to p(x|c)^w p(x)^(1-w), pixel by pixel."""
    model, w = zoo.model(context=2), 1.7
    z = (torch.randn(1, zoo.LATENT),)
    given, blind = (
        model.decode(z, torch.full((1, 2), level)).mean.double() for level in (1.0, 0.0)
    )
    on, off = given**w * blind ** (1 - w), (1 - given) ** w * (1 - blind) ** (1 - w)
    guided = extrapolate(*(model.decode(z, torch.full((1, 2), level)) for level in (1.0, 0.0)), w)
    torch.testing.assert_close(guided.mean.double(), on / (on + off), rtol=1e-4, atol=1e-5)


# End to end


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("conditional") / "run"
    fields = ["hidden=[64]", "architecture=mlp", "latent=4", "prior=mixture:10", "patience=0"]
    assert (
        call(
            "train",
            "digits",
            *fields,
            "--recipe",
            "images",
            "--condition",
            "label",
            "--likelihood",
            "gaussian",
            "--steps",
            400,
            "--out",
            folder,
        ).code
        == 0
    )
    return folder


def test_the_class_that_is_asked_for_is_what_comes(run):
    """By the nearest class mean of the real digits, which gets nine of ten real ones right."""
    trained, digits = vaekit.load(run), load("digits")
    x = digits.raw.take(torch.arange(len(digits))).float().flatten(1) / 255
    centres = torch.stack([x[digits.labels == k].mean(0) for k in range(10)])
    named = [
        torch.cdist(trained.generate(50, 0, where={"label": k}).flatten(1), centres).argmin(1)
        for k in range(10)
    ]
    assert sum(int((n == k).sum()) for k, n in enumerate(named)) > 425
    free = torch.cdist(trained.generate(200, 0).flatten(1), centres).argmin(1)
    assert len(free.unique()) > 2  # without a wish, several classes
    assert free.bincount().max() < 180


def test_generation_that_is_asked_for_something_unknown_writes_nothing(run):
    before = sorted(run.iterdir())
    for words in (["label=11"], ["colour=red"], ["label"]):
        result = call("generate", run, *(part for word in words for part in ("--where", word)))
        assert result.code == 1
        assert "error:" in result.err
    assert call("generate", run, "--guidance", 2).code == 1
    assert sorted(run.iterdir()) == before


def test_every_verb_knows_the_conditions(run, tmp_path):
    assert (
        call(
            "generate",
            run,
            "--where",
            "label=3",
            "--guidance",
            1.5,
            "-n",
            4,
            "--out",
            tmp_path / "g",
        ).code
        == 0
    )
    assert call("reconstruct", run, "-n", 4, "--out", tmp_path / "r").code == 0
    assert call("interpolate", run, 0, 1, "--out", tmp_path / "i").code == 0
    assert call("encode", run, "--out", tmp_path / "e").code == 0
    assert "label (10 classes)" in call("info", run).out


def test_encoding_and_scores_use_what_is_known(run):
    trained, images = vaekit.load(run), load("digits", condition=["label"])
    x = images.raw.take(torch.arange(20)).float() / 255
    told, untold = trained.encode(x, images.context[:20]).mean, trained.encode(x).mean
    assert not torch.allclose(told, untold)
    some = images.subset(torch.arange(200))
    known = trained.evaluate(some, draws=0)["elbo"]["value"]
    hidden = trained.evaluate(replace(some, context=None), draws=0)["elbo"]["value"]
    assert known > hidden  # the class saves nats


def test_a_context_of_the_wrong_form_is_refused(run):
    with pytest.raises(VaekitError, match="expected a context of shape"):
        vaekit.load(run).encode(torch.zeros(3, 1, 8, 8), torch.zeros(2, 1))


def test_what_no_field_can_mean_is_refused(run) -> None:
    trained, x = vaekit.load(run), torch.zeros(2, 1, 8, 8)
    for row in (99.0, -1.0, 0.5, math.inf):
        with pytest.raises(VaekitError, match="class numbers from 0 to 9"):
            trained.encode(x, torch.full((2, 1), row))
    for guidance, wish in ((math.nan, {"label": 1}), (-1.0, {"label": 1}), (2.0, None)):
        with pytest.raises(VaekitError, match="guidance"):
            trained.generate(2, where=wish, guidance=guidance)


def test_conditions_come_back_as_columns() -> None:
    values = {
        "kind": np.array(["b", "a", ""], object),
        "ink": np.array([1.5, np.nan, 2.5]),
        "marks": np.array([[0, 1], [1, 0], [1, 1]]),
    }
    fields = [
        conditions.learn("kind", values["kind"], kind="category"),
        conditions.learn("ink", values["ink"], kind="number"),
        conditions.learn("marks", values["marks"], names=("dot", "dash")),
    ]
    found = conditions.columns(conditions.encode(values, fields, 3), fields)
    assert list(found) == ["kind", "ink", "dot", "dash"]
    assert found["kind"].tolist() == ["b", "a", ""]
    assert found["ink"] == pytest.approx([1.5, np.nan, 2.5], nan_ok=True)
    assert found["dash"].tolist() == [1, 0, 1]


def test_codes_carry_the_classes_that_a_table_gives(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    names = [f"{i}.png" for i in range(24)]
    for i, name in enumerate(names):
        Image.new("L", (8, 8), 10 * i).save(photos / name)
    rows = "".join(f"{name},{'dark' if i < 12 else 'light'}\n" for i, name in enumerate(names))
    (photos / "labels.csv").write_text("file_name,label\n" + rows)
    run = vaekit.train(photos, out=tmp_path / "run", condition="label", steps=3)
    found = codes.encode(run, run.read(photos))
    by_name = dict(zip(found["file"], found["class"], strict=True))
    assert by_name["3.png"] == "dark"
    assert by_name["20.png"] == "light"
