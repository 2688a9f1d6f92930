"""Compiled networks have the same gradients as uncompiled ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._inductor.runtime import cache_dir_utils

from vaekit.core.kl import _is_registered
from vaekit.nn import conv
from vaekit.nn.conv import ConvDecoder, doubled
from vaekit.training import compiling


def gradients(net: nn.Module, run: nn.Module, z: Tensor) -> dict[str, Tensor]:
    net.zero_grad(set_to_none=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = run(z).float().square().mean()
    loss.backward()
    return {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}


@pytest.mark.slow
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


@pytest.fixture
def common(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The folder where torch keeps compiled code by default; the environment names no other."""
    monkeypatch.setattr(cache_dir_utils, "default_cache_dir", lambda: str(tmp_path / "common"))
    monkeypatch.delenv(compiling.FOLDER, raising=False)
    return str(tmp_path / "common")


def folder_under(monkeypatch: pytest.MonkeyPatch, capability: str) -> str:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    compiling.keep_by_processor()
    return os.environ[compiling.FOLDER]


def test_each_capability_has_a_folder_of_compiled_code(
    monkeypatch: pytest.MonkeyPatch, common: str
) -> None:
    """This holds too if a process inherits the folder of another capability, or torch chose one
    before.
    """
    folders = [folder_under(monkeypatch, name) for name in ("AVX512", "AVX2", "DEFAULT", "AVX512")]
    assert len(set(folders)) == 3
    assert folders[0] == folders[3]
    assert all(folder.startswith(f"{common}-") for folder in folders)
    monkeypatch.setenv(compiling.FOLDER, common)
    assert folder_under(monkeypatch, "AVX2") == folders[1]


def test_each_processor_has_a_folder_of_compiled_code(
    monkeypatch: pytest.MonkeyPatch, common: str, tmp_path: Path
) -> None:
    folders = set()
    for flags in ("avx avx2", "avx avx2 avx512f", "avx avx2"):
        told = tmp_path / "cpuinfo"
        told.write_text(f"processor : 0\nmodel name : P\nflags : {flags}\n\nprocessor : 1\n")
        monkeypatch.setattr(compiling, "CPUINFO", told)
        folders.add(folder_under(monkeypatch, "AVX2"))
    monkeypatch.setattr(compiling, "CPUINFO", tmp_path / "not there")
    folders.add(folder_under(monkeypatch, "AVX2"))
    assert len(folders) == 3


def test_a_folder_that_the_user_names_is_kept(monkeypatch: pytest.MonkeyPatch, common: str) -> None:
    monkeypatch.setenv(compiling.FOLDER, "/somewhere/else")
    assert folder_under(monkeypatch, "AVX2") == "/somewhere/else"


def test_whatever_is_compiled_is_kept_by_processor(
    monkeypatch: pytest.MonkeyPatch, common: str
) -> None:
    seen = []
    monkeypatch.setattr(
        torch, "compile", lambda *_, **__: seen.append(os.environ[compiling.FOLDER])
    )
    compiling.compiled(torch.sin, dynamic=False)
    assert seen == [f"{common}-{compiling.processor()}"]


def test_what_the_compiler_takes_for_a_constant_is_marked_as_it_marks_it() -> None:
    """The mark is set without importing the compiler, which takes as long as importing torch."""
    marked = torch.compiler.assume_constant_result(lambda q, p: True)
    assert vars(marked).items() <= vars(_is_registered).items()
    assert vars(marked)
