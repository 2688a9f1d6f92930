"""The settings of a detector; the defaults are for every table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from vaekit.errors import VaekitError


@dataclass(frozen=True)
class DetectorConfig:
    """The settings of `vaekit.anomaly.fit`.

    The defaults were chosen for tables of 80 to 50,000 rows; benchmarks/results/anomaly.md shows
    the effect of each.
    """

    members: int = 8
    """The number of VAEs; every other one gets normal scores instead of standardised numbers."""
    latent: int = 32
    hidden: int = 64
    beta: float = 0.03
    """The weight of the KL in the members' objective. With 1 few latent dimensions are used for a
    small table (it costs 2-4 points)."""
    noise: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    """The standard deviations of the noise on the input, assigned to pairs of members in turn."""
    folds: int = 4
    """The number of parts of the rows. Each member leaves one out, which calibrates its scores."""
    steps: int | None = None
    """The number of training steps; None for 20 sqrt(rows), at least 100 and at most 500."""
    batch_size: int = 256
    learning_rate: float = 8e-3
    remembered: int = 4096
    """The most training rows kept to search for the nearest one; 0 leaves that part out."""
    nearest: float = 0.5
    """The weight of the distance to the nearest row; the other two parts have weight 1. This
    distance is the most useful part for new rows (T9), and the least useful if anomalies are among
    the remembered rows (T10)."""
    groups: int = 8
    group: int = 64
    """`groups` and `group` are the number and the size of the random groups of training rows for
    the second distance.

    A few anomalies among the training rows cannot change that distance much.
    """
    calibration: int = 10_000
    """The most training rows whose held-out scores give the p-values."""

    def __post_init__(self) -> None:
        if self.members < 4 or self.members % 2:
            raise VaekitError(
                f"members={self.members}: expected an even number of models, at least 4"
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
                "remembered, beta and noise must be at least 0, and learning_rate and nearest above 0"
            )

    @property
    def parts(self) -> int:
        """The number of parts of the rows; at least one pair of members leaves each part out."""
        return max(2, min(self.folds, self.members // 2))

    def steps_for(self, rows: int) -> int:
        """The number of training steps for this number of rows."""
        return (
            self.steps
            if self.steps is not None
            else max(100, min(500, round(20 * math.sqrt(rows))))
        )

    def views(self) -> list[int]:
        """The view of the rows that each member gets: 0 standardised numbers, 1 normal scores."""
        return [m % 2 for m in range(self.members)]

    def noises(self) -> list[float]:
        """The standard deviation of each member's noise."""
        return [self.noise[m // 2 % len(self.noise)] for m in range(self.members)]

    def folds_of_members(self) -> list[int]:
        """The part of the rows that each member leaves out."""
        return [m // 2 % self.parts for m in range(self.members)]
