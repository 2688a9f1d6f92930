"""How close one set of pictures is to another, by the features (N, D) that a judge gives both.

`a` and `real` are the data, `b` and `fake` what a model made. Everything in float64. Features from two judges, or sets
of other sizes, give numbers that cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.core.random import seeded

CELLS = 2**22
"""At most so many distances or kernel values are held at a time."""


@dataclass(frozen=True)
class Kernel:
    """A kernel distance and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class NeighbourFractions:
    """Four fractions about balls that reach to the k-th neighbour; all but `density` are at most 1."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Fidelity:
    """What `fidelity` measured between `n_real` and `n_fake` pictures."""

    frechet: float
    kernel: Kernel
    neighbours: NeighbourFractions
    n_real: int
    n_fake: int


def fidelity(real: Tensor, fake: Tensor, k: int = 5, seed: int = 0) -> Fidelity:
    """Every measure here between the features of real and of made pictures."""
    real, fake = _rows(real, fake)
    return Fidelity(
        frechet(real, fake),
        kernel_distance(real, fake, seed=seed),
        prdc(real, fake, k),
        len(real),
        len(fake),
    )


def frechet(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance of the two sets' Gaussians; 0 for equal moments. Heusel et al. 2017, eq. 6.

    Biased: two samples of one distribution are above 0, the more so the fewer they are (Chong & Forsyth 2020), so
    compare numbers of equal set sizes only, and the number of a model with that of held-out data.
    """
    a, b = _rows(a, b)
    return frechet_of_gaussians(a.mean(0), _covariance(a), b.mean(0), _covariance(b))


def frechet_of_gaussians(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), for covariances that may be singular.

    The last trace is the sum of the singular values of A^1/2 B^1/2, which loses no digits where B is near A.
    Dowson & Landau 1982.
    """
    roots = _root(covariance_a), _root(covariance_b)
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    squares = sum(
        (root.square().sum() for root in roots), start=(mean_a - mean_b).double().square().sum()
    )
    return max(0.0, float(squares - 2 * shared))


def kernel_distance(a: Tensor, b: Tensor, subsets: int = 10, seed: int = 0) -> Kernel:
    """KID: the squared MMD of the kernel (x.y / D + 1)^3, unbiased, so that it may be below 0. Binkowski et al. 2018.

    The mean over `subsets` parts of both sets that share no picture, so that its standard error is honest (parts drawn
    with overlap, as is usual, vary less than they should).
    """
    a, b = _rows(a, b)
    subsets = min(subsets, len(a) // 2, len(b) // 2)
    with seeded(seed):
        dealt = [rows[torch.randperm(len(rows))].tensor_split(subsets) for rows in (a, b)]
    values = torch.tensor([_mmd(x, y) for x, y in zip(*dealt, strict=True)], dtype=torch.float64)
    return Kernel(
        values.mean().item(), values.std().item() / math.sqrt(subsets) if subsets > 1 else math.nan
    )


def prdc(real: Tensor, fake: Tensor, k: int = 5) -> NeighbourFractions:
    """Precision and recall (Kynkäänniemi et al. 2019, eq. 2), density and coverage (Naeem et al. 2020, section 3).

    A ball about each real picture reaches to its k-th nearest real one, and likewise for the fake.
    precision: fakes in any real ball. recall: reals in any fake ball. density: real balls a fake is in, over k.
    coverage: real balls with a fake in them. Precision and recall are fooled by outliers, the other two are not.
    """
    real, fake = _rows(real, fake)
    real, fake = real - real.mean(0), fake - real.mean(0)  # near 0, squares keep their digits
    if k >= min(len(real), len(fake)):
        raise ValueError(
            f"neighbour {k} wants more than {k} pictures in each set, got {len(real)} and {len(fake)}"
        )
    around_real, around_fake = _reach(real, k), _reach(fake, k)
    held = torch.zeros(len(fake))  # how many real balls each fake is in
    recalled, covered = 0, 0
    for rows, squares in _squares(real, fake):
        inside = squares <= around_real[rows, None]
        held += inside.sum(0)
        covered += int(inside.any(1).sum())
        recalled += int((squares <= around_fake).any(1).sum())
    precision, density = (held > 0).double().mean().item(), held.double().mean().item() / k
    return NeighbourFractions(precision, recalled / len(real), density, covered / len(real))


def _rows(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    a, b = (torch.as_tensor(x).detach().cpu().double() for x in (a, b))
    if a.dim() != 2 or b.dim() != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"expected two or more rows of equal width in both, got {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("the features are not all finite numbers: some pictures are not")
    return a, b


def _covariance(rows: Tensor) -> Tensor:
    return torch.cov(rows.T).view(rows.shape[1], rows.shape[1])  # of one column it is a number


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues that rounding put below 0 count as 0."""
    values, vectors = torch.linalg.eigh(covariance.double())
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T


def _mmd(a: Tensor, b: Tensor) -> float:
    """The unbiased squared MMD. Gretton et al. 2012, eq. 3."""
    return _within(a) + _within(b) - 2 * _kernel(a, b).mean().item()


def _within(a: Tensor) -> float:
    kernel = _kernel(a, a)
    return ((kernel.sum() - kernel.trace()) / (len(a) * (len(a) - 1))).item()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _squares(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Some rows of a at a time, and their squared distances from all of b; a picture is at 0 from its own copy."""
    size_a, size_b = a.square().sum(1, keepdim=True), b.square().sum(1)
    for rows in torch.arange(len(a)).split(max(1, CELLS // len(b))):
        sizes = size_a[rows] + size_b
        squares = torch.addmm(sizes, a[rows], b.T, alpha=-2)
        yield rows, torch.where(squares > ROUNDING * sizes, squares, 0.0)


ROUNDING = 1e-12
"""Differences of squares below this part of them are what rounding leaves of 0."""


def _reach(a: Tensor, k: int) -> Tensor:
    """How far, squared, each row is from its k-th nearest other, shape (N,); it is its own nearest."""
    return torch.cat(
        [squares.topk(k + 1, largest=False).values[:, k] for _, squares in _squares(a, a)]
    )
