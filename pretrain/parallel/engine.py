"""A model under DeepSpeed: ZeRO over the data axis (Rajbhandari et al. 2020), pipelines over the pipe axis."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pretrain.parallel.mesh import Mesh
from pretrain.parallel.muon import Muon


def partitioner(config: dict[str, Any], mesh: Mesh) -> Callable[[nn.Module], None] | None:
    """With ZeRO 3 what partitions a layer over the data axis, else None. All ranks call it, and it, together.

    Its numbers are first rounded to the format of the engine, as the engine itself would do.
    """
    if config["zero_optimization"]["stage"] != 3:
        return None
    import deepspeed

    grid, dtype = make_grid(mesh), _number_format(config)
    group = None if grid is None else grid.get_data_parallel_group()

    def partition(layer: nn.Module) -> None:
        deepspeed.zero.Init(layer.to(dtype), data_parallel_group=group, config_dict_or_path=config, mpu=grid)

    return partition


def _number_format(config: dict[str, Any]) -> torch.dtype:
    if config.get("fp16", {}).get("enabled"):
        return torch.float16
    return torch.bfloat16 if config["bf16"]["enabled"] else torch.float32


def make_engine(model: nn.Module, optimizer: torch.optim.Optimizer, config: dict[str, Any], mesh: Mesh) -> Any:
    """The DeepSpeedEngine of `model` with `config` (DeepSpeed's JSON), after prepare_deepspeed. All ranks call it."""
    import deepspeed

    with contextlib.redirect_stdout(io.StringIO()):  # its bf16 optimizer prints memory tables
        engine, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=config, mpu=make_grid(mesh), dist_init_required=False
        )
    return engine


def prepare_deepspeed() -> None:
    """Before anything of DeepSpeed starts: nothing is compiled, and it speaks only when something is wrong.

    The optimizer is torch's own, and none of DeepSpeed's ops is said to be buildable. Else it would try a compiler on
    each, and build a shared-memory collective with ninja when it starts on a CPU.
    """
    import deepspeed
    import deepspeed.ops
    from deepspeed.accelerator import get_accelerator
    from deepspeed.git_version_info import installed_ops
    from deepspeed.runtime.zero import utils as zero

    vars(deepspeed.ops)["__compatible_ops__"] = dict.fromkeys(installed_ops, False)
    if not torch.cuda.is_available():
        # it asks for instructions that make fp16 fast; torch computes it on any CPU
        vars(get_accelerator())["is_fp16_supported"] = lambda: True
    _import_without_compiler("deepspeed.runtime.zero.muon.muon_optimizer")
    if Muon not in zero.ZERO_SUPPORTED_OPTIMIZERS:  # else it warns; tests/training/layouts.py has tried it
        zero.ZERO_SUPPORTED_OPTIMIZERS.append(Muon)
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)


def _import_without_compiler(module: str) -> None:
    """Import a module whose functions are made for torch.compile, leaving them as they are.

    DeepSpeed imports Muon whatever the optimizer is, and the first use of torch.compile imports the compiler: a quarter
    of the processor time of a start.
    """

    def left_as_it_is(model: Any = None, **_: Any) -> Any:
        return model or (lambda function: function)

    with replaced(torch, "compile", left_as_it_is):
        importlib.import_module(module)


@lru_cache(maxsize=1)
def make_grid(mesh: Mesh) -> Any:
    """The mesh as DeepSpeed wants to be told of it, None where it has nothing to know; a pipeline brings its own.

    Its process groups are made once.
    """
    if mesh.tensor.size == 1 or mesh.layout.pipe > 1:
        return None
    from deepspeed.runtime.pipe.topology import PipelineParallelGrid, PipeModelDataParallelTopology

    return PipelineParallelGrid(PipeModelDataParallelTopology(1, mesh.layout.tensor, mesh.layout.data))


def gradient_norm(engine: Any, mesh: Mesh) -> Tensor:
    """The global norm before clipping of an engine without ZeRO, which does not keep it; call it before the step."""
    counted = [
        p.grad for p in engine.module.parameters() if p.grad is not None and (p.model_parallel or mesh.at.tensor == 0)
    ]
    norm = torch.nn.utils.get_total_norm(counted)
    if mesh.tensor.size > 1:
        squares = norm.square()
        dist.all_reduce(squares, group=mesh.tensor.group)
        norm = squares.sqrt()
    return norm


def loss_scale(engine: Any) -> float:
    """What the loss was multiplied with; the engine divides gradients by it before it clips. 1 but in fp16."""
    return float(getattr(engine.optimizer, "loss_scale", 1.0))


def summed_gradient(engine: Any, weight: nn.Parameter) -> Tensor:
    """The tensor in which DeepSpeed sums a parameter's gradient over micro-batches; it depends on its optimizer."""
    in_fp32 = getattr(weight, "_hp_grad", None)
    if in_fp32 is not None:
        return cast(Tensor, in_fp32)
    return cast(Tensor, engine.optimizer.get_param_gradient_attribute(weight))


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Inside the block `owner.name` is `value`."""
    own = vars(owner)
    missing = object()
    before = own.get(name, missing)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if before is missing:
            delattr(owner, name)
        else:
            setattr(owner, name, before)
