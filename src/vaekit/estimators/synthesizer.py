"""Synthetic rows from a VAE of a table, as a scikit-learn estimator."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from vaekit.core.extra_costs import FreeBits, in_total
from vaekit.core.fixed_batches import in_fixed_batches
from vaekit.core.objectives import WATCHED, Objective, Term, distortion, rate
from vaekit.core.random import own_noise, seeded
from vaekit.data.tables import sampling
from vaekit.data.tables.columns.decode import decode
from vaekit.data.tables.columns.frame import as_frame
from vaekit.data.tables.columns.units import to_tensor
from vaekit.data.tables.load import load, require_few
from vaekit.data.tables.model.bins import with_grids
from vaekit.data.tables.model.networks import ChainDecoder, RowEncoder
from vaekit.distributions.families import normal
from vaekit.errors import VaekitError
from vaekit.estimators.base import checked, in_own_terms, tensor
from vaekit.estimators.training import ROWS, parted, train
from vaekit.models.fitted_priors import fit_gmm
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE, Conditional
from vaekit.training.loop import Schedule

EPOCHS, MOST = 8, 2000
"""Without `max_steps` a run takes `EPOCHS` epochs, but at most `MOST` steps."""

FEW_EPOCHS, LEAST = 30, 500
"""A shorter run is extended to `LEAST` steps or to `FEW_EPOCHS` epochs, whichever comes first."""

SMALLEST = 8
"""The least number of batches in an epoch: for small tables the batch size is reduced."""

HELD_FROM = 40
"""Rows are held out only if the table has at least this number of rows."""

CODES, EACH = 32_768, 50
"""The mixture is fitted to at most `CODES` codes, with at least `EACH` codes for each component."""

DRAWS, TOGETHER = 16, 64
"""The number of draws of z for the bound in `score_samples`, and of rows in a batch there."""


class VAESynthesizer(BaseEstimator):
    """Draws synthetic rows like those of a table: p(x) = int p(z) prod_c p(x_c | x_<c, z) dz.

    It is a VAE whose decoder is autoregressive over the columns. Numbers have probabilities of
    single values and of bins, classes are categorical, and a cell is missing with a probability of
    its own. All values are sampled, not set to the most likely one. After training a mixture of
    normals is fitted to the codes; rows are drawn from it instead of the prior.

    Parameters
    ----------
    latent : the number of dimensions of z.
    hidden : the width of each column's network.
    free_nats : free bits: the mean KL of a batch costs nothing up to this number of nats, so that z
        is used. 0 is the plain ELBO, with which the decoder learns everything from the previous
        columns and ignores z.
    components : the largest number of normals in the mixture.
    dropout, learning_rate, batch_size : the dropout rate, the learning rate and the rows per batch
        in training.
    max_steps : the number of training steps; None for 8 epochs, but more for a small table (up to
        500 steps or 30 epochs) and at most 2000 steps.
    likelihood : the likelihood of numbers: "binned", "gaussian", "student-t", "log-normal" or
        "counts".
    kinds : the kinds of columns that should not be inferred, such as `{"zip": "category"}`.
    constraints : rules that new rows obey, such as `["total = price + tax", "end >= start"]`. A
        column that an equality determines is computed, not modelled, and does not count in
        `score_samples`.
    random_state : seed or generator of the training, and of `sample` if it is called without one.

    Attributes
    ----------
    schema_ : the fitted columns, `vaekit.data.tables.TableSchema`.
    model_ : the model with the fitted mixture as its prior, `vaekit.models.vae.VAE`.
    backend_ : the kind of frame that `sample` returns.
    n_features_in_, feature_names_in_ : as in scikit-learn.
    """

    def __init__(
        self,
        latent: int = 8,
        *,
        hidden: int = 128,
        free_nats: float = 3.0,
        components: int = 20,
        dropout: float = 0.2,
        learning_rate: float = 2e-3,
        batch_size: int = 512,
        max_steps: int | None = None,
        likelihood: str = "binned",
        kinds: Mapping[str, str] | str | None = None,
        constraints: Sequence[str] = (),
        random_state: Any = None,
    ) -> None:
        self.latent = latent
        self.hidden = hidden
        self.free_nats = free_nats
        self.components = components
        self.dropout = dropout
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.max_steps = max_steps
        self.likelihood = likelihood
        self.kinds = kinds
        self.constraints = constraints
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> VAESynthesizer:
        """Fit to the rows of a frame (pandas, Polars, Arrow) or an array (N, C); y is not used."""
        self._check()
        frame = checked(self, X, reset=True)
        with in_own_terms():
            table = load(frame, kinds=self.kinds, constraints=self.constraints)
        require_few(table)
        self.backend_ = frame.backend
        self.schema_ = with_grids(table.schema, table.raw.values)
        self.seed_ = int(check_random_state(self.random_state).randint(2**31 - 1))
        self.drawn_ = 0
        self.model_ = self._fitted(to_tensor(table.raw.values, self.schema_))
        return self

    def sample(
        self, n: int = 1, where: Mapping[str, Any] | None = None, random_state: Any = None
    ) -> Any:
        """`n` new rows, in a frame of the same kind and with the same dtypes as the one fitted.

        `where` gives conditions on columns: a class, `{"income": ">50K"}`; a range that includes
        its ends, `{"age": (30, 40)}` or `{"age": (60, None)}`; or a comparison, `{"age": ">60"}`. A
        column of words takes one class. Rows are drawn from the model given the conditions, by
        rejection: a condition that one row in a thousand meets takes a thousand times as long.
        """
        check_is_fitted(self)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise VaekitError(
                f"n={n!r}: expected the number of rows to draw, a whole number of at least 1"
            )
        seed = self._next_seed(random_state)
        with seeded(seed), torch.no_grad(), in_own_terms():
            raw = sampling.new(self.model_, self.schema_, int(n), where)
        return as_frame(decode(raw, self.schema_), self.schema_, self.backend_)

    def score_samples(self, X: Any) -> np.ndarray:
        """A lower bound of log p(x) of each row in nats (N,), higher = more like the training rows.

        It is estimated with `DRAWS` importance draws, so it is a bound for the mean over many rows.
        Numbers count with densities in standardised units, single values and classes with
        probabilities. The noise of the draws depends only on the row, so a row gets the same score
        alone and among others.
        """
        check_is_fitted(self)
        x = tensor(self, X, self.schema_)
        (bounds,) = in_fixed_batches(lambda rows: [self._bound(rows)], TOGETHER, x)
        return bounds.double().numpy()

    def score(self, X: Any, y: Any = None) -> float:
        """The mean of `score_samples`."""
        return float(self.score_samples(X).mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.input_tags.string = True
        tags.non_deterministic = False
        return tags

    # Fitting

    def _check(self) -> None:
        """Raise a VaekitError for a parameter with an invalid value."""
        for name in ("latent", "hidden", "components", "batch_size", "max_steps"):
            value = getattr(self, name)
            whole = isinstance(value, (int, np.integer)) and value >= 1
            if not whole and not (name == "max_steps" and value is None):
                raise VaekitError(f"{name}={value!r}: expected a whole number of at least 1")
        for name, most in (("dropout", 0.99), ("learning_rate", 1.0), ("free_nats", math.inf)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise VaekitError(f"{name}={value!r}: expected a number from 0 to {most:g}")

    def _fitted(self, x: Tensor) -> VAE:
        with seeded(self.seed_):
            learned, told = parted(x, HELD_FROM)
            batch = max(2, min(self.batch_size, len(learned) // SMALLEST))
            plan = self._plan(len(learned), batch)
            model = train(
                self._model(learned), self._objective(), learned, told, plan, batch, self.seed_
            )
            return self._with_density(model, learned)

    def _plan(self, rows: int, batch: int) -> Schedule:
        epoch = math.ceil(rows / batch)
        steps = self.max_steps or min(MOST, max(EPOCHS * epoch, min(LEAST, FEW_EPOCHS * epoch)))
        return Schedule(steps, self.learning_rate, ema=0.998)

    def _model(self, x: Tensor) -> VAE:
        encoder = Conditional(RowEncoder(self.schema_, 2 * self.latent), normal)
        decoder = ChainDecoder(
            self.schema_, self.latent, self.hidden, dropout=self.dropout, likelihood=self.likelihood
        )
        decoder.begin(x)
        return VAE(encoder, StandardNormal(self.latent), decoder)

    def _objective(self) -> Objective:
        terms = {"distortion": Term(distortion), "rate": Term(rate)}
        if self.free_nats:
            terms |= {
                "rate": Term(rate, WATCHED),
                "free_rate": Term(FreeBits(self.free_nats, in_total)),
            }
        return Objective(terms)

    def _with_density(self, model: VAE, x: Tensor) -> VAE:
        """The model with a mixture of normals as its prior. The mixture is fitted to one draw from
        the posterior of each row of x (N, C)."""
        with torch.no_grad():
            codes = torch.cat([model.encoder(part).sample() for part in x[:CODES].split(ROWS)])
        components = max(1, min(self.components, len(codes) // EACH))
        return VAE(model.encoder, fit_gmm(codes, components, self.seed_), model.decoder).eval()

    # Rows out

    def _next_seed(self, random_state: Any) -> int:
        """A seed from `random_state`; if it is None, a different one at each call, but reproducible
        from the seed of the fit."""
        if random_state is not None:
            return int(check_random_state(random_state).randint(2**31 - 1))
        self.drawn_ += 1
        return (self.seed_ + 1_000_003 * self.drawn_) % 2**31

    def _bound(self, x: Tensor) -> Tensor:
        """log 1/S sum_s p(x, z_s) / q(z_s | x), (B,), with noise that depends only on the row."""
        q, noise = self.model_.encoder(x), own_noise(x, DRAWS, (self.latent,))
        z = q.mean + q.stddev * noise
        weight = (
            self.model_.decoder(z).log_prob(x) + self.model_.prior().log_prob(z) - q.log_prob(z)
        )
        return torch.logsumexp(weight, dim=0) - math.log(DRAWS)
