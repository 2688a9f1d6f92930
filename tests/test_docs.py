"""The documentation names only what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
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


def test_every_likelihood_has_its_row() -> None:
    from vaekit.data.images.likelihoods import NAMES

    page = (ROOT / "docs" / "likelihoods.md").read_text(encoding="utf-8")
    for name in NAMES:
        assert f"`{name.split(':')[0]}" in page


def test_every_field_is_described() -> None:
    from vaekit.config import fields

    shown = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    silent = [name for name, text in fields().items() if not text and name.split(".")[1] not in shown]
    assert not silent
