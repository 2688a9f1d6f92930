"""UMAP's codes of rows, with its defaults. Runs in the environment that reduction.py makes for it.

benchmarks/.envs/umap/bin/python benchmarks/peers/umap_codes.py rows.npz codes.npz DIMENSIONS SEED
"""

from __future__ import annotations

import sys
import time

import numpy as np
import umap

if __name__ == "__main__":
    source, target, dimensions, seed = sys.argv[1:]
    with np.load(source) as held:
        train, test = held["train"], held["test"]
    began = time.process_time()
    model = umap.UMAP(n_components=int(dimensions), random_state=int(seed)).fit(train)
    spent = time.process_time() - began
    np.savez(target, train=model.embedding_, test=model.transform(test), seconds=spent)
