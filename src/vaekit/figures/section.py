"""A part of a report."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Section:
    """A heading, a sentence, and a piece of HTML."""

    title: str
    caption: str
    body: str


def image(path: Path, wide: bool = True) -> str:
    """A PNG file as inline HTML. A wide one scrolls on a narrow screen instead of shrinking."""
    picture = base64.b64encode(path.read_bytes()).decode()
    return f'<div{" class=wide" * wide}><img alt="{path.stem}" src="data:image/png;base64,{picture}"></div>'
