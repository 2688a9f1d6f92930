"""CTGAN's TVAE on a table, with its defaults. Runs in the environment that synthesis.py makes for it.

    benchmarks/.envs/ctgan/bin/python benchmarks/peers/ctgan_rows.py train.csv made.csv --discrete sex income

Missing cells of discrete columns are a level of their own; its numbers know no missing cells, so that such rows are
left out. Prints one JSON line: seconds of wall and of CPU for fitting and for drawing.
"""

from __future__ import annotations

import argparse
import json
import time
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import pandas as pd
import torch
from ctgan import TVAE

MISSING = "(missing)"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("train", type=Path)
    parser.add_argument("made", type=Path)
    parser.add_argument("--discrete", nargs="*", default=[])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    ask = parser.parse_args()
    torch.set_num_threads(ask.threads)
    frame = pd.read_csv(
        ask.train, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(ask.discrete, str)
    )
    frame[ask.discrete] = frame[ask.discrete].fillna(MISSING)
    frame = frame.dropna()
    model = TVAE(epochs=ask.epochs, enable_gpu=False)
    model.set_random_state(ask.seed)
    clocks = [(time.perf_counter(), time.process_time())]
    model.fit(frame, ask.discrete)
    clocks.append((time.perf_counter(), time.process_time()))
    made = model.sample(len(frame))
    clocks.append((time.perf_counter(), time.process_time()))
    made.replace(MISSING, None).to_csv(ask.made, index=False)
    (fit, fit_cpu), (draw, draw_cpu) = ((b[0] - a[0], b[1] - a[1]) for a, b in pairwise(clocks))
    print(
        json.dumps(
            {
                "version": version("ctgan"),
                "fit": fit,
                "fit_cpu": fit_cpu,
                "draw": draw,
                "draw_cpu": draw_cpu,
            }
        )
    )


if __name__ == "__main__":
    main()
