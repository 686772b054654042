"""Rows of published runs as jobs of the planner: what a table of figures says, and what its framework is known to do.

Columns are those of published-runs/*.csv below PRETRAIN_TEST_DATA. What a row leaves open and its authors tuned (the
micro-batch, parts per pipeline rank) is left open here too: `jobs_of` gives every choice, and the planner
takes about the fastest, as they did.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Literal

from pretrain.config.counts import flops_per_token
from pretrain.config.hardware import Hardware
from pretrain.config.layout import Layout
from pretrain.config.load import load_hardware
from pretrain.config.run import Run
from pretrain.planning.job import Job, Practice
from pretrain.planning.keeping import Keeping

GPUS = {
    "A100-40GB": "a100-40gb", "A100": "a100-80gb", "A800": "a100-80gb",
    "H100-96GB": "h100-500w", "H100": "h100", "H200": "h200", "H800": "h100",
}  # fmt: skip
"""Beginning of a row's `gpu`, and the cluster file that has its figures."""
FIRST_FLASH = {"a100": 0.54, "h100": 0.45}
"""Speed of the first FlashAttention by the second, which was written for these GPUs (fitted)."""
OTHERS = Practice(attention="flash", loss="steps", accumulated=3.4, fetches="fsdp")
"""Where nothing else is known."""
MEGATRON = replace(OTHERS, attention="fused", fused=True, cut="blocks", spreads_pipe=True, redoes_last=True)
"""Megatron-LM and Megatron-DeepSpeed of 2021 and 2022."""
FP8 = {"tensorwise": 1.72, "rowwise": 0.67}
"""Speed of linear layers in fp8 by 16 bits, scaling included (fitted; rowwise to the two rows that have it)."""
PRACTICES = {
    "narayanan21_t1": MEGATRON,
    "korthikanti22_t5": replace(MEGATRON, hides_tensor="backward", waits=0.0),
    "mcore_h100": replace(MEGATRON, attention="flash", hides_gradients=True, hides_tensor="both"),
    "vtrain_multi": MEGATRON,
    "vtrain_single": MEGATRON,
    "bigscience_a100": MEGATRON,
    "hagemann23": replace(MEGATRON, attention="flash", fused=False, input_gradients=1.38),
    "internevo": replace(OTHERS, fused=True, loss="kernel", redoes_last=True),
    "llm_foundry": replace(OTHERS, hides_gradients=True, loss="kernel"),
    "torchtitan": replace(OTHERS, fused=True, hides_gradients=True),
}
"""By group of rows."""


NETWORKS = {"hagemann23": 1.89, "bigscience_a100": 2.06}
"""GB/s for each GPU where a table does not say (one adapter of 100 Gb/s for the node), or where Omni-Path gave less
than it says (fitted)."""
LINKS = {"bigscience_a100": 111.0}
"""GB/s of NVLink that exchanges of a source had (fitted)."""
IN_TURN = 2.8e-3
"""Seconds for each data rank of InternEvo's broadcasts of parameters (fitted)."""


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def hardware_named(name: str) -> Hardware:
    """Of a cluster file."""
    return Hardware.parse(load_hardware(name))


def hardware_of(row: dict[str, str]) -> Hardware:
    """The row's GPU with the network that the row names."""
    found = next((file for name, file in GPUS.items() if row["gpu"].startswith(name)), None)
    if found is None:
        raise ValueError(f"no figures for {row['gpu']}")
    hardware, group = hardware_named(found), row.get("group", "")
    fewer = row["gpu"].startswith(("A800", "H800"))  # the same chips with fewer links
    links = LINKS.get(group, 200.0 if fewer else hardware.link_bandwidth)
    network = NETWORKS.get(group) or _network(row) or hardware.network_bandwidth
    return hardware.model_copy(update={"link_bandwidth": links, "network_bandwidth": network})


def _network(row: dict[str, str]) -> float | None:
    """GB/s for each GPU, where the row says."""
    speed = re.search(r"(?:(\d+)x)?(\d+)Gb/s", row["inter_link"])
    if not speed:
        return None
    gpus = 1 if "per GPU" in row["inter_link"] else _int(row, "gpus_per_node", 8)
    return int(speed[1] or 1) * int(speed[2]) / 8 / gpus


def _int(row: dict[str, str], key: str, default: int) -> int:
    return int(float(row[key])) if row.get(key) else default


def run_of(row: dict[str, str], micro_batch: int) -> Run:
    """What a row says of model, batch and layout, as a run."""
    width, tensor = _int(row, "hidden", 1), _int(row, "tp", 1)
    layers = _int(row, "layers", 0) or _layers_from(row)
    heads = _int(row, "heads", 0) or _heads_from(width, tensor)
    llama = row["mlp"] == "swiglu"
    recompute, every = row["recompute"].split("(")[0] or "none", 1
    if row.get("group") == "torchtitan" and recompute == "selective":  # every second product is computed again
        recompute, every = "full", 2
    if row.get("group") == "vtrain_single":
        recompute = "none"  # whatever its table says: docs/planning-errors.md
    zero = re.match(r"[0-3]", row.get("zero") or "")
    model = {
        "layers": layers, "d_model": width, "heads": heads, "d_head": max(1, width // heads),
        "kv_heads": _int(row, "kv_heads", heads), "d_ff": _int(row, "ffn", 4 * width),
        "context": _int(row, "seq", 2048), "vocab_size": _int(row, "vocab", 50257),
        "activation": "swiglu" if llama else "gelu", "norm": "rmsnorm" if llama else "layernorm",
        "positions": "rope" if llama else "learned",
        "vocab_multiple": 1 if row.get("group") == "vtrain_single" and tensor == 1 else 128,
        "bias": not llama, "tied_embeddings": not llama, "dropout": 0.1 if _is_old(row) else 0.0,
    }  # fmt: skip
    if model["d_head"] % 2:
        model["positions"] = "learned"
    sequence = {"y": True, "n": False}.get(
        row.get("seq_parallel", ""), tensor > 1 and row.get("group") in ("torchtitan", "mcore_h100")
    )
    return Run.parse({
        "name": "published", "train": {"tokens": "1B"}, "model": model, "data": {"manifest": "none"},
        "batch": {"global_batch_size": max(1, _int(row, "gbs", 1)), "micro_batch_size": micro_batch},
        "optimizer": {"learning_rate": 1e-4},
        "precision": {"compute": "fp16" if row["precision"] == "fp16" else "bf16"},
        "parallel": {"tensor": tensor, "pipe": _int(row, "pp", 1), "zero": int(zero[0]) if zero else 1,
                     "sequence_parallel": sequence if tensor > 1 else None,
                     "recompute": recompute, "recompute_every": every},
    })  # fmt: skip


def _product_speed(row: dict[str, str]) -> float:
    if "fp8" not in row["precision"]:
        return 1.0
    return FP8["rowwise" if "rowwise" in row["precision"] else "tensorwise"]


def _is_old(row: dict[str, str]) -> bool:
    """GPT in fp16 without FlashAttention: Megatron of 2021 and 2022, with dropout."""
    return row["mlp"] == "gelu" and row["precision"] == "fp16" and "flash" not in (row.get("attn_kernel") or "")


def _layers_from(row: dict[str, str]) -> int:
    """From the parameters, where a table has no layers."""
    width, vocabulary = float(row["hidden"]), float(row["vocab"])
    return max(1, round((float(row["params_B"]) * 1e9 - vocabulary * width) / (12 * width**2)))


def _heads_from(width: int, tensor: int) -> int:
    """Heads of 128 or near it, a multiple of the tensor axis."""
    choices = [n for n in range(tensor, width + 1, tensor) if width % n == 0]
    return min(choices or [1], key=lambda n: abs(width / n - 128))


def _cut(row: dict[str, str]) -> Literal["blocks", "ends"]:
    """BLOOM's later layouts count the embedding and the head as a block each."""
    layers, pipe = _int(row, "layers", 0), _int(row, "pp", 1)
    return "ends" if layers and layers % pipe and (layers + 2) % pipe == 0 else "blocks"


def _practice(row: dict[str, str]) -> Practice:
    """What the row's framework does: by its source, then by what the row says of kernels, formats and ZeRO."""
    practice = PRACTICES.get(row.get("group", "")) or (MEGATRON if _is_old(row) else OTHERS)
    if kernel := row.get("attn_kernel"):
        old = "v1" in kernel or "triton" in kernel
        kind = "plain" if kernel == "torch" else "fused" if "fused" in kernel else "flash"
        speed = FIRST_FLASH["h100" if row["gpu"].startswith("H") else "a100"] if old else 1.0
        practice = replace(practice, attention=kind, flash_speed=speed)
    if row.get("group") == "hagemann23":
        practice = replace(practice, keeps=Keeping(fused_norm="RMS" in kernel))
    if row.get("group") == "torchtitan":
        hidden = "both" if "async TP" in row["notes"] else "none"
        compiled = "compile" in row["notes"]
        loss: Literal["steps", "kernel"] = "kernel" if compiled else "steps"
        keeps = Keeping(fused_norm=compiled)
        practice = replace(practice, fused=compiled, hides_tensor=hidden, loss=loss, keeps=keeps)
    if practice.cut == "blocks":
        practice = replace(practice, cut=_cut(row))
    if group := re.search(r"zero1=(\d+)", row.get("zero") or ""):
        practice = replace(practice, group=int(group[1]))
    if "zero1=-1" in (row.get("zero") or ""):
        practice = replace(practice, in_turn=IN_TURN)
    return replace(practice, context=_int(row, "cp", 1), product_speed=_product_speed(row))


def _parts(row: dict[str, str], pipe: int) -> list[int]:
    """Of the model on each pipeline rank; every number that divides the layers where the authors tuned it."""
    if row.get("vpp") or pipe == 1 or row.get("group") not in ("narayanan21_t1", "mcore_h100"):
        return [_int(row, "vpp", 1)]
    return [n for n in (1, 2, 3, 4, 5) if _int(row, "layers", 0) % (pipe * n) == 0]


def jobs_of(row: dict[str, str]) -> Iterator[Job]:
    """Every job that a row may be: one where it says everything."""
    tensor, pipe, samples = _int(row, "tp", 1), _int(row, "pp", 1), _int(row, "gbs", 1)
    data = _int(row, "cp", 1) * _int(row, "dp", max(1, _int(row, "n_gpus", 1) // (tensor * pipe)))
    layout, hardware, node_size = Layout(pipe, data, tensor), hardware_of(row), _int(row, "gpus_per_node", 8)
    sizes = [_int(row, "mbs", 1)] if row.get("mbs") else [n for n in (1, 2, 4, 8) if samples % (n * data) == 0] or [1]
    for size in sizes:
        run = run_of(row, size)
        for virtual in _parts(row, pipe):
            yield Job(run, layout, hardware, node_size, replace(_practice(row), virtual=virtual))


def measured_seconds(row: dict[str, str]) -> float | None:
    """Of a step; from model FLOP/s where that is all that a row has."""
    if row["step_s"]:
        return float(row["step_s"])
    if row["group"] == "mcore_h100":
        run = run_of(row, 1)
        flops = flops_per_token(run.model, run.sequence_length) * _int(row, "gbs", 1) * run.sequence_length
        return flops / (float(row["tflops_per_gpu"]) * 1e12 * _int(row, "n_gpus", 1))
    return None
