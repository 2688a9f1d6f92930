"""The best bare PyTorch loops we can write for the benchmark's nets: the bar that vaekit's loop is held against.

    python benchmarks/bare.py --net mlp --loop whole --precision bf16 --batch 64

Three loops over uint8 images that stay on the device and are taken by `index_select`: `eager`; `compiled` (forward and
backward are two compiled graphs, fused AdamW); `whole` (everything from the indices to the new weights is one graph).
None of them logs, clips, averages weights or checks for NaN. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from nets import KINDS, Decoder, Encoder, Stopwatch, digits
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value

LR, DECAY, BETAS, EPS = 1e-3, 0.01, (0.9, 0.999), 1e-8
TYPES = {"32": torch.float32, "bf16": torch.bfloat16}
State = list[dict[str, Tensor]]
Update = Callable[[Tensor], Tensor]
"""Indices (B,) in, the loss () out, the weights moved."""
Take = Callable[[Tensor], Tensor]


class Loss(nn.Module):
    """-ELBO of a Bernoulli VAE in nats per image: x (B, 1, 28, 28) uint8 of 0 and 1 -> (). The nets run in `dtype`."""

    def __init__(self, kind: str, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.decoder, self.dtype = Encoder(kind), Decoder(kind), dtype

    def forward(self, x: Tensor) -> Tensor:
        mean, log_var = self.encoder(x.to(self.dtype)).float().chunk(2, dim=1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_var)
        logits = self.decoder(z.to(self.dtype)).float()
        distortion = F.binary_cross_entropy_with_logits(logits, x.float(), reduction="sum")
        rate = -0.5 * (1 + log_var - mean * mean - log_var.exp()).sum()
        return (distortion + rate) / x.shape[0]


def eager(
    loss: Loss, take: Take, device: str, dtype: torch.dtype, compiled: bool = False
) -> Update:
    """Autocast, fused AdamW, gradients set to None; with `compiled`, forward and backward are compiled."""
    optimiser = torch.optim.AdamW(
        loss.parameters(), lr=LR, weight_decay=DECAY, betas=BETAS, eps=EPS, fused=True
    )

    def forward(index: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=dtype is torch.bfloat16):
            return loss(take(index))

    run = torch.compile(forward, fullgraph=True, dynamic=False) if compiled else forward

    def step(index: Tensor) -> Tensor:
        value = run(index)
        value.backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return value.detach()

    return step


def whole(loss: Loss, take: Take, device: str, dtype: torch.dtype) -> Update:
    """One graph a step. The nets' weights are copies in `dtype`, written by the kernel that moves the float32 ones.

    So bfloat16 costs no casts of weights and gradients, and AdamW is one pass over memory, fused by the compiler.
    """
    weights = {name: p.detach().clone() for name, p in loss.named_parameters()}
    copies = {name: w.to(dtype, copy=True) for name, w in weights.items()}
    means, squares = ({name: torch.zeros_like(w) for name, w in weights.items()} for _ in range(2))
    clock = torch.zeros((), device=device)

    def body(state: State, clock: Tensor, index: Tensor) -> Tensor:
        copies, weights, means, squares = state
        x = take(index)
        grads, value = grad_and_value(lambda w: functional_call(loss, w, (x,)))(copies)
        clock.add_(1)
        for name, weight in weights.items():
            g = grads[name].float()
            mean = means[name].lerp(g, 1 - BETAS[0])
            square = squares[name].lerp(g * g, 1 - BETAS[1])
            size = square.sqrt() * (1 - BETAS[1] ** clock).rsqrt() + EPS
            new = weight * (1 - LR * DECAY) - mean * (LR / (1 - BETAS[0] ** clock)) / size
            for old, value_ in (
                (means[name], mean),
                (squares[name], square),
                (weight, new),
                (copies[name], new),
            ):
                old.copy_(value_)
        return value

    options = {"guard_filter_fn": torch.compiler.skip_all_guards_unsafe}  # nothing changes shape
    run = torch.compile(body, fullgraph=True, dynamic=False, options=options)
    state = [copies, weights, means, squares]

    def step(index: Tensor) -> Tensor:
        with torch.no_grad():
            return run(state, clock, index)

    return step if device == "cpu" else _recorded(step)


def _recorded(step: Update) -> Update:
    """On a GPU: after three warm-up steps the step is recorded as a CUDA graph and replayed."""
    graph, kept, calls = torch.cuda.CUDAGraph(), {}, 0

    def run(index: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls <= 3:
            return step(index)
        if not kept:
            kept["index"] = index.clone()
            torch.cuda.synchronize()
            with torch.cuda.graph(graph):
                kept["value"] = step(kept["index"])
        kept["index"].copy_(index)
        graph.replay()
        return kept["value"]

    return run


def batches(n: int, batch: int, device: str) -> Iterator[Tensor]:
    """Indices (batch,) for ever, shuffled anew each epoch, without the short batch at its end."""
    while True:
        yield from torch.randperm(n, device=device)[: n // batch * batch].split(batch)


def build(net: str, loop: str, precision: str, device: str, images: int) -> tuple[Update, int]:
    """The step of that loop, and how many images it may be asked for."""
    data, dtype = digits(images).to(device), TYPES[precision]
    torch.manual_seed(0)
    loss = Loss(net, dtype if loop == "whole" else torch.float32).to(device)
    if net == "conv":
        loss = loss.to(memory_format=torch.channels_last)

    def take(index: Tensor) -> Tensor:
        return data.index_select(0, index)

    if loop == "whole":
        return whole(loss, take, device, dtype), len(data)
    return eager(loss, take, device, dtype, compiled=loop == "compiled"), len(data)


def measure(step: Update, n: int, batch: int, device: str, watch: Stopwatch) -> float:
    """Train until the watch has seen enough; the mean loss of the last stretch."""
    stretch, total, done = max(1, 8192 // batch), torch.zeros((), device=device), 0
    for index in batches(n, batch, device):
        total += step(index)
        done += 1
        if done == stretch:
            mean, done = total.item() / stretch, 0  # .item() waits for the device
            total.zero_()
            if watch.tick(stretch * batch):
                return mean
    raise AssertionError("batches() never ends")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--net", choices=KINDS, default="mlp")
    parser.add_argument("--loop", choices=("eager", "compiled", "whole"), default="whole")
    parser.add_argument("--precision", choices=TYPES, default="bf16")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--windows", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long a window is")
    ask = parser.parse_args()
    step, n = build(ask.net, ask.loop, ask.precision, ask.device, ask.images)
    began = time.perf_counter()
    first = step(next(batches(n, ask.batch, ask.device))).item()
    compile_s, watch = time.perf_counter() - began, Stopwatch(ask.seconds, ask.windows)
    loss = measure(step, n, ask.batch, ask.device, watch)
    versions = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    result = (
        {"side": "bare"}
        | vars(ask)
        | watch.report()
        | {"first_step_s": compile_s, "losses": [first, loss]}
    )
    print(json.dumps(result | {"versions": versions}))


if __name__ == "__main__":
    main()
