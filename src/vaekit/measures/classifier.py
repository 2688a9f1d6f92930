"""A judge of pictures: a small classifier trained on the data's own labels, whose features compare
sets of pictures.

The usual feature net is the Inception net of ImageNet (Heusel et al. 2017). It must be downloaded,
and it knows only photographs. A classifier of the data at hand learns what matters in those data
(as do the LeNet features of Binkowski et al. 2018 for MNIST). Numbers from two judges cannot be
compared with each other or with published FIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.core.random import seeded

Count = Callable[[int, int], object]
"""Called with the number of steps done and the number of all steps."""

FEATURES = 64
"""The number of features of a picture. A Fréchet distance needs several times as many pictures."""

WIDTHS = (16, 32, 64, FEATURES)
"""The channels of the four scales; each but the first halves the height and the width."""

ROWS = 1024
"""The number of pictures in a batch outside training."""


class Judge(nn.Module):
    """Maps pictures (N, C, H, W), uint8 or floats in [0, 1], to `features` (N, 64) and class
    probabilities (N, K).

    `train_judge` trains it. After that its output for a picture does not depend on the other
    pictures of a batch.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.shape, self.classes = tuple(shape), classes
        stride = _stride(shape)
        stem = nn.Conv2d(
            shape[0], WIDTHS[0], 2 * stride + 1, stride=stride, padding=stride, bias=False
        )
        scales = (_scale(a, b) for a, b in pairwise(WIDTHS))
        self.body = nn.Sequential(stem, nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(), *scales)
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("mean", torch.zeros(shape[0], 1, 1))
        self.register_buffer("scale", torch.ones(shape[0], 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 64), averaged over positions, and the logits (B, K) of a linear layer."""
        features = self.body((unit(x) - self.mean) / self.scale).mean((2, 3))
        return features, self.head(features)

    def features(self, x: Tensor) -> Tensor:
        """The features of every picture, shape (N, 64)."""
        return self._ask(x)[0]

    def classify(self, x: Tensor) -> Tensor:
        """The probability of every class, shape (N, K)."""
        return self._ask(x)[1].softmax(1)

    def accuracy(self, x: Tensor, y: Tensor) -> float:
        """The fraction of pictures whose most likely class is their label `y` (N,)."""
        return (self.classify(x).argmax(1).cpu() == y.cpu()).double().mean().item()

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Its tensors and the plain data that `from_state` rebuilds it from."""
        return self.state_dict(), {"shape": list(self.shape), "classes": self.classes}

    @staticmethod
    def from_state(tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> Judge:
        """The judge with this `state`."""
        judge = Judge(about["shape"], about["classes"])
        judge.load_state_dict(dict(tensors))
        return judge.eval()

    @torch.no_grad()
    def _ask(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"this judge expects pictures of shape {self.shape}, got {tuple(x.shape[1:])}"
            )
        self.eval()
        parts = [self(rows.to(self.head.weight.device)) for rows in x.split(ROWS)]
        features, logits = zip(*parts, strict=True)
        return torch.cat(features), torch.cat(logits)


def train_judge(
    x: Tensor,
    y: Tensor,
    classes: int,
    seed: int = 0,
    steps: int = 1000,
    batch: int = 128,
    device: str | torch.device = "cpu",
    progress: Count | None = None,
    change: Callable[[Tensor], Tensor] | None = None,
) -> Judge:
    """A judge trained to predict the label `y` (N,), in 0..classes-1, of each picture of x (N, C,
    H, W).

    It minimises cross-entropy by AdamW with a one-cycle learning rate (Smith & Topin 2018). Every
    batch (B, C, H, W) goes through `change`, by default `jittered`: small random rotations, shifts
    and scales, so that the features hardly depend on them. The result is the same on the same
    machine with the same seed.
    """
    _check(x, y, classes)
    with seeded(seed):
        judge = Judge(x.shape[1:], classes).to(device)
        _standardise(judge, x)
        optimiser = torch.optim.AdamW(judge.parameters(), lr=LARGEST_RATE, weight_decay=0.02)
        rates = torch.optim.lr_scheduler.OneCycleLR(optimiser, LARGEST_RATE, total_steps=steps)
        order = _shuffled(len(x), batch * steps).split(batch)
        for step, rows in enumerate(order):
            _learn(
                judge, optimiser, (change or jittered)(unit(x[rows].to(device))), y[rows].to(device)
            )
            rates.step()
            if progress:
                progress(step + 1, steps)
    return judge.eval()


LARGEST_RATE = 0.01


def which_way_up(x: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures for training without true labels: each is rotated by a random number of quarter
    turns, its label (0-3).

    Predicting the rotation teaches features of the content (Gidaris et al. 2018). Pictures that are
    not square get half turns, with labels 0 and 1. This is worth less than true labels, and little
    if pictures look the same when rotated.
    """
    turns = (0, 1, 2, 3) if x.shape[2] == x.shape[3] else (0, 2)
    with seeded(seed):
        y = torch.randint(len(turns), (len(x),))
    turned = x.clone()
    for label, quarters in enumerate(turns):
        turned[y == label] = x[y == label].rot90(quarters, (2, 3))
    return turned, y


def unit(x: Tensor) -> Tensor:
    """Pixels as floats in [0, 1]: uint8 is divided by 255, floats are unchanged."""
    return x.float() / 255 if x.dtype == torch.uint8 else x.float()


def _check(x: Tensor, y: Tensor, classes: int) -> None:
    if x.dim() != 4 or not len(x) or y.shape != x.shape[:1]:
        raise ValueError(
            f"expected pictures (N, C, H, W) and labels (N,), got {tuple(x.shape)} and {tuple(y.shape)}"
        )
    if y.min() < 0 or y.max() >= classes:
        raise ValueError(
            f"labels of {classes} classes must be 0..{classes - 1}, "
            f"got {int(y.min())}..{int(y.max())}"
        )


def _stride(shape: Sequence[int]) -> int:
    """1, 2 or 4: larger strides for large pictures, so that a step does not take longer."""
    side = min(shape[1:])
    return 1 if side < 48 else 2 if side < 96 else 4


def _scale(width: int, wider: int) -> nn.Sequential:
    """A convolution with stride 2, which halves height and width, then one with stride 1."""
    return nn.Sequential(
        nn.Conv2d(width, wider, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
        nn.Conv2d(wider, wider, 3, padding=1, bias=False),
        nn.BatchNorm2d(wider),
        nn.ReLU(),
    )


@torch.no_grad()
def _standardise(judge: Judge, x: Tensor) -> None:
    """Set the judge's standardisation to the mean and standard deviation of each channel of x."""
    some = unit(x[:: -(-len(x) // 10_000)])
    judge.mean.copy_(some.mean((0, 2, 3))[:, None, None])
    judge.scale.copy_(some.std((0, 2, 3)).clamp_min(1e-3)[:, None, None])


def _shuffled(n: int, wanted: int) -> Tensor:
    """`wanted` indices below n: shuffles of all n indices, one after another."""
    return torch.cat([torch.randperm(n) for _ in range(-(-wanted // n))])[:wanted]


def _learn(judge: Judge, optimiser: torch.optim.Optimizer, x: Tensor, y: Tensor) -> None:
    judge.train()
    _, logits = judge(x.contiguous(memory_format=torch.channels_last))
    loss = F.cross_entropy(logits, y.long())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


TURN, ZOOM, MOVE = 0.2, 0.1, 0.1
"""The largest rotation in radians, change of scale, and shift as a part of the side."""


def jittered(x: Tensor) -> Tensor:
    """Pictures (B, C, H, W), floats, randomly rotated, scaled and shifted, edges repeated."""
    turn, zoom, right, down = (2 * torch.rand(4, len(x)) - 1).to(x.device)
    angle, factor = TURN * turn, 1 + ZOOM * zoom
    ratio = (
        x.shape[2] / x.shape[3]
    )  # grid_sample measures in half sides, so a rotation needs the ratio of the sides
    top = torch.stack(
        (factor * angle.cos(), -factor * angle.sin() * ratio, 2 * MOVE * right), dim=-1
    )
    low = torch.stack((factor * angle.sin() / ratio, factor * angle.cos(), 2 * MOVE * down), dim=-1)
    grid = F.affine_grid(torch.stack((top, low), dim=1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)
