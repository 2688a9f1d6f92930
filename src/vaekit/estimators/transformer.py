"""Dimension reduction of a table by a VAE, as a scikit-learn transformer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_is_fitted
from torch import Tensor

from vaekit.core.fixed_batches import batch_size, in_fixed_batches
from vaekit.core.objectives import LinearWarmup, beta_elbo
from vaekit.core.random import seeded
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.units import to_tensor
from vaekit.data.tables.load import load
from vaekit.data.tables.model.networks import PlainEncoder, RowDecoder
from vaekit.data.tables.sampling import in_words
from vaekit.distributions.families import normal
from vaekit.errors import VaekitError
from vaekit.estimators.base import checked, in_own_terms, tensor
from vaekit.estimators.training import parted, train
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE, Conditional
from vaekit.training.loop import Schedule

EPOCHS, LEAST, MOST = 200, 300, 3000
"""Without `max_steps` a run takes `EPOCHS` epochs, but between `LEAST` and `MOST` steps."""

HELD_FROM = 100
"""Rows are held out only if the table has at least this number of rows."""


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Maps rows of a table to the posterior means of a VAE in `n_components` dimensions, and back.

    The objective is E_q[log p(x | z)] - beta KL(q(z | x) || N(0, I)), with beta = 1 a lower bound
    of log p(x). Numbers are normal with a learned standard deviation for each column, so that the
    reconstruction needs no weight of its own; classes are categorical.

    Parameters
    ----------
    n_components : the number of dimensions of z.
    hidden : the widths of the layers of encoder and decoder.
    beta : the weight of the KL. With 1 (the ELBO), dimensions that improve the reconstruction by
        less than their KL are not used; with 0.1 few stay unused.
    learning_rate, batch_size : the learning rate and the rows per batch in training.
    max_steps : the number of training steps; None for 200 epochs, at least 300 and at most 3000
        steps.
    kinds : the kinds of columns that should not be inferred, such as `{"zip": "category"}`.
    random_state : seed or generator of the training.

    Attributes
    ----------
    schema_ : the fitted columns, `vaekit.data.tables.TableSchema`.
    model_ : the model, `vaekit.models.vae.VAE`.
    n_features_in_, feature_names_in_ : as in scikit-learn.
    """

    def __init__(
        self,
        n_components: int = 8,
        *,
        hidden: tuple[int, ...] = (128, 128),
        beta: float = 0.1,
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        max_steps: int | None = None,
        kinds: Mapping[str, str] | str | None = None,
        random_state: Any = None,
    ) -> None:
        self.n_components = n_components
        self.hidden = hidden
        self.beta = beta
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.kinds = kinds
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit to the rows of a frame (pandas, Polars, Arrow) or an array (N, C); y is not used."""
        frame = checked(self, X, reset=True)
        if (
            isinstance(self.n_components, bool)
            or self.n_components != int(self.n_components)
            or self.n_components < 1
        ):
            raise VaekitError(
                f"n_components={self.n_components!r}: expected a whole number of at least 1"
            )
        with in_own_terms():
            table = load(frame, kinds=self.kinds)
        self.backend_: Any = frame.backend
        self.schema_ = table.schema
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with seeded(seed):
            self.model_ = self._fitted(to_tensor(table.raw.values, self.schema_), seed)
        self._n_features_out = int(self.n_components)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """The mean of q(z | x) of every row (N, n_components); float32 if X is, else float64."""
        check_is_fitted(self)
        x = tensor(self, X, self.schema_)
        codes = self._of_rows(lambda rows: self.model_.encoder(rows).mean, x).numpy()
        same = (
            isinstance(X, np.ndarray) and X.dtype == np.float32
        )  # a frame may have a column "dtype"
        return codes if same else codes.astype(np.float64)

    def inverse_transform(self, X: Any) -> Any:
        """The rows decoded from z (N, n_components), in the kind of frame or array that was fitted.

        Numbers are the means, classes the most likely ones. Numbers stay in the range of the fitted
        rows. One outlier a hundred standard deviations away makes its column's unit so wide that
        all other values come back almost equal: clip outliers, or fit on the logarithm.
        """
        check_is_fitted(self)
        z = check_array(X, dtype=np.float32)
        if z.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {z.shape[1]} features, expected {self._n_features_out}, one per component"
            )
        x = self._of_rows(lambda codes: self.model_.decoder(codes).mean, torch.from_numpy(z))
        with seeded(0):
            raw = in_words(x, self.schema_)
        return as_frame(decode(raw, self.schema_), self.schema_, self.backend_)

    def score(self, X: Any, y: Any = None) -> float:
        """The mean over rows of log p(x | z) - KL in nats, z at the posterior mean.

        It is about a lower bound of log p(x), not exactly one, since z is not drawn.
        """
        check_is_fitted(self)
        return float(self._of_rows(self._bound, tensor(self, X, self.schema_)).double().mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _fitted(self, x: Tensor, seed: int) -> VAE:
        (rows, held), batch = parted(x, HELD_FROM), max(1, min(self.batch_size, len(x) // 4))
        steps = self.max_steps or max(LEAST, min(MOST, math.ceil(EPOCHS * len(rows) / batch)))
        model, objective = self._model(rows), beta_elbo(LinearWarmup(self.beta, 0.2))
        plan = Schedule(steps, self.learning_rate, ema=0.995)
        return train(model, objective, rows, held, plan, batch, seed, self.beta)

    def _model(self, x: Tensor) -> VAE:
        n, hidden = int(self.n_components), tuple(self.hidden)
        encoder = Conditional(PlainEncoder(self.schema_, 2 * n, hidden, hides=False), normal)
        decoder = RowDecoder(self.schema_, n, tuple(reversed(hidden)), likelihood="gaussian-shared")
        decoder.begin(x)
        return VAE(encoder, StandardNormal(n), decoder)

    def _of_rows(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """`function` of all rows or codes (N, ...), in batches of a fixed size, so that the result
        for a row does not depend on the other rows."""
        size = batch_size(len(self.schema_.columns))
        return in_fixed_batches(lambda part: [function(part)], size, rows)[0]

    def _bound(self, x: Tensor) -> Tensor:
        q = self.model_.encoder(x)
        gap = torch.distributions.kl_divergence(q, self.model_.prior())
        return self.model_.decoder(q.mean).log_prob(x) - gap
