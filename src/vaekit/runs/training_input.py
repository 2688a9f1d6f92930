"""From raw data to what a training step sees: augmented where that is asked for, then prepared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vaekit.config import Experiment
from vaekit.data.dataset import Schema
from vaekit.data.registry import modality


def training_input(
    experiment: Experiment, schema: Schema, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """raw (B, ...) -> x on the device. Draws from torch's global generator."""
    kind = modality(schema.modality)
    change = kind.values.augment(experiment.data.augment, schema)
    return lambda raw: kind.values.prepare(change(raw.to(device)), schema, None)
