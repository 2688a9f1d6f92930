"""The state of a run, read from its folder, also while it trains or if files are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vaekit import files
from vaekit.assembly.model import build_untrained
from vaekit.assembly.settle import held_out, total_steps
from vaekit.disk import checkpoint, lock
from vaekit.disk.layout import ENVIRONMENT, EVALUATION, REPORT, RESUME, WEIGHTS
from vaekit.disk.log import read_metrics
from vaekit.errors import VaekitError


def status(folder: Path) -> dict[str, Any]:
    """The facts of a run, as plain data; None for what is not known.

    `steps_done` is the last step in the log or in the last save. `steps_saved` is the step from
    which a resumed run continues. `ended` is why training ended: "done", "stopped" (by the user),
    "time", "patience", or None if it still trains or was killed.
    """
    experiment, schema = checkpoint.load_config(folder)
    machine = files.json_object(folder / ENVIRONMENT)
    saved, rows, training = _saved(folder), read_metrics(folder), lock.busy(folder)
    held = [row for row in rows if row["split"] == "val"]
    count = _count(saved) or _count(machine)
    at = saved.get("progress", {})
    parameters = sum(p.numel() for p in build_untrained(experiment.model, schema).parameters())
    return {
        "run": str(folder),
        "data_schema": schema.model_dump(mode="json"),
        **experiment.model_dump(mode="json"),
        "count": count,
        "held_out": count and held_out(experiment, count),
        "parameters": parameters,
        "steps_done": max(at.get("step", 0), rows[-1]["step"] if rows else 0),
        "steps_saved": at.get("step"),
        "steps_planned": total_steps(experiment, count) if count else experiment.train.steps,
        "seconds": at.get("seconds"),
        "ended": None if training else saved.get("ended") or None,
        "training": training,
        "usable": (folder / WEIGHTS).is_file(),
        "best": next((row for row in held if row["step"] == held[-1]["best_step"]), None),
        "evaluation": files.json_object(folder / EVALUATION) or None,
        "report": str(folder / REPORT) if (folder / REPORT).is_file() else None,
    }


def ending(facts: dict[str, Any]) -> str:
    """How many steps a run made and why it ended, in words."""
    done, planned = facts["steps_done"], facts["steps_planned"]
    steps = f"{done:,} of {planned:,} steps" if planned else f"{done:,} steps"
    if not done and not planned:
        return "no log: this model was saved without its run"
    if facts["training"]:
        return f"{steps}; still training"
    if facts["ended"] == "patience":
        return f"stopped after {steps}: no gain on held-out data any more{_kept(facts['best'])}"
    why = {
        "done": "the whole run",
        "stopped": "stopped by the user",
        "time": f"ended by its time limit of {facts['train']['max_minutes']} minutes",
    }.get(
        facts["ended"],
        "the whole run" if done == planned else "unknown end: killed, or from an older vaekit",
    )
    return f"{steps}: {why}"


def _kept(best: dict[str, Any] | None) -> str:
    return f"; the weights of step {best['step']:,} are kept" if best else ""


def _count(facts: dict[str, Any]) -> int | None:
    """The number of data of the run; the key in runs of older versions is `images`."""
    count = facts.get("count", facts.get("images"))
    return count if isinstance(count, int) else None


def _saved(folder: Path) -> dict[str, Any]:
    try:
        about = checkpoint.load_about(folder / RESUME)
        return about if isinstance(about, dict) else {}
    except VaekitError:  # the file is not there yet, or was deleted to save space
        return {}
