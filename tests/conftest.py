"""One thread a worker: small tensors, and results that repeat. `shifted` says how to have others."""

import pytest
import torch

import shifted
from vaekit.training.compiling import keep_by_processor

shifted.begin()
keep_by_processor()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
