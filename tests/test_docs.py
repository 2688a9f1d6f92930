"""The documentation names only what is there."""

from __future__ import annotations

import pydoc
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

import vaekit
from vaekit.assembly.latents import LATENTS, POSTERIORS
from vaekit.assembly.objectives import BOUNDS, TERMS
from vaekit.assembly.priors import PRIORS
from vaekit.data.images.model.likelihoods import NAMES
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.own_data import own_part

ROOT = Path(__file__).parent.parent
TINY = {"architecture": "mlp", "hidden": [8], "steps": 2, "patience": 0}
PAGES = sorted([*ROOT.glob("docs/**/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_pictures_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [t for t in targets if t and "://" not in t and not t.startswith("mailto:")]
    missing = [t for t in local if not (page.parent / t).exists()]
    assert not missing


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    text = re.sub(r"!!python\S+|!ENV", "", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    named = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    there = {str(p.relative_to(ROOT / "docs")) for p in ROOT.glob("docs/**/*.md")}
    assert named == there


def listed_names() -> list[tuple[str, str]]:
    """(module, name) of everything that the page of the API shows; a module alone has the name ""."""
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    found = []
    for module, options in re.findall(r"^::: (\S+)\n((?:    .*\n)*)", page, re.MULTILINE):
        members = re.search(r"members: \[(.*)\]", options)
        names = members[1].split(", ") if members else [""]
        found += [(module, name) for name in names]
    return found


@pytest.mark.parametrize(("module", "name"), listed_names())
def test_every_name_on_the_page_of_the_api_exists(module: str, name: str) -> None:
    assert pydoc.locate(f"{module}.{name}" if name else module) is not None


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the runs that the pages speak of, only smaller, and the codes of one."""
    folder = tmp_path_factory.mktemp("pages")
    run = vaekit.train("digits", out=folder / "runs/digits", prior="standard", **TINY)
    shutil.copytree(folder / "runs/digits", folder / "runs/tc")
    vaekit.train("digits", out=folder / "runs/levels", levels=3, prior="standard", **TINY)
    codes = run.encode(as_tensor(own_part(run)))
    (folder / "runs/digits/encoded").mkdir()
    np.savez(
        folder / "runs/digits/encoded/codes.npz",
        mean=codes.mean,
        scale=codes.scale,
        label=np.zeros(180),
    )
    return folder


BLOCKS = [
    pytest.param(block, id=f"{page.relative_to(ROOT)}-{i}")
    for page in PAGES
    if page.name != "kinds-of-data.md"  # its blocks are one file, which test_points holds it to
    if page.name != "architecture.md"  # quotes the sources
    for i, block in enumerate(
        re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL), 1
    )
]


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS)
def test_python_runs_as_it_stands(
    block: str, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block by itself, but that training is cut short."""
    train = vaekit.train
    monkeypatch.setattr(
        vaekit, "train", lambda source, **fields: train(source, **{**fields, **TINY})
    )
    monkeypatch.chdir(workplace)
    exec(compile(block, "page", "exec"), {})


WORDS: dict[str, list[str]] = {
    "likelihoods": list(NAMES),
    "discrete": [*LATENTS, *PRIORS["codes"], *PRIORS["categories"]],
    "priors": [*PRIORS["continuous"], *POSTERIORS],
    "objectives": [*BOUNDS, *TERMS],
}


@pytest.mark.parametrize("page", WORDS)
def test_every_word_has_its_row(page: str) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    assert not [name for name in WORDS[page] if f"| `{name.partition(':')[0]}" not in text]


def test_every_field_is_described() -> None:
    from vaekit.config import fields

    shown = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    silent = [
        name for name, text in fields().items() if not text and name.split(".")[1] not in shown
    ]
    assert not silent
