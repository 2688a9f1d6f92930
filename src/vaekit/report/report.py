"""report.html: one self-contained page that shows a run, with its numbers."""

from __future__ import annotations

import html
import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit import files
from vaekit.assembly.latents import in_words as latent_in_words
from vaekit.assembly.model import build_objective, build_untrained, count_cost
from vaekit.data.dataset import Dataset
from vaekit.data.modality import Modality, Shown
from vaekit.disk.layout import EVALUATION, PLOTS, REPORT
from vaekit.disk.log import read_metrics
from vaekit.figures import plots
from vaekit.figures.page import document, measures, written
from vaekit.figures.section import Section, image
from vaekit.measures.bounds import in_words
from vaekit.tasks.evaluation import MI_DATA
from vaekit.tasks.remarks import describe_collapse, explain_density
from vaekit.tasks.sampler_choice import kept_choice, source_in_words
from vaekit.tasks.status import ending, status
from vaekit.tasks.trained import Trained

NLL_DRAWS, NLL_MACS = 100, 10**12
"""The report's NLL is a rough estimate. It uses `NLL_DRAWS` importance draws per datum, on as many
data as `NLL_MACS` multiply-adds allow, between 16 and 500."""

TERMS = "ELBO = -(reconstruction + KL)."


def write_report(
    folder: Path, trained: Trained, data: Dataset, held_out: Tensor, seed: int = 0
) -> dict[str, Any]:
    """Evaluate on the test part (or the held-out part if there is none), draw the plots and write
    the page; returns the numbers."""
    held = data.subset(held_out)
    judged, part = (data.test, "test") if data.test else (held, "held-out")
    _, macs = count_cost(build_untrained(trained.experiment.model, trained.schema), trained.schema)
    limit = max(16, min(500, NLL_MACS // (macs * NLL_DRAWS)))
    numbers = {"data": part} | trained.evaluate(judged, NLL_DRAWS, seed, limit)
    files.write(folder / EVALUATION, files.to_json(numbers))
    (folder / PLOTS).mkdir(exist_ok=True)
    others = torch.ones(len(data), dtype=torch.bool)
    others[held_out.cpu()] = False
    training = data.subset(others.nonzero()[:, 0])
    source = source_in_words(trained.folder)
    shown = trained.modality.measures.report(
        Shown(folder / PLOTS, trained, held, training, seed, source)
    )
    files.write(
        folder / REPORT, _page(folder, trained, data, numbers, [*shown, _losses(folder, trained)])
    )
    return numbers


def explained(numbers: dict[str, Any], discrete: bool) -> str:
    """What the terms are, and, if an ELBO is positive or an NLL negative, why that can be."""
    why = explain_density(numbers, discrete)
    if not why:
        return TERMS
    return (
        f"{TERMS} {why[:1].upper()}{why[1:]}. Compare it with runs of the same likelihood and data."
    )


def _next(folder: Path, trained: Trained) -> str:
    """The commands to run next."""
    run = html.escape(shlex.quote(str(folder)))
    verbs = [verb.format(run) for verb in (*trained.modality.output.next, "evaluate {}")]
    return "<p>Next:</p><pre>" + "\n".join(f"vaekit {verb}" for verb in verbs) + "</pre>"


def _competition(folder: Path) -> str:
    """A table of the samplers that competed, with their scores; "" if none competed."""
    choice = kept_choice(folder)
    if choice is None or not choice.scores:
        return ""
    rows = [
        (
            html.escape(score.word),
            f"{score.log_density:.2f}",
            f"{score.gain:+.2f} ± {score.error:.2f}",
            "samples come from this one" if score.word == choice.word else "",
        )
        for score in choice.scores
    ]
    heads = ("sampler", "log density", "gain over the prior", "")
    caption = (
        f"Mean log density of {choice.held:,} held-out codes under each sampler, in nats; "
        "higher is better."
    )
    return f"<h2>What samples are drawn from</h2><p>{caption}</p>{measures(heads, rows)}"


def _losses(folder: Path, trained: Trained) -> Section:
    terms = list(build_objective(trained.experiment, 2, trained.schema).terms)
    path = folder / PLOTS / "losses.png"
    best = status(folder)["best"]
    kept = best["step"] if best else None
    plots.losses(path, read_metrics(folder), terms, trained.modality.datum, kept)
    unit = f"terms of the bound in nats per {trained.modality.datum}"
    return Section(
        "Training",
        f"Every term of the loss; {unit}. Dashed: the bound on held-out data at beta = 1.",
        image(path),
    )


def _page(
    folder: Path, trained: Trained, data: Dataset, numbers: dict[str, Any], shown: Sequence[Section]
) -> str:
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in data.notes)
    experiment = html.escape(trained.experiment.to_yaml())
    rows = measures(("measure", "value", "what it says"), _numbers(numbers, trained.modality))
    discrete = trained.modality.model.discrete(trained.experiment.model, trained.schema)
    first, rest = shown[:2], shown[2:]
    body = f"""<p>{html.escape(_summary(trained, data))}</p>
{written(first)}<h2>Verdict</h2>{_ending(folder, numbers)}{_next(folder, trained)}
{written(rest)}<h2>Numbers</h2><p>{html.escape(explained(numbers, discrete))}</p>{rows}
{_competition(folder)}<h2>Data</h2><ul>{notes or "<li>nothing to report</li>"}</ul>
<details><summary>Configuration (experiment.yaml)</summary><pre>{experiment}</pre></details>"""
    return document(f"vaekit: {folder.name}", body)


def _summary(trained: Trained, data: Dataset) -> str:
    model, schema = trained.experiment.model, trained.schema
    parameters = sum(p.numel() for p in trained.model.parameters())
    said = "".join(f"{name}: {word}, " for name, word in schema.reported.items())
    return (
        f"{len(data):,} {schema} from {trained.experiment.data.source}. "
        f"{model.architecture} network, {parameters:,} parameters, "
        f"{latent_in_words(model.latent, model.levels, model.posterior)}, {model.prior} prior, "
        f"{model.likelihood} likelihood, {said}"
        f"objective {trained.experiment.objective.bound}, beta {trained.experiment.objective.beta:g}."
    )


def _ending(folder: Path, numbers: dict[str, Any]) -> str:
    facts = status(folder)
    if quiet := describe_collapse(numbers):
        return f"<p class=cut><strong>Collapsed.</strong> {html.escape(quiet)}.</p>" + _ended(
            folder, facts
        )
    return _ended(folder, facts)


def _ended(folder: Path, facts: dict[str, Any]) -> str:
    if facts["ended"] == "time":
        on = (
            " To continue it: "
            f"<code>vaekit train --resume {html.escape(shlex.quote(str(folder)))}</code>"
        )
        return f"<p class=cut><strong>Not the whole run.</strong> {html.escape(ending(facts))}.{on}</p>"
    return f"<p>Training: {html.escape(ending(facts))}.</p>"


def _ceiling(value: float, n: int, kind: Modality) -> str:
    """The highest value that the estimate of the mutual information can have, and whether it is
    close to it (above 95 %)."""
    limit = math.log(n)
    there = ". It is at that limit: the true value may be higher" if value > 0.95 * limit else ""
    return (
        f"how much a code says about its {kind.datum}, in nats; estimated on {kind.counted(n)}, "
        f"it cannot exceed ln {n:,} = {limit:.2f}{there}"
    )


def _numbers(numbers: dict[str, Any], kind: Modality) -> list[tuple[str, str, str]]:
    part, n = numbers["data"], numbers["n"]
    rows = [
        (
            "ELBO",
            in_words(numbers["elbo"]),
            f"nats per {kind.datum}, {n:,} {part} {kind.plural}, beta = 1; higher is better",
        ),
        (
            "reconstruction",
            in_words(numbers["distortion"]),
            "-log p(x|z), nats: lower is a closer reconstruction (distortion in the files)",
        ),
        (
            "KL",
            in_words(numbers["rate"]),
            "KL(q || p), nats: how much the code says about the data (rate in the files)",
        ),
        *_use(numbers, min(n, MI_DATA), kind),
    ]
    if "nll" in numbers:
        few = numbers["nll"]
        rows.append(
            (
                "NLL",
                in_words(few),
                f"importance sampling, K = {few['draws']}, {few['n']:,} {kind.plural}; lower is better",
            )
        )
    if "bits_per_dim" in numbers:
        rows.append(
            (
                "bits per dimension",
                f"{numbers['bits_per_dim']:.4f}",
                "the same NLL in bits per pixel value",
            )
        )
    rows += [
        (name.replace("_", " "), "-", f"left out: {why}")
        for name, why in numbers.get("left_out", {}).items()
    ]
    return rows


def _use(numbers: dict[str, Any], n: int, kind: Modality) -> list[tuple[str, str, str]]:
    """How much the latents are used."""
    rows = []
    if "codes_used" in numbers:
        rows.append(
            (
                "codes in use",
                f"{numbers['codes_used']:.1%}",
                f"of the {numbers['codes']:,} in the codebook",
            )
        )
        rows.append(
            (
                "perplexity",
                f"{numbers['perplexity']:.1f}",
                "the number of codes that, used equally often, would have the same entropy",
            )
        )
    if "rates" in numbers:
        levels = ", ".join(f"{rate:.2f}" for rate in numbers["rates"])
        rows.append(("KL of each latent", levels, "from the top down; a latent near 0 is not used"))
    if "active_units" in numbers:
        used = f"{numbers['active_units']} of {numbers['latent']}"
        rows.append(("active units", used, "latent dimensions in use"))
    if "reconstruction_spread" in numbers:
        share = f"{numbers['reconstruction_spread']:.1%}"
        said = f"of the difference of the {kind.plural}; near 0 the decoder ignores the code"
        rows.append(("difference of reconstructions", share, said))
    if "mutual_information" in numbers:
        shared = numbers["mutual_information"]
        rows.append(("mutual information", f"{shared:.2f}", _ceiling(shared, n, kind)))
    return rows
