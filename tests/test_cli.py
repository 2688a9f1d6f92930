"""What must hold of the command line: it does what it says, and says in one line what it cannot do."""

import csv
import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vaekit
from commands import Result, call
from vaekit import files
from vaekit.cli import app as application
from vaekit.data.images.options import sides
from vaekit.disk import checkpoint
from vaekit.errors import VaekitError

VERBS = [
    "train",
    "generate",
    "reconstruct",
    "encode",
    "interpolate",
    "impute",
    "score",
    "augment",
    "evaluate",
    "info",
]
MORE = {"interpolate": ["0", "1"], "impute": ["some.csv"], "augment": ["--balance", "label"]}
TINY = [
    "--recipe",
    "images",
    "--steps",
    "30",
    "hidden=[32]",
    "--architecture",
    "mlp",
    "--latent",
    "2",
    "validations=2",
]
HELD_OUT = 180  # of the 1,797 digits


def done(*words: object) -> str:
    """What a verb that ends well prints on stdout."""
    result = call(*words)
    assert result.code == 0, result.err
    return result.out


def refused(*words: object) -> str:
    """The one line that a verb ends with when it cannot do what was asked."""
    result = call(*words)
    assert result.code == 1
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "this is a bug" not in result.err
    (line,) = [line for line in result.err.splitlines() if line.startswith("error:")]
    assert line == result.err.splitlines()[-1]
    return line.removeprefix("error: ")


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="session")
def trained(runs) -> tuple[Path, Result]:
    return runs / "tiny", call("train", "digits", *TINY, "--out", runs / "tiny", "--json")


@pytest.fixture(scope="session")
def run(trained) -> Path:
    assert trained[1].code == 0, trained[1].err
    return trained[0]


@pytest.fixture(scope="session")
def digit_files(tmp_path_factory) -> Path:
    """Pictures of another size and of the right one, and arrays with labels."""
    folder = tmp_path_factory.mktemp("files")
    noise = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    np.savez(folder / "five.npz", images=noise, digit=np.arange(5))
    np.save(
        folder / "wide.npy", np.random.default_rng(0).integers(0, 256, (4, 6, 9), dtype=np.uint8)
    )
    Image.fromarray(noise[0]).save(folder / "small.png")
    Image.fromarray(noise[1].repeat(3, 0).repeat(3, 1)).save(folder / "large.png")
    return folder


# Training


def test_training_writes_a_whole_run_and_tells_where(trained):
    folder, result = trained
    told = json.loads(result.out)
    assert result.code == 0
    assert told["run"] == str(folder)
    assert (told["ended"], told["steps"]) == ("done", 30)
    assert told["evaluation"]["n"] == HELD_OUT
    assert Path(told["report"]).read_text().startswith("<!doctype html>")
    assert {path.name for path in folder.iterdir()} >= {
        "config.json", "model.safetensors", "resume.safetensors", "experiment.yaml", "environment.json",
        "metrics.jsonl", "metrics.csv", "evaluation.json", "report.html", "plots",
    }  # fmt: skip
    assert f"vaekit generate {folder}" not in result.out


def test_progress_goes_to_stderr_in_plain_lines(trained):
    assert "step 30/30" in trained[1].err
    assert "held-out elbo" in trained[1].err
    assert "\x1b" not in trained[1].err


def test_the_table_holds_the_same_rows_as_the_log(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    with open(run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [{k: v for k, v in row.items() if v} for row in table] == [
        {k: str(v) for k, v in row.items()} for row in rows
    ]
    assert [row["step"] for row in rows if row["split"] == "train"] == list(range(1, 31))
    assert [row["step"] for row in rows if row["split"] == "val"] == [15, 30]


def test_the_experiment_of_a_run_trains_the_same_model_again(run, tmp_path):
    done("train", "--config", run / "experiment.yaml", "--out", tmp_path / "again", "-q")
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (
        run / "model.safetensors"
    ).read_bytes()


def test_a_config_takes_changes_with_and_without_a_source(run):
    config = ["train", "--config", run / "experiment.yaml", "--dry-run", "--json"]
    assert "latent 3" in json.loads(done(*config, "latent=3"))["model"]
    assert "latent 4" in json.loads(done(*config, "digits", "latent=4"))["model"]
    assert "latent 5" in json.loads(done(*config, "--latent", "5", "lr=1e-4"))["model"]


def test_resuming_a_finished_run_changes_neither_weights_nor_log(run):
    before = [(run / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")]
    told = json.loads(done("train", "--resume", run, "--json", "-q"))
    assert (told["ended"], told["steps"]) == ("done", 30)
    assert [(run / name).read_bytes() for name in ("model.safetensors", "metrics.jsonl")] == before


def test_a_dry_run_tells_the_plan_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = json.loads(done("train", "digits", *TINY, "--batch", "100", "--dry-run", "--json"))
    assert plan["data"] == "1,797 images of 8x8x1"
    assert (plan["steps"], plan["batch"]) == (30, 100)
    assert plan["parameters"] == 64 * 32 + 32 + 32 * 4 + 4 + 2 * 32 + 32 + 32 * 64 + 64
    assert "1,797 images" in done("train", "digits", *TINY, "--dry-run")
    assert list(tmp_path.iterdir()) == []


def test_an_out_folder_that_is_there_is_never_written_to(run, tmp_path):
    wanted = tmp_path / "out"
    wanted.mkdir()
    (wanted / "mine").write_text("x")
    for number in (2, 3):
        told = json.loads(done("generate", run, "-n", 2, "--out", wanted, "--json"))
        assert Path(told["array"]) == tmp_path / f"out-{number}" / "samples.npy"
    assert os.listdir(wanted) == ["mine"]
    short = [
        "train",
        "digits",
        "--steps",
        1,
        "architecture=mlp",
        "hidden=[4]",
        "--latent",
        1,
        "validations=1",
        "-q",
        "--json",
    ]
    assert json.loads(done(*short, "--out", wanted))["run"] == str(tmp_path / "out-4")


def test_a_run_goes_to_runs_under_its_source_name(tmp_path, monkeypatch, digit_files):
    from vaekit.api import default_folder

    monkeypatch.chdir(tmp_path)
    names = {
        "digits": "digits",
        "a/photos/": "photos",
        "x/mnist.npz": "mnist",
        "hf:owner/set": "set",
    }
    assert {source: default_folder(source) for source in names} == {
        s: Path("runs") / n for s, n in names.items()
    }
    assert default_folder(".") == Path("runs") / tmp_path.name
    assert default_folder("/") == Path("runs") / "data"


# The verbs


def test_generate_writes_a_sheet_and_an_array(run, tmp_path):
    told = json.loads(done("generate", run, "-n", 70, "--out", tmp_path / "g", "--json"))
    assert told == {
        "sheet": str(tmp_path / "g/samples.png"),
        "array": str(tmp_path / "g/samples.npy"),
        "n": 70,
    }
    pictures = np.load(told["array"])
    assert (pictures.shape, pictures.dtype) == ((70, 8, 8), np.uint8)
    sheet = Image.open(told["sheet"])
    sheet.load()
    assert (sheet.format, sheet.mode) == ("PNG", "L")


@pytest.mark.parametrize("pixels", ["mean", "sample"])
def test_images_follow_from_the_seed(run, tmp_path, pixels):
    names = {"a": 1, "b": 1, "c": 2}
    for name, seed in names.items():
        done("generate", run, "-n", 6, "--seed", seed, "--pixels", pixels, "--out", tmp_path / name)
    a, b, c = (
        [(tmp_path / n / f"samples.{end}").read_bytes() for end in ("npy", "png")] for n in names
    )
    assert a == b
    assert a[0] != c[0]
    assert a[1] != c[1]


def test_samples_are_noisier_than_means(run, tmp_path):
    for pixels in ("mean", "sample"):
        done("generate", run, "-n", 6, "--pixels", pixels, "--out", tmp_path / pixels)
    mean, sample = (np.load(tmp_path / p / "samples.npy").astype(float) for p in ("mean", "sample"))
    assert np.abs(np.diff(sample)).mean() > np.abs(np.diff(mean)).mean()


def test_reconstruct_writes_copies_beside_originals(run, tmp_path, digit_files):
    told = json.loads(done("reconstruct", run, "-n", 20, "--out", tmp_path / "own", "--json"))
    copies = np.load(told["array"])
    assert (copies.shape, copies.dtype, told["n"]) == ((20, 8, 8), np.uint8, 20)
    Image.open(told["sheet"]).load()
    told = json.loads(
        done("reconstruct", run, digit_files / "five.npz", "--out", tmp_path / "five", "--json")
    )
    images = torch.from_numpy(np.load(digit_files / "five.npz")["images"])[:, None] / 255
    expected = vaekit.load(run).reconstruct(images)[:, 0]
    assert np.allclose(np.load(told["array"]) / 255, expected.numpy(), atol=0.5 / 255 + 1e-6)


def test_encode_writes_the_same_codes_twice(run, tmp_path, digit_files):
    told = json.loads(done("encode", run, "--out", tmp_path / "own", "--json"))
    codes = np.load(told["codes"])
    assert told["n"] == HELD_OUT
    assert {name: codes[name].shape for name in codes} == {
        "mean": (180, 2),
        "scale": (180, 2),
        "label": (180,),
        "class": (180,),
        "row": (180,),
    }
    assert (codes["scale"] > 0).all()
    assert set(codes["label"]) == set(range(10))
    with open(told["table"], newline="") as file:
        table = list(csv.DictReader(file))
    for i, name in enumerate(("mean", "scale")):
        columns = np.array(
            [[row[f"{name}_0"], row[f"{name}_1"]] for row in table], dtype=np.float32
        )
        assert np.array_equal(columns, codes[name]), i
    assert [int(row["label"]) for row in table] == codes["label"].tolist()
    assert [row["class"] for row in table] == codes["class"].tolist()

    told = json.loads(
        done("encode", run, digit_files / "small.png", "--out", tmp_path / "one", "--json")
    )
    assert np.load(told["codes"])["mean"].shape == (1, 2)


def test_codes_of_files_carry_their_names_and_skipped_ones_are_listed(run, tmp_path, digit_files):
    for name in ("b/two.png", "a/one, two.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True)
        (tmp_path / "in" / name).write_bytes((digit_files / "small.png").read_bytes())
    (tmp_path / "in/b/words.txt").write_text("words")
    result = call("encode", run, tmp_path / "in", "--out", tmp_path / "out", "--json")
    assert "1 file was skipped (1 not an image): b/words.txt" in result.err
    assert (tmp_path / "out/skipped.tsv").read_text() == "b/words.txt\tnot an image\n"
    files = ["a/one, two.png", "b/two.png"]
    assert np.load(tmp_path / "out/codes.npz")["files"].tolist() == files
    with open(tmp_path / "out/codes.csv", newline="") as file:
        table = list(csv.reader(file))
    names = ["file", "label", "class", "mean_0", "mean_1", "scale_0", "scale_1"]
    assert table[0] == names
    assert [row[0] for row in table[1:]] == files
    done("reconstruct", run, tmp_path / "in", "--out", tmp_path / "copies")
    assert (tmp_path / "copies/skipped.tsv").exists()
    done("encode", run, "--out", tmp_path / "own")
    assert (tmp_path / "own/codes.csv").read_text().startswith("row,label,class,mean_0,")


def test_interpolate_goes_from_one_reconstruction_to_the_other(run, tmp_path, digit_files):
    done("reconstruct", run, "-n", 4, "--out", tmp_path / "r")
    told = json.loads(
        done("interpolate", run, 0, 3, "--steps", 7, "--out", tmp_path / "i", "--json")
    )
    line, ends = (
        np.load(told["array"]).astype(int),
        np.load(tmp_path / "r/reconstructions.npy").astype(int),
    )
    assert line.shape == (7, 8, 8)
    assert np.abs(line[[0, -1]] - ends[[0, 3]]).max() <= 1
    Image.open(told["sheet"]).load()
    files = digit_files / "small.png", digit_files / "large.png"
    told = json.loads(
        done("interpolate", run, *files, "--resize", "8x8", "--out", tmp_path / "f", "--json")
    )
    assert np.load(told["array"]).shape == (12, 8, 8)


@pytest.mark.parametrize("binarise", ["none", "static", "dynamic"])
def test_evaluate_measures_what_the_report_says(run, tmp_path, binarise):
    """On its own held-out images, with the report's seed and draws: the very same numbers."""
    if binarise != "none":
        run = tmp_path / "run"
        words = [
            "--likelihood",
            "bernoulli",
            "--binarise",
            binarise,
            "--out",
            run,
            "-q",
            "--steps",
            3,
        ]
        done("train", "digits", "architecture=mlp", "hidden=[8]", "--latent", 2, *words)
    numbers = json.loads(done("evaluate", run, "--draws", 100, "--limit", 500, "--json"))
    assert (numbers.pop("binarise"), numbers.pop("seed")) == (binarise, 0)
    assert numbers | {"data": "held-out"} == json.loads((run / "evaluation.json").read_text())
    assert ("bits_per_dim" in numbers) == (binarise != "none")


def test_evaluate_of_a_single_image_is_still_json(run, digit_files):
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    out = done("evaluate", run, digit_files / "small.png", "--draws", 2, "--json")
    numbers = json.loads(out, parse_constant=refuse)
    assert numbers["n"] == 1
    assert numbers["elbo"]["error"] is None
    result = call("evaluate", run, digit_files / "small.png", "--draws", 0)
    assert "a single image has no standard error (null in JSON)" in result.err
    assert "nan" not in result.out
    assert "(1 image)" in result.out


def test_evaluate_leaves_the_likelihood_out_on_request(run):
    result = call("evaluate", run, "--draws", 0, "--json")
    numbers = json.loads(result.out)
    assert "nll" not in numbers
    assert "NLL left out: --draws 0" in result.err
    assert numbers["elbo"]["value"] == pytest.approx(
        -numbers["distortion"]["value"] - numbers["rate"]["value"]
    )
    assert "elbo" in done("evaluate", run, "--draws", 2, "--limit", 10)


def test_info_tells_what_the_run_is(run):
    facts = json.loads(done("info", run, "--json"))
    assert (facts["data_schema"]["height"], facts["model"]["latent"], facts["train"]["steps"]) == (
        8,
        2,
        30,
    )
    assert facts["steps_done"] == 30
    assert facts["best"]["step"] == facts["best"]["best_step"]
    assert "30 of 30 steps: the whole run" in done("info", run)


def test_new_data_of_the_wrong_size_can_be_brought_to_the_right_one(run, digit_files, tmp_path):
    error = refused("encode", run, digit_files / "wide.npy")
    assert "images are 6x9 grey, this model reads 8x8 grey" in error
    for verb in (["encode"], ["reconstruct"], ["evaluate", "--draws", "1"]):
        out = [] if verb[0] == "evaluate" else ["--out", tmp_path / verb[0]]
        told = json.loads(
            done(*verb, run, digit_files / "wide.npy", "--resize", "8", *out, "--json")
        )
        assert told["n"] == 4


def test_a_model_of_images_that_are_not_square_reads_files_of_another_size(digit_files, tmp_path):
    source = [
        digit_files / "wide.npy",
        "architecture=mlp",
        "hidden=[4]",
        "--latent",
        1,
        "--steps",
        2,
        "holdout=0.5",
    ]
    done("train", *source, "--resize", "4x6", "--out", tmp_path / "run", "-q")
    told = json.loads(
        done("encode", tmp_path / "run", digit_files / "large.png", "--resize", "4x6", "--json")
    )
    assert told["n"] == 1


def test_text_that_looks_like_a_number_is_still_text(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", **{"1": images, "other": images[:, :2]})
    plan = json.loads(done("train", tmp_path / "set.npz", "--array", "1", "--dry-run", "--json"))
    assert plan["data"] == "6 images of 4x4x1"


def test_sides_are_one_number_or_two():
    assert (sides("64"), sides("64x48"), sides("64X48")) == (64, (64, 48), (64, 48))
    for word in ("", "x", "8x", "8x8x8", "-8", "8.5", "²", "abc"):
        with pytest.raises(VaekitError, match="expected a side such as 64"):
            sides(word)


# Mistakes


TRAINING_MISTAKES = {
    "lrr=1": "there is no field 'lrr'; did you mean 'lr'?",
    "size=8": "'size' could be data.size or model.size; say which",
    "lr=-1": "train.lr: input should be greater than 0, got -1",
    "lr": "'lr': expected field=value",
    "--recipe digts": "there is no recipe 'digts'; did you mean 'digits'?",
    "--likelihood bernouli": "there is no likelihood 'bernouli'; did you mean 'bernoulli'?",
    "--likelihood gaussian:-1": "likelihood 'gaussian:-1': expected a positive number",
    "--prior mixtures:3": "there is no prior 'mixtures:3'; did you mean 'mixture:10'?",
    "--prior mixture:0": "prior 'mixture:0': expected a whole number of at least 1",
    "--bound iwea:3": "there is no bound 'iwea:3'; did you mean 'iwae:5'?",
    "--bound iwae": "bound 'iwae': expected a whole number of at least 1",
    "--bound iwae:5 --beta 2": "objective.beta=2: the iwae bound has no beta",
    "--device tpu": "device 'tpu': expected auto, cuda, mps or cpu",
    "--likelihood bernoulli --binarise none": "likelihood 'bernoulli' needs pixels in {0, 1}, but these are grey",
    "--likelihood mse --binarise dynamic": "model.binarise=dynamic goes with likelihood bernoulli",
    "hidden=[8] --architecture conv": "model.hidden belongs to the mlp",
    "--resize 8by8": "--resize 8by8: expected a side such as 64",
    "--array x": "array names an array of an .npz file, but this is digits",
    "--size huge": "model.size: input should be 'tiny', 'small', 'base' or 'large', got 'huge'",
    "--channels 2": "data.channels: input should be 1 or 3, got 2",
    "--steps 0": "train.steps: input should be greater than 0, got 0",
    "--seed -1": "train.seed: input should be greater than or equal to 0, got -1",
}


@pytest.mark.parametrize("words", TRAINING_MISTAKES)
def test_a_training_that_cannot_be_is_refused_before_it_starts(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert TRAINING_MISTAKES[words] in refused("train", "digits", *words.split())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("train", "expected something to train on, such as: vaekit train digits"),
        ("train nowhere/at/all", "nowhere/at/all: there is no such file or folder"),
        ("train digit", "there is no such file or folder; did you mean digits?"),
        ("train --config none.yaml", "none.yaml: cannot be read (No such file or directory)"),
        ("train --config RUN/experiment.yaml --recipe digits", "is a whole experiment already"),
        ("train --resume none", "none: there is no such run"),
        ("train --resume RUN digits", "--resume uses the run's own settings"),
        ("train --resume RUN --lr 1", "--resume uses the run's own settings"),
        ("train --resume RUN --out x", "--resume uses the run's own settings"),
        ("train --resume RUN --dry-run", "--resume uses the run's own settings"),
        ("generate RUN -n 0", "-n 0: expected at least 1"),
        ("generate RUN --pixels median", "--pixels median: expected mean or sample"),
        ("generate RUN --device tpu", "device 'tpu': expected auto, cuda, mps or cpu"),
        ("reconstruct RUN -n 0", "-n 0: expected at least 1"),
        ("reconstruct RUN none.npy", "none.npy: there is no such file or folder"),
        ("encode RUN none/", "none/: there is no such file or folder"),
        ("interpolate RUN 0 180", "image 180: expected 0 to 179"),
        ("interpolate RUN 0 ²", "²: there is no such file or folder"),
        ("interpolate RUN 0 1 --steps 1", "--steps 1: expected at least 2"),
        ("evaluate RUN --draws -1", "--draws -1: expected at least 0"),
        ("evaluate RUN --limit 0", "--limit 0: expected at least 1"),
    ],
)
def test_a_mistake_is_told_in_one_line(run, words, error):
    assert error in refused(*(word.replace("RUN", str(run)) for word in words.split()))


def test_odd_images_are_found_and_shown(run, tmp_path):
    images = vaekit.api.read(vaekit.Experiment()).raw.values[:200].numpy()[:, 0].copy()
    images[7] = np.random.default_rng(0).integers(0, 255, (8, 8))
    np.save(tmp_path / "x.npy", images)
    answer = json.loads(
        done(
            "score", run, tmp_path / "x.npy", "--fpr", "0.02", "--out", tmp_path / "s.csv", "--json"
        )
    )
    with open(tmp_path / "s.csv") as file:
        rows = list(csv.DictReader(file))
    assert answer["n"] == len(rows) == 200
    assert max(rows, key=lambda row: float(row["score"]))["row"] == "8"
    assert rows[7]["odd"] == "true"
    assert sum(row["odd"] == "true" for row in rows) < 20
    assert Image.open(answer["sheet"]).size[0] > 100


def test_a_rate_that_the_held_out_images_cannot_tell_is_raised_and_said(run, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (3, 8, 8)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    result = call(
        "score", run, tmp_path / "noise.npy", "--fpr", "1e-6", "--out", tmp_path / "n.csv", "--json"
    )
    answer = json.loads(result.out)
    assert 1e-6 < answer["fpr"] < 0.02
    assert answer["odd"] == 3
    assert "cannot measure a false-alarm rate" in result.err


@pytest.mark.parametrize("verb", VERBS[1:])
def test_every_verb_says_when_a_run_is_none(run, verb):
    more = MORE.get(verb, [])
    assert f"there is no such run; did you mean '{run}'?" in refused(
        verb, run.with_name("tinny"), *more
    )
    assert "is not a run of vaekit: it has no config.json" in refused(verb, run.parent, *more)


@pytest.fixture
def damaged(run, tmp_path) -> Path:
    """A copy of the run, to be spoilt."""
    for name in (
        "config.json",
        "model.safetensors",
        "experiment.yaml",
        "metrics.jsonl",
        "resume.safetensors",
    ):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    return tmp_path


def test_a_run_of_a_newer_vaekit_says_how_to_update(damaged):
    card = json.loads((damaged / "config.json").read_text()) | {"format": 99, "vaekit": "9.9"}
    (damaged / "config.json").write_text(json.dumps(card))
    for words in (["generate", damaged], ["info", damaged], ["train", "--resume", damaged]):
        assert "was written by vaekit 9.9 in format 99" in refused(*words)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.98])
def test_files_that_were_cut_short_are_told_as_such(damaged, share):
    for name in ("model.safetensors", "resume.safetensors"):
        content = (damaged / name).read_bytes()
        (damaged / name).write_bytes(content[: int(share * len(content))])
    assert "model.safetensors: is damaged or no safetensors file" in refused("generate", damaged)
    assert "resume.safetensors: is damaged or no safetensors file" in refused(
        "train", "--resume", damaged
    )


def test_files_that_are_not_there_are_told_as_such(damaged):
    (damaged / "model.safetensors").unlink()
    (damaged / "resume.safetensors").unlink()
    assert "model.safetensors: there is no such file; the run was never saved" in refused(
        "generate", damaged
    )
    assert "resume.safetensors: there is no such file; the run was never saved" in refused(
        "train", "--resume", damaged
    )
    assert json.loads(done("info", damaged, "--json"))["steps_done"] == 30


def test_data_that_have_gone_are_told_as_such(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4), dtype=np.uint8)
    source, folder = tmp_path / "set.npy", tmp_path / "run"
    np.save(source, images)
    done(
        "train",
        source,
        "architecture=mlp",
        "hidden=[4]",
        "--latent",
        1,
        "--steps",
        2,
        "holdout=0.2",
        "--out",
        folder,
        "-q",
    )
    np.save(source, images[:10])
    assert "holds 10 images, but the run began with 20; put the data back" in refused(
        "train", "--resume", folder
    )
    np.save(source, images[:, :2])
    assert "the data have another shape than in training" in refused("evaluate", folder)
    source.unlink()
    for words in (
        ["train", "--resume", folder],
        ["evaluate", folder],
        ["interpolate", folder, 0, 1],
    ):
        assert "set.npy: there is no such file or folder" in refused(*words)
    assert done("generate", folder, "-n", 1)  # needs no data


def test_a_name_is_told_as_it_is_whatever_it_looks_like(run, tmp_path):
    for name in ("[bold]", "[/red]", ":smile:", "a b", "ü"):
        out = tmp_path / name
        assert str(out / "samples.npy") in done("generate", run, "-n", 1, "--out", out)
        assert f"{out}: is not a run" in refused("info", out)
    words = [
        "--steps",
        1,
        "architecture=mlp",
        "hidden=[4]",
        "--latent",
        1,
        "validations=1",
        "-q",
        "--out",
        tmp_path / "[b]:smile:",
    ]
    assert f"report: {tmp_path}/[b]:smile:/report.html" in done("train", "digits", *words)


def test_debug_shows_the_traceback_before_and_after_the_verb(monkeypatch):
    for words in (["--debug", "generate", "none"], ["generate", "none", "--debug"]):
        monkeypatch.setattr(sys, "argv", ["vaekit", *words])
        with pytest.raises(VaekitError, match="there is no such run"):
            application.main()


def test_what_nobody_foresaw_is_one_line_too(run, monkeypatch):
    def surprise(*_: object) -> None:
        raise RuntimeError("two\n  lines")

    monkeypatch.setattr("vaekit.tasks.trained.load_model", surprise)
    result = call("generate", run)
    assert result.code == 1
    assert result.err == (
        "error: unexpected RuntimeError: two lines (this is a bug: run again with --debug and report it)\n"
    )


@pytest.mark.parametrize(
    "words",
    ["", "nothing", "train --epochs x", "train --nothing", "generate", "generate RUN -n", "interpolate RUN 1",
     "generate RUN --seed -1", "generate RUN --seed 99999999999999999999"],
)  # fmt: skip
def test_wrong_usage_ends_with_2_and_says_so(run, words):
    result = call(*(word.replace("RUN", str(run)) for word in words.split()))
    assert result.code == 2
    assert "Traceback" not in result.err
    assert "Usage: vaekit" in result.err + result.out or "─ Error ─" in result.err


# Disks


@pytest.mark.parametrize("verb", ["generate", "reconstruct", "encode", "interpolate"])
def test_an_out_folder_that_cannot_be_made_is_told_as_such(run, tmp_path, verb):
    (tmp_path / "file").write_text("")
    more = ["0", "1"] if verb == "interpolate" else []
    error = refused(verb, run, *more, "--out", tmp_path / "file" / "out")
    assert "cannot be made (Not a directory); choose another folder" in error


def full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("verb", ["generate", "reconstruct", "encode", "interpolate"])
def test_a_full_disk_is_told_and_leaves_no_half_files(run, tmp_path, monkeypatch, verb):
    monkeypatch.setattr(os, "replace", full)
    more = ["0", "1"] if verb == "interpolate" else []
    assert "written (No space left on device)" in refused(
        verb, run, *more, "--out", tmp_path / "out"
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_fills_while_training_keeps_what_was_saved(tmp_path, monkeypatch):
    write = files.write

    def fills_after_the_first_save(path: Path, content: bytes | str) -> None:
        if (path.parent / "resume.safetensors").exists() and path.suffix == ".safetensors":
            monkeypatch.setattr(os, "replace", full)
        write(path, content)

    monkeypatch.setattr(files, "write", fills_after_the_first_save)
    folder = tmp_path / "run"
    words = ["train", "digits", *TINY, "--out", folder]
    assert (
        "could not be written (No space left on device); what was there before is kept"
        in refused(*words)
    )
    monkeypatch.undo()
    assert checkpoint.load_tensors(folder / "resume.safetensors")[1]["progress"]["step"] == 15
    assert json.loads(done("train", "--resume", folder, "--json", "-q"))["steps"] == 30


def test_a_log_that_cannot_be_written_is_told_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("vaekit.disk.log.Log.add", full)
    assert "No space left on device" in refused("train", "digits", *TINY, "--out", tmp_path / "run")


# From outside


def python(*words: str, **options) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, env=environment, **options
    )


HELP = """
import io, sys
from contextlib import redirect_stdout
from vaekit.cli.app import main
for words in [["--help"], ["--version"], *([v, "--help"] for v in sys.argv[1:])]:
    sys.argv[1:], out = words, io.StringIO()
    try:
        with redirect_stdout(out):
            main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
    if words[-1] == "--help" and len(words) == 2:
        last = out.getvalue().split("Examples:")[1]
        assert f"vaekit {words[0]} " in last, last
        assert "╭" not in last, last
heavy = {"torch", "matplotlib", "numpy", "sklearn", "lightning_fabric", "PIL"} & {m.split(".")[0] for m in sys.modules}
assert not heavy, heavy
"""


def test_every_help_ends_with_examples_and_loads_nothing_heavy():
    result = python("-c", HELP, *VERBS)
    assert result.returncode == 0, result.stderr


def test_what_a_verb_imports_is_not_the_compiler():
    """Nor what else takes as long to import as torch does, and only training wants."""
    heavy = {
        "torch._dynamo",
        "torch.distributed.tensor",
        "sympy",
        "lightning_fabric",
        "matplotlib",
        "sklearn",
    }
    imports = "import sys, vaekit.api, vaekit.tasks.verbs, vaekit.tasks.status"
    result = python(
        "-c", f"{imports}; assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)"
    )
    assert result.returncode == 0, result.stderr


def test_the_module_is_the_command():
    result = python("-m", "vaekit", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (
        0,
        f"vaekit {vaekit.__version__}\n",
        "",
    )


@pytest.mark.slow
def test_from_a_shell_results_and_errors_take_their_own_ways(run, tmp_path):
    result = python(
        "-m", "vaekit", "generate", str(run), "-n", "2", "--json", "--out", str(tmp_path / "out")
    )
    assert (result.returncode, json.loads(result.stdout)["n"]) == (0, 2)
    result = python("-m", "vaekit", "info", str(run.with_name("tinny")))
    assert (result.returncode, result.stdout) == (1, "")
    assert (
        result.stderr
        == f"error: {run.with_name('tinny')}: there is no such run; did you mean '{run}'?\n"
    )
