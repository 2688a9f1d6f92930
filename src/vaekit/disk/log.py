"""The log of a run: numbers by step, and the facts of the machine."""

from __future__ import annotations

import csv
import io
import json
import math
import platform
from pathlib import Path
from typing import Any

import torch

from vaekit import files
from vaekit.disk.layout import METRICS, METRICS_TABLE, TENSORBOARD
from vaekit.errors import VaekitError


class Log:
    """metrics.jsonl, metrics.csv and TensorBoard events of one run; only the leading process writes."""

    def __init__(self, folder: Path, upto: int) -> None:
        from tensorboardX import SummaryWriter

        self.path = folder / METRICS
        kept = [row for row in read_metrics(folder) if row["step"] <= upto]
        files.write(self.path, "".join(json.dumps(row) + "\n" for row in kept))
        self._board = SummaryWriter(
            str(folder / TENSORBOARD), purge_step=upto + 1 if upto else None
        )

    def add(self, row: dict[str, Any]) -> None:
        try:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(files.to_json(row, indent=None) + "\n")
        except OSError as error:
            raise VaekitError(f"{self.path}: could not be written ({error.strerror})") from None
        for name, value in row.items():
            if isinstance(value, (int, float)) and math.isfinite(value) and name != "step":
                self._board.add_scalar(f"{row['split']}/{name}", value, row["step"])

    def close(self) -> None:
        """Close the TensorBoard events and write the table."""
        self._board.close()
        rows = read_metrics(self.path.parent)
        text = io.StringIO()
        table = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
        table.writeheader()
        table.writerows(rows)
        files.write(self.path.parent / METRICS_TABLE, text.getvalue())


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's log, up to a line that a crash cut short."""
    try:
        lines = (folder / METRICS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            break
        if isinstance(row, dict) and {"step", "split"} <= row.keys():
            rows.append(row)
    return rows


def environment() -> dict[str, Any]:
    """The facts of the machine and the software that a result may depend on."""
    from vaekit import __version__

    return {
        "vaekit": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
    }
