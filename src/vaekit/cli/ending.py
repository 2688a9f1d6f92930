"""What `vaekit train` prints when a run has ended."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from vaekit.cli.terminal import out, show
from vaekit.cli.words import onward, quoted
from vaekit.disk.layout import EVALUATION, REPORT

if TYPE_CHECKING:
    from vaekit.runs.run import Run

WHY = {
    "time": "the time of --max-time was used up (learning rate and loss weights reached their final values)",
    "patience": "no more improvement on held-out data",
}


def tell_end(run: Run, why: str, as_json: bool, tell: Callable[[str], None]) -> None:
    """Print the result of a run, and notes on it by `tell`."""
    from vaekit.measures.bounds import in_words
    from vaekit.tasks.remarks import remarks
    from vaekit.tasks.sampler_choice import sentence

    numbers = json.loads((run.folder / EVALUATION).read_text(encoding="utf-8"))
    result = {
        "run": str(run.folder),
        "report": str(run.folder / REPORT),
        "ended": why,
        "steps": run.progress.step,
    }
    plural = run.modality.plural
    if as_json:
        show(result | {"best_step": run.progress.best_step, "evaluation": numbers}, True)
        return
    out.print(
        f"elbo {in_words(numbers['elbo'])} nats on {numbers['n']:,} {numbers['data']} {plural}"
    )
    if why != "done":
        tell(f"stopped after {run.progress.step:,} of {run.plan.steps:,} steps: {WHY[why]}")
    if run.progress.best_step < run.progress.step:
        tell(f"kept: the weights of step {run.progress.best_step:,}, the best on held-out {plural}")
    discrete = run.modality.model.discrete(run.experiment.model, run.data.schema)
    for said in filter(None, (sentence(run.folder), *remarks(numbers, discrete))):
        tell(said)
    out.print(f"report: {result['report']}")
    if why == "time":
        tell(f"to go on: vaekit train --resume {quoted(run.folder)} --max-time MINUTES")
    tell("next: " + "\n      ".join(onward(run.folder, run.modality)))
