"""What the measures of new rows say, in few words, and which values are good."""

from __future__ import annotations

MEANINGS = {
    "column_error": "how far single columns are from those of held-out rows; good: as for training rows",
    "pair_error": "how far pairs of columns are from those of held-out rows; good: as for training rows",
    "two_sample": "AUROC of trees that tell new rows from held-out ones; good: near 0.5, or as for training rows",
    "copies": "share of new rows that equal a training row; good: at most held_copies",
    "held_copies": "the same share of held-out rows",
    "near_copies": "share of new rows that almost equal a training row; good: at most 0.01, or held_near_copies",
    "held_near_copies": "the same share of held-out rows",
    "ratio": "distance to the nearest training row over that to the second nearest; good: at least held_ratio",
    "held_ratio": "the same of held-out rows",
    "closer": "share of new rows that are nearer to training rows than to held-out rows; good: near 0.5",
    "membership": "AUROC of guessing from new rows which rows were trained on; good: near 0.5",
    "f1": "F1 of trees that learned from new rows, on held-out rows; good: as for training rows, 1 is best",
    "auroc": "AUROC of trees that learned from new rows, on held-out rows; good: as for training rows, 1 is best",
    "r2": "R² of trees that learned from new rows, on held-out rows; good: as for training rows, 1 is best",
}
"""By the names that the numbers have in JSON; the page of `evaluate` says more."""
