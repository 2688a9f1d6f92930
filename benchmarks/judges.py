"""The classifiers that benchmarks look through: trained once on real data, kept in benchmarks/.cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaekit.disk import checkpoint
from vaekit.measures.classifier import Judge, train_judge

CACHE = Path(__file__).parent / ".cache"


def pictures(array: NDArray) -> Tensor:
    """(N, H, W) or (N, H, W, C) as (N, C, H, W)."""
    x = torch.from_numpy(array)
    return x[:, None] if x.dim() == 3 else x.permute(0, 3, 1, 2).contiguous()


def kept_judge(name: str, x: Tensor, y: Tensor, seed: int = 0) -> Judge:
    """A judge taught the classes y (N,) of the pictures x (N, C, H, W), kept under `name`."""
    path = CACHE / f"judge-{name}-{seed}.safetensors"
    if not path.is_file():
        CACHE.mkdir(exist_ok=True)
        judge = train_judge(x, y, int(y.max()) + 1, seed)
        checkpoint.save_tensors(path, *judge.state())
    return Judge.from_state(*checkpoint.load_tensors(path))


def digits_judge(data: Path, seed: int = 0) -> tuple[Judge, float]:
    """The judge of MNIST's digits (or of another .npz with its array names) and its accuracy on the test part."""
    arrays = np.load(data)
    x, y = pictures(arrays["x_train"]), torch.from_numpy(arrays["y_train"])
    judge = kept_judge(data.stem, x, y.long(), seed)
    return judge, judge.accuracy(pictures(arrays["x_test"]), torch.from_numpy(arrays["y_test"]))
