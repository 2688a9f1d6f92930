"""A set of images, and the request to load one."""

from dataclasses import dataclass, field
from pathlib import Path

from vaekit.data.dataset import Dataset, Progress
from vaekit.data.images.schema import ImageSchema

Images = Dataset[ImageSchema]
"""Raw images (N, C, H, W) and what is known of them."""


@dataclass(frozen=True)
class Request:
    """The arguments of `load`, checked. `budget` is in bytes; `size` is (H, W)."""

    source: str
    size: tuple[int, int] | None
    channels: int | None
    array: str | None
    labels: str | None
    cache: Path
    budget: int
    schema: ImageSchema | None
    progress: Progress = field(repr=False)
