"""The verbs of a trained model (generate, reconstruct, impute ...) for all kinds of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from vaekit.data import conditions
from vaekit.data.dataset import Dataset
from vaekit.data.modality import Made, Place, Tell, require_verb
from vaekit.data.where import parse_where
from vaekit.errors import VaekitError
from vaekit.tasks.batches import as_tensor
from vaekit.tasks.own_data import training_part
from vaekit.tasks.status import status

if TYPE_CHECKING:
    from vaekit.tasks.trained import Trained


def generate(
    trained: Trained,
    n: int,
    seed: int | None,
    where: Mapping[str, Any] | Sequence[str] | None,
    sampler: str | None,
    tell: Tell,
    **options: Any,
) -> Any:
    """n new data in the form in which people use them, such as a frame. Raises VaekitError."""
    if n < 1:
        raise VaekitError(f"expected to generate at least 1 {trained.modality.datum}, got {n}")
    asked = parse_where(
        where, [*trained.schema.names, *conditions.names(trained.schema.conditions)]
    )
    own = trained.modality.output.generate
    if own is not None:
        source = trained.sampling(sampler, tell) if sampler else trained
        return own(source, n, seed, asked, tell, **options)
    x = trained.sampling(sampler, tell).draw(n, seed, where=asked, **options)
    return present(trained, x, trained.context(asked, n))


def present(trained: Trained, x: Tensor, context: Tensor | None = None) -> Any:
    """Data x (N, *shape) in the form in which people use them, such as a frame."""
    return trained.modality.output.present(x, trained.schema, context)


def reconstruct(trained: Trained, data: Dataset, n: int | None = None) -> tuple[Any, Tensor]:
    """The reconstructions of the first n data (None: all), in the form in which people use them;
    and the originals x (n, *shape)."""
    some = data.subset(torch.arange(min(n or len(data), len(data))))
    x = as_tensor(some)
    return present(trained, trained.reconstruct(x, some.context), some.context), x


def interpolate(trained: Trained, first: Dataset, last: Dataset, steps: int) -> Any:
    """`steps` data on the straight line between the codes of two data, ends included, in the form
    in which people use them."""
    a, b = (as_tensor(end)[0] for end in (first, last))
    known = [end.context for end in (first, last) if end.context is not None]
    context = torch.cat(known) if known else None
    line = trained.interpolate(a, b, steps, context)
    return present(trained, line, trained.between(context, steps))


def impute(
    trained: Trained,
    source: Any,
    draws: int,
    seed: int | None,
    tell: Tell,
    data: Dataset | None = None,
) -> Made:
    """The data of `source` with missing values drawn given the present ones. `data` is what was
    read from `source`, if it was read already. Raises VaekitError."""
    fill = require_verb(trained.modality, "impute")
    data = trained.read(source) if data is None else data
    return fill(trained, source, data, draws, seed, tell)  # type: ignore[no-any-return]


def augment(trained: Trained, n: int | None, seed: int | None, tell: Tell, **options: Any) -> Made:
    """The run's training data, without those held out, together with new data of rare classes.
    Raises VaekitError."""
    kind = trained.modality
    fill_up, real = require_verb(kind, "augment"), training_part(trained)
    made = fill_up(trained, real, n, seed, tell, **options)
    tell(f"{kind.counted(len(real))} of the training part; held-out {kind.plural} are left out")
    return made  # type: ignore[no-any-return]


def info(trained: Trained) -> dict[str, Any]:
    """The facts of the run, as `status` reads them. Raises VaekitError without a run's folder."""
    if trained.folder is None:
        raise VaekitError("info: this model has no run folder; load it with vaekit.load(folder)")
    return status(trained.folder)


def write(trained: Trained, made: Any, place: Place, **options: Any) -> dict[str, str]:
    """Write new data; returns the paths of the files by what they contain. Raises VaekitError."""
    return trained.modality.output.write(made, trained.schema, place, **options)
