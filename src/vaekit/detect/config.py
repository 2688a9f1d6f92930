"""What a detector is made of: one setting for every table."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class DetectorConfig:
    """The settings of `vaekit.detect.fit`.

    Chosen once, for tables of 80 to 50,000 rows; see benchmarks/results/anomaly.md for what each is worth.
    """

    members: int = 8
    """VAEs side by side; every other one sees normal scores instead of standardised numbers."""
    latent: int = 32
    hidden: int = 64
    beta: float = 0.03
    """Weight of the rate in the members' objective. At 1 few codes of a small table carry anything (2-4 points)."""
    noise: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    """Standard deviations of the corruption, dealt out to pairs of members in turn."""
    folds: int = 4
    """The rows are dealt into so many parts, and each member leaves one out, by which scores are calibrated."""
    steps: int | None = None
    """Of the training; None for 20 sqrt(rows), at least 100 and at most 500."""
    batch_size: int = 256
    learning_rate: float = 8e-3
    remembered: int = 4000
    """So many training rows, at most, are kept to look for the nearest one; 0 leaves that part out."""
    groups: int = 8
    group: int = 64
    """So many groups of so few training rows give the second, coarse distance, which a few odd rows cannot sway."""
    calibration: int = 10_000
    """So many training rows, at most, give the held-out scores that p-values are read from."""

    def steps_for(self, rows: int) -> int:
        """How many steps to train on so many rows."""
        return self.steps if self.steps is not None else max(100, min(500, round(20 * math.sqrt(rows))))

    def views(self) -> list[int]:
        """Which view of the rows each member sees: 0 standardised, 1 normal scores."""
        return [m % 2 for m in range(self.members)]

    def noises(self) -> list[float]:
        """Each member's noise."""
        return [self.noise[m // 2 % len(self.noise)] for m in range(self.members)]

    def folds_of_members(self) -> list[int]:
        """The part of the rows that each member leaves out."""
        return [m // 2 % self.folds for m in range(self.members)]
