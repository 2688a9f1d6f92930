"""Runs of the version before conditions and latents that are words: they load, and say what they said then.

tests/data/previous holds three, written by that version on scikit-learn's digits: `dense`, stopped after 40 of 60
steps; `bits`; and `conv`, too large to be kept, whose weights are a known pattern here. `said.json` is its answers.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import vaekit
from commands import call
from vaekit import api
from vaekit.disk import checkpoint
from vaekit.runs.events import Ended
from vaekit.tasks.own_data import own_part

PREVIOUS = Path(__file__).parent / "data" / "previous"
RUNS = ("dense", "bits", "conv")
EACH = pytest.mark.parametrize("name", RUNS)


def patterned(shapes: dict[str, list[int]]) -> dict[str, Tensor]:
    """The weights that the previous version was given, too."""
    made, at = {}, 0
    for name, shape in shapes.items():
        row = torch.arange(at, at + math.prod(shape), dtype=torch.float64)
        made[name], at = (0.3 * torch.sin(1.7 * row)).float().reshape(shape), at + len(row)
    return made


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies that may be written to, with all weights in place."""
    folder = shutil.copytree(PREVIOUS, tmp_path_factory.mktemp("previous") / "runs")
    shapes = json.loads((folder / "conv" / "shapes.json").read_text())
    checkpoint.save_tensors(folder / "conv" / checkpoint.WEIGHTS, patterned(shapes), {})
    return folder


def said(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "said.json").read_text())


def value(found: Any) -> Any:
    """An estimate's value and error, or the number itself."""
    return (found["value"], found["error"]) if isinstance(found, dict) else found


@EACH
def test_what_it_measured_then_it_measures_now(runs: Path, name: str) -> None:
    """ELBO and parts, NLL, mutual information and active units, on the images that it was not trained on."""
    trained = vaekit.load(runs / name)
    found = trained.evaluate(own_part(trained), draws=5, limit=20)
    for measure, before in said(runs / name)["evaluate"].items():
        assert value(found[measure]) == pytest.approx(value(before), rel=1e-4, abs=1e-5), measure


@EACH
def test_pictures_and_codes_are_those_of_then(runs: Path, name: str) -> None:
    trained, before = vaekit.load(runs / name), said(runs / name)
    x = next(trained.batches(own_part(trained).subset(torch.arange(4))))[0]
    now = {
        "generate": trained.generate(1, 7),
        "reconstruct": trained.reconstruct(x)[0],
        "encode": trained.encode(x).mean,
    }
    for verb, found in now.items():
        torch.testing.assert_close(
            found.flatten(), torch.tensor(before[verb]), rtol=1e-3, atol=1e-4
        )


@EACH
def test_what_it_knew_nothing_of_has_its_former_meaning(runs: Path, name: str) -> None:
    trained = vaekit.load(runs / name)
    network = trained.experiment.model
    assert (network.levels, network.posterior, network.dropout) == (1, "normal", 0)
    assert trained.experiment.data.condition == trained.schema.conditions == ()
    assert trained.kind == "continuous"


def test_a_run_that_was_stopped_goes_on_to_where_it_would_have_gone(
    runs: Path, tmp_path: Path
) -> None:
    """Its 40 steps and 20 of today's end where the previous version's 60 did."""
    folder = shutil.copytree(PREVIOUS / "dense", tmp_path / "dense")
    (ended,) = (event for event in api.reopen(folder).events() if isinstance(event, Ended))
    assert ended.why == "done"
    found = ended.trained.evaluate(own_part(ended.trained), draws=5, limit=20)
    for measure, before in said(runs / "dense")["resumed"].items():
        assert value(found[measure]) == pytest.approx(value(before), rel=1e-3, abs=1e-4), measure


@EACH
def test_the_command_line_takes_it(runs: Path, name: str, tmp_path: Path) -> None:
    assert call("generate", runs / name, "-n", 2, "--out", tmp_path / "new").code == 0
    assert (tmp_path / "new" / "samples.png").is_file()
    refused = call("generate", runs / name, "--where", "label=3")
    assert refused.code == 1
    assert "trained without conditions" in refused.err
    assert call("info", runs / name).code == 0
