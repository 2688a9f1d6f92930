"""vaekit's own whole loop on the benchmark's nets: a real run, with its log files, guard and averaged weights.

    python benchmarks/vaekit_loop.py --net mlp --batch 64 train.precision=32 train.compile=false

A run of 100 epochs is begun, through the engine, from an .npz file, and left when the stop-watch has seen enough: how
often it logs is thus what such a run does. Held-out scoring and saving happen at its end only, and are not timed.
Prints one JSON line. What is not given as field=value is vaekit's own choice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from nets import KINDS, LATENT, Decoder, Encoder, Stopwatch, digits

import vaekit
import vaekit.assembly.model as assembled
import vaekit.runs.run as runs
from vaekit import api
from vaekit.assembly.settle import Resolved, resolve
from vaekit.config import Data, Experiment, Network, Training
from vaekit.data.images.schema import ImageSchema
from vaekit.distributions.families import PixelBernoulli, normal
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE, Conditional
from vaekit.runs.events import Logged
from vaekit.runs.run import Run


def shared_conv(network: Network, schema: ImageSchema) -> VAE:
    """The benchmark's conv net as a vaekit model, of the very modules that the other sides train."""
    encoder = Conditional(Encoder("conv"), normal, event_dim=3)
    return VAE(encoder, StandardNormal(LATENT), Conditional(Decoder("conv"), PixelBernoulli()))


def plan(net: str, batch: int | None, device: str, source: Path, fields: list[str]) -> Resolved:
    """The resolved experiment. vaekit's MLP of one hidden layer is the benchmark's; the conv net is put in."""
    network = Network(
        architecture="mlp", hidden=(512,), activation="relu", latent=LATENT, likelihood="bernoulli"
    )
    if net == "conv":
        assembled.build_model = runs.build_model = shared_conv  # type: ignore[assignment]
    training = Training(batch=batch or "auto", epochs=100, validations=1, device=device)
    experiment = Experiment(
        data=Data(source=str(source), holdout=0.001), model=network, train=training
    )
    experiment = experiment.override(*fields)
    return resolve(experiment, api.read(experiment))


def vaekit_loop(resolved: Resolved, folder: Path, watch: Stopwatch) -> tuple[float, list[float]]:
    """Seconds to the first row of the log, and the first and last logged loss."""
    began = time.perf_counter()
    run = Run(resolved, lambda: folder)
    first, step, losses = 0.0, 0, []
    events = run.events()
    for event in events:
        if not isinstance(event, Logged) or event.row["split"] != "train":
            continue
        losses.append(event.row["loss"])
        if not first:  # the first stretch holds the compilation and is no warm-up window
            first = time.perf_counter() - began
            watch.restart()
        elif watch.tick((event.row["step"] - step) * run.feed.batch):
            break
        step = event.row["step"]
    events.close()
    return first, [losses[0], losses[-1]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=KINDS, default="mlp")
    parser.add_argument("--batch", type=int, help="vaekit's own choice unless given")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a window is")
    parser.add_argument("fields", nargs="*", metavar="FIELD=VALUE")
    ask = parser.parse_args()
    watch = Stopwatch(ask.seconds, ask.windows)
    with tempfile.TemporaryDirectory() as folder:
        source, run = Path(folder) / "digits.npz", Path(folder) / "run"
        np.savez(source, images=digits(ask.images)[:, 0].numpy() * np.uint8(255))
        run.mkdir()
        resolved = plan(ask.net, ask.batch, ask.device, source, ask.fields)
        first, losses = vaekit_loop(resolved, run, watch)
    train = resolved.experiment.train
    chosen = {"batch": train.batch, "precision": train.precision, "compile": train.compile}
    result = (
        {"side": "vaekit"}
        | vars(ask)
        | chosen
        | watch.report()
        | {"first_log_s": first, "losses": losses}
    )
    versions = {
        "vaekit": vaekit.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result | {"reasons": resolved.reasons, "versions": versions}))


if __name__ == "__main__":
    main()
