"""Anomaly detection in the rows of a table, as a scikit-learn estimator."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, OutlierMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vaekit.anomaly import UNSEEN, Detector, DetectorConfig, NumericRows, fit
from vaekit.data.tables.columns.beside import sizes_of
from vaekit.data.tables.columns.encode import encode_all
from vaekit.data.tables.columns.infer import infer
from vaekit.data.tables.read.cells import Cells
from vaekit.data.tables.read.frames import Array, Frame
from vaekit.data.tables.schema import Column, LeftOut, TableSchema
from vaekit.errors import VaekitError
from vaekit.estimators.base import checked, in_own_terms


class VAEDetector(OutlierMixin, BaseEstimator):
    """Finds rows that are unlike the rows it was fitted on.

    Signs are those of scikit-learn's `IsolationForest`. The score of a row is a sum of three parts,
    each in units of its spread over held-out training rows: how badly an ensemble of denoising VAEs
    reconstructs the row, its distance to the nearest remembered row, and its distance to a few
    small groups of rows. See `vaekit.anomaly.Detector`.

    Columns may have any units, and cells may be missing (NaN). In a frame (pandas, Polars, Arrow)
    or an array with words, columns of numbers are numbers and dates are days; other columns hold
    classes, and a class that was not fitted counts as anomalous. Ids, free text and empty columns
    do not contribute.

    Parameters
    ----------
    contamination : "auto", or the share of the fitted rows that are anomalies, in (0, 0.5]. With
        "auto" all fitted rows count as normal, and `predict` flags rows at the false-alarm rate
        `fpr`. With a share, the most anomalous rows are left out of a second fit, which remembers
        no single rows, and `predict` flags that share of the fitted rows.
    fpr : the share of normal rows that `predict` may flag, by conformal calibration on held-out
        fitted rows. With n calibration rows the lowest possible rate is 1 / (n + 1); it is used if
        `fpr` is lower.
    members : the number of VAEs in the ensemble, an even number of at least 4.
    latent, hidden : the number of latent dimensions and of units in each hidden layer of a VAE.
    beta : the weight of the KL in their objective.
    remembered : the number of training rows that are kept to search for the nearest one.
    learning_rate, batch_size : the learning rate and the rows per batch in training.
    max_steps : the number of training steps; None for 20 sqrt(rows), between 100 and 500.
    random_state : seed or generator of all random draws.

    Attributes
    ----------
    offset_ : `decision_function` is `score_samples` minus this; negative decisions are anomalies.
    fpr_ : the share of normal rows that `predict` may flag: `fpr`, or the lowest possible rate.
    detector_ : the fitted `vaekit.anomaly.Detector`; its input is the output of `plain_`.
    plain_ : turns rows into numbers, `vaekit.anomaly.NumericRows`.
    schema_ : the fitted columns, `vaekit.data.tables.TableSchema`.
    n_features_in_, feature_names_in_ : as in scikit-learn.
    """

    offset_: float
    fpr_: float
    detector_: Detector
    plain_: NumericRows
    schema_: TableSchema

    def __init__(
        self,
        contamination: float | str = "auto",
        *,
        fpr: float = 0.05,
        members: int = 8,
        latent: int = 32,
        hidden: int = 64,
        beta: float = 0.03,
        remembered: int = 4096,
        learning_rate: float = 8e-3,
        batch_size: int = 256,
        max_steps: int | None = None,
        random_state: Any = None,
    ) -> None:
        self.contamination = contamination
        self.fpr = fpr
        self.members = members
        self.latent = latent
        self.hidden = hidden
        self.beta = beta
        self.remembered = remembered
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> VAEDetector:
        """Fit to rows of a frame or an array (N, C), with NaN or null if missing; y is unused."""
        share = self._share()
        if not (isinstance(self.fpr, Real) and 0 < self.fpr < 1):
            raise VaekitError(
                f"fpr={self.fpr!r}: expected a share between 0 and 1, "
                "such as 0.01 for one false alarm in 100 normal rows"
            )
        frame = _wide(checked(self, X, reset=True))
        with in_own_terms(has_kinds=False):
            self.schema_ = _learned(frame)
            raw = encode_all(frame, self.schema_, unseen=UNSEEN).raw
        self.plain_ = NumericRows.learned(sizes_of(self.schema_.columns), raw)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.detector_ = fit(
            self.plain_.fitted(raw), self._config(), seed, share, self.plain_.least
        )
        self.fpr_ = max(float(self.fpr), 1 / (len(self.detector_.calibration) + 1))
        if share:
            scores = -self.detector_.scores(self.plain_(raw)).numpy()
            self.offset_ = float(np.percentile(scores, 100 * share))
        else:
            self.offset_ = -self.detector_.threshold(self.fpr_)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Minus the anomaly score of every row, (N,): higher = more normal."""
        return -self._detector().scores(self._rows(X)).numpy()

    def decision_function(self, X: Any) -> np.ndarray:
        """`score_samples` minus `offset_`, (N,): negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """+1 for normal rows, -1 for anomalies, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Any) -> np.ndarray:
        """Conformal p-values, (N,): about the share of normal rows that are at least as anomalous.

        They are valid for rows that the detector was not fitted to."""
        return self._detector().p_values(self._rows(X)).numpy()

    def attribute(self, X: Any) -> np.ndarray:
        """What each column adds to the anomaly score, (N, C); the sum is minus `score_samples`."""
        parts = self.plain_.by_column(self._detector().attributions(self._rows(X))).numpy()
        known = [self.schema_.order.index(name) for name in self.schema_.names]
        columns = np.zeros((len(parts), len(self.schema_.order)))
        columns[:, known] = parts
        return columns

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        return tags

    def _detector(self) -> Detector:
        check_is_fitted(self)
        return self.detector_

    def _rows(self, X: Any) -> Tensor:
        """New rows as plain numbers (N, F)."""
        check_is_fitted(self)
        return self.plain_(
            encode_all(_wide(checked(self, X, reset=False)), self.schema_, unseen=UNSEEN).raw
        )

    def _share(self) -> float:
        if isinstance(self.contamination, str) and self.contamination == "auto":
            return 0.0
        if isinstance(self.contamination, Real) and 0 < self.contamination <= 0.5:
            return float(self.contamination)
        raise VaekitError(
            f'contamination={self.contamination!r}: expected "auto", or the share of anomalies '
            "among the rows, more than 0 and at most 0.5"
        )

    def _config(self) -> DetectorConfig:
        return DetectorConfig(
            members=self.members,
            latent=self.latent,
            hidden=self.hidden,
            beta=self.beta,
            remembered=self.remembered,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            steps=self.max_steps,
        )


def _wide(frame: Frame) -> Frame:
    """An array's numbers as float64, with exactly their values: a float32 is not replaced by the
    short decimal number that it may have come from."""
    if not isinstance(frame, Array):
        return frame
    columns = {
        n: v.astype(np.float64) if v.dtype.kind in "biuf" else v for n, v in frame.columns.items()
    }
    return Array(columns, frame.rows, frame.source, frame.backend)


def _learned(frame: Frame) -> TableSchema:
    """The schema of a frame: columns with a numeric dtype are numbers, other kinds are inferred."""
    found = [_column(frame, name) for name in frame.names]
    left = tuple(part for part in found if isinstance(part, LeftOut))
    columns = tuple(part for part in found if isinstance(part, Column))
    if not columns:
        reasons = "; ".join(f"{part.name}: {part.why}" for part in left[:3])
        raise VaekitError(f"{frame.source}: no column tells rows apart ({reasons})")
    return TableSchema(columns=columns, left_out=left, order=frame.names, rows=frame.rows)


def _column(frame: Frame, name: str) -> Column | LeftOut:
    cells = frame.cells(name)
    if cells.family == "number" and not _is_constant(cells):
        return Column(name=name, kind="number", dtype=cells.dtype)
    found = infer(cells)
    if isinstance(found, LeftOut) and found.reason == "constant" and found.column:
        return found.column  # so that another value in a constant column is anomalous
    return found


def _is_constant(cells: Cells) -> bool:
    values = cells.numbers.values
    return bool((values == values[0]).all()) and bool(np.isfinite(values[0]))
