"""Load images: find out which kind of source a name means, and read it."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from vaekit.data.dataset import Progress
from vaekit.data.images.attributes import as_known, factors, with_conditions, with_hint
from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read import arrays, digits, folder, hub, idx
from vaekit.data.images.read.conform import conform
from vaekit.data.images.read.sizes import size_option
from vaekit.data.images.schema import ImageSchema, describe
from vaekit.data.storage import cache as packed
from vaekit.data.storage.workers import silent
from vaekit.errors import VaekitError

DIGITS = "digits"
"""The name of the source that is scikit-learn's digits."""

HUB = "hf:"
"""The start of the names of Hugging Face data sets."""


def recognises(source: str | Path) -> bool:
    """Whether `source` names images: `digits`, `hf:...`, a picture, an array of images or a folder of any of these.

    A missing file with such a name counts too, so that `load` can say that it is missing.
    """
    name, path = str(source), Path(source).expanduser()
    if name == DIGITS or name.startswith(HUB):
        return True
    if path.is_dir():
        return idx.has_idx_files(path) or folder.has_pictures(path)
    if path.suffix.lower() in arrays.SUFFIXES:
        return not path.exists() or arrays.has_images(path)
    return folder.is_picture_name(name) or idx.is_idx_name(path)


def load(
    source: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    array: str | None = None,
    labels: str | None = None,
    cache: Path | None = None,
    memory_budget: int | None = None,
    schema: ImageSchema | None = None,
    progress: Progress | None = None,
    condition: Sequence[str] = (),
    table: str | None = None,
) -> Images:
    """The images that `source` names. Raises VaekitError.

    `source` is `digits`, `hf:owner/name`, a folder of pictures or of idx files, an .npy or .npz file, or one
    picture. `size` is a side or (H, W) in pixels: pictures are cropped about the centre and resized to it.
    `channels` is 1 or 3. `array` and `labels` name arrays (columns of a hub data set) if there are several.
    Images that take more than `memory_budget` bytes (default: a quarter of the free memory) stay on disk,
    decoded once into `cache`. With `schema`, the images are new data for an existing model. They are resized to
    its size if its training images were resized. Otherwise they must have exactly its form, or an error says how
    to convert them. `condition` names the conditions to read (`label`, an array, a column of `table`).
    """
    name = _named(source)
    request = Request(
        source=name,
        size=_checked_size(size, schema, name),
        channels=_checked_channels(channels, schema, name),
        array=array,
        labels=labels,
        cache=Path(cache) if cache is not None else packed.default_folder(),
        budget=packed.default_budget() if memory_budget is None else memory_budget,
        schema=schema,
        progress=progress or silent,
    )
    images = _read(name, request)
    if len(images) < 2 and schema is None:
        raise VaekitError(
            f"{name} has {len(images)} image; a VAE needs at least 2: give a folder or an array with more"
        )
    if schema is None:
        if not condition:
            return with_hint(images, name)
        return with_conditions(images, condition, table, request)
    known = conform(images, schema)
    return as_known(known, schema.conditions, table, request) if schema.conditions else known


def _named(source: object) -> str:
    """The name of a source. Raises VaekitError for what is no name."""
    if not isinstance(source, (str, Path)):
        raise VaekitError(
            "expected the name of a picture, of a folder of pictures or of an .npz file, or a tensor "
            f"(N, C, H, W) with values in [0, 1]; got an object of type {type(source).__name__}"
        )
    return str(source)


def load_factors(
    images: Images, names: Sequence[str], array: str | None = None, table: str | None = None
) -> Tensor:
    """The known factors (N, F) of `images` from their source: `label`, arrays, or columns of a table."""
    request = Request(
        images.source, None, None, array, None, packed.default_folder(), 0, None, silent
    )
    return factors(images, names, table, request)


def _read(name: str, request: Request) -> Images:
    if name.startswith(HUB):
        return hub.read(name.removeprefix(HUB), request)
    if name == DIGITS:
        _refuse_names(request, DIGITS)
        return digits.read(request)
    path = Path(name).expanduser()
    if not os.path.exists(path):  # also False for names that no file can have
        raise VaekitError(_missing(name, path))
    if not (path.is_dir() or path.is_file()):
        raise VaekitError(
            f"{name}: this is neither a file nor a folder: give a folder of pictures or an .npz file"
        )
    if path.is_dir() and not idx.has_idx_files(path):
        _refuse_names(request, "a folder of pictures")
        return folder.read(path, request)
    if path.is_dir() or idx.is_idx_name(path):
        return idx.read(path, request)
    return _read_file(path, request)


def _read_file(path: Path, request: Request) -> Images:
    try:
        if arrays.is_array_file(path):
            return arrays.read(path, request)
    except OSError as error:
        raise VaekitError(
            f"{path}: couldn't be read ({error.strerror}): check the file and its permissions"
        ) from error
    _refuse_names(request, "a picture")
    return folder.read_file(path, request)


def _missing(name: str, path: Path) -> str:
    beside = (
        [str(Path(name).parent / entry.name) for entry in path.parent.iterdir()]
        if os.path.isdir(path.parent)
        else []
    )
    near = difflib.get_close_matches(name, [*beside, DIGITS], n=1)
    hint = (
        f"did you mean {near[0]}?"
        if near
        else "give a picture, a folder of pictures, an .npz file or digits"
    )
    return f"{name}: there is no such file or folder; {hint}"


def _refuse_names(request: Request, kind: str) -> None:
    for option, value in (("array", request.array), ("labels", request.labels)):
        if value is not None:
            raise VaekitError(
                f"{request.source}: {option} names an array of an .npz file, but this is {kind}: leave it out"
            )


def _checked_size(
    size: int | Sequence[int] | None, schema: ImageSchema | None, name: str
) -> tuple[int, int] | None:
    if size is None:
        return (schema.height, schema.width) if schema is not None and schema.resized else None
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int) and 1 <= side <= 16384 for side in pair):
        raise VaekitError(
            f"size: expected a side such as 64, or height and width such as (64, 48), in pixels; got {size!r}"
        )
    if schema is not None and pair != (schema.height, schema.width):
        right = (schema.height, schema.width)
        raise VaekitError(
            f"{name}: size {size_option(pair)} doesn't suit this model, which reads "
            f"{describe(*right, schema.channels)}: use size {size_option(right)}"
        )
    return pair


def _checked_channels(channels: int | None, schema: ImageSchema | None, name: str) -> int | None:
    if channels not in (None, 1, 3):
        raise VaekitError(f"channels: expected 1 (grey) or 3 (colour), got {channels!r}")
    if schema is None:
        return channels
    if channels is not None and channels != schema.channels:
        raise VaekitError(
            f"{name}: channels {channels} doesn't suit this model: leave it out or use channels {schema.channels}"
        )
    # Grey becomes colour without loss. Whether colour can become grey is known only from the images.
    return 3 if schema.channels == 3 else channels
