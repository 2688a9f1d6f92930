"""PyOD's detectors on the tasks of anomaly.py, which runs this in an environment of its own. One JSON line a result.

    benchmarks/.envs/pyod/bin/python benchmarks/peers/pyod_scores.py adbench_dev.npz --protocol semi --seeds 1

Every detector has PyOD's default settings. The seed is given to all that take one.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pyod.models.auto_encoder import AutoEncoder
from pyod.models.deep_svdd import DeepSVDD
from pyod.models.ecod import ECOD
from pyod.models.iforest import IForest
from pyod.models.knn import KNN
from pyod.models.lof import LOF
from pyod.models.vae import VAE

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from anomaly_tables import tasks

DETECTORS: dict[str, Callable[[int, int], Any]] = {
    "PyOD KNN": lambda columns, seed: KNN(),
    "PyOD LOF": lambda columns, seed: LOF(),
    "PyOD ECOD": lambda columns, seed: ECOD(),
    "PyOD IForest": lambda columns, seed: IForest(random_state=seed),
    "PyOD VAE": lambda columns, seed: VAE(random_state=seed, verbose=0),
    "PyOD AutoEncoder": lambda columns, seed: AutoEncoder(random_state=seed, verbose=0),
    "PyOD DeepSVDD": lambda columns, seed: DeepSVDD(columns, random_state=seed, verbose=0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--protocol", choices=("semi", "unsupervised"), required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument(
        "--most", type=int, default=None, help="leave out tables with more training rows"
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for task in tasks(asked.data, asked.protocol, asked.seeds):
        for name, make in DETECTORS.items():
            if asked.most and len(task.train) > asked.most:
                continue
            began = time.perf_counter()
            with contextlib.redirect_stdout(io.StringIO()):
                detector = make(task.train.shape[1], task.seed).fit(task.train)
                own = asked.protocol == "unsupervised"
                scores = detector.decision_scores_ if own else detector.decision_function(task.test)
            result = {
                "method": name,
                "table": task.table,
                "seed": task.seed,
                "auroc": task.auroc(scores),
            }
            print(json.dumps(result | {"seconds": time.perf_counter() - began}), flush=True)


if __name__ == "__main__":
    main()
