"""What a detector is made of: one setting for every table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaekit.errors import VaekitError


@dataclass(frozen=True)
class DetectorConfig:
    """The settings of `vaekit.anomaly.fit`.

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
    remembered: int = 4096
    """So many training rows, at most, are kept to look for the nearest one; 0 leaves that part out."""
    nearest: float = 0.5
    """What the nearest row counts beside the other two parts: it tells most of new rows (T9), and least where anomalies
    are among the rows that are remembered (T10)."""
    groups: int = 8
    group: int = 64
    """Number and size of the random groups of training rows behind the second distance.

    A few odd rows cannot change that distance much.
    """
    calibration: int = 10_000
    """So many training rows, at most, give the held-out scores that p-values are read from."""

    def __post_init__(self) -> None:
        if self.members < 4 or self.members % 2:
            raise VaekitError(
                f"members={self.members}: expected an even number of at least 4 models to ask together"
            )
        whole = {"latent", "hidden", "batch_size", "groups", "group", "calibration"}
        for name in sorted(whole | ({"steps"} if self.steps is not None else set())):
            if getattr(self, name) < 1:
                raise VaekitError(
                    f"{name}={getattr(self, name)}: expected a whole number of at least 1"
                )
        if (
            self.nearest <= 0
            or self.learning_rate <= 0
            or min(self.remembered, self.beta) < 0
            or min(self.noise, default=-1) < 0
        ):
            raise VaekitError(
                "remembered, beta and noise cannot be negative, and learning_rate and nearest must be more than 0"
            )

    @property
    def parts(self) -> int:
        """Into how many parts the rows are dealt: each is left out by a pair of members at least."""
        return max(2, min(self.folds, self.members // 2))

    def steps_for(self, rows: int) -> int:
        """How many steps to train on so many rows."""
        return (
            self.steps
            if self.steps is not None
            else max(100, min(500, round(20 * math.sqrt(rows))))
        )

    def views(self) -> list[int]:
        """Which view of the rows each member sees: 0 standardised, 1 normal scores."""
        return [m % 2 for m in range(self.members)]

    def noises(self) -> list[float]:
        """Each member's noise."""
        return [self.noise[m // 2 % len(self.noise)] for m in range(self.members)]

    def folds_of_members(self) -> list[int]:
        """The part of the rows that each member leaves out."""
        return [m // 2 % self.parts for m in range(self.members)]
