"""What the rest of the system asks of a kind of data. A `Modality` answers; nobody else knows which kind it is."""

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
"""The shapes, without the batch, of what the encoder's net gives and of what the decoder's takes."""

Kept = tuple[Mapping[str, Tensor], Mapping[str, Any]]
"""Tensors and plain data, as files keep them."""

FEWEST = 20
"""Fewer data than this are no set to compare with."""

Tell = Callable[[str], None]
"""Called with a sentence for the user."""


def unchanged(words: Sequence[str], schema: Any) -> Callable[[Tensor], Tensor]:
    """The augmentation of data that have none."""
    return lambda raw: raw


class TrainedModel(Protocol):
    """What a kind of data may ask of a trained model (`vaekit.Trained`)."""

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
        """What the latents are: `continuous`, `categories` or `codes`."""
        ...

    @property
    def latent(self) -> int: ...
    @property
    def shapes(self) -> tuple[Size, ...]: ...
    @property
    def device(self) -> torch.device: ...

    def context(self, where: Mapping[str, Any], n: int = 1) -> Tensor | None:
        """Rows (n, F) that say `where` of every datum."""
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
        """Their posteriors: `mean` and `scale`, both (N, Z)."""
        ...

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor: ...
    def reconstruct(self, x: Tensor, context: Tensor | None = None) -> Tensor: ...
    def interpolate(
        self, a: Tensor, b: Tensor, steps: int = 10, context: Tensor | None = None
    ) -> Tensor: ...
    def batches(self, data: Dataset, seed: int = 0) -> Any: ...


@dataclass(frozen=True)
class Source:
    """Where the data come from."""

    forms: str
    """What is read, as messages say it: "a folder of pictures, an .npz or .npy file"."""
    recognises: Callable[[str], bool]
    """Whether a source is of this kind."""
    read: Callable[..., Any]
    """What the `data` section of an experiment says, to train on: (data, progress=...) -> Dataset."""
    reread: Callable[..., Any]
    """The same in the form of the schema that a run had: (data, schema, progress=...) -> Dataset."""
    load: Callable[..., Any]
    """New data for a model: (source, schema=..., trained_on=..., progress=..., the options of `read`) -> Dataset.

    `trained_on` is the `data` section of the experiment.
    """
    recipes: Mapping[str, Callable[[str], Experiment]]
    """Whole experiments by name; the first is used for a source when nothing else is said."""
    suffixes: tuple[str, ...] = ()
    """Taken off a source's name to name its run."""
    presets: Mapping[str, str] = field(default_factory=dict)
    """Sources that have a recipe of their own."""


@dataclass(frozen=True)
class Values:
    """From stored values to what the model sees."""

    prepare: Callable[[Tensor, Any, torch.Generator | None], Tensor]
    """raw (B, ...) to x, as the likelihood wants it; what is drawn (bits) comes from the generator."""
    to_tensor: Callable[[Tensor, Any], Tensor]
    """raw (B, ...) to x with nothing drawn, as it is shown and encoded."""
    require_fits: Callable[[Tensor, Network, Any, str], None] = lambda x, network, schema, name: (
        None
    )
    """Raise a VaekitError where x is nothing that the likelihood can have."""
    augment: Callable[[Sequence[str], Any], Callable[[Tensor], Tensor]] = unchanged
    """The change of raw training data (B, ...) that these words name, drawn again for each batch."""
    freeze: Callable[[Any, int], Any] = lambda data, seed: data
    """The data as they stay throughout a run, from its seed."""


@dataclass(frozen=True)
class Modelling:
    """What the data are modelled with."""

    settle: Callable[[Experiment, Any, str, list[str]], tuple[list[str], Schema]]
    """Changes of the experiment that data and kind of latent suggest, and the schema then; adds the reasons."""
    discrete: Callable[[Network, Any], bool]
    """Whether the likelihood gives probabilities (bits per dimension apply), not densities."""
    parts: Callable[[Network, Any, Between, int], tuple[nn.Module, nn.Module]]
    """(encoding net, decoder) for a latent between them and a context of that length."""
    candidates: Callable[[Experiment, Any, str, int], list[list[str]]] = lambda *asked: []
    """(experiment, schema, kind of latent, number of data) -> changes of the experiment, a list for each net that may
    race; the one that `settle` would choose comes first. [] for no race."""
    init_decoder: Callable[[nn.Module, Network, Any, Tensor], None] = (
        lambda decoder, network, schema, raw: None
    )
    """Let the decoder start at the middle of raw data (N, ...)."""
    hierarchy: Callable[[Network, Any, Sequence[int], int], Hierarchy] | None = None
    """Latents of these sizes on top of each other, the top's prior to be set; None where there are none."""
    grid: Callable[[Any], tuple[int, int]] | None = None
    """The (height, width) that codes lie on; None where they lie on nothing."""
    fitted_priors: bool = True
    """Whether densities fitted to the codes compete with the prior at a run's end."""


@dataclass(frozen=True)
class Made:
    """What a verb made: new data in the form in which people use them, and facts to be told beside."""

    data: Any
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Output:
    """How new data are read off p(x | z), and how they are shown and written.

    A verb that this kind of data cannot do has a sentence in its place that says why.
    """

    as_data: Callable[[Distribution], Tensor]
    """The one x that stands for p(x | z), on the CPU."""
    readings: Mapping[str, Callable[[Distribution], Tensor]]
    """How new data are read off p(x | z), by name, on the CPU; the first is taken when nothing is said."""
    write: Callable[..., dict[str, str]]
    """(new data, schema, Place, the options of `write`) -> the files by what they are."""
    describe: Callable[[Any, int, int, str], list[str]]
    """(schema, number of data, number held out, source) -> lines of `vaekit info`."""
    present: Callable[[Tensor, Any, Tensor | None], Any] = lambda x, schema, context: x
    """x (N, *shape) in the form in which people use new data, given what was known of them (N, F)."""
    generate: Callable[..., Any] | None = None
    """(trained, n, seed, where, tell, the options of `generate`) -> new data; None where x is drawn and presented."""
    impute: Callable[..., Made] | str = "its data have no cells that could be missing"
    """(trained, source, draws, seed, tell) -> the source's data with what is missing filled."""
    augment: Callable[..., Made] | str = "it has no way yet to fill up rare classes"
    """(trained, training data, seed, tell, the options of `augment`) -> training data with new ones."""
    check: Callable[[Path], None] = lambda named: None
    """Raise a VaekitError where nothing can be written to what people named: asked before anything takes time."""
    number: Callable[[Path | None], int] = lambda named: 64
    """How many are made when nothing is said, and written where people named."""
    next: tuple[str, ...] = ("generate {} -n 64 --seed 1",)
    """What one can type of a trained run, {} standing for the run."""


@dataclass(frozen=True)
class Place:
    """Where new data are written: what people named, else a folder of the run; and the stem of the files."""

    named: Path | None
    folder: Path
    stem: str
    originals: Tensor | None = None
    """The data x (N, *shape) whose reconstructions are written."""
    columns: int | None = None
    """How many data belong side by side."""


@dataclass(frozen=True)
class Measured:
    """Numbers by name, and the page that shows them where there is one: (title, all numbers) -> HTML and facts."""

    numbers: dict[str, Any]
    page: Callable[[str, dict[str, Any], Tell], tuple[str, dict[str, Any]]] | None = None


@dataclass(frozen=True)
class Parts:
    """The data that measures compare: the model's, those trained on, and others that it has not seen."""

    trained: TrainedModel
    """The model with the sampler that was asked for."""
    training: Callable[[], Any]
    other: Any
    everything: Callable[[], Any]
    seed: int
    progress: Progress
    cached: Callable[[str, Callable[[], Kept]], Kept]
    """What was made under a name before, or is made now and kept on this machine."""


@dataclass(frozen=True)
class Measures:
    """How good new data are, how odd data are, and what a report shows."""

    named: Mapping[str, Callable[..., Measured]] = field(default_factory=dict)
    """What `evaluate --metrics` knows beside `nll`, by name: (Parts, the options of `evaluate`) -> Measured."""
    report: Callable[[Shown], Sequence[Section]] = lambda shown: []
    """What a report shows beside its numbers."""
    default: tuple[str, ...] = ("nll",)
    """What is measured when nothing is said."""
    check: Callable[..., None] = lambda schema, metrics, **options: None
    """Raise a VaekitError where the options of `evaluate` do not go together: (schema, metrics, the options)."""
    detector: Detection | None = None
    """A detector of odd data of its own; None where the model's own numbers have to do."""
    meanings: Mapping[str, str] = field(default_factory=dict)
    """What numbers of `named` say, and what a good value is, by their name: the terminal shows it beside them."""
    explain: Callable[[Any, Any, Any], Mapping[str, Any]] = lambda data, scores, odd: {}
    """(data, Scores, odd (N,)) -> further columns of the table of scores."""
    illustrate: Callable[[Any, Any, Path], dict[str, str]] = lambda data, scores, path: {}
    """(data, Scores, the table's path) -> further files that show where the oddest data are odd."""


class Detection(Protocol):
    """A detector of odd data: fitted once, kept with the run."""

    @property
    def form(self) -> int:
        """Detectors kept in another form are fitted again."""
        ...

    @property
    def read(self) -> Mapping[str, Any]:
        """Options for reading data that are to be scored."""
        ...

    def fit(
        self, data: Any, schema: Any, seed: int, contamination: float
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Fit it to training data; tensors and plain data to keep."""
        ...

    def score(
        self, tensors: dict[str, Tensor], about: dict[str, Any], schema: Any, data: Any
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        """Scores (N,), p-values (N,), what each value adds (N, *shape), and of how many data the p-values are."""
        ...


@dataclass(frozen=True)
class Shown:
    """What a report shows: a run's model, data that it was not trained on, its training data."""

    plots: Path
    """A folder for pictures."""
    trained: TrainedModel
    held: Any
    training: Any
    seed: int
    source: str
    """What new data are drawn from, and why, in words."""


@dataclass(frozen=True)
class Modality:
    """The answers of one kind of data."""

    name: str
    datum: str
    """What one is called: "image"."""
    schema: type[Schema]
    source: Source
    values: Values
    model: Modelling
    output: Output
    measures: Measures = field(default_factory=lambda: Measures())
    options: Options = field(default_factory=dict)
    """Options of the command line that only this kind has."""
    plural: str = ""
    """What several are called; unless given, `datum` with an s."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "plural", self.plural or f"{self.datum}s")

    def counted(self, count: int) -> str:
        """ "1 image", "2,000 images"."""
        return f"{count:,} {self.datum if count == 1 else self.plural}"


def require_verb(kind: Modality, verb: str) -> Callable[..., Any]:
    """What this kind of data does for a verb. Raises a VaekitError that says why it cannot."""
    found = getattr(kind.output, verb)
    if isinstance(found, str):
        raise VaekitError(f"{verb}: this run is of {kind.name}, and {found}")
    return found  # type: ignore[no-any-return]


def require_enough(count: int, what: str) -> None:
    """Raise a VaekitError where there are too few data to try a classifier on."""
    if count < FEWEST:
        raise VaekitError(
            f"augmentation: expected at least {FEWEST} {what} that were not trained on; "
            f"there are {count}"
        )
