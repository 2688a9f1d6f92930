"""What every side of the throughput benchmark shares: two nets, the data and the stop-watch. Needs only PyTorch."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor, nn

PIXELS, HIDDEN, LATENT, SIDE = 784, 512, 16, 28
KINDS = ("mlp", "conv")


class Encoder(nn.Module):
    """(B, 1, 28, 28) to (B, 2 x 16): mean and log variance. The unused context is what vaekit's parts pass along."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind == "mlp":
            self.net = nn.Sequential(
                nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT)
            )
        else:
            self.net = nn.Sequential(
                nn.Conv2d(1, 32, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.Conv2d(32, 64, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.Flatten(),
                nn.Linear(64 * 49, 2 * LATENT),
            )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(x)


class Decoder(nn.Module):
    """(B, 16) to the logits (B, 1, 28, 28) of a Bernoulli."""

    stride = 1  # with `head`, what vaekit asks of a decoder that it is to start at the mean picture

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind == "mlp":
            self.net = nn.Sequential(
                nn.Linear(LATENT, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, PIXELS),
                nn.Unflatten(1, (1, SIDE, SIDE)),
            )
        else:
            self.net = nn.Sequential(
                nn.Linear(LATENT, 64 * 49),
                nn.Unflatten(1, (64, 7, 7)),
                nn.ReLU(),
                nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1),
                nn.ReLU(),
                nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1),
            )

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return self.net(z)

    @property
    def head(self) -> nn.Module:
        """The layer that gives the logits (of the conv net)."""
        return self.net[-1]


def digits(n: int = 60_000, seed: int = 0) -> Tensor:
    """(n, 1, 28, 28) uint8 of 0 and 1: random blobs, MNIST's shape and its share of ink (13 %). Speed needs no more."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, 1, 7, 7, generator=generator)
    grey = nn.functional.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear")
    return (grey > 0.74).to(torch.uint8)


class Stopwatch:
    """Windows of equal work: the first, a warm-up of about `seconds`, sets how many images the `count` others hold."""

    def __init__(self, seconds: float, count: int) -> None:
        self.seconds, self.count, self.goal = seconds, count, 0
        self.walls: list[float] = []  # images per second of wall time
        self.cpus: list[
            float
        ] = []  # images per second of this process's CPU time: what a busy machine disturbs least
        self.others: list[float] = []  # share of the machine's cores that other processes took
        self.restart()

    def restart(self) -> None:
        """Begin the current window now."""
        self.images, self.wall, self.cpu, self.busy = (
            0,
            time.perf_counter(),
            time.process_time(),
            busy_seconds(),
        )

    def tick(self, images: int) -> bool:
        """Count `images` more, their work being finished; whether that was the last window."""
        self.images += images
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        if self.images < self.goal or (not self.goal and wall < self.seconds):
            return False
        if self.goal:
            self.walls.append(self.images / wall)
            self.cpus.append(self.images / cpu)
            self.others.append(
                max(0.0, busy_seconds() - self.busy - cpu) / wall / (os.cpu_count() or 1)
            )
        self.goal = self.goal or self.images
        self.restart()
        return len(self.walls) >= self.count

    def report(self) -> dict[str, object]:
        """The windows as plain data, and their medians."""
        return {
            "images_per_s": statistics.median(self.walls),
            "images_per_cpu_s": statistics.median(self.cpus),
            "others": statistics.median(self.others),
            "windows": self.walls,
            "images_per_window": self.goal,
        }


def busy_seconds() -> float:
    """CPU seconds that all processes and the hypervisor have taken since the start of the machine (0 off Linux)."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = map(
        int, stat.read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
