"""What must hold of models on disk: they come back as they were, and a write that fails or is killed spoils nothing."""

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vaekit
from vaekit import files
from vaekit.assembly.model import build_model
from vaekit.config import Experiment
from vaekit.data.images.schema import ImageSchema
from vaekit.disk import checkpoint
from vaekit.errors import VaekitError
from vaekit.tasks.trained import Trained, load_model, save

laws = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(
    [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
)
tensors = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(dtypes, st.lists(st.integers(0, 3), max_size=3)).map(
        lambda t: torch.ones(t[1], dtype=t[0])
    ),
    max_size=4,
)
plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@laws
@given(tensors, st.dictionaries(st.text(max_size=8), plain, max_size=3))
def test_tensors_and_plain_data_come_back_as_they_were(tmp_path_factory, tensors, about):
    path = tmp_path_factory.mktemp("file") / "x.safetensors"
    checkpoint.save_tensors(path, tensors, about)
    back, said = checkpoint.load_tensors(path)
    assert said == about
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor)


def test_a_slice_or_a_transpose_is_saved_as_what_it_shows(tmp_path):
    whole = torch.arange(12.0).view(3, 4)
    checkpoint.save_tensors(tmp_path / "x", {"row": whole[1], "turned": whole.T}, {})
    back, _ = checkpoint.load_tensors(tmp_path / "x")
    assert torch.equal(back["row"], whole[1])
    assert torch.equal(back["turned"], whole.T)


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("fault", "seen"), [(disk_full, VaekitError), (interrupted, KeyboardInterrupt)]
)
def test_a_write_that_fails_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path, monkeypatch, step, fault, seen
):
    path = tmp_path / "kept"
    files.write(path, b"old")
    monkeypatch.setattr(os, step, fault)
    with pytest.raises(seen) as caught:
        files.write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["kept"]
    if seen is VaekitError:
        assert str(caught.value) == (
            f"{path}: could not be written (No space left on device); what was there before is kept"
        )


def test_a_write_to_where_there_is_no_folder_says_so(tmp_path):
    with pytest.raises(
        VaekitError, match=r"none/x: could not be written \(No such file or directory\)"
    ):
        files.write(tmp_path / "none" / "x", "")


def test_a_write_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("flushed"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (order.append("moved"), replace(*paths)))
    files.write(tmp_path / "x", "words")
    assert order[:2] == ["flushed", "moved"]
    assert (tmp_path / "x").read_text() == "words"


def test_leftovers_of_a_killed_write_are_removed_and_nothing_else(tmp_path):
    for name in (".model.safetensors.4711.part", "model.safetensors", ".hidden", "notes.part"):
        (tmp_path / name).write_text("x")
    files.clean(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".hidden", "model.safetensors", "notes.part"]


def test_what_is_no_number_is_null_in_json():
    values = {
        "error": float("nan"),
        "parts": [float("inf"), {"deep": -float("inf")}],
        "kept": [1.5, 2, None, "nan", True],
    }

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    read = json.loads(files.to_json(values), parse_constant=refuse)
    assert read == {
        "error": None,
        "parts": [None, {"deep": None}],
        "kept": [1.5, 2, None, "nan", True],
    }


@pytest.fixture
def saved(tmp_path) -> Path:
    experiment = Experiment().override(
        "model.architecture=mlp", "hidden=[8]", "latent=2", "likelihood=gaussian"
    )
    schema = ImageSchema(height=4, width=5, channels=3, classes=("ä", "b"), resized=True)
    save(Trained(build_model(experiment.model, schema), schema, experiment), tmp_path / "model")
    return tmp_path / "model"


def test_a_saved_model_is_the_same_model(saved):
    first, again = load_model(saved), vaekit.load(saved)
    copy = saved.with_name("copy")
    save(first, copy)
    assert (copy / "model.safetensors").read_bytes() == (saved / "model.safetensors").read_bytes()
    assert json.loads((copy / "config.json").read_text()) == json.loads(
        (saved / "config.json").read_text()
    )
    assert again.schema == first.schema
    assert again.experiment == first.experiment
    assert torch.equal(first.generate(3, seed=1), again.generate(3, seed=1))


def change(folder: Path, **values) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


DAMAGES = {
    "newer": (
        lambda f: change(f, format=99, vaekit="9.9"),
        "written by vaekit 9.9 in format 99, but this version reads formats up to 2; update",
    ),
    "no format": (
        lambda f: (f / "config.json").write_text("{}"),
        "config.json: is no vaekit model description",
    ),
    "a list": (
        lambda f: (f / "config.json").write_text("[1]"),
        "config.json: is no vaekit model description",
    ),
    "a number": (
        lambda f: (f / "config.json").write_text("1"),
        "config.json: is no vaekit model description",
    ),
    "bytes": (
        lambda f: (f / "config.json").write_bytes(b"\xff\x00"),
        "config.json: is no vaekit model description",
    ),
    "deep": (
        lambda f: (f / "config.json").write_text("[" * 10**5),
        "config.json: is no vaekit model description",
    ),
    "cut config": (
        lambda f: cut(f / "config.json", 0.5),
        "config.json: is no vaekit model description",
    ),
    "no schema": (lambda f: change(f, schema=None), "config.json: is no vaekit model description"),
    "bad schema": (
        lambda f: change(f, schema={"height": -1}),
        "config.json: is no vaekit model description",
    ),
    "no experiment": (
        lambda f: change(f, experiment=None),
        "config.json: is no vaekit model description",
    ),
    "unknown field": (
        lambda f: change(f, experiment={"model": {"latnt": 3}}),
        "did you mean 'model.latent'?",
    ),
    "no config": (
        lambda f: (f / "config.json").unlink(),
        "is not a run of vaekit: it has no config.json",
    ),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "model.safetensors: there is no such file",
    ),
    "no bytes": (
        lambda f: cut(f / "model.safetensors", 0),
        "model.safetensors: is damaged or no safetensors file",
    ),
    "cut header": (
        lambda f: cut(f / "model.safetensors", 0.05),
        "model.safetensors: is damaged or no safetensors",
    ),
    "cut weights": (
        lambda f: cut(f / "model.safetensors", 0.9),
        "model.safetensors: is damaged or no safetensors",
    ),
    "a huge header": (
        lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64),
        "model.safetensors: is damaged or no safetensors",
    ),
    "other weights": (
        lambda f: checkpoint.save_tensors(f / "model.safetensors", {"a": torch.ones(2)}, {}),
        "model.safetensors: does not fit the model that config.json describes",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_told_as_such(saved, damage):
    spoil, words = DAMAGES[damage]
    spoil(saved)
    with pytest.raises(VaekitError) as caught:
        load_model(saved)
    assert words in str(caught.value)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.99])
def test_a_file_with_flipped_shapes_or_less_data_never_loads_as_something_else(saved, share):
    path = saved / "model.safetensors"
    whole, _ = checkpoint.load_tensors(path)
    cut(path, share)
    with pytest.raises(VaekitError):
        checkpoint.load_tensors(path)
    assert whole


def test_a_missing_run_names_the_closest_one_that_is_there(saved, monkeypatch):
    monkeypatch.chdir(saved.parent)  # there may be runs where the tests are started
    with pytest.raises(VaekitError, match=f"there is no such run; did you mean '{saved}'"):
        load_model(saved.with_name("modle"))
    with pytest.raises(VaekitError, match=f"there is no such run; there are: {saved}"):
        load_model(saved.with_name("zzz"))
    with pytest.raises(VaekitError, match="there is no such run; train one with"):
        load_model(saved / "deeper" / "model")
    with pytest.raises(VaekitError, match="there is no such run"):
        load_model(saved.with_name("x" * 300))
