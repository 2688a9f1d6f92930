"""Densities fitted to a trained model's codes, to sample from instead of its prior.

Ghosh et al. 2020, section 4. An encoder's codes seldom fill the prior that they were trained
towards. A density of where the codes are gives better samples. The model's bounds still use its own
prior. Each sampler is a module like any prior, with plain tensors as its state: `VAE(model.encoder,
sampler, model.decoder)` generates from it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from vaekit.core.random import seeded
from vaekit.errors import VaekitError, require_number
from vaekit.models.flows import FlowPrior

SHRINKAGE = 1e-3
"""What a mixture adds to its covariances' diagonals, as a share of the codes' variance."""

FIT_OPERATIONS = 2e11
"""The largest number of multiply-adds in the fit of a mixture, about.

They take some 10 to 30 seconds on one core.
"""

FLOW_SECONDS = 30.0
"""The time limit for fitting a flow, in seconds. The best weights so far are kept."""

LOOK = 50
"""The number of steps in a flow's fit between two evaluations on the held-out tenth."""

FLOW_PATIENCE = 5
"""A flow's fit ends after this many evaluations on the held-out tenth in a row without a gain."""

ABSENT = -1e9
"""The logit of an unused component, as in a class with few codes."""


class FullMixture(nn.Module):
    """p(z | c) = sum_k pi_yk N(m_yk, L_yk L_yk'), a mixture of normals for each class y.

    There are `components` normals per class and `classes` classes. A context (B, F) selects the
    class whose own context, a row of `contexts` (classes, F), is nearest; a one-hot vector selects
    its class. Without a context, the classes are mixed in proportion to how often they were seen.
    `fit_gmm` fits the weights; they are not trained further.
    """

    logits: Tensor
    means: Tensor
    factors: Tensor
    contexts: Tensor

    def __init__(self, latent: int, components: int, classes: int = 1, context: int = 0) -> None:
        super().__init__()
        self.register_buffer("logits", torch.zeros(classes, components))  # joint log p(y, k)
        self.register_buffer("means", torch.zeros(classes, components, latent))
        self.register_buffer("factors", torch.eye(latent).repeat(classes, components, 1, 1))
        self.register_buffer("contexts", torch.eye(classes, context or classes))

    def forward(self, context: Tensor | None = None) -> MixtureSameFamily:
        if context is None or len(self.logits) == 1:
            return _mixture(
                self.logits.flatten(), self.means.flatten(0, 1), self.factors.flatten(0, 1)
            )
        y = torch.cdist(context.float(), self.contexts).argmin(-1)
        return _mixture(self.logits[y], self.means[y], self.factors[y])


def fit_gmm(
    z: Tensor,
    components: int = 10,
    seed: int = 0,
    labels: Tensor | None = None,
    contexts: Tensor | None = None,
    diagonal: bool = False,
) -> FullMixture:
    """A mixture of normals, fitted to codes z (N, Z) by expectation-maximisation.

    With labels (N,), there is one mixture per class. Covariances are full, or `diagonal`, which
    needs fewer codes. Labels are whole numbers from 0. contexts (N, F) are what the model gets for
    each row, the same for all rows of a class; without them, the context of a class is its one-hot
    vector. A class with fewer than 2 codes per component gets fewer components. A fit takes well
    under a second for a thousand codes, and some ten seconds for 50,000 of 16 dimensions. The
    number of iterations is limited so that no fit takes longer than `FIT_OPERATIONS`.
    """
    z = _checked(z)
    labels = torch.zeros(len(z), dtype=torch.long) if labels is None else labels.cpu().long()
    classes = int(labels.max()) + 1
    fitted = FullMixture(
        z.shape[1], components, classes, 0 if contexts is None else contexts.shape[1]
    )
    floor = SHRINKAGE * float(z.var(0).mean())
    for y in range(classes):
        of_class = labels == y
        _fit_class(fitted, y, z[of_class], floor, seed, diagonal)
        fitted.logits[y] += of_class.float().mean().log().clamp_min(ABSENT)
        if contexts is not None and of_class.any():
            fitted.contexts[y] = contexts.cpu()[of_class].float().mean(0)
    return fitted


def _fit_class(
    fitted: FullMixture, y: int, z: Tensor, floor: float, seed: int, diagonal: bool
) -> None:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    fitted.logits[y] = ABSENT
    if len(z) < 2:  # too few codes to estimate a spread
        fitted.logits[y, 0], fitted.means[y, 0] = 0.0, z.mean(0) if len(z) else 0.0
        fitted.factors[y] *= floor**0.5
        return
    k = max(1, min(fitted.means.shape[1], len(z) // 2))
    kind = "diag" if diagonal else "full"
    rounds = _iterations(len(z), k, z.shape[1], diagonal)
    mixture = GaussianMixture(
        k, covariance_type=kind, reg_covar=floor, max_iter=rounds, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a bounded fit is meant to stop early
        found = mixture.fit(z.double().numpy())
    covariances = torch.from_numpy(found.covariances_)
    fitted.logits[y, :k] = torch.from_numpy(found.weights_).log()
    fitted.means[y, :k] = torch.from_numpy(found.means_)
    if diagonal:
        fitted.factors[y, :k] = torch.diag_embed(covariances.sqrt()).float()
    else:
        fitted.factors[y, :k] = torch.linalg.cholesky(covariances).float()


def _iterations(n: int, components: int, latent: int, diagonal: bool) -> int:
    """The number of EM iterations that `FIT_OPERATIONS` allows, from 5 to 100."""
    cost = 2 * n * components * latent * (1 if diagonal else latent)
    return int(min(100, max(5, FIT_OPERATIONS // cost)))


def fit_flow(
    z: Tensor,
    context: Tensor | None = None,
    seed: int = 0,
    steps: int = 1500,
    batch: int = 512,
    rate: float = 3e-3,
    seconds: float = FLOW_SECONDS,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FlowPrior:
    """A flow fitted to codes z (N, Z), given context (N, F) if any, by maximum likelihood.

    A tenth of the codes is held out, and the weights that are best on it are kept. The fit ends
    early when the held-out log-likelihood stops rising, or after `seconds`. `progress` is called
    with the number of steps done and of all steps.
    """
    z = _checked(z)
    with seeded(seed):
        order = torch.randperm(len(z))
        held, rows = order[: len(z) // 10], order[len(z) // 10 :]
        flow = FlowPrior(z.shape[1], 0 if context is None else context.shape[1])
        flow.standardise(z[rows])
        part = [z] if context is None else [z, context.cpu().float()]
        score = _scorer(flow, [t[held if len(held) else rows] for t in part])
        _climb(
            flow,
            [t[rows] for t in part],
            steps,
            min(batch, len(rows)),
            rate,
            score,
            seconds,
            progress,
        )
    return flow.eval()


def _climb(
    flow: FlowPrior,
    part: list[Tensor],
    steps: int,
    batch: int,
    rate: float,
    score: Callable[[], float],
    seconds: float,
    progress: Callable[[int, int], None],
) -> None:
    """Adam with a cosine learning rate. At the end, the flow has the weights that scored best."""
    ends, stale = time.perf_counter() + seconds, 0
    optimiser = torch.optim.Adam(flow.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    best, kept = score(), _state(flow)
    for step, (z, context) in zip(range(1, steps + 1), _batches(part, batch), strict=False):
        loss = -flow(context).log_prob(z).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        late = time.perf_counter() > ends
        if step % LOOK == 0 or step == steps or late:
            progress(step, steps)
            now, stale = score(), stale + 1
            if now > best:
                best, kept, stale = now, _state(flow), 0
        if late or stale >= FLOW_PATIENCE:
            break
    flow.load_state_dict(kept)


def _batches(part: list[Tensor], batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    while True:
        for rows in torch.randperm(len(part[0])).split(batch):
            if len(rows) == batch:
                yield part[0][rows], part[1][rows] if len(part) > 1 else None


def _scorer(flow: FlowPrior, part: list[Tensor]) -> Callable[[], float]:
    @torch.no_grad()
    def score() -> float:
        return float(flow(part[1] if len(part) > 1 else None).log_prob(part[0]).mean())

    return score


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def sampler(word: str, latent: int, context: int = 0, classes: int = 1) -> nn.Module:
    """An empty sampler, to load a state into; `word` is `gmm:K`, `diag:K` or `flow`.

    `context` (the length of the context) and `classes` (the number of labels) are those that it was
    fitted with.
    """
    name, _, argument = word.partition(":")
    if name in ("gmm", "diag"):
        require_number("sampler", word, f"{name}:10")
    if name in ("gmm", "diag") and (
        not argument or (argument.isascii() and argument.isdigit() and int(argument) > 0)
    ):
        return FullMixture(latent, int(argument or 10), classes, context)
    if word == "flow":
        return FlowPrior(latent, context)
    raise VaekitError(
        f"there is no sampler '{word}': expected gmm:K (K normals, such as gmm:10), diag:K (the same with "
        "diagonal covariances), flow, or prior"
    )


def _mixture(logits: Tensor, means: Tensor, factors: Tensor) -> MixtureSameFamily:
    normals = MultivariateNormal(means, scale_tril=factors, validate_args=False)
    return MixtureSameFamily(
        Categorical(logits=logits, validate_args=False), normals, validate_args=False
    )


def _checked(z: Tensor) -> Tensor:
    if z.dim() != 2 or len(z) < 2:
        raise VaekitError(
            f"a sampler needs at least 2 codes as rows (N, Z), got shape {tuple(z.shape)}"
        )
    if not torch.isfinite(z).all():
        raise VaekitError(
            "a sampler needs finite codes, but the encoder gave some that are NaN or infinite"
        )
    return z.detach().cpu().float()
