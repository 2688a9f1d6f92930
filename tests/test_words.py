"""What people read is in plain words, and a public name means one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("docs/**/*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ]
)
AVOID = {  # a phrase that had to be read twice, and what to write
    r"\banew\b": "again, or newly",
    r"\b(?:is|are) told of\b": "gets, or knows",
    r"\bwhat (?:is|it is|are) told\b": "conditions, or messages",
    r"\b(?:is|are|it is) taken for\b": "is read as",
    r"\bso few are\b": "a number and its limit",
    r"\bat every visit\b": "in each epoch",
    r"\bshall be\b": "is, or should be",
    r"\bstands? in for\b": "replaces",
    r"\bfalls? silent\b": "collapses",
    r"\bgoes by\b": "uses, or depends on",
    r"\bholds? (?:them|every file) to\b": "checks",
    r"\bstood? still\b": "does not change, or is constant",
    r"\bis had\b": "exists, or costs",
    r"\band said\b": "and a note says so",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_pages_avoid_phrases_that_had_to_be_read_twice(page: Path) -> None:
    """Code and program output may still hold them: only prose is looked at."""
    prose = re.sub(r"```.*?```|`[^`]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = " ".join(prose.split())
    found = {phrase: better for phrase, better in AVOID.items() if re.search(phrase, text)}
    assert not found


SHARED_NAMES = {  # and why; to be renamed when their files change next
    "Picture": "a picture's pixels as read, and a layer that adds a learned picture",
    "Reading": "the form that pictures get, and the levels that an array's values get",
}


def test_a_public_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(ROOT)))
    shared = {name: paths for name, paths in homes.items() if len(paths) > 1}
    assert shared.keys() == SHARED_NAMES.keys(), shared


IN_MESSAGES = {
    r"\banew\b": "again",
    r"\bat every visit\b": "in each epoch",
    r"\bshall be\b": "is, or should be",
    r"\bare taken for\b": "are read as",
}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "src").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT / "src"))
)
def test_messages_and_docstrings_avoid_phrases_that_had_to_be_read_twice(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strings = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
    text = "\n".join(string for string in strings if isinstance(string, str))
    found = {phrase: better for phrase, better in IN_MESSAGES.items() if re.search(phrase, text)}
    assert not found
