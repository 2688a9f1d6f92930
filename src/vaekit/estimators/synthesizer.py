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
from vaekit.estimators.base import checked, tensor
from vaekit.estimators.training import ROWS, parted, train
from vaekit.models.fitted_priors import fit_gmm
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import VAE, Conditional
from vaekit.training.loop import Schedule

EPOCHS, MOST = 8, 2000
"""Without `max_steps` a run takes so many epochs, and at most so many steps."""

FEW_EPOCHS, LEAST = 30, 500
"""Runs of fewer than `LEAST` steps go on up to so many, or to so many epochs."""

SMALLEST = 8
"""Batches in an epoch, at least."""

HELD_FROM = 40
"""Rows are held out where there are at least so many."""

CODES, EACH = 32_768, 50
"""The density of the codes is fitted to at most so many, of which each component has at least so many."""

DRAWS, TOGETHER = 16, 64
"""Draws of the bound in `score_samples`, and how many rows are scored together."""


class VAESynthesizer(BaseEstimator):
    """Synthetic rows like those of a table: p(x) = int p(z) prod_c p(x_c | x_<c, z) dz, a VAE whose decoder is a chain.

    Numbers are modelled by probabilities of single values and bins, classes by categoricals, missing cells by a
    probability of their own; all are drawn, never rounded to the likeliest. A mixture of normals is fitted to the
    codes after training and is the prior that rows are drawn from.

    Parameters
    ----------
    latent : dimensions of z.
    hidden : width of each column's network.
    free_nats : nats that z may tell of a row at no price, so that it is used; 0 leaves the plain ELBO, under which the
        columns before a column tell all and z tells nothing.
    components : normals of the density of the codes, at most.
    dropout, learning_rate, batch_size : of the training.
    max_steps : steps of the training; None for 8 epochs, more of a small table (500 steps or 30 epochs), fewer of a
        large one (2000 steps).
    likelihood : "binned", "gaussian", "student-t", "log-normal" or "counts", for numbers.
    kinds : the kinds of columns, `{"zip": "category"}`, where it should not be inferred.
    constraints : rules that new rows obey, `["total = price + tax", "end >= start"]`; a column that an equality gives
        is computed and not modelled, and plays no part in `score_samples`.
    random_state : seed or generator of the training; also of draws that name no other.

    Attributes
    ----------
    schema_ : the columns as they were learned, `vaekit.data.tables.TableSchema`.
    model_ : the model with the fitted density as its prior, `vaekit.models.vae.VAE`.
    backend_ : the kind of frame that `sample` gives back.
    n_features_in_, feature_names_in_ : as scikit-learn has them.
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
        """Learn the rows of a frame (pandas, Polars, Arrow) or an array (N, C); y is not used."""
        self._check()
        frame = checked(self, X, reset=True)
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
        """`n` new rows, a frame of the kind that was fitted, with its dtypes.

        `where` says what their cells should hold, `{"income": ">50K"}`, or lie between, ends included:
        `{"age": (30, 40)}`, `{"age": (60, None)}`, or in words, `{"age": ">60"}`; of a column of words one class. The
        rows are then those of the model given that, by rejection: a condition that one row in a thousand meets takes a
        thousand times as long.
        """
        check_is_fitted(self)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise VaekitError(
                f"n={n!r}: expected how many rows to draw, a whole number of at least 1"
            )
        seed = self._next_seed(random_state)
        with seeded(seed), torch.no_grad():
            raw = sampling.new(self.model_, self.schema_, int(n), where)
        return as_frame(decode(raw, self.schema_), self.schema_, self.backend_)

    def score_samples(self, X: Any) -> np.ndarray:
        """log p(x) of each row (N,) in nats, higher = more like the training rows: a lower bound, by `DRAWS` draws.

        Numbers count by densities in standardised units, single values and classes by probabilities. The bound holds
        of the mean over many rows; the noise of the draws is a row's own, so that it scores the same in any company.
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
        """Raise a VaekitError for a parameter that means nothing."""
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
        """The model with a mixture of normals, fitted to draws from the posteriors of rows x (N, C), as its prior."""
        with torch.no_grad():
            codes = torch.cat([model.encoder(part).sample() for part in x[:CODES].split(ROWS)])
        components = max(1, min(self.components, len(codes) // EACH))
        return VAE(model.encoder, fit_gmm(codes, components, self.seed_), model.decoder).eval()

    # Rows out

    def _next_seed(self, random_state: Any) -> int:
        """The seed asked for, or one that is new with every call and the same in every session."""
        if random_state is not None:
            return int(check_random_state(random_state).randint(2**31 - 1))
        self.drawn_ += 1
        return (self.seed_ + 1_000_003 * self.drawn_) % 2**31

    def _bound(self, x: Tensor) -> Tensor:
        """log 1/S sum_s p(x, z_s) / q(z_s | x), (B,), by each row's own noise."""
        q, noise = self.model_.encoder(x), own_noise(x, DRAWS, (self.latent,))
        z = q.mean + q.stddev * noise
        weight = (
            self.model_.decoder(z).log_prob(x) + self.model_.prior().log_prob(z) - q.log_prob(z)
        )
        return torch.logsumexp(weight, dim=0) - math.log(DRAWS)
