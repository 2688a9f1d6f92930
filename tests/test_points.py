"""A kind of data that vaekit does not know: every verb, the report and resuming, by registering it alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch

import vaekit
from commands import call
from points import kind
from points.kind import MODALITY
from vaekit.api import plan, read, reopen
from vaekit.assembly.recipes import choose
from vaekit.data import registry
from vaekit.errors import VaekitError
from vaekit.files import new_folder
from vaekit.runs.run import Run

PAGE = Path(__file__).parents[1] / "docs" / "kinds-of-data.md"


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    registry.register(MODALITY)
    yield
    registry.forget(MODALITY.name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring of points, in a file."""
    folder = tmp_path_factory.mktemp("points")
    angle = torch.rand(600, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    ring = torch.stack((angle.cos(), angle.sin()), 1) * 3 + 10
    np.savetxt(folder / "ring.xy", ring.numpy(), fmt="%.6g")
    return folder


@pytest.fixture(scope="module")
def run(place: Path) -> Path:
    done("train", place / "ring.xy", "--out", place / "run")
    return place / "run"


def done(*words: object) -> dict:
    result = call(*words, "--json")
    assert result.code == 0, result.err
    return json.loads(result.out)


def test_a_ring_is_learned(run: Path) -> None:
    made = vaekit.load(run).generate(500, seed=1)
    assert made.shape == (500, 2)
    radius = np.linalg.norm(made - 10, axis=1)
    inside = (radius < 1.5).mean()  # of a normal of the same spread, 22 %
    assert inside < 0.1


def test_new_points_are_written_and_told(run: Path, place: Path) -> None:
    told = done("generate", run, "-n", 7, "--out", place / "new.xy")
    assert told == {"points": str(place / "new.xy"), "n": 7}
    assert np.loadtxt(place / "new.xy").shape == (7, 2)


def test_reconstructions_are_near_their_originals(run: Path, place: Path) -> None:
    done("reconstruct", run, place / "ring.xy", "-n", 50, "--out", place / "copies.xy")
    copies, real = np.loadtxt(place / "copies.xy"), np.loadtxt(place / "ring.xy")[:50]
    assert (
        np.linalg.norm(copies - real, axis=1).mean()
        < np.linalg.norm(copies[::-1] - real, axis=1).mean()
    )


def test_codes_scores_and_lines(run: Path, place: Path) -> None:
    codes = np.load(done("encode", run, place / "ring.xy", "--out", place / "codes")["codes"])
    assert codes["mean"].shape == (600, 2)
    np.savetxt(place / "far.xy", [[10.0, 13.0], [60.0, 60.0]])
    scores = done("score", run, place / "far.xy", "--out", place / "scores.csv", "--fpr", 0.1)
    assert [row["row"] for row in scores["oddest"]] == [2]
    done("interpolate", run, 0, 1, "--steps", 5, "--out", place / "line.xy")
    assert np.loadtxt(place / "line.xy").shape == (5, 2)


def test_it_is_evaluated_and_described(run: Path) -> None:
    numbers = done("evaluate", run, "--metrics", "nll,samples", "--draws", 20)
    assert numbers["samples"]["centre"] < 0.5
    assert np.isfinite(numbers["nll"]["value"])
    assert "600 points" in call("info", run).out


def test_messages_take_the_plural_that_a_kind_gives(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = replace(MODALITY, datum="series", plural="series")
    monkeypatch.setitem(registry._registered, MODALITY.name, series)
    shown = [call("evaluate", run, "--draws", 0), call("info", run)]
    assert "series" in shown[0].err
    assert not [text for each in shown for text in each[1:] if "seriess" in text]
    assert MODALITY.plural == "points"


def test_what_it_cannot_do_it_says_itself(run: Path, place: Path) -> None:
    refused = call("impute", run, place / "ring.xy")
    assert refused.code == 1
    assert (
        "impute: this run is of points, and a point has both its numbers or is none" in refused.err
    )
    assert "points have no classes" in call("augment", run).err
    assert (
        "--pixels: is for images, and this run is of points"
        in call("generate", run, "--pixels", "mean").err
    )


def test_the_report_shows_it(run: Path) -> None:
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "New points on top of held-out ones" in page
    assert "generate" in page
    assert "images" not in page
    assert "rows" not in page.partition("</style>")[2].partition("<details>")[0]


def test_its_options_are_offered_and_kept(place: Path, run: Path) -> None:
    assert "Points are multiplied by this." in " ".join(
        call("train", "--help").out.replace("│", " ").split()
    )
    told = done("train", place / "ring.xy", "--scale", 2, "--steps", 5, "--out", place / "scaled")
    scaled = vaekit.load(told["run"])
    assert scaled.experiment.data.options == {"scale": 2.0}
    assert scaled.schema.centre[0] == pytest.approx(2 * vaekit.load(run).schema.centre[0])


def test_a_stopped_run_goes_on_bit_for_bit(place: Path) -> None:
    _train(place, "whole")
    _train(place, "cut", until=30)
    resumed = reopen(place / "cut")
    assert 30 <= resumed.progress.step < 60
    list(resumed.events())
    one, other = (vaekit.load(place / name).model.state_dict() for name in ("whole", "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)


def _train(place: Path, name: str, until: int = 1000) -> None:
    """A run of 60 steps, stopped before if it is told so."""
    experiment = choose(str(place / "ring.xy")).override("steps=60")
    run = Run(plan(experiment, read(experiment)), lambda: new_folder(place / name))
    list(run.events(lambda: run.progress.step >= until))


def test_a_name_is_given_once() -> None:
    with pytest.raises(VaekitError, match="there is already a kind of data called 'images'"):
        registry.register(replace(MODALITY, name="images"))
    registry.register(MODALITY)  # the same one again is no mistake


def test_a_package_brings_it_by_its_entry_point(tmp_path: Path, place: Path) -> None:
    about = tmp_path / "points-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: points\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[vaekit.modalities]\npoints = points.kind:MODALITY\n")
    paths = [str(tmp_path), str(Path(__file__).parent), *filter(None, sys.path)]
    code = (
        f"import sys; sys.path[:0] = {paths!r}; "
        f"from vaekit.data.registry import named, names; "
        f"print(names(), named({str(place / 'ring.xy')!r}).name)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "['tables', 'images', 'points'] points"


def test_a_package_that_cannot_be_imported_stops_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = EntryPoint("spectra", "no_such_module:MODALITY", registry.GROUP)
    monkeypatch.setattr(registry, "_installed", [])
    monkeypatch.setattr(registry, "_broken", {})
    monkeypatch.setattr(registry, "entry_points", lambda group: [entry])
    assert registry.names() == ["tables", "images", "points"]
    with pytest.raises(VaekitError, match=r"'spectra' cannot be loaded .*no_such_module"):
        registry.modality("spectra")
    (tmp_path / "x.spectrum").write_text("1 2 3")
    with pytest.raises(VaekitError, match="'spectra' cannot be loaded"):
        registry.named(str(tmp_path / "x.spectrum"))


def test_a_run_of_a_kind_that_is_not_here_says_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    refused = call("generate", run).err
    assert (
        "there is no kind of data 'points' here, only tables, images; install the package"
        in refused
    )
    assert "restore it" not in refused


def test_the_page_shows_the_code_that_is_tested() -> None:
    """Every block of the page stands in the file, in its order."""
    code = Path(kind.__file__).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    places = [code.find(block.strip()) for block in blocks]
    assert len(blocks) > 3
    assert -1 not in places
    assert places == sorted(places)
