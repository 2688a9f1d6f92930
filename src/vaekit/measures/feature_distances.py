"""Distances between two sets of pictures, from features (N, D) of the same judge.

`a` and `real` are the data, `b` and `fake` the pictures of a model. All is computed in float64.
Numbers from different judges, or from sets of different sizes, cannot be compared.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vaekit.core.random import seeded

CELLS = 2**22
"""The most distances that are held in memory at a time."""


@dataclass(frozen=True)
class Kernel:
    """A kernel distance and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class NeighbourFractions:
    """Four fractions from balls that reach to the k-th neighbour; only `density` can be above 1."""

    precision: float
    recall: float
    density: float
    coverage: float


@dataclass(frozen=True)
class Fidelity:
    """The results of `fidelity` for `n_real` and `n_fake` pictures."""

    frechet: float
    kernel: Kernel
    neighbours: NeighbourFractions
    n_real: int
    n_fake: int


def fidelity(real: Tensor, fake: Tensor, k: int = 5, seed: int = 0) -> Fidelity:
    """All measures of this module, between the features of real and of generated pictures."""
    real, fake = _rows(real, fake)
    return Fidelity(
        frechet(real, fake),
        kernel_distance(real, fake, seed=seed),
        prdc(real, fake, k),
        len(real),
        len(fake),
    )


def frechet(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance of Gaussians fitted to the two sets; 0 for equal moments. Heusel et al.
    2017, eq. 6.

    It is biased: for two samples of the same distribution it is above 0, and higher for smaller
    samples (Chong & Forsyth 2020). So compare only numbers of equal set sizes, and compare a
    model's number with that of held-out data.
    """
    a, b = _rows(a, b)
    return frechet_of_gaussians(a.mean(0), _covariance(a), b.mean(0), _covariance(b))


def frechet_of_gaussians(
    mean_a: Tensor, covariance_a: Tensor, mean_b: Tensor, covariance_b: Tensor
) -> float:
    """|m_a - m_b|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2), for covariances that may be singular.

    The last trace is computed as the sum of the singular values of A^1/2 B^1/2, which is precise
    even if B is close to A. Dowson & Landau 1982.
    """
    roots = _root(covariance_a), _root(covariance_b)
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    squares = sum(
        (root.square().sum() for root in roots), start=(mean_a - mean_b).double().square().sum()
    )
    return max(0.0, float(squares - 2 * shared))


def kernel_distance(a: Tensor, b: Tensor, subsets: int = 10, seed: int = 0) -> Kernel:
    """KID: the squared MMD with the kernel (x.y / D + 1)^3, unbiased, so that it may be below 0.
    Binkowski et al. 2018.

    It is the mean over `subsets` disjoint parts of both sets. Disjoint parts give a correct
    standard error; the usual overlapping parts vary too little.
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
    """Precision and recall (Kynkäänniemi et al. 2019, eq. 2), density and coverage.

    The latter are of Naeem et al. 2020, section 3.
    A ball around each real picture reaches to its k-th nearest real one; likewise for fake ones.
    precision: the share of fake pictures that are in a real ball.
    recall: the share of real pictures that are in a fake ball.
    density: the mean number of real balls that a fake picture is in, divided by k.
    coverage: the share of real balls that contain a fake picture.
    Outliers distort precision and recall, but not the other two.
    """
    real, fake = _rows(real, fake)
    real, fake = real - real.mean(0), fake - real.mean(0)  # squares near 0 are more precise
    if k >= min(len(real), len(fake)):
        raise ValueError(
            f"k={k}: expected more than {k} pictures in each set, got {len(real)} and {len(fake)}"
        )
    around_real, around_fake = _reach(real, k), _reach(fake, k)
    held = torch.zeros(len(fake))  # the number of real balls that each fake picture is in
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
            f"expected two sets of at least 2 rows with the same number of columns, got shapes "
            f"{tuple(a.shape)} and {tuple(b.shape)}"
        )
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("expected finite features, got NaN or infinite values; check the pictures")
    return a, b


def _covariance(rows: Tensor) -> Tensor:
    return torch.cov(rows.T).view(rows.shape[1], rows.shape[1])  # for one column, cov is a scalar


def _root(covariance: Tensor) -> Tensor:
    """The symmetric square root; eigenvalues below 0, which are due to rounding, count as 0."""
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
    """The indices of some rows of a at a time, and their squared distances from all rows of b;
    exactly 0 for equal rows."""
    size_a, size_b = a.square().sum(1, keepdim=True), b.square().sum(1)
    for rows in torch.arange(len(a)).split(max(1, CELLS // len(b))):
        sizes = size_a[rows] + size_b
        squares = torch.addmm(sizes, a[rows], b.T, alpha=-2)
        yield rows, torch.where(squares > ROUNDING * sizes, squares, 0.0)


ROUNDING = 1e-12
"""A squared distance below this share of the squared norms is rounding error and counts as 0."""


def _reach(a: Tensor, k: int) -> Tensor:
    """The squared distance (N,) of each row from its k-th nearest other row."""
    return torch.cat(
        [squares.topk(k + 1, largest=False).values[:, k] for _, squares in _squares(a, a)]
    )
