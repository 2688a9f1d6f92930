"""The schema of images, and the conversion from stored values to network input and back."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from vaekit.data.dataset import Schema


class ImageSchema(Schema, frozen=True, extra="forbid"):
    """The form of a set of images: plain data, saved as JSON beside a model.

    `dtype` is the dtype of raw values: uint8 from 0 to 255, or float32 in [0, 1]. `classes` are the names of
    the labels (index = label); empty if there are none. `resized` says whether the training images were resized
    to this size; if so, new images are resized too. `value_range` are the values that became 0 and 255 in
    pictures of more than 8 bits a channel, and do so in new pictures; None if there were none. `binarise` says
    how values in {0, 1} are drawn from grey levels; reading files never sets it.
    """

    modality: Literal["images"] = "images"
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    channels: int = Field(ge=1)
    dtype: Literal["uint8", "float32"] = "uint8"
    classes: tuple[str, ...] = ()
    resized: bool = False
    value_range: tuple[int, int] | None = None
    binarise: Literal["none", "static", "dynamic"] = "none"

    def __str__(self) -> str:
        return f"images of {self.height}x{self.width}x{self.channels}"

    @property
    def reported(self) -> dict[str, str]:
        return {"binarise": self.binarise}

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def dims(self) -> int:
        """C * H * W, the number of values in one image."""
        return self.channels * self.height * self.width


def to_tensor(raw: Tensor, schema: ImageSchema) -> Tensor:
    """Raw values (..., C, H, W) as float32 in [0, 1]: uint8 is divided by 255, float32 is left unchanged."""
    return raw.float() if schema.dtype == "float32" else raw.float() / 255


def from_tensor(x: Tensor, schema: ImageSchema) -> Tensor:
    """The inverse of `to_tensor`, exact for its results: values are clamped to [0, 1] and, for uint8, rounded."""
    unit = x.float().clamp(0, 1)
    return unit if schema.dtype == "float32" else (unit * 255).round().to(torch.uint8)


def describe(height: int, width: int, channels: int | None = None) -> str:
    """The form of an image in words: "28x28 grey" (height x width)."""
    colour = {None: "", 1: " grey", 3: " colour"}.get(channels, f" with {channels} channels")
    return f"{height}x{width}{colour}"
