"""Bit-packed images (one bit a pixel, as the static binarisation of MNIST and dSprites come) as arrays for vaekit.

    python benchmarks/unpack.py mnist_static_binary.npz mnist_static.npz
    python benchmarks/unpack.py dsprites_random20k.npz dsprites.npz

NAME_packed (N, bytes) becomes NAME (N, H, W) uint8 in {0, 255}, H and W from `image_shape`, else 28. Labels go
along (matched_label_PART as y_PART), and `factor_classes` becomes one array a factor, by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

PACKED = "_packed"
LABEL = "matched_label_"


def arrays(source: str) -> Iterator[tuple[str, NDArray]]:
    """What `source` holds that a model is trained on or judged by."""
    with np.load(source, allow_pickle=False) as found:
        height, width = found.get("image_shape", (28, 28))
        for name in found:
            if name.endswith(PACKED):
                bits = np.unpackbits(found[name], axis=1)[:, : height * width]
                yield name.removesuffix(PACKED), bits.reshape(-1, height, width) * np.uint8(255)
            elif name.startswith(LABEL):
                yield f"y_{name.removeprefix(LABEL)}", found[name]
            elif name == "factor_classes":
                for factor, column in zip(found["factor_names"], found[name].T, strict=True):
                    yield str(factor), column


if __name__ == "__main__":
    source, target = sys.argv[1:]
    np.savez_compressed(target, **dict(arrays(source)))
