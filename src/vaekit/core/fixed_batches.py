"""Makes a network's output for a datum bitwise the same alone, in any batch and at any position.

On a CPU it usually is not. Kernels for few rows, for many rows and for the last rows of a batch
round differently, and products with few columns round differently depending on where a row lies in
memory. So data go through a network in batches of one fixed size, and the last batch is filled up;
products have many columns; and one thread computes each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from vaekit.core.threads import spread

VALUES = 2**16
"""The number of values that a batch has, about."""

FEWEST, MOST = 32, 512
"""The least and the greatest number of data in a batch.

Both are powers of two, so that a kernel has no remaining rows to treat differently.
"""

COLUMNS, INNER = 64, 16
"""Products get a multiple of `COLUMNS` columns.

In batched products, the axis that is summed over is a multiple of `INNER` too.
"""


def batch_size(values: int) -> int:
    """The number of data in a batch, a power of two, if each datum has `values` values."""
    fitting = max(1, VALUES // max(1, values))
    return min(MOST, max(FEWEST, 2 ** (fitting.bit_length() - 1)))


def in_fixed_batches(
    function: Callable[..., Sequence[Tensor]], size: int, *data: Tensor | None
) -> tuple[Tensor, ...]:
    """The results of `function` for all data, as if each datum were alone.

    `function` runs on batches of `size`, and its results are joined. data: tensors (N, ...) of one
    length N > 0, or None; the first is not None. `function` gets (size, ...) of each, or None for
    None, and returns tensors (size, ...). There are no gradients. As many batches run at once as
    torch has threads.
    """
    assert data[0] is not None
    n = len(data[0])
    parts = spread(partial(_of_one_batch, function, size, data), range(0, n, size))
    return tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))


def widened(b: Tensor, rows: int = 0) -> Tensor:
    """b (..., K, N) with zeros added: `rows` rows, and columns up to a multiple of `COLUMNS`."""
    columns = -b.shape[-1] % COLUMNS
    return F.pad(b, (0, columns, 0, rows)) if columns or rows else b


@torch.no_grad()
def _of_one_batch(
    function: Callable[..., Sequence[Tensor]], size: int, data: Sequence[Tensor | None], start: int
) -> Sequence[Tensor]:
    batch = [None if part is None else _filled(part, start, size) for part in data]
    with _WideProducts():
        return function(*batch)


def _filled(data: Tensor, start: int, size: int) -> Tensor:
    """`size` data from `start` on, in their own memory.

    The last datum is repeated to fill the batch.
    """
    places = torch.arange(start, start + size, device=data.device).clamp_max(len(data) - 1)
    return data.index_select(0, places).contiguous()


class _WideProducts(TorchDispatchMode):
    """In this block, products of matrices get extra columns of zeros, which are cut off again."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _WIDE.get(func, func)(*args, **(kwargs or {}))


aten = torch.ops.aten


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """a (M, K) times b (K, N)."""
    columns = b.shape[1]
    return _cut(aten.mm.default(a, widened(b)), columns)


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """a (B, M, K) times b (B, K, N), padded so that each product starts at aligned memory."""
    columns, rest = b.shape[2], -a.shape[2] % INNER
    return _cut(aten.bmm.default(F.pad(a, (0, rest)), widened(b, rest)), columns)


def _mv(a: Tensor, v: Tensor) -> Tensor:
    return _mm(a, v[:, None])[:, 0]


def _addmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    if not b.shape[1] % COLUMNS:
        return aten.addmm.default(c, a, b, beta=beta, alpha=alpha)
    return _sum(c, _mm(a, b), beta, alpha)


def _baddbmm(c: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _sum(c, _bmm(a, b), beta, alpha)


def _addmv(c: Tensor, a: Tensor, v: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    return _sum(c, _mv(a, v), beta, alpha)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Computes distances by differences, not by matrix products."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _sum(c: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta c + alpha a b. If beta is 0, c is ignored, even where it is NaN."""
    product = product if alpha == 1 else alpha * product
    return torch.add(product, c, alpha=beta) if beta else product


def _cut(product: Tensor, columns: int) -> Tensor:
    return product[..., :columns].contiguous()


_WIDE: dict[Any, Callable[..., Tensor]] = {
    aten.mm.default: _mm,
    aten.bmm.default: _bmm,
    aten.mv.default: _mv,
    aten.addmm.default: _addmm,
    aten.baddbmm.default: _baddbmm,
    aten.addmv.default: _addmv,
    aten._euclidean_dist.default: _distances,
}
