"""The classifiers that benchmarks look through: trained once on real data, kept in benchmarks/.cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from vaekit import checkpoint
from vaekit.judge import Judge, train_judge

CACHE = Path(__file__).parent / ".cache"


def digits_judge(data: Path, seed: int = 0) -> tuple[Judge, float]:
    """The judge of MNIST's digits (or of another .npz with its array names) and its accuracy on the test part."""
    path, arrays = CACHE / f"judge-{data.stem}-{seed}.safetensors", np.load(data)
    if not path.is_file():
        CACHE.mkdir(exist_ok=True)
        x, y = (torch.from_numpy(arrays[name]) for name in ("x_train", "y_train"))
        judge = train_judge(x[:, None], y.long(), int(y.max()) + 1, seed)
        tensors, about = judge.state()
        checkpoint.save_tensors(path, tensors, about)
    judge = Judge.from_state(*checkpoint.load_tensors(path))
    x, y = (torch.from_numpy(arrays[name]) for name in ("x_test", "y_test"))
    return judge, judge.accuracy(x[:, None], y)
