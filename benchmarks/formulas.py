"""The losses of the families, written out by hand over a vaekit model's own networks: what `families.py` compares with.

Nothing here uses a distribution, a trace or an objective; each loss is what a notebook would have. All are in nats per
image, for x (B, 1, 28, 28) of zeros and ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Loss = Callable[[nn.Module, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Family:
    """How vaekit is asked for it, and the loss by hand."""

    fields: tuple[str, ...]
    loss: Loss


def split(raw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation, bounded softly to (-6, 6) as vaekit's are."""
    mean, log_scale = raw.chunk(2, dim=-1)
    return mean, 6 * torch.tanh(log_scale / 6)


def drawn(mean: Tensor, log_scale: Tensor) -> Tensor:
    return mean + torch.randn_like(mean) * log_scale.exp()


def normal_rate(mean: Tensor, log_scale: Tensor) -> Tensor:
    return (0.5 * (mean**2 + (2 * log_scale).exp() - 1) - log_scale).sum(-1)


def log_normal(z: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    return -(
        0.5 * ((z - mean) / log_scale.exp()) ** 2 + log_scale + 0.5 * math.log(2 * math.pi)
    ).sum(-1)


def distortion(logits: Tensor, x: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum((1, 2, 3))


def plain(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    mean, log_scale = split(model.encoder.net(x))
    logits = model.decoder.net(drawn(mean, log_scale))
    return (distortion(logits, x) + normal_rate(mean, log_scale)).mean()


def conditional(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    known, inner = model.embedding(context), model.model
    mean, log_scale = split(inner.encoder.net(x, known))
    logits = inner.decoder.net(drawn(mean, log_scale), known)
    return (distortion(logits, x) + normal_rate(mean, log_scale)).mean()


def importance(model: nn.Module, x: Tensor, context: Tensor | None, draws: int = 5) -> Tensor:
    mean, log_scale = split(model.encoder.net(x).repeat(draws, 1))
    z = drawn(mean, log_scale)
    fit = distortion(model.decoder.net(z), x.repeat(draws, 1, 1, 1))
    weight = (
        log_normal(z, torch.zeros_like(z), torch.zeros_like(z))
        - log_normal(z, mean, log_scale)
        - fit
    )
    return -(torch.logsumexp(weight.view(draws, -1), 0) - math.log(draws)).mean()


def over_prior(log_prior: Callable[[nn.Module, Tensor], Tensor]) -> Loss:
    """The ELBO with log p(z) at the draw."""

    def loss(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
        mean, log_scale = split(model.encoder.net(x))
        z = drawn(mean, log_scale)
        rate = log_normal(z, mean, log_scale) - log_prior(model, z)
        return (distortion(model.decoder.net(z), x) + rate).mean()

    return loss


def mixture(model: nn.Module, z: Tensor) -> Tensor:
    means, log_scales = model.prior.means, model.prior.log_scales
    return torch.logsumexp(
        model.prior.logits.log_softmax(-1) + log_normal(z[:, None], means, log_scales), dim=-1
    )


def vamp(model: nn.Module, z: Tensor) -> Tensor:
    means, log_scales = split(model.encoder.net(model.prior.pseudo_inputs()))
    return torch.logsumexp(log_normal(z[:, None], means, log_scales), dim=-1) - math.log(len(means))


def flow(model: nn.Module, z: Tensor) -> Tensor:
    prior = model.prior
    e, log_det = prior.couplings((z - prior.location) / prior.log_scale.exp())
    return log_normal(e, torch.zeros_like(e), torch.zeros_like(e)) + log_det - prior.log_scale.sum()


def flow_posterior(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    raw, family = model.encoder.net(x), model.encoder.family
    mean, log_scale = split(raw[:, : 2 * family.latent])
    e = torch.randn_like(mean)
    bent, log_det = family.couplings(e, raw[:, 2 * family.latent :])
    z, zero = mean + log_scale.exp() * bent, torch.zeros_like(e)
    log_q = log_normal(e, zero, zero) - log_det - log_scale.sum(-1)
    return (distortion(model.decoder.net(z), x) + log_q - log_normal(z, zero, zero)).mean()


def categorical(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    family = model.encoder.family
    logits = model.encoder.net(x).unflatten(-1, (family.groups, family.classes)).log_softmax(-1)
    z = F.gumbel_softmax(logits, tau=1.0, dim=-1)
    rate = (logits.exp() * (logits - model.prior.logits.log_softmax(-1))).sum((1, 2))
    return (distortion(model.decoder.net(z.flatten(1)), x) + rate).mean()


def code_rate(model: nn.Module, indices: Tensor) -> Tensor:
    logits = model.prior.net(indices)
    return (
        F.cross_entropy(logits.flatten(0, 1), indices.flatten(), reduction="none")
        .view(indices.shape)
        .sum(1)
    )


def quantised(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    book, features = model.encoder.codebook, model.encoder.net(x)
    rows = features.flatten(2).mT.reshape(-1, book.dim)
    indices = torch.cdist(rows, book.codes).argmin(1)
    found = book.codes[indices].view(len(x), -1, book.dim).mT.view_as(features)
    with torch.no_grad():
        hot = F.one_hot(indices, book.size).float()
        book.usage.lerp_(hot.mean(0), 0.01)
        book.sums.lerp_(hot.T @ rows / len(rows), 0.01)
        book.codes.copy_(book.sums / book.usage.clamp_min(1e-5)[:, None])
    commitment = (features - found.detach()).square().flatten(1).sum(1)
    z = features + (found - features).detach()
    rate = code_rate(model, indices.view(len(x), -1))
    return (distortion(model.decoder.net(z), x) + rate + 0.25 * commitment).mean()


def scalar(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    features = model.encoder.net(x)
    levels = torch.as_tensor(model.encoder.codebook.levels)
    shape, half = (-1, 1, 1), (levels - 1) * (1 + 1e-3) / 2
    offset = (levels % 2 == 0) * 0.5
    shift = torch.atanh(offset / half).view(shape)
    bounded = torch.tanh(features + shift) * half.view(shape) - offset.view(shape)
    rounded = bounded + (bounded.round() - bounded).detach()
    width = (levels // 2).view(shape)
    places = torch.cumprod(torch.cat((torch.ones(1), levels[:-1])), 0).view(shape)
    indices = ((rounded.detach() + width) * places).sum(1).long().flatten(1)
    fit = distortion(model.decoder.net(rounded / width), x)
    return (fit + code_rate(model, indices)).mean()


def hierarchy(model: nn.Module, x: Tensor, context: Tensor | None) -> Tensor:
    features = model.rise(x)
    mean, log_scale = split(model.top.net(features[0]))
    rate, z = normal_rate(mean, log_scale), drawn(mean, log_scale)
    state = model.merges[0].net(z)
    for level in range(1, len(features)):
        p_mean, p_log_scale = split(model.priors[level - 1].net(state))
        shift, log_ratio = split(model.posteriors[level - 1].net.net(state, features[level]))
        z = drawn(p_mean + shift, p_log_scale + log_ratio)
        ratio = (2 * log_ratio).exp()
        rate = rate + (0.5 * (shift**2 / (2 * p_log_scale).exp() + ratio - 1) - log_ratio).sum(-1)
        state = model.merges[level].net(z, state)
    return (distortion(model.decoder.net(state), x) + rate).mean()


CONV = ("model.architecture=conv", "model.size=tiny", "model.hidden=null", "train.batch=64")

FAMILIES = {
    "plain": Family((), plain),
    "conditional": Family(("data.condition=label", "model.prior=standard"), conditional),
    "iwae": Family(("objective.bound=iwae:5",), importance),
    "mixture": Family(("model.prior=mixture:100",), over_prior(mixture)),
    "vamp": Family(("model.prior=vamp:500",), over_prior(vamp)),
    "flow": Family(("model.prior=flow",), over_prior(flow)),
    "flow-posterior": Family(("model.posterior=flow",), flow_posterior),
    "categorical": Family(("model.latent=categorical:20x10",), categorical),
    "hierarchy": Family(("model.levels=3", "model.hidden=[256]"), hierarchy),
    "conv": Family(CONV, plain),
    "vq": Family((*CONV, "model.latent=vq:512"), quantised),
    "fsq": Family((*CONV, "model.latent='fsq:8,5,5,5'"), scalar),
}
