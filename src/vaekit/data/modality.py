"""The interface of a kind of data, `Modality`. The rest of the system uses only this interface."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution

from vaekit.config import Experiment, Network
from vaekit.core.trace import Model
from vaekit.data.dataset import Dataset, Progress, Schema
from vaekit.data.options import Options
from vaekit.errors import VaekitError
from vaekit.figures.section import Section
from vaekit.models.hierarchy import Hierarchy

Between = tuple[tuple[int, ...], tuple[int, ...]]
"""The shapes, without the batch, of the encoder net's output and of the decoder net's input."""

Kept = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""Tensors and plain data, as they are saved in files."""

FEWEST = 20
"""The smallest number of data that a comparison needs."""

Tell = Callable[[str], None]
"""Called with a sentence that the user should read."""


def unchanged(words: Sequence[str], schema: Any) -> Callable[[Tensor], Tensor]:
    """The augmentation of kinds of data that have none: no change."""
    return lambda raw: raw


class TrainedModel(Protocol):
    """What a kind of data may use of a trained model (`vaekit.Trained`)."""

    @property
    def model(self) -> Model: ...
    @property
    def schema(self) -> Any: ...
    @property
    def experiment(self) -> Experiment: ...
    @property
    def folder(self) -> Path | None: ...
    @property
    def kind(self) -> str:
        """The kind of latents: `continuous`, `categories` or `codes`."""
        ...

    @property
    def latent(self) -> int: ...
    @property
    def shapes(self) -> tuple[Size, ...]: ...
    @property
    def device(self) -> torch.device: ...

    def context(self, where: Mapping[str, Any], n: int = 1) -> Tensor | None:
        """Context rows (n, F), all equal, that encode `where`; None if `where` is empty."""
        ...

    def draw(
        self,
        n: int,
        seed: int | None = None,
        reading: str | None = None,
        where: Mapping[str, Any] | None = None,
        guidance: float = 1.0,
    ) -> Tensor:
        """n new data x (n, *shape)."""
        ...

    def encode(self, x: Tensor, context: Tensor | None = None) -> Any:
        """The posteriors of x: `mean` and `scale`, both (N, Z)."""
        ...

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor: ...
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...
    def interpolate(
        self, a: Tensor, b: Tensor, steps: int = 10, context: Tensor | None = None
    ) -> Tensor: ...
    def batches(self, data: Dataset, seed: int = 0) -> Any: ...


@dataclass(frozen=True)
class Source:
    """How data are recognised and read."""

    forms: str
    """The forms that can be read, for messages: "a folder of pictures, an .npz or .npy file"."""
    recognises: Callable[[str], bool]
    """Whether a source is of this kind."""
    read: Callable[..., Any]
    """Read training data as the `data` section of an experiment says: (data, progress=...) -> Dataset."""
    reread: Callable[..., Any]
    """Read them again in the form of a run's schema: (data, schema, progress=...) -> Dataset."""
    load: Callable[..., Any]
    """Read new data for a model: (source, schema=..., trained_on=..., progress=..., options of `read`) -> Dataset.

    `trained_on` is the `data` section of the model's experiment.
    """
    recipes: Mapping[str, Callable[[str], Experiment]]
    """Whole experiments by name; the first is the default for a source."""
    suffixes: tuple[str, ...] = ()
    """Endings that are removed from a source's name to name its run."""
    presets: Mapping[str, str] = field(default_factory=dict)
    """The recipe, by name, of sources that have their own."""


@dataclass(frozen=True)
class Values:
    """From stored (raw) values to the x that the model sees."""

    prepare: Callable[[Tensor, Any, torch.Generator | None], Tensor]
    """raw (B, ...) to x in the form that the likelihood needs; random bits are drawn with the generator."""
    to_tensor: Callable[[Tensor, Any], Tensor]
    """raw (B, ...) to x without any draw, for showing and encoding."""
    require_fits: Callable[[Tensor, Network, Any, str], None] = lambda x, network, schema, name: (
        None
    )
    """Raise a VaekitError if x has values that the likelihood does not allow."""
    augment: Callable[[Sequence[str], Any], Callable[[Tensor], Tensor]] = unchanged
    """The random change of raw training data (B, ...) that these words name; it is drawn again for each batch."""
    freeze: Callable[[Any, int], Any] = lambda data, seed: data
    """(data, seed) -> the data that a run uses from start to end, with everything drawn once from its seed."""


@dataclass(frozen=True)
class Modelling:
    """The networks and likelihoods that model the data."""

    settle: Callable[[Experiment, Any, str, list[str]], tuple[list[str], Schema]]
    """(experiment, data, kind of latent, reasons) -> changes of the experiment that suit them, and the new schema.

    Adds the reasons for the changes to `reasons`.
    """
    discrete: Callable[[Network, Any], bool]
    """Whether the likelihood gives probabilities, not densities. If so, bits per dimension can be computed."""
    parts: Callable[[Network, Any, Between, int], tuple[nn.Module, nn.Module]]
    """(network, schema, shapes between the nets, length of the context) -> (encoder net, decoder)."""
    learn: Callable[[Any, Any], Schema] = lambda schema, training: schema
    """(schema, training data) -> the schema with what it learns of values, such as scales and grids.
    Held-out data stay out: their bound would be too good otherwise."""
    candidates: Callable[[Experiment, Any, str, int], list[list[str]]] = lambda *asked: []
    """(experiment, schema, kind of latent, number of data) -> changes of the experiment, a list for each net that
    takes part in the race. The net that `settle` would choose comes first. [] means that there is no race."""
    init_decoder: Callable[[nn.Module, Network, Any, Tensor], None] = (
        lambda decoder, network, schema, raw: None
    )
    """Set the decoder's bias so that its output starts near the average of raw data (N, ...)."""
    hierarchy: Callable[[Network, Any, Sequence[int], int], Hierarchy] | None = None
    """(network, schema, sizes, length of the context) -> a hierarchy of latents of these sizes.

    The prior of the top latent is set later. None if this kind of data has no hierarchies.
    """
    grid: Callable[[Any], tuple[int, int]] | None = None
    """schema -> the (height, width) of the grid of codes; None if codes have no grid."""
    fitted_priors: bool = True
    """Whether densities that are fitted to the codes at a run's end compete with the prior."""


@dataclass(frozen=True)
class Made:
    """The result of a verb: new data in the form in which people use them, and facts about them to report."""

    data: Any
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """How new data are taken from p(x | z), shown and written.

    If this kind of data cannot do a verb, the verb's field holds a sentence that says why.
    """

    as_data: Callable[[Distribution], Tensor]
    """The one x that represents p(x | z), on the CPU."""
    readings: Mapping[str, Callable[[Distribution], Tensor]]
    """The ways to take new data from p(x | z), by name, on the CPU; the first is the default."""
    write: Callable[..., dict[str, str]]
    """(new data, schema, Place, the options of `write`) -> the written files, by what each one is."""
    describe: Callable[[Any, int, int, str], list[str]]
    """(schema, number of data, number held out, source) -> lines of `vaekit info`."""
    present: Callable[[Tensor, Any, Tensor | None], Any] = lambda x, schema, context: x
    """(x (N, *shape), schema, context (N, F) or None) -> new data in the form in which people use them."""
    generate: Callable[..., Any] | None = None
    """(trained, n, seed, where, tell, the options of `generate`) -> new data.

    If it is None, x is drawn from the model and passed to `present`.
    """
    impute: Callable[..., Made] | str = "such data have no missing values"
    """(trained, source, draws, seed, tell) -> the source's data with the missing values filled in."""
    augment: Callable[..., Made] | str = "vaekit cannot fill up rare classes of such data yet"
    """(trained, training data, seed, tell, the options of `augment`) -> the training data and new ones."""
    check: Callable[[Path], None] = lambda named: None
    """Raise a VaekitError if the path that the user named cannot be written. Called before any slow work."""
    number: Callable[[Path | None], int] = lambda named: 64
    """The default number of new data, given the path that the user named (or None)."""
    next: tuple[str, ...] = ("generate {} -n 64 --seed 1",)
    """Commands to suggest after training, with {} for the run."""


@dataclass(frozen=True)
class Place:
    """Where new data are written: the path that the user named, else a folder of the run; and the files' stem."""

    named: Path | None
    folder: Path
    stem: str
    originals: Tensor | None = None
    """The data x (N, *shape) whose reconstructions are written."""
    columns: int | None = None
    """The number of data to show side by side."""


@dataclass(frozen=True)
class Measured:
    """Numbers by name, and perhaps a page that shows them: (title, all numbers, tell) -> HTML and facts."""

    numbers: dict[str, Any]
    page: Callable[[str, dict[str, Any], Tell], tuple[str, dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Parts:
    """What measures compare: the model, its training data, and other data that it has not seen."""

    trained: TrainedModel
    """The model, with the sampler that the user chose."""
    training: Callable[[], Any]
    other: Any
    everything: Callable[[], Any]
    seed: int
    progress: Progress
    cached: Callable[[str, Callable[[], Kept]], Kept]
    """(name, make) -> the result saved under this name on this machine; `make` is called if there is none."""


@dataclass(frozen=True)
class Measures:
    """Measures of how good new data are and how odd data are, and the sections of a report."""

    named: Mapping[str, Callable[..., Measured]] = field(default_factory=dict)
    """The metrics of `evaluate` besides `nll`, by name: (Parts, the options of `evaluate`) -> Measured."""
    report: Callable[[Shown], Sequence[Section]] = lambda shown: []
    """The sections of a report besides its numbers."""
    default: tuple[str, ...] = ("nll",)
    """The metrics that are measured by default."""
    check: Callable[..., None] = lambda schema, metrics, **options: None
    """Raise a VaekitError if options of `evaluate` do not go together: (schema, metrics, the options)."""
    detector: Detection | None = None
    """This kind's own detector of odd data; if None, scores are computed from the model alone."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What the numbers of `named` say and what a good value is, by name; the terminal prints it beside them."""
    explain: Callable[[Any, Any, Any], Mapping[str, Any]] = lambda data, scores, odd: {}
    """(data, Scores, odd (N,)) -> more columns for the table of scores."""
    illustrate: Callable[[Any, Any, Path], dict[str, str]] = lambda data, scores, path: {}
    """(data, Scores, the table's path) -> more files, which show where the oddest data are odd."""


class Detection(Protocol):
    """A detector of odd data. It is fitted once and saved with the run."""

    @property
    def form(self) -> int:
        """The version of the saved form. A detector that was saved in another form is fitted again."""
        ...

    @property
    def read(self) -> Mapping[str, Any]:
        """Options for reading the data to score."""
        ...

    def fit(
        self, data: Any, schema: Any, seed: int, contamination: float
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Fit it to training data. Returns the tensors and the plain data to save."""
        ...

    def score(
        self, tensors: dict[str, Tensor], about: dict[str, Any], schema: Any, data: Any
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """(scores (N,), p-values (N,), what each value adds to the score (N, *shape), number of data).

        The number is that of the data from which the p-values were computed.
        """
        ...

    def passed_over(self, schema: Any) -> str:
        """A sentence on what of the data the score does not look at, or "" if there is no such thing."""
        ...


@dataclass(frozen=True)
class Shown:
    """What a report is made from: a run's model, held-out data and training data."""

    plots: Path
    """The folder for pictures."""
    trained: TrainedModel
    held: Any
    training: Any
    seed: int
    source: str
    """The distribution from which new data are drawn, and why, in words."""


@dataclass(frozen=True)
class Modality:
    """Everything that vaekit needs to know about one kind of data."""

    name: str
    datum: str
    """The word for one datum: "image"."""
    schema: type[Schema]
    source: Source
    values: Values
    model: Modelling
    output: Output
    measures: Measures = field(default_factory=lambda: Measures())
    options: Options = field(default_factory=dict)
    """Command-line options that only this kind has."""
    plural: str = ""
    """What several data are called; by default `datum` with an s."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plural", self.plural or f"{self.datum}s")

    def counted(self, count: int) -> str:
        """ "1 image", "2,000 images"."""
        return f"{count:,} {self.datum if count == 1 else self.plural}"


def require_verb(kind: Modality, verb: str) -> Callable[..., Any]:
    """The function of this kind of data for a verb. Raises a VaekitError with the reason if there is none."""
    found = getattr(kind.output, verb)
    if isinstance(found, str):
        raise VaekitError(f"{verb}: this run is of {kind.name}, and {found}")
    return found  # type: ignore[no-any-return]


def require_enough(count: int, what: str) -> None:
    """Raise a VaekitError if there are too few data to test a classifier on."""
    if count < FEWEST:
        raise VaekitError(
            f"augmentation: expected at least {FEWEST} {what} that were not trained on; "
            f"there are {count}"
        )
