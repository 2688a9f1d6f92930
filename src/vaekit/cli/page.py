"""The page of `vaekit info`: a run's facts as text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.cli.words import onward, quoted, span
from vaekit.disk.layout import EXPERIMENT
from vaekit.figures.names import NAMES

if TYPE_CHECKING:
    from vaekit.data.modality import Modality

MEASURES = ("elbo", "distortion", "rate", "nll")
"""The numbers of an evaluation, in the order in which they are shown."""


def page(facts: dict[str, Any]) -> str:
    """The facts from `vaekit.tasks.status.status`, one or a few lines each, and the commands to type next."""
    from vaekit.data.registry import modality

    kind = modality(facts["data_schema"]["modality"])
    parts = {
        "run": [facts["run"]],
        "data": _data(facts),
        "model": _model(facts),
        "objective": [_objective(facts["objective"])],
        "training": _training(facts),
        "best": [_best(facts["best"], kind)],
        "evaluation": _evaluation(facts["evaluation"], kind),
        "next": _next(facts),
    }
    marked = [
        (name if i == 0 else "", line)
        for name, lines in parts.items()
        for i, line in enumerate(lines)
    ]
    return "\n".join(f"{name:<12}{line}" for name, line in marked)


def _data(facts: dict[str, Any]) -> list[str]:
    from vaekit.data import registry

    schema = registry.schema(facts["data_schema"])
    describe = registry.modality(schema.modality).output.describe
    return describe(schema, facts["count"] or 0, facts["held_out"] or 0, facts["data"]["source"])


def _model(facts: dict[str, Any]) -> list[str]:
    from vaekit.assembly.latents import in_words

    model = facts["model"]
    latent = in_words(model["latent"], model["levels"], model["posterior"])
    size = list(model["hidden"]) if model["hidden"] else model["size"]
    return [
        f"{model['architecture']} network, {size}: {facts['parameters']:,} parameters",
        f"{latent}, prior {model['prior']}, likelihood {model['likelihood']}",
    ]


def _objective(cost: dict[str, Any]) -> str:
    if not cost["bound"].startswith(("elbo", "stl")):
        return cost["bound"]
    cycles = f", {cost['cycles']} times" if cost["cycles"] else ""
    rise = f"reached over {cost['warmup']:.0%} of {'a cycle' if cycles else 'the run'}{cycles}"
    return f"{cost['bound']}, beta {cost['beta']:g}, {rise}"


def _training(facts: dict[str, Any]) -> list[str]:
    from vaekit.tasks.status import ending

    train, saved = facts["train"], facts["steps_saved"]
    how = f"batch {train['batch']}, {train['optimiser']}, learning rate {train['lr']:g}, seed {train['seed']}"
    where = f"{train['device']}, precision {train['precision']}, {'compiled' if train['compile'] else 'not compiled'}"
    lost = saved is not None and saved < facts["steps_done"] and not facts["training"]
    took = (
        []
        if facts["seconds"] is None
        else [f"{span(facts['seconds'])} of training up to the last save"]
    )
    return [
        ending(facts),
        *([f"saved at step {saved:,}: --resume continues from there"] if lost else []),
        *took,
        how,
        where,
    ]


def _best(row: dict[str, Any] | None, kind: Modality) -> str:
    if row is None:
        return "not measured yet: the first validation was not reached"
    name = "nll" if "nll" in row else "elbo"
    return f"{NAMES[name]} {row[name]:.2f} nats per {kind.datum} on the held-out {kind.plural}, at step {row['step']:,}"


def _evaluation(numbers: dict[str, Any] | None, kind: Modality) -> list[str]:
    if not numbers or not {"n", "data", "elbo"} <= numbers.keys():
        return []
    lines = [
        f"{NAMES[k]} {numbers[k]['value']:.2f}{_error(numbers[k])}"
        for k in MEASURES
        if k in numbers
    ]
    lines[-1] += f" (K = {numbers['nll']['draws']})" if "nll" in numbers else ""
    lines += (
        [f"{numbers['bits_per_dim']:.4f} bits per dimension"] if "bits_per_dim" in numbers else []
    )
    if "codes_used" in numbers:
        used = f"{numbers['codes_used']:.1%} of {numbers['codes']:,} codes in use"
    elif "rates" in numbers:
        used = f"KL of the latents, from the top down: {', '.join(f'{rate:.2f}' for rate in numbers['rates'])}"
    else:
        used = f"{numbers.get('active_units', '?')} of {numbers.get('latent', '?')} latent dimensions in use"
    return [
        f"nats per {kind.datum}, {numbers['n']:,} {numbers['data']} {kind.plural}",
        ", ".join(lines),
        used,
    ]


def _error(number: dict[str, Any]) -> str:
    error = number["error"]
    return "" if error is None or error != error else f" ± {error:.2f}"


def _next(facts: dict[str, Any]) -> list[str]:
    """Commands that can be pasted into a shell."""
    from vaekit.data.registry import modality

    run = quoted(facts["run"])
    on = (
        facts["steps_saved"] is not None
        and facts["ended"] not in ("done", "patience")
        and not facts["training"]
    )
    lines = [f"vaekit train --resume {run}"] if on else []
    if facts["usable"]:
        lines += onward(facts["run"], modality(facts["data_schema"]["modality"]))
    elif not on and not facts["training"]:
        lines += [f"vaekit train --config {quoted(Path(facts['run']) / EXPERIMENT)}"]
    return lines + ([f"open {facts['report']} in a browser"] if facts["report"] else [])
