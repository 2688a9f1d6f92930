"""Optimisers: torch's AdamW, and SOAP. Both work with `vaekit.training.step.Guard`.

The tensor `grad_scale` divides the gradients. If the tensor `found_inf` is 1, a step does nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MULTIPLIED = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Layers with matrices or kernels.

These weights are decayed, and autocast converts them to lower precision at every use.
"""


def adamw(
    model: nn.Module, weight_decay: float, products: torch.dtype = torch.float32
) -> torch.optim.AdamW:
    """AdamW, fused, with weight decay only for the matrices and kernels of layers.

    Biases, gains, and parameters with a meaning of their own (a prior's means, pseudo-inputs,
    embeddings) are not decayed.
    """
    return torch.optim.AdamW(_groups(model, weight_decay), lr=1e-3, betas=(0.9, 0.999), fused=True)


def soap(model: nn.Module, weight_decay: float, products: torch.dtype = torch.float32) -> Soap:
    """SOAP with the same parameter groups; its rotations are multiplied in the type `products`."""
    return Soap(_groups(model, weight_decay), lr=1e-3, products=products)


OPTIMISERS: dict[str, Callable[[nn.Module, float, torch.dtype], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "soap": soap,
}


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    layers = {id(layer.weight) for layer in model.modules() if isinstance(layer, MULTIPLIED)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if id(p) in layers], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in layers], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Soap(torch.optim.Optimizer):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, algorithm 3).

    For a gradient G (m, n), L and R are moving averages of G G' and G' G, updated every `measure`
    steps. Q_L and Q_R are their eigenvectors, which follow by one step of orthogonal iteration
    every `refresh` steps. Adam runs on Q_L' G Q_R, and its step is rotated back. A side longer than
    `longest` is not rotated; kernels are treated as (out, rest) matrices; vectors get plain Adam.
    The first `settle` steps only collect L and R. An Adam step is limited to `limit` times the
    learning rate in each coordinate.
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        refresh: int = 100,
        measure: int = 10,
        longest: int = 640,
        settle: int = 20,
        limit: float = 4.0,
        products: torch.dtype = torch.float32,
    ) -> None:
        settings = {
            "lr": lr,
            "betas": betas,
            "weight_decay": weight_decay,
            "refresh": refresh,
            "measure": measure,
        }
        super().__init__(params, settings | {"longest": longest, "settle": settle, "limit": limit})
        self.products = products  # the type for rotations of gradients

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step. It does nothing if `found_inf` is set."""
        if self.found_inf is not None and self.found_inf > 0:
            return
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._step(p, group)

    def _step(self, p: Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        g = p.grad.flatten(1) if p.dim() > 1 else p.grad
        g = g if self.grad_scale is None else g / self.grad_scale
        state = self.state[p]
        if not state:
            state |= _fresh(g, group["longest"] if p.dim() > 1 else 0)
        state["step"] += 1
        at = int(state["step"]) - group["settle"]
        if at <= 0 or at % group["measure"] == 0:
            _measure(state, g.to(self.products), 0.9 if at > 0 else 1 - 1 / int(state["step"]))
        if at >= 0 and at % group["refresh"] == 0:
            _turn(state, first=at == 0)
        if at > 0:
            turned = _rotate(g, state, False, self.products)
            update = _adam(state, turned, group["betas"], at).clamp(-group["limit"], group["limit"])
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.sub_(_rotate(update, state, True, self.products).view_as(p), alpha=group["lr"])


def _fresh(g: Tensor, longest: int) -> dict[str, Tensor]:
    """Zero moments, and for each side to be rotated its covariance and basis.

    They are L and QL on the left, R and QR on the right.
    """
    state = {"step": torch.zeros(()), "mean": torch.zeros_like(g), "square": torch.zeros_like(g)}
    for side, size in zip("LR", g.shape, strict=False):
        if size <= longest:
            state[side] = g.new_zeros(size, size)
            state[f"Q{side}"] = torch.eye(size, dtype=g.dtype, device=g.device)
    return state


def _measure(state: dict[str, Tensor], g: Tensor, keep: float) -> None:
    if "L" in state:
        state["L"].lerp_((g @ g.T).float(), 1 - keep)
    if "R" in state:
        state["R"].lerp_((g.T @ g).float(), 1 - keep)


def _turn(state: dict[str, Tensor], first: bool) -> None:
    """Update the eigenvectors, and rotate the first moment to the new basis."""
    mean = _rotate(state["mean"], state, back=True)
    for side in "LR":
        if side in state:
            covariance, basis = state[side], state[f"Q{side}"]
            basis.copy_(
                torch.linalg.eigh(covariance)[1]
                if first
                else torch.linalg.qr(covariance @ basis)[0]
            )
    state["mean"].copy_(_rotate(mean, state, back=False))


def _rotate(
    g: Tensor, state: dict[str, Tensor], back: bool, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Q_L' g Q_R, or Q_L g Q_R' when going back, multiplied in `dtype`."""
    turned = g.to(dtype)
    if "QL" in state:
        left = state["QL"].to(dtype)
        turned = (left if back else left.T) @ turned
    if "QR" in state:
        right = state["QR"].to(dtype)
        turned = turned @ (right.T if back else right)
    return turned.to(g.dtype)


def _adam(state: dict[str, Tensor], g: Tensor, betas: tuple[float, float], step: int) -> Tensor:
    """Adam's step for a learning rate of 1. Kingma & Ba 2015, algorithm 1."""
    mean, square = state["mean"], state["square"]
    mean.lerp_(g, 1 - betas[0])
    square.lerp_(g * g, 1 - betas[1])
    return (mean / (1 - betas[0] ** step)) / ((square / (1 - betas[1] ** step)).sqrt() + 1e-8)
