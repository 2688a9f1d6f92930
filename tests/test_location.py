"""A run finds its data again, from whatever folder it is used."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from commands import call
from vaekit import VaekitError, api
from vaekit.config import Data
from vaekit.data.location import absolute_paths, locate
from vaekit.disk import lock

pytest.importorskip("polars")

SHORT = ("--size", "tiny", "--steps", "4", "--out", "run", "-q")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a table in data/, and a run in run/ that was trained on it by its relative path."""
    place = tmp_path / "project"
    (place / "data").mkdir(parents=True)
    random = np.random.default_rng(0)
    with (place / "data" / "x.csv").open("w", newline="") as file:
        rows = [[f"{random.normal():.3f}", "ab"[i % 2]] for i in range(300)]
        csv.writer(file).writerows([["n", "c"], *rows])
    monkeypatch.chdir(place)
    result = call("train", "data/x.csv", *SHORT)
    assert result.code == 0, result.err
    return place


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    place = tmp_path / "elsewhere"
    place.mkdir()
    return place


def reopen(folder: Path) -> api.Run:
    try:
        return api.reopen(folder)
    finally:
        lock.release(folder)


def test_a_run_is_resumed_scored_and_evaluated_from_any_folder(
    project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere)
    measured = call("evaluate", project / "run", "--metrics", "nll", "--draws", 2)
    assert measured.code == 0, measured.err
    assert "rows of data/x.csv: held out in training" in measured.err
    scored = call("score", project / "run", "--by", "elbo", "--out", "scores.csv")
    assert scored.code == 0, scored.err
    run = reopen(project / "run")
    assert run.experiment.data.source == "data/x.csv"
    assert len(run.data) == 300


def test_a_file_of_the_same_name_elsewhere_is_not_taken_for_the_run_s_own(
    project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(elsewhere)
    (elsewhere / "data").mkdir()
    (elsewhere / "data" / "x.csv").write_text("n,c\n1.5,a\n2.5,b\n")
    assert len(reopen(project / "run").data) == 300


def test_a_project_that_was_moved_as_a_whole_still_finds_its_data(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = tmp_path / "moved"
    shutil.move(project, moved)
    monkeypatch.chdir(moved)
    assert len(reopen(Path("run")).data) == 300


def test_one_error_names_both_places_where_the_data_are_not(
    project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data" / "x.csv").unlink()
    monkeypatch.chdir(elsewhere)
    for words in (("evaluate", project / "run"), ("train", "--resume", project / "run")):
        result = call(*words)
        assert result.code == 1
        was, here = (place / "data" / "x.csv" for place in (project, elsewhere))
        assert f"data/x.csv: the data of the run are neither at {was} nor at {here}" in result.err
        assert result.err.count("error: ") == 1


def test_a_run_that_does_not_know_the_absolute_path_goes_by_the_relative_one(
    project: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = project / "run" / "environment.json"
    facts = json.loads(path.read_text())
    del facts["paths"]
    path.write_text(json.dumps(facts))
    assert len(reopen(project / "run").data) == 300
    monkeypatch.chdir(elsewhere)
    result = call("evaluate", project / "run")
    assert "data/x.csv: there is no such file" in result.err


def test_names_that_are_no_paths_stay_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits").mkdir()
    for source in ("digits", "hf:owner/name"):
        assert absolute_paths(Data(source=source)) == {}
    data = Data(source="digits", table="t.csv")
    assert absolute_paths(data) == {}  # a table that is looked for elsewhere: beside the pictures
    (tmp_path / "t.csv").touch()
    assert absolute_paths(data) == {"table": str(tmp_path / "t.csv")}
    assert locate(data, absolute_paths(data)) == data
    with pytest.raises(VaekitError, match=r"people\.csv: the data of the run are neither at "):
        locate(Data(table="people.csv"), {"table": os.path.abspath("gone.csv")})
