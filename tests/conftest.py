"""One thread a worker: small tensors, and results that repeat."""

import pytest
import torch

from vaekit.training.compiling import keep_by_processor

torch.set_num_threads(1)
keep_by_processor()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
