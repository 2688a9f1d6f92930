"""Pythae 0.1.2's VAE trained by its own BaseTrainer. Runs in the environment that throughput.py makes for it.

    benchmarks/.envs/pythae/bin/python benchmarks/peers/pythae_loop.py --net mlp

Its defaults throughout (batch 64, Adam, float32, progress bar and console log); the MLP is its own default net,
784-512-16. Prints one JSON line; a window is an epoch, timed from the trainer's epoch begin to its epoch end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

BEGAN = time.perf_counter()
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch  # noqa: E402
from nets import KINDS, LATENT, SIDE, Decoder, Encoder, Stopwatch, digits  # noqa: E402
from pythae.data.datasets import BaseDataset  # noqa: E402
from pythae.models import VAE, VAEConfig  # noqa: E402
from pythae.models.base.base_utils import ModelOutput  # noqa: E402
from pythae.models.nn import BaseDecoder, BaseEncoder  # noqa: E402
from pythae.trainers import BaseTrainer, BaseTrainerConfig  # noqa: E402
from pythae.trainers.training_callbacks import TrainingCallback  # noqa: E402


class ConvEncoder(BaseEncoder):
    """The shared conv encoder in Pythae's words."""

    def __init__(self) -> None:
        BaseEncoder.__init__(self)
        self.net = Encoder("conv")

    def forward(self, x: torch.Tensor) -> ModelOutput:
        mean, log_var = self.net(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=log_var)


class ConvDecoder(BaseDecoder):
    """The shared conv decoder in Pythae's words, which wants probabilities."""

    def __init__(self) -> None:
        BaseDecoder.__init__(self)
        self.net = Decoder("conv")

    def forward(self, z: torch.Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))


class Epochs(TrainingCallback):
    """A stop-watch whose windows are epochs. The first epoch's end ends the watch's warm-up, as on the other sides."""

    def __init__(self, images: int, epochs: int) -> None:
        self.images, self.watch, self.seconds = images, Stopwatch(0.0, epochs), 0.0

    def on_epoch_begin(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.watch.restart()
        self.began = time.perf_counter()

    def on_epoch_end(self, training_config: BaseTrainerConfig, **kwargs: Any) -> None:
        self.seconds += time.perf_counter() - self.began
        self.watch.tick(self.images)


def train(net: str, images: int, batch: int, epochs: int, device: str, folder: str) -> Epochs:
    """One run of the trainer, of one epoch of warm-up and `epochs` more."""
    data = digits(images).float()
    config = VAEConfig(input_dim=(1, SIDE, SIDE), latent_dim=LATENT, reconstruction_loss="bce")
    model = VAE(config) if net == "mlp" else VAE(config, ConvEncoder(), ConvDecoder())
    settings = BaseTrainerConfig(
        output_dir=folder,
        num_epochs=epochs + 1,
        per_device_train_batch_size=batch,
        no_cuda=device == "cpu",
    )
    clock = Epochs(images, epochs)
    BaseTrainer(
        model, BaseDataset(data, torch.zeros(images)), training_config=settings, callbacks=[clock]
    ).train()
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=KINDS, default="mlp")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--epochs", type=int, default=4)
    ask = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clock = train(ask.net, ask.images, ask.batch, ask.epochs, ask.device, folder)
    versions = {name: version(name) for name in ("pythae", "torch", "numpy", "pydantic")}
    result = {"side": "pythae", "precision": "32"} | vars(ask) | clock.watch.report()
    result |= {
        "seconds": clock.seconds,
        "mean_images_per_s": ask.images * (ask.epochs + 1) / clock.seconds,
    }
    result |= {"process_s": time.perf_counter() - BEGAN}
    print(json.dumps(result | {"versions": versions | {"threads": torch.get_num_threads()}}))


if __name__ == "__main__":
    main()
