"""The only file that uses Lightning Fabric, for devices, processes and precision."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from vaekit.errors import VaekitError

T = TypeVar("T")


class Engine:
    """Where the arithmetic runs: on one or many devices and nodes, in float32 or bfloat16."""

    def __init__(
        self,
        device: str = "cpu",
        devices: int = 1,
        nodes: int = 1,
        precision: str = "32",
        strategy: str = "auto",
    ) -> None:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.precision import MixedPrecision

        class Autocast(MixedPrecision):
            """Uses bfloat16 for matrix products only.

            Lightning's own plugin also rounds the inputs: the data and the weights of the terms.
            """

            def convert_input(self, data: T) -> T:
                return data

        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        world = int(os.environ.get("LOCAL_WORLD_SIZE", devices))  # torchrun's number comes first
        self.fabric = Fabric(
            accelerator=device,
            devices=world,
            num_nodes=nodes,
            strategy=_strategy(strategy, world * nodes),
            plugins=Autocast("bf16-mixed", device) if precision == "bf16" else None,
        )
        self.fabric.launch()
        if self.world > 1:
            atexit.register(_leave)

    @property
    def device(self) -> torch.device:
        return self.fabric.device

    @property
    def rank(self) -> int:
        return self.fabric.global_rank

    @property
    def world(self) -> int:
        return self.fabric.world_size

    def setup(
        self, step: nn.Module | Callable, optimiser: Callable[[nn.Module], torch.optim.Optimizer]
    ) -> tuple[Any, Any]:
        """The step, placed on the device and wrapped, and the optimiser made for it."""
        wrapped = self.fabric.setup_module(cast(nn.Module, step))
        return wrapped, self.fabric.setup_optimizers(optimiser(wrapped))

    def backward(self, loss: Tensor) -> None:
        self.fabric.backward(loss)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        return (
            value
            if self.world == 1
            else cast(Tensor, self.fabric.all_reduce(value, reduce_op="mean"))
        )

    def gather(self, value: Tensor) -> Tensor:
        """Every process's value, stacked: (world, ...), on the CPU."""
        if self.world == 1:
            return value[None].cpu()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # from inside the engine
            warnings.simplefilter("ignore", DeprecationWarning)
            return cast(Tensor, self.fabric.all_gather(value.to(self.device))).cpu()

    def agree(self, make: Callable[[], T]) -> T:
        """The result of `make` in the leading process, given to every process.

        If `make` raises a VaekitError there, every process raises it.
        """
        made, error = cast(Any, self.fabric.broadcast(_attempt(make) if self.rank == 0 else None))
        if error:
            raise VaekitError(error)
        return made

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process."""
        return (
            flag
            if self.world == 1
            else bool(self.mean(torch.tensor(float(flag), device=self.device)) > 0)
        )

    def barrier(self) -> None:
        self.fabric.barrier()

    def leave(self) -> None:
        """End this process once all processes are done.

        At a normal exit, the threads of a process group may abort the process.
        """
        if self.world > 1:
            self.barrier()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def states(self, module: nn.Module, optimiser: Any) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All weights and the whole optimiser state, on the CPU, by parameter name.

        They are the same with every strategy.
        """
        from torch.distributed.checkpoint.state_dict import get_state_dict

        inner = getattr(optimiser, "optimizer", optimiser)
        return get_state_dict(module, inner, options=_whole())  # type: ignore[return-value]

    def load_states(
        self, module: nn.Module, optimiser: Any, weights: dict[str, Any], state: dict[str, Any]
    ) -> None:
        """Load what `states` returned."""
        from torch.distributed.checkpoint.state_dict import set_state_dict

        inner = getattr(optimiser, "optimizer", optimiser)
        set_state_dict(
            module, inner, model_state_dict=weights, optim_state_dict=state, options=_whole()
        )

    def shard(self, whole: Tensor, like: Tensor) -> Tensor:
        """This process's part of a whole tensor, split like `like`."""
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(whole, like.device_mesh, like.placements)  # type: ignore[attr-defined]


def _whole() -> Any:
    """Options for the whole state, on the CPU.

    The import takes half as long as importing torch, so only saving and resuming pay for it.
    """
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=True)


def _attempt(make: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return make(), ""
    except VaekitError as error:
        return None, str(error)


def _leave() -> None:
    """End the process group while its threads can be joined.

    At the exit of the interpreter they would abort the process.
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def choose_device(wanted: str) -> tuple[str, str]:
    """The accelerator's name and the reason for it.

    `auto` is the first of cuda, mps and cpu that is available.
    """
    there = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if wanted == "auto":
        name = next(name for name, ok in there.items() if ok)
        return name, "the fastest here" if name != "cpu" else "no GPU here"
    if wanted not in there:
        raise VaekitError(f"device '{wanted}': expected auto, cuda, mps or cpu")
    if not there[wanted]:
        found = ", ".join(name for name, ok in there.items() if ok)
        raise VaekitError(
            f"device '{wanted}' is not available here (found: {found}); use device auto"
        )
    return wanted, "as asked"


def has_fast_bf16(device: str) -> bool:
    """Whether bfloat16 products are faster than float32 ones on this device."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device == "cpu" and any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def _strategy(name: str, world: int) -> Any:
    if name == "fsdp":
        from lightning_fabric.strategies import ModelParallelStrategy

        return ModelParallelStrategy(_fully_shard, data_parallel_size=world, tensor_parallel_size=1)
    if name != "auto":
        return name
    return "ddp" if world > 1 else "auto"


def _fully_shard(module: nn.Module, mesh: Any) -> nn.Module:
    """FSDP2: parameters, gradients and moments are split into shards, one per process."""
    from torch.distributed.fsdp import fully_shard

    fully_shard(module, mesh=mesh["data_parallel"])
    return module
