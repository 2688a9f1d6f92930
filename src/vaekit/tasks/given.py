"""What people give to a verb in Python: a tensor, data that were read, or what has yet to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from vaekit.data.dataset import Dataset
from vaekit.errors import VaekitError
from vaekit.tasks.batches import as_tensor

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained


def dataset(trained: Trained, data: Any, **options: Any) -> Dataset:
    """The data as `read` returns them: `data` is their file or folder, a table in memory, or what `read` returned."""
    return data if isinstance(data, Dataset) else trained.read(data, **options)


def tensor(trained: Trained, data: Any, context: Tensor | None) -> tuple[Any, Tensor | None]:
    """The data as x (N, *shape), with what is known of them; a tensor stays as it is."""
    if isinstance(data, Tensor):
        return data, context
    data = dataset(trained, data)
    return as_tensor(data), data.context if context is None else context


def ends(trained: Trained, a: Any, b: Any) -> tuple[Dataset, Dataset] | None:
    """The two ends of a line as data sets; None if they are tensors. Raises VaekitError."""
    tensors = isinstance(a, Tensor) + isinstance(b, Tensor)
    if tensors == 1:
        raise VaekitError("interpolate: expected two tensors or two files, got one of each")
    return None if tensors else (dataset(trained, a), dataset(trained, b))
