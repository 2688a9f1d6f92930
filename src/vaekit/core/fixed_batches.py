"""What a network says of a datum is the same bits alone, in any batch and at any place in it.

On a CPU it would not be: kernels for few rows, for many rows and for the last rows of a batch round differently, and
products with few columns round by where a row lies in memory. So data go through a network in batches of one fixed
size, the last one filled up; products have many columns; and each batch is computed by one thread.
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
"""A batch has about so many values."""

FEWEST, MOST = 32, 512
"""A batch has at least and at most so many data. Powers of two, so that no kernel has a rest to treat differently."""

COLUMNS, INNER = 64, 16
"""Products get a multiple of so many columns; of batches of products, the axis summed over a multiple of `INNER`."""


def batch_size(values: int) -> int:
    """How many data of so many values each make a batch: a power of two."""
    fitting = max(1, VALUES // max(1, values))
    return min(MOST, max(FEWEST, 2 ** (fitting.bit_length() - 1)))


def in_fixed_batches(
    function: Callable[..., Sequence[Tensor]], size: int, *data: Tensor | None
) -> tuple[Tensor, ...]:
    """What `function` says of all data, as if each datum were alone: its results for batches of `size`, joined.

    data: tensors (N, ...) of one length N > 0, the first of which is not None. `function` is given (size, ...) of
    each, None for None, and returns tensors (size, ...). No gradients. As many batches at once as torch has threads.
    """
    assert data[0] is not None
    n = len(data[0])
    parts = spread(partial(_of_one_batch, function, size, data), range(0, n, size))
    return tuple(torch.cat(part)[:n] for part in zip(*parts, strict=True))


def widened(b: Tensor, rows: int = 0) -> Tensor:
    """b (..., K, N) with zeros: so many more rows, and columns up to a multiple of `COLUMNS`."""
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
    """`size` data from `start` on, the last repeated to fill, in memory of their own."""
    places = torch.arange(start, start + size, device=data.device).clamp_max(len(data) - 1)
    return data.index_select(0, places).contiguous()


class _WideProducts(TorchDispatchMode):
    """Within this block no product of matrices has few columns: columns of zeros are added and cut off again."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _WIDE.get(func, func)(*args, **(kwargs or {}))


aten = torch.ops.aten


def _mm(a: Tensor, b: Tensor) -> Tensor:
    """a (M, K) times b (K, N)."""
    columns = b.shape[1]
    return _cut(aten.mm.default(a, widened(b)), columns)


def _bmm(a: Tensor, b: Tensor) -> Tensor:
    """a (B, M, K) times b (B, K, N): each product of a batch begins where memory is aligned."""
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
    """By differences, not by products."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _sum(c: Tensor, product: Tensor, beta: float, alpha: float) -> Tensor:
    """beta c + alpha a b; c counts for nothing, not even as NaN, where beta is 0."""
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
