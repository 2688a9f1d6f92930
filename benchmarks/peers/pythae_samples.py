"""Pythae 0.1.2 trained on digits, and samples from each of its samplers. Runs in the environment of throughput.py.

    benchmarks/.envs/pythae/bin/python benchmarks/peers/pythae_samples.py mnist.npz --model mse --out runs/pythae-mse

Its default MLP (784-512-16, ReLU), its BaseTrainer with Adam and a cosine learning rate, the weights with the best
held-out loss. The seed holds out the same images as vaekit does. Every sampler makes `--number` pictures, written to
`<out>/<sampler>.npz` as uint8 with how long training and fitting took; samples.py measures them.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pythae.data.datasets import BaseDataset
from pythae.models import RAE_L2, BetaVAE, BetaVAEConfig, RAE_L2_Config
from pythae.samplers import (
    GaussianMixtureSampler,
    GaussianMixtureSamplerConfig,
    IAFSampler,
    MAFSampler,
    NormalSampler,
    TwoStageVAESampler,
)
from pythae.trainers import (
    BaseTrainer,
    BaseTrainerConfig,
    CoupledOptimizerTrainer,
    CoupledOptimizerTrainerConfig,
)
from torch import Tensor

LATENT, SHAPE = 16, (1, 28, 28)
FITTED: dict[str, type] = {"maf": MAFSampler, "iaf": IAFSampler, "two-stage": TwoStageVAESampler}
SAMPLERS = ("normal", "gmm:10", "gmm:100", "gmm:200", *FITTED)


def parts(path: Path, seed: int, share: float = 0.1) -> tuple[Tensor, Tensor]:
    """Training and held-out images, as vaekit splits them."""
    x = torch.from_numpy(np.load(path)["x_train"])[:, None].float() / 255
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    held = round(len(x) * share)
    return x[order[held:]], x[order[:held]]


def trained(ask: argparse.Namespace, training: Tensor, held: Tensor) -> Any:
    """The model with the best held-out loss, back from the trainer's folder."""
    folder, sets = (
        str(ask.out / "training"),
        [BaseDataset(x, torch.zeros(len(x))) for x in (training, held)],
    )
    shared: dict[str, Any] = {
        "output_dir": folder,
        "num_epochs": ask.epochs,
        "no_cuda": True,
        "seed": ask.seed,
    }
    shared |= {"per_device_train_batch_size": ask.batch, "per_device_eval_batch_size": 500}
    if ask.model == "rae":
        model = RAE_L2(RAE_L2_Config(input_dim=SHAPE, latent_dim=LATENT))
        for side in ("encoder", "decoder"):
            shared |= {
                f"{side}_learning_rate": ask.lr,
                f"{side}_scheduler_cls": "CosineAnnealingLR",
            }
            shared |= {f"{side}_scheduler_params": {"T_max": ask.epochs}}
        shared |= {"decoder_optimizer_params": {"weight_decay": model.model_config.reg_weight}}
        trainer = CoupledOptimizerTrainer(model, *sets, CoupledOptimizerTrainerConfig(**shared))
    else:
        config = BetaVAEConfig(
            input_dim=SHAPE, latent_dim=LATENT, reconstruction_loss=ask.model, beta=ask.beta
        )
        model = BetaVAE(config)
        trainer = BaseTrainer(
            model, *sets, BaseTrainerConfig(learning_rate=ask.lr, **cosine(ask.epochs), **shared)
        )
    trainer.train()
    return type(model).load_from_folder(str(Path(trainer.training_dir) / "final_model")).eval()


def cosine(epochs: int) -> dict[str, Any]:
    return {"scheduler_cls": "CosineAnnealingLR", "scheduler_params": {"T_max": epochs}}


def fitted(word: str, model: Any, training: Tensor, held: Tensor, ask: argparse.Namespace) -> Any:
    """A sampler of Pythae's, fitted to the codes of the training images."""
    if word == "normal":
        return NormalSampler(model)
    if word.startswith("gmm"):
        sampler = GaussianMixtureSampler(
            model, GaussianMixtureSamplerConfig(n_components=int(word[4:]))
        )
        sampler.fit(training)
        return sampler
    sampler, epochs = FITTED[word](model), ask.fit_epochs
    settings = BaseTrainerConfig(
        output_dir=str(ask.out / word),
        num_epochs=epochs,
        learning_rate=1e-3,
        per_device_train_batch_size=256,
        per_device_eval_batch_size=500,
        no_cuda=True,
        **cosine(epochs),
    )
    sampler.fit(training, held, settings)
    return sampler


def timed(act: Callable[[], Any]) -> tuple[Any, float, float]:
    """What `act` gives, and the seconds of wall and of CPU time that it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    return act(), time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--model",
        choices=("bce", "mse", "rae"),
        default="mse",
        help="a VAE of that loss, or RAE-L2",
    )
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=SAMPLERS)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--fit-epochs", type=int, default=30, help="of the samplers that are trained"
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--number", type=int, default=10_000)
    ask = parser.parse_args()
    ask.out.mkdir(parents=True)
    logging.disable(logging.INFO)
    training, held = parts(ask.data, ask.seed)
    torch.manual_seed(ask.seed)
    model, train_s, train_cpu_s = timed(lambda: trained(ask, training, held))
    print(f"trained in {train_s:.0f} s, {train_cpu_s:.0f} s of CPU time", flush=True)
    for word in [w for w in ask.samplers if ask.model != "rae" or w not in ("normal", "two-stage")]:
        np.random.seed(ask.seed)
        torch.manual_seed(ask.seed)
        sampler, fit_s, fit_cpu_s = timed(
            lambda word=word: fitted(word, model, training, held, ask)
        )
        with torch.no_grad():
            made = sampler.sample(num_samples=ask.number, batch_size=500)
        pixels = made.clamp(0, 1).mul(255).round().byte().cpu().numpy()
        np.savez_compressed(
            ask.out / f"{word.replace(':', '-')}.npz", x=pixels, train_s=train_s, fit_s=fit_s
        )
        print(f"{word}: fitted in {fit_s:.0f} s, {fit_cpu_s:.0f} s of CPU time", flush=True)


if __name__ == "__main__":
    main()
