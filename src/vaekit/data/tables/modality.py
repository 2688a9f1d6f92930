"""The modality of tables: what the rest of vaekit needs to know about them."""

from __future__ import annotations

import math
from typing import Any, cast

from torch import Tensor, nn
from torch.distributions import Distribution

from vaekit.config import Data, Experiment, Network, nearest
from vaekit.data.modality import Between, Measures, Modality, Modelling, Output, Source, Values
from vaekit.data.tables import quality, recipes, verbs
from vaekit.data.tables.collection import Table
from vaekit.data.tables.columns.statistics import relearned
from vaekit.data.tables.columns.units import prepare, to_tensor
from vaekit.data.tables.detector import RowDetector
from vaekit.data.tables.load import load, recognises, require_few
from vaekit.data.tables.meanings import MEANINGS
from vaekit.data.tables.model.bins import with_grids
from vaekit.data.tables.model.likelihoods import NAMES
from vaekit.data.tables.model.networks import ChainDecoder, PlainEncoder, RowDecoder, RowEncoder
from vaekit.data.tables.options import OPTIONS
from vaekit.data.tables.read import endings
from vaekit.data.tables.reasons import explain
from vaekit.data.tables.report import sections
from vaekit.data.tables.schema import TableSchema, describe
from vaekit.errors import VaekitError

WIDTHS = {"tiny": 64, "small": 128, "base": 256, "large": 512}
"""The widths of the hidden layers of each column's network, by size.

Networks for all columns together are twice as wide.
"""

EPOCHS, LEAST, MOST = 8, 500, 2000
"""By default a run takes EPOCHS epochs, but at least LEAST and at most MOST steps."""

BATCH = 512

WIDE = 150
"""With more columns than this they share one network.

A network for each of them would take minutes for a hundred steps.
"""

PICTURES = ("size", "channels", "array", "augment")
"""Options that are for pictures only."""


def reading_mean(likelihood: Distribution) -> Tensor:
    """The means of numbers and the most likely classes of categories, (N, C) on the CPU."""
    return likelihood.mean.cpu()


def reading_sample(likelihood: Distribution) -> Tensor:
    """Rows drawn from p(x | z), (N, C) on the CPU."""
    return likelihood.sample().cpu()


def _read(data: Data, **options: Any) -> Table:
    told = {name: getattr(data, name) for name in ("size", "channels", "array", "table")}
    told["augment"] = data.augment or None
    asked: dict[str, Any] = {
        "condition": data.condition,
        "kinds": data.kinds,
        "target": data.labels,
        "constraints": data.constraints,
    }
    return _load(data.source, **asked, **told, **options)


def _reread(data: Data, schema: TableSchema, **options: Any) -> Table:
    """The rows of a run as its schema says, even if kinds would be inferred differently now."""
    return load(data.source, schema=schema, own=True, **options)


def _load(source: Any, trained_on: Data | None = None, **options: Any) -> Table:
    """As `load`. Raises a VaekitError for options that are for pictures only."""
    wrong = [name for name in (*PICTURES, "table") if options.pop(name, None) is not None]
    if wrong:
        option = {"size": "--resize"}.get(wrong[0], f"--{wrong[0]}")
        raise VaekitError(f"{source}: {option} is for pictures, but this is a table; leave it out")
    return load(source, **options)


# What the data suggest


def _settle(
    experiment: Experiment, table: Table, kind: str, reasons: list[str]
) -> tuple[list[str], TableSchema]:
    require_few(table)
    reasons += describe(table.schema)
    changes = [
        *_model(experiment.model, len(table.schema.columns), reasons),
        *_length(experiment, len(table), reasons),
    ]
    return changes, table.schema


def _learn(schema: TableSchema, training: Table) -> TableSchema:
    """Scales, quantiles, ranges and grids of the training rows."""
    return with_grids(relearned(schema, training.raw.values), training.raw.values)


def _model(network: Network, columns: int, reasons: list[str]) -> list[str]:
    name, architecture = network.likelihood, network.architecture
    wide = columns > WIDE
    if architecture not in ("auto", "chain", "mlp"):
        raise VaekitError(f"architecture {architecture} is for pictures; rows need chain or mlp")
    if name not in ("auto", *NAMES):
        raise VaekitError(
            f"there is no likelihood '{name}' for columns{nearest(name, list(NAMES))}"
        )
    if network.binarise not in ("auto", "none"):
        raise VaekitError(f"model.binarise={network.binarise} is for pictures; leave it out")
    if architecture == "auto":
        reasons.append(
            f"architecture mlp: {columns:,} columns, which are independent given the latents"
            if wide
            else "architecture chain: each column depends on those before it and on the latents"
        )
    name = ("gaussian-shared" if wide else "binned") if name == "auto" else name
    architecture = ("mlp" if wide else "chain") if architecture == "auto" else architecture
    return [f"model.likelihood={name}", f"model.architecture={architecture}", "model.binarise=none"]


def _length(experiment: Experiment, rows: int, reasons: list[str]) -> list[str]:
    train, changes = experiment.train, []
    batch = max(2, min(BATCH, rows // 8)) if train.batch == "auto" else train.batch
    if train.batch == "auto":
        reasons.append(f"batch {batch}: {rows:,} rows")
        changes.append(f"train.batch={batch}")
    if train.epochs == "auto" and train.steps is None:
        steps = max(LEAST, min(MOST, math.ceil(EPOCHS * rows / batch)))
        reasons.append(
            f"steps {steps:,}: {EPOCHS} epochs, but at least {LEAST} and at most {MOST:,} steps"
        )
        changes.append(f"train.steps={steps}")
    return changes


# What they are modelled with


def _parts(
    network: Network, schema: TableSchema, between: Between, context: int
) -> tuple[nn.Module, nn.Module]:
    (features,), (z,) = between
    width = WIDTHS[network.size]
    widths = network.hidden or (2 * width, 2 * width)
    if network.architecture == "mlp":
        decoder = RowDecoder(schema, z, widths, context, likelihood=network.likelihood)
        return PlainEncoder(schema, features, widths, context), decoder
    encoding = RowEncoder(schema, features, widths, context)
    chain = ChainDecoder(
        schema, z, width, context, dropout=network.dropout, likelihood=network.likelihood
    )
    return encoding, chain


def _init_decoder(decoder: nn.Module, network: Network, schema: TableSchema, raw: Tensor) -> None:
    cast(ChainDecoder | RowDecoder, decoder).begin(to_tensor(raw, schema))


def _describe(schema: TableSchema, count: int, held: int, source: str) -> list[str]:
    """What `vaekit info` says about the rows that a run was trained on."""
    rows = f"{count:,} rows, {held:,} of them held out," if count else "rows"
    return [f"{rows} of {source}", *describe(schema)]


MODALITY = Modality(
    name="tables",
    datum="row",
    schema=TableSchema,
    source=Source(
        forms="CSV, TSV and Parquet files",
        recognises=recognises,
        read=_read,
        reread=_reread,
        load=_load,
        recipes=recipes.RECIPES,
        suffixes=(endings.GZIP, *endings.TEXT, *endings.PARQUET),
    ),
    values=Values(prepare=prepare, to_tensor=to_tensor),
    model=Modelling(
        settle=_settle,
        learn=_learn,
        discrete=lambda network, schema: False,
        parts=_parts,
        init_decoder=_init_decoder,
        fitted_priors=False,
    ),
    output=Output(
        as_data=reading_mean,
        readings={"sample": reading_sample, "mean": reading_mean},
        write=verbs.write_made,
        check=verbs.check_named,
        describe=_describe,
        present=verbs.present,
        generate=verbs.generate,
        impute=verbs.impute,
        augment=verbs.augment,
        next=("generate {} -n 1000 --seed 1", "score {}"),
    ),
    measures=Measures(
        named=quality.MEASURES,
        report=sections,
        default=("nll", "samples"),
        check=quality.check,
        detector=RowDetector(),
        meanings=MEANINGS,
        explain=explain,
    ),
    options=OPTIONS,
)
