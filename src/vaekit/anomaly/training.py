"""Training of all members at once, each on its own rows and with its own noise."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.anomaly.config import DetectorConfig
from vaekit.anomaly.members import build
from vaekit.core.objectives import elbo
from vaekit.models.vae import VAE
from vaekit.training.loop import Schedule
from vaekit.training.optimisers import adamw
from vaekit.training.step import Guard


def train(views: Tensor, folds: Tensor, config: DetectorConfig) -> VAE:
    """Members trained on views (2, N, C) of the rows: member m on view m mod 2, without the rows of
    its fold.

    folds (N,): the fold of every row. Draws come from torch's global generator.
    """
    model = build(*_ranges(views, config), _gaps(views), config.latent, config.hidden).train()
    plan = Schedule(config.steps_for(views.shape[1]), config.learning_rate, warmup=0.04)
    optimiser, guard = (
        adamw(model, weight_decay=0.0),
        Guard(model.parameters(), plan.clip, views.device),
    )
    rows = [torch.nonzero(folds != fold)[:, 0] for fold in config.folds_of_members()]
    batch = min(config.batch_size, *(len(r) for r in rows))
    sides = torch.tensor(config.views())[:, None]
    for step in range(plan.steps):
        x = views[
            sides, torch.stack([r[torch.randint(len(r), (batch,))] for r in rows])
        ]  # (M, B, C)
        optimiser.param_groups[0]["lr"] = plan.rate(step)
        (-elbo(model(x), x, config.beta).mean(1).sum()).backward()
        guard.inspect(optimiser)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    guard.check()
    return model.eval().requires_grad_(False)


def _ranges(views: Tensor, config: DetectorConfig) -> tuple[Tensor, Tensor, Tensor]:
    """The range (M, 1, C) of the rows as every member sees them, and its noise (M, 1, 1)."""
    sides = config.views()
    low = views.nan_to_num(torch.inf).amin(1).nan_to_num(0.0, posinf=0.0)
    high = views.nan_to_num(-torch.inf).amax(1).nan_to_num(0.0, neginf=0.0)
    return low[sides][:, None], high[sides][:, None], torch.tensor(config.noises())[:, None, None]


def _gaps(views: Tensor) -> Tensor:
    """The indices of the columns with a missing cell in any row."""
    return torch.nonzero(views[0].isnan().any(0))[:, 0]
