"""Many small networks side by side, with one batched product per layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vaekit.nn.mlp import ACTIVATIONS


class ManyMLP(nn.Module):
    """M networks of one shape, each with its own weights: (M, B, inputs) to (M, B, outputs).

    `hidden` are the widths of their hidden layers.
    """

    def __init__(
        self,
        members: int,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        sizes = list(pairwise([inputs, *hidden, outputs]))
        self.weights = nn.ParameterList(_uniform((members, a, b), a) for a, b in sizes)
        self.biases = nn.ParameterList(_uniform((members, 1, b), a) for a, b in sizes)
        self.activation = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        for weight, bias in zip(list(self.weights)[:-1], list(self.biases)[:-1], strict=True):
            x = self.activation(torch.baddbmm(bias, x, weight))
        return torch.baddbmm(self.biases[-1], x, self.weights[-1])


def _uniform(shape: tuple[int, ...], inputs: int) -> nn.Parameter:
    """U(-b, b) with b = 1 / sqrt(inputs), the initial weights of `nn.Linear`."""
    return nn.Parameter(torch.empty(shape).uniform_(-1, 1) / math.sqrt(max(1, inputs)))
