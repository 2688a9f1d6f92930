"""A causal transformer over tokens, small enough for a prior: it maps integers to logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Past(NamedTuple):
    """Earlier keys and values, (N, heads, length, width / heads), filled from the left."""

    keys: Tensor
    values: Tensor


class Block(nn.Module):
    """h + attention(norm(h)), then h + mlp(norm(h)).

    Each position sees itself and those before it.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.mix = nn.Linear(width, width)
        self.rise, self.fall = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for last in (self.mix, self.fall):
            nn.init.zeros_(
                last.weight
            )  # each block starts as the identity, so deep networks train as stably as shallow ones

    def forward(self, h: Tensor) -> Tensor:
        """(B, T, width) -> (B, T, width)."""
        query, key, value = self._split(h)
        return self._finish(h, F.scaled_dot_product_attention(query, key, value, is_causal=True))

    def step(self, h: Tensor, past: Past, position: int) -> Tensor:
        """The same for one position (N, 1, width). Its key and value are stored in `past`."""
        query, key, value = self._split(h)
        past.keys[:, :, position : position + 1] = key
        past.values[:, :, position : position + 1] = value
        keys, values = (tensor[:, :, : position + 1] for tensor in past)
        return self._finish(h, F.scaled_dot_product_attention(query, keys, values))

    def _split(self, h: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (B, heads, T, width / heads)."""
        parts = self.queries_keys_values(self.norm1(h)).chunk(3, dim=-1)
        return tuple(part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)

    def _finish(self, h: Tensor, seen: Tensor) -> Tensor:
        h = h + self.mix(seen.transpose(1, 2).flatten(2))
        return h + self.fall(F.gelu(self.rise(self.norm2(h))))


class CausalTransformer(nn.Module):
    """Logits of the next token given the tokens before it.

    Tokens (B, T) and a context (B, `context`) give (B, T, vocabulary). The logits at position t
    depend only on the tokens before t (none at t = 0) and on the context, which is added at every
    position. Positions are learned. Token t belongs to stream t mod `streams`. Streams have their
    own embeddings and output layers, and share only the size of the vocabulary. All logits start at
    zero.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        width: int = 128,
        layers: int = 2,
        heads: int = 4,
        context: int = 0,
        streams: int = 1,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} is not a multiple of the {heads} heads")
        self.vocabulary, self.length, self.streams = vocabulary, length, streams
        self.words = nn.Embedding(streams * vocabulary, width)
        self.positions = nn.Parameter(
            0.02 * torch.randn(length, width)
        )  # the first one is the start token
        self.context = nn.Linear(context, width) if context else None
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.heads = nn.ModuleList(nn.Linear(width, vocabulary) for _ in range(streams))
        nn.init.normal_(self.words.weight, std=0.02)
        for head in cast(list[nn.Linear], self.heads):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        stream = torch.arange(self.length - 1, device=tokens.device) % self.streams
        words = self.words(tokens[:, :-1] + stream * self.vocabulary)
        h = F.pad(words, (0, 0, 1, 0)) + self._where(slice(None), context)
        for block in self.blocks:
            h = block(h)
        h = self.norm(h)
        scores = [head(h[:, i :: self.streams]) for i, head in enumerate(self.heads)]
        return torch.stack(scores, dim=2).flatten(1, 2)

    @torch.no_grad()
    def complete(
        self, n: int, choose: Callable[[Tensor], Tensor], context: Tensor | None = None
    ) -> Tensor:
        """n rows of tokens (n, T), drawn one position after the other.

        `choose` maps logits (n, vocabulary) to tokens (n,).
        """
        pasts = [self._past(n, cast(Block, block).heads) for block in self.blocks]
        tokens = torch.empty((n, self.length), dtype=torch.long, device=self.positions.device)
        h = self.positions.new_zeros(n, 1, self.positions.shape[1])
        for t in range(self.length):
            tokens[:, t] = choose(self._step(h + self._where(slice(t, t + 1), context), pasts, t))
            h = self.words(tokens[:, t : t + 1] + t % self.streams * self.vocabulary)
        return tokens

    def _where(self, positions: slice, context: Tensor | None) -> Tensor:
        """What is added to the embeddings at these positions, (T, width) or (B, T, width)."""
        at = self.positions[positions]
        return (
            at if self.context is None or context is None else at + self.context(context)[:, None]
        )

    def _step(self, h: Tensor, pasts: list[Past], position: int) -> Tensor:
        for block, past in zip(self.blocks, pasts, strict=True):
            h = cast(Block, block).step(h, past, position)
        return self.heads[position % self.streams](self.norm(h[:, 0]))

    def _past(self, n: int, heads: int) -> Past:
        width = self.positions.shape[1]
        shape = (n, heads, self.length, width // heads)
        return Past(self.positions.new_empty(shape), self.positions.new_empty(shape))
