"""Hierarchies of latents. One walk from the top down serves for inference and for generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Size, Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from vaekit.core.trace import Draw, Model, Trace
from vaekit.distributions.families import bounded, normal
from vaekit.models.priors import StandardNormal
from vaekit.models.vae import Conditional
from vaekit.nn.ladder import (
    Chain,
    ConvFall,
    ConvFoot,
    ConvHead,
    ConvMeet,
    ConvMerge,
    ConvRise,
    ConvTop,
    DenseHead,
    DenseMeet,
    DenseMerge,
    DenseResidual,
    DenseRise,
    Scales,
)

Choose = Callable[[int, Distribution, Tensor | None], tuple[Distribution, Tensor]]
"""Maps a level, its prior and the state above it to the distribution of its latent and the latent.

Level 0 is the top.
"""


class SideBySide(nn.Module):
    """net(*values, context) with all batch axes of the values flattened into one.

    `event_dims` gives the number of trailing axes that form one of each value; the axes before them
    broadcast.
    """

    def __init__(self, net: nn.Module, *event_dims: int) -> None:
        super().__init__()
        self.net, self.event_dims = net, event_dims

    def forward(self, *values: Tensor, context: Tensor | None = None) -> Tensor:
        pairs = list(zip(values, self.event_dims, strict=True))
        batch = torch.broadcast_shapes(
            *(value.shape[: value.dim() - dims] for value, dims in pairs)
        )
        flat = [_flat(value, batch, dims) for value, dims in pairs]
        return self.net(
            *flat, context=None if context is None else _flat(context, batch, 1)
        ).unflatten(0, batch)


class ResidualNormal(nn.Module):
    """q(z_l | z_<l, x) = N(m_p + d, (s_p r)^2), relative to the level's prior N(m_p, s_p^2).

    Vahdat & Kautz 2020, eq. 3. From the state and the level's feature, `net` gives the shift d and
    log r, side by side on the first event axis. Where both are 0, the posterior is the prior. So a
    level costs nothing until it is useful.
    """

    def __init__(self, net: nn.Module, event_dim: int = 1) -> None:
        super().__init__()
        self.net, self.event_dim = net, event_dim

    def forward(
        self, prior: Independent, state: Tensor, feature: Tensor, context: Tensor | None = None
    ) -> Independent:
        shift, log_ratio = self.net(state, feature, context=context).chunk(2, dim=-self.event_dim)
        scale = prior.base_dist.scale * bounded(log_ratio, -6, 6).exp()
        return Independent(
            Normal(prior.mean + shift.float(), scale, validate_args=False), self.event_dim
        )


class Hierarchy(Model):
    """p(x, z | c) = p(z_1 | c) prod_l p(z_l | z_<l, c) p(x | z, c), a model of L levels of latents.

    The posterior is q(z | x, c) = prod_l q(z_l | z_<l, x, c). Latents go from the top, z_1, down; a
    state carries all of z_<l to the next level. Sonderby et al. 2016 (ladder), Kingma et al. 2016
    (bidirectional). The objective decides how much each level must encode (free bits per latent).
    The parts:

    rise: (x, context) -> L features of the data, top first
    top: (feature, context) -> q(z_1 | x)
    prior: (context) -> p(z_1), any prior
    posteriors: L - 1 of (prior, state, feature, context) -> q(z_l | z_<l, x)
    priors: L - 1 of (state, context) -> p(z_l | z_<l)
    merges: L of (latent, state, context=context) -> the next state; the first takes (latent, context=context)
    decoder: (state, context) -> p(x | z)
    """

    def __init__(
        self,
        rise: nn.Module,
        top: nn.Module,
        prior: nn.Module,
        posteriors: Sequence[nn.Module],
        priors: Sequence[nn.Module],
        merges: Sequence[nn.Module],
        decoder: nn.Module,
    ) -> None:
        super().__init__()
        self.rise, self.top, self.prior, self.decoder = rise, top, prior, decoder
        self.posteriors, self.priors = nn.ModuleList(posteriors), nn.ModuleList(priors)
        self.merges = nn.ModuleList(merges)

    @property
    def levels(self) -> int:
        """The number of latents."""
        return len(self.merges)

    def descend(self, choose: Choose, context: Tensor | None = None) -> Trace:
        """Walk down the levels; `choose` gives the latent of each.

        Inference and generation both use this walk.
        """
        draws: list[Draw] = []
        state: Tensor | None = None
        for level, merge in enumerate(self.merges):
            prior = self.prior(context) if state is None else self.priors[level - 1](state, context)
            belief, z = choose(level, prior, state)
            draws.append(Draw(z, belief, prior))
            state = merge(z, context=context) if state is None else merge(z, state, context=context)
        return Trace(tuple(draws), self.decoder(state, context))

    def forward(
        self, x: Tensor, context: Tensor | None = None, draws: Size | tuple[int, ...] = ()
    ) -> Trace:
        believe = self._inference(x, context)

        def infer(
            level: int, prior: Distribution, state: Tensor | None
        ) -> tuple[Distribution, Tensor]:
            q = believe(level, prior, state)
            return q, q.rsample(Size(draws) if state is None else Size())

        return self.descend(infer, context)

    def encode(self, x: Tensor, context: Tensor | None = None) -> tuple[Distribution, ...]:
        """q(z_1 | x), then q(z_l | z_<l, x) at the means of those above; batch shape (B,)."""
        believe = self._inference(x, context)

        def infer(
            level: int, prior: Distribution, state: Tensor | None
        ) -> tuple[Distribution, Tensor]:
            q = believe(level, prior, state)
            return q, q.mean

        return tuple(draw.posterior for draw in self.descend(infer, context).draws)

    def decode(self, latents: Sequence[Tensor], context: Tensor | None = None) -> Distribution:
        """p(x | latents), with the top's latent first.

        If only the first few are given, the others are the means of their priors (see `sample`).
        """
        if not latents:
            raise ValueError(f"expected 1 to {self.levels} latents, with the top's first; got none")
        return self._given(latents, context, lambda prior: prior.mean).likelihood

    def sample(
        self, n: int, context: Tensor | None = None, latents: Sequence[Tensor] = ()
    ) -> tuple[Tensor, ...]:
        """L latents of n data, drawn from the prior.

        If the first few latents of n data are given, the others are drawn below them.
        """

        def draw(prior: Distribution) -> Tensor:
            return prior.sample(Size((n,)) if prior.batch_shape == Size() else Size())

        return tuple(draw.z for draw in self._given(latents, context, draw).draws)

    def _given(
        self,
        latents: Sequence[Tensor],
        context: Tensor | None,
        draw: Callable[[Distribution], Tensor],
    ) -> Trace:
        """Walk down with the given latents; `draw` makes the others from their priors."""
        if len(latents) > self.levels:
            raise ValueError(
                f"expected at most {self.levels} latents, with the top's first; got {len(latents)}"
            )

        def choose(
            level: int, prior: Distribution, state: Tensor | None
        ) -> tuple[Distribution, Tensor]:
            return prior, latents[level] if level < len(latents) else draw(prior)

        return self.descend(choose, context)

    def _inference(
        self, x: Tensor, context: Tensor | None
    ) -> Callable[[int, Distribution, Tensor | None], Distribution]:
        features = self.rise(x, context)

        def believe(level: int, prior: Distribution, state: Tensor | None) -> Distribution:
            if state is None:
                return self.top(features[level], context)
            return self.posteriors[level - 1](prior, state, features[level], context)

        return believe


class TopEncoder(nn.Module):
    """(x, context) -> q(z_1 | x), made of a hierarchy's own parts.

    A VampPrior at the top is a mixture of these posteriors.
    """

    def __init__(self, rise: nn.Module, top: nn.Module) -> None:
        super().__init__()
        self.rise, self.top = rise, top

    def forward(self, x: Tensor, context: Tensor | None = None) -> Distribution:
        return self.top(self.rise(x, context)[0], context)


def dense_hierarchy(
    shape: Sequence[int],
    outputs: int,
    latents: Sequence[int],
    width: int,
    blocks: int,
    family: Callable[[Tensor], Distribution],
    activation: str = "silu",
    context: int = 0,
    top: nn.Module | None = None,
    dropout: float = 0.0,
) -> Hierarchy:
    """A hierarchy of vectors for data (C, H, W); `latents` are their dimensions, top first.

    The decoder gives (outputs, H, W). States and features have `width` dimensions. Each stage has
    `blocks` residual blocks, with `dropout` in training. `top` is p(z_1); without it, it is N(0,
    I).
    """

    def stage() -> Chain:
        return Chain([DenseResidual(width, activation, context, dropout) for _ in range(blocks)])

    def read(*out: int) -> DenseHead:
        return DenseHead(width, out, activation)

    first, lower = latents[0], latents[1:]
    return Hierarchy(
        DenseRise(shape, width, [stage() for _ in latents]),
        Conditional(read(2 * first), normal),
        StandardNormal(first) if top is None else top,
        [
            ResidualNormal(SideBySide(DenseMeet(width, stage(), 2 * z, activation), 1, 1))
            for z in lower
        ],
        [Conditional(read(2 * z), normal) for z in lower],
        [
            SideBySide(DenseMerge(first, width, stage()), 1),
            *(SideBySide(DenseMerge(z, width, stage()), 1, 1) for z in lower),
        ],
        Conditional(read(outputs, *shape[1:]), family),
    )


def conv_hierarchy(
    shape: Sequence[int],
    outputs: int,
    latents: Sequence[int],
    width: int,
    blocks: int,
    family: Callable[[Tensor], Distribution],
    stride: int = 1,
    context: int = 0,
    top: nn.Module | None = None,
) -> Hierarchy:
    """A vector of `latents[0]` dimensions, then maps of `latents[1:]` channels, ever finer.

    This is for data (C, H, W) of any size, and the decoder gives (outputs, H, W). The finest scale
    is that of the data divided by `stride` (1 or 2), with `width` channels. Each scale has `blocks`
    residual blocks; `top` is as in `dense_hierarchy`.
    """
    first, lower = latents[0], latents[1:]
    scales = Scales.of(shape, width, stride, len(lower))
    places, coarsest = scales.places, len(scales.sizes) - 1
    widths = [scales.widths[place] for place in places]
    ends = [*places[1:], *places[-1:]]  # for each merge, the scale of the next latent
    return Hierarchy(
        ConvRise(scales, blocks, context),
        Conditional(ConvTop(scales.widths[-1], scales.sizes[-1], 2 * first), normal, 3),
        StandardNormal(first) if top is None else top,
        [
            ResidualNormal(SideBySide(ConvMeet(w, blocks, 2 * z, context), 3, 3), 3)
            for w, z in zip(widths, lower, strict=True)
        ],
        [
            Conditional(ConvHead(w, 2 * z), normal_map, 3)
            for w, z in zip(widths, lower, strict=True)
        ],
        [
            SideBySide(ConvFoot(first, scales, blocks, [*places, coarsest][0], context), 1),
            *(
                SideBySide(ConvMerge(z, scales, blocks, start, end, context), 3, 3)
                for z, start, end in zip(lower, places, ends, strict=True)
            ),
        ],
        Conditional(ConvFall(scales, blocks, [coarsest, *places][-1], outputs, context), family, 3),
    )


def normal_map(raw: Tensor) -> Independent:
    """Diagonal normal over maps: raw (..., 2 Z, h, w) holds means and log standard deviations in (-6, 6)."""
    mean, log_scale = raw.chunk(2, dim=-3)
    return Independent(
        Normal(mean.float(), bounded(log_scale, -6, 6).exp(), validate_args=False), 3
    )


def _flat(value: Tensor, batch: Size, event_dim: int) -> Tensor:
    event = value.shape[value.dim() - event_dim :]
    return value.expand(*batch, *event).flatten(0, len(batch) - 1)
