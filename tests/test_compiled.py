"""What the real compiler makes of a network has the network's gradients."""

from __future__ import annotations

import shutil

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.core.kl import _is_registered
from vaekit.nn import conv
from vaekit.nn.conv import ConvDecoder, doubled


def gradients(net: nn.Module, run: nn.Module, z: Tensor) -> dict[str, Tensor]:
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(z).float().square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.skipif(shutil.which("c++") is None, reason="the compiler of torch needs one of C++")
def test_no_gradient_is_lost_below_an_enlarged_map() -> None:
    torch.manual_seed(0)
    net = ConvDecoder(3, 16, 1, (1, 8, 8))
    for p in net.parameters():  # as trained, for the last layer of a new block is zero
        nn.init.normal_(p, std=0.1)
    z = torch.randn(4, 3)
    torch.compiler.reset()
    eager, compiled = gradients(net, net, z), gradients(net, torch.compile(net), z)
    assert eager.keys() == compiled.keys()
    for name, gradient in eager.items():
        assert compiled[name].norm() > 0.5 * gradient.norm(), name
    whole, again = (torch.cat([g.flatten() for g in found.values()]) for found in (eager, compiled))
    assert (whole - again).norm() < 0.05 * whole.norm()


@pytest.mark.parametrize("n", range(1, 20))
def test_both_ways_to_enlarge_are_interpolation_by_the_nearest(n: int) -> None:
    h = torch.randn(2, 3, n, n + 2)
    for size in ((2 * n, 2 * n + 4), (2 * n - 1, 2 * n + 4), (2 * n - 1, 2 * n + 3)):
        nearest = F.interpolate(h, size=size, mode="nearest")
        for way in (doubled, conv._squares):
            assert torch.equal(way(h, size), nearest)


def test_what_the_compiler_takes_for_a_constant_is_marked_as_it_marks_it() -> None:
    """Without importing it, which takes as long as importing torch."""
    marked = torch.compiler.assume_constant_result(lambda q, p: True)
    assert vars(marked).items() <= vars(_is_registered).items()
    assert vars(marked)
