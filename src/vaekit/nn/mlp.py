"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "silu": nn.SiLU,
    "gelu": nn.GELU,
    "softplus": nn.Softplus,
    "gated": nn.GLU,
}
"""`gated` needs a layer with twice the outputs: one half is multiplied by the sigmoid of the other.

Dauphin et al. 2017.
"""


class MLP(nn.Module):
    """(B, *in_shape) and a context (B, `context`) to (B, *out_shape).

    `hidden` are the widths of the hidden layers.
    """

    def __init__(
        self,
        in_shape: Sequence[int],
        hidden: Sequence[int],
        out_shape: Sequence[int],
        activation: str = "silu",
        context: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        widths = [math.prod(in_shape) + context, *hidden]
        self.out_shape = tuple(out_shape)
        wider = 2 if activation == "gated" else 1
        self.body = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Linear(a, wider * b), ACTIVATIONS[activation](), nn.Dropout(dropout)
                )
                for a, b in pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], math.prod(out_shape))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        flat = x.flatten(1)
        if context is not None:
            flat = torch.cat((flat, context.to(flat.dtype)), dim=1)
        return self.head(self.body(flat)).unflatten(1, self.out_shape)
