"""From raw data to the input of a training step: augmentation, if it is set, then preparation."""

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
    """A function raw (B, ...) -> x on the device. It draws from torch's global generator."""
    kind = modality(schema.modality)
    change = kind.values.augment(experiment.data.augment, schema)
    return lambda raw: kind.values.prepare(change(raw.to(device)), schema, None)
