"""Scikit-learn's handwritten digits: 1,797 pictures of 8x8. They need no download."""

import numpy as np
import torch

from vaekit.data.dataset import Resident
from vaekit.data.images.collection import Images, Request
from vaekit.data.images.read.labels import Labelling, label
from vaekit.data.images.read.resize import refit


def read(request: Request) -> Images:
    """The digits with classes "0" to "9"; values 0..16 are scaled to 0..255."""
    from sklearn.datasets import load_digits  # type: ignore[import-untyped]

    digits = load_digits()
    pixels = np.rint(digits.images / 16 * 255).astype(np.uint8)[:, None]
    values = torch.from_numpy(np.ascontiguousarray(refit(pixels, request.size, request.channels)))
    return label([Resident(values)], Labelling(digits.target), request.source, pixels.shape[2:])
