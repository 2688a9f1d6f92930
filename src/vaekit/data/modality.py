"""What the rest of the system asks of a kind of data. A modality answers; nobody else knows which it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.config import Experiment, Network
from vaekit.data.dataset import Schema
from vaekit.models.hierarchy import Hierarchy

Between = tuple[tuple[int, ...], tuple[int, ...]]
"""The shapes, without the batch, of what the encoder's net gives and of what the decoder's takes."""


@dataclass(frozen=True)
class Modality:
    """The answers of one kind of data."""

    name: str
    datum: str
    """What one is called: "image"."""
    schema: type[Schema]
    recognises: Callable[[str], bool]
    """Whether a source is of this kind."""
    read: Callable[..., Any]
    """What the `data` section of an experiment says, to train on."""
    again: Callable[..., Any]
    """The same, in the form of the schema that a run had."""
    load: Callable[..., Any]
    """What a source names, in the form of `schema`: new data for a model."""
    settle: Callable[[Experiment, Any, str, list[str]], tuple[list[str], Schema]]
    """Changes of the experiment that data and kind of latent suggest, and the schema then; adds the reasons."""
    fixed: Callable[[Any, int], Any]
    """The data as they stay throughout a run, from its seed."""
    prepare: Callable[[Tensor, Any, torch.Generator | None], Tensor]
    """raw (B, ...) to x, as the likelihood wants it."""
    to_tensor: Callable[[Tensor, Any], Tensor]
    """raw (B, ...) to x with nothing drawn, as it is shown and encoded."""
    refuse: Callable[[Tensor, Network, Any, str], None]
    """Raise a VaekitError where x is nothing that the likelihood can have."""
    discrete: Callable[[Network, Any], bool]
    """Whether the likelihood gives probabilities (bits per dimension apply), not densities."""
    parts: Callable[[Network, Any, Between, int], tuple[nn.Module, nn.Module]]
    """(encoding net, decoder) for a latent between them and a context of that length."""
    begin: Callable[[nn.Module, Network, Any, Tensor], None]
    """Let the decoder start at the middle of raw data (N, ...)."""
    point: Callable[[Distribution], Tensor]
    """The one x that stands for p(x | z), on the CPU."""
    readings: Mapping[str, Callable[[Distribution], Tensor]]
    """How new data are read off p(x | z), by name, on the CPU; the first is taken when nothing is said."""
    write: Callable[[Tensor, Any, Path, str], dict[str, str]]
    """Write x (N, ...) into a folder under a stem; the files by what they are."""
    candidates: Callable[[Experiment, Any, str, int], list[list[str]]] = lambda *asked: []
    """Changes of the experiment, a list for each net that may race on so many data of this schema
    with this kind of latent; the one that `settle` would choose comes first. [] for no race."""
    hierarchy: Callable[[Network, Any, Sequence[int], int], Hierarchy] | None = None
    """Latents of these sizes on top of each other, the top's prior to be set; None where there are none."""
    grid: Callable[[Any], tuple[int, int]] | None = None
    """The (height, width) that codes lie on; None where they lie on nothing."""
