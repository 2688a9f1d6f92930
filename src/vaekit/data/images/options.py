"""The command-line options that only images have."""

from __future__ import annotations

from vaekit.data.options import Option, Options
from vaekit.errors import VaekitError


def sides(word: str) -> int | tuple[int, int]:
    """`64` becomes a side, `64x48` becomes (height, width). Raises VaekitError."""
    numbers = word.lower().split("x")
    if len(numbers) > 2 or not all(n.isascii() and n.isdigit() for n in numbers):
        raise VaekitError(
            f"--resize {word}: expected a side such as 64, or height and width such as 64x48"
        )
    return int(numbers[0]) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))


RESIZE = "Resize images to this side, or HxW, such as 64 or 48x64"

ARRAY = Option("array", "Which array of an .npz file.", field="data.array")

OPTIONS: Options = {
    "train": (
        ARRAY,
        Option(
            "labels",
            "Which array of an .npz file, or column of a table, holds the labels.",
            field="data.labels",
        ),
        Option("resize", f"{RESIZE}.", metavar="SIDE", parse=sides, field="data.size"),
        Option(
            "channels", "Read all images as grey (1) or as colour (3).", int, field="data.channels"
        ),
        Option(
            "table",
            "A CSV file of attributes with a row for each image, here or in the folder of pictures "
            "(default: metadata.csv, or the only table in that folder).",
            field="data.table",
        ),
        Option(
            "augment",
            "Change training images at random: flip, shift:K (pixels), crop:S, brightness:B, separated by commas.",
            field="data.augment",
        ),
        Option(
            "binarise",
            "Turn grey pixels into bits: auto, none, static (once) or dynamic (drawn again in each epoch).",
            field="model.binarise",
            panel="Model",
        ),
    ),
    "read": (
        Option(
            "size",
            f"{RESIZE} (default: only if the training images were resized).",
            flag="--resize",
            metavar="SIDE",
            parse=sides,
        ),
        Option("channels", "Read colour as grey (1) or grey as colour (3).", int),
        Option("array", "Which array of an .npz file."),
        Option("labels", "Which array of an .npz file holds the labels."),
    ),
    "generate": (
        Option(
            "reading",
            "For images: mean (of the decoder, the default), or sample (drawn from the likelihood).",
            flag="--pixels",
            choices=("mean", "sample"),
        ),
        Option(
            "guidance",
            "Strength of the condition (images only). Above 1, samples match --where more closely "
            "and vary less.",
            float,
        ),
    ),
    "evaluate": (
        Option(
            "factors",
            "For disentanglement: the known factors, separated by commas: label, arrays, columns of --table.",
        ),
        Option("table", "For disentanglement: a CSV file with a row for each image."),
    ),
}
