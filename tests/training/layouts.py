"""The layout table: small models with all that could go wrong in them, and the layouts that must train them alike.

Rows named `pair-` cover every pair of values of tensor {1, 2, 4}, pipe {1, 2, 4}, data {1, 2}, ZeRO {0, 1, 2, 3},
sequence parallel, recompute mode, schedule, micro-batch, document mask and model style that a valid layout of up to 8
processes can have. `data-` rows are data parallelism alone, `edge-` rows shapes that do not divide evenly, `family-`
rows the other members of the family (ALiBi, QK-norm, parallel blocks), `mup-` rows have muP, `muon-` and `adafactor-`
rows other optimizers, each held against one process with the same, `bf16-` and `fp16-` rows the other number formats,
`z-loss-` rows have a z-loss in row and reference, `compile-` rows compile blocks in the row only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pretrain.config.load import merge

GPT3 = {"layers": 4, "d_model": 32, "heads": 4, "context": 16}
LLAMA = {
    **GPT3,
    "kv_heads": 2,
    "positions": "rope",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tied_embeddings": False,
}

ADAMW: dict[str, Any] = {}


class Row(NamedTuple):
    """One layout of one model. The vocabulary of all is 211, which no tensor size divides."""

    processes: int
    micro_batch_size: int
    parallel: dict[str, Any]
    model: dict[str, Any] = GPT3
    masked: bool = False
    compute: str = "fp32"
    ramp: bool = True
    """Whether the batch grows from 8 to 16 samples, which leaves a long pipeline too few micro-batches."""
    z_loss: float = 0.0
    compile: bool = False
    slow: bool = False
    """Left to `make test-layouts`."""
    optimizer: dict[str, Any] = ADAMW
    """Fields of the section, over those of the run."""

    @property
    def objective(self) -> tuple[dict[str, Any], bool, bool, float, dict[str, Any]]:
        """Model, mask, ramp, z-loss and optimizer: what the one process that a row is compared with depends on."""
        return self.model, self.masked, self.ramp, self.z_loss, self.optimizer


def _layout(tensor: int = 1, pipe: int = 1, zero: int = 1, **more: Any) -> dict[str, Any]:
    return {"tensor": tensor, "pipe": pipe, "zero": zero, **more}


DUAL, WHOLE = {"schedule": "dualpipev"}, {"sequence_parallel": False}
FULL, SELECTIVE = {"recompute": "full"}, {"recompute": "selective"}
BANDS = {**GPT3, "bands": {"width": 5}}
ALIBI = {**GPT3, "positions": "alibi"}
BESIDE = {**GPT3, "parallel_block": True}
QK_NORM = {**LLAMA, "qk_norm": True}
GPTJ = {**LLAMA, "rope_fraction": 0.5, "parallel_block": True, "qk_norm": True}
"""LLaMA's parts in GPT-J's block, normed: gated inner columns, shared keys and one gathered input meet."""
MUP = {"mup": {"base_d_model": 8, "base_d_head": 4, "embedding_multiplier": 3.0, "output_multiplier": 2.0}}
MUON = {"name": "muon"}
ORIGINAL = {**MUON, "adjust_lr": "original", "nesterov": False, "adamw_learning_rate": 5e-4}
ADAFACTOR = {"name": "adafactor", "learning_rate": 1e-2}

SCALED: dict[str, dict[str, Any]] = {"fp16": {"loss_scale": {"initial": 2**12, "window": 8}}}
"""A scale that doubles twice in 20 steps and never overflows: a step left out is compared with nothing."""

ROWS = {
    # processes, micro-batch, layout
    "data-zero0-p2": Row(2, 1, _layout(zero=0)),
    "data-zero1-p2": Row(2, 2, _layout(zero=1)),
    "data-zero2-p2": Row(2, 4, _layout(zero=2)),
    "data-zero3-p2": Row(2, 1, _layout(zero=3)),
    "data-zero0-p4": Row(4, 2, _layout(zero=0), slow=True),
    "data-zero1-p4": Row(4, 1, _layout(zero=1)),
    "data-zero2-p4": Row(4, 1, _layout(zero=2)),
    "data-zero3-p4": Row(4, 2, _layout(zero=3)),
    "data-offload-zero1-p2": Row(2, 2, _layout(zero=1, offload="optimizer"), slow=True),
    "data-offload-zero3-p2": Row(2, 2, _layout(zero=3, offload="all"), slow=True),
    "pair-gpt3-one": Row(1, 2, _layout()),
    "pair-llama-t2-p2-d2-dual-full-masked": Row(8, 1, _layout(2, 2, **DUAL, **FULL), LLAMA, True),
    "pair-llama-t4-zero0-selective-masked": Row(4, 1, _layout(4, zero=0, **SELECTIVE), LLAMA, True, slow=True),
    "pair-gpt3-p4-d2-dual-selective": Row(
        8, 1, _layout(1, 4, **DUAL, **SELECTIVE), {**GPT3, "layers": 8}, ramp=False, slow=True
    ),
    "pair-gpt3-t2-d2-zero2-full": Row(4, 2, _layout(2, zero=2, **FULL)),
    "pair-llama-t4-d2-zero3-whole-masked": Row(8, 2, _layout(4, zero=3, **WHOLE), LLAMA, True, slow=True),
    "pair-gpt3-t4-p2-dual-whole-full": Row(8, 2, _layout(4, 2, **DUAL, **WHOLE, **FULL), slow=True),
    "pair-llama-t2-p4-masked": Row(8, 2, _layout(2, 4), LLAMA, True, slow=True),
    "pair-llama-zero2-masked": Row(1, 1, _layout(zero=2), LLAMA, True),
    "pair-gpt3-t2-d2-zero0-whole-selective-masked": Row(
        4, 2, _layout(2, zero=0, **WHOLE, **SELECTIVE), GPT3, True, slow=True
    ),
    "pair-llama-zero3-full": Row(1, 1, _layout(zero=3, **FULL), LLAMA),
    "pair-gpt3-t2-zero3-selective-masked": Row(2, 1, _layout(2, zero=3, **SELECTIVE), GPT3, True),
    "pair-llama-zero0": Row(1, 2, _layout(zero=0), LLAMA),
    "pair-gpt3-p2-masked": Row(2, 2, _layout(1, 2), GPT3, True),
    "pair-llama-t4-zero2-whole-selective": Row(4, 1, _layout(4, zero=2, **WHOLE, **SELECTIVE), LLAMA, slow=True),
    "pair-gpt3-zero0-full-masked": Row(1, 2, _layout(zero=0, **FULL), GPT3, True),
    "pair-llama-p2-selective": Row(2, 2, _layout(1, 2, **SELECTIVE), LLAMA),
    "pair-gpt3-p2-dual": Row(2, 1, _layout(1, 2, **DUAL)),
    "pair-llama-p4-full-masked": Row(4, 2, _layout(1, 4, **FULL), LLAMA, True),
    "edge-7-layers-p4": Row(4, 2, _layout(1, 4), {**GPT3, "layers": 7}),
    "edge-3-layers-head-alone-p4": Row(4, 2, _layout(1, 4), {**LLAMA, "layers": 4, "d_model": 16, "d_ff": 16}),
    "edge-d-head-80-t2": Row(2, 8, _layout(2), {**GPT3, "layers": 2, "d_model": 160, "heads": 2}),
    "edge-one-key-head-t4": Row(4, 4, _layout(4), {**LLAMA, "layers": 2, "kv_heads": 1}),
    "edge-2-key-heads-t4": Row(4, 4, _layout(4), {**LLAMA, "layers": 2}),
    "edge-6-heads-3-key-heads-t3": Row(3, 4, _layout(3, sequence_parallel=False), {
        **LLAMA, "layers": 2, "d_model": 48, "heads": 6, "kv_heads": 3, "d_ff": 48, "vocab_multiple": 96
    }),
    "edge-bands-p2": Row(2, 4, _layout(1, 2), BANDS),
    "edge-recompute-every-2-t2": Row(2, 4, _layout(2, **FULL, recompute_every=2)),
    "edge-no-positions-no-bias-t2": Row(2, 8, _layout(2), {**GPT3, "positions": "none", "bias": False, "layers": 2}),
    "family-alibi-t2-p2": Row(4, 2, _layout(2, 2), {**ALIBI, "bands": {"width": 5}}, True),
    "family-alibi-6-heads-whole-t3": Row(3, 4, _layout(3, **WHOLE), {
        **ALIBI, "layers": 2, "d_model": 48, "heads": 6, "kv_heads": 3, "vocab_multiple": 96
    }),
    "family-qk-norm-t2": Row(2, 4, _layout(2), {**GPT3, "qk_norm": True}),
    "family-qk-norm-whole-t2-d2-zero3": Row(4, 2, _layout(2, zero=3, **WHOLE), {**GPT3, "qk_norm": True}),
    "family-qk-norm-2-key-heads-whole-t4": Row(4, 4, _layout(4, **WHOLE), {**QK_NORM, "layers": 2}),
    "family-qk-norm-p2-t2-masked": Row(4, 2, _layout(2, 2, **SELECTIVE), QK_NORM, True, slow=True),
    "family-beside-t2-p2": Row(4, 2, _layout(2, 2, **FULL), BESIDE),
    "family-beside-whole-t2-zero3": Row(2, 4, _layout(2, zero=3, **WHOLE), {**BESIDE, "layers": 2}),
    "family-gptj-2-key-heads-t4": Row(4, 4, _layout(4), {**GPTJ, "layers": 2}),
    "family-gptj-t2-p2-d2-dual": Row(8, 1, _layout(2, 2, **DUAL), GPTJ, True, slow=True),
    "family-bf16-gptj-t2": Row(2, 4, _layout(2), GPTJ, compute="bf16", slow=True),
    "family-bf16-alibi-t2-zero3": Row(2, 4, _layout(2, zero=3), {**ALIBI, "qk_norm": True}, compute="bf16", slow=True),
    "mup-t2-p2": Row(4, 2, _layout(2, 2), {**GPT3, **MUP}),
    "mup-llama-zero3-p2": Row(2, 2, _layout(zero=3), {**QK_NORM, **MUP}, True),
    "mup-llama-t4-zero0": Row(4, 4, _layout(4, zero=0), {**LLAMA, **MUP, "layers": 2}, slow=True),
    "mup-p2-dual-d2": Row(4, 1, _layout(1, 2, **DUAL), {**GPT3, **MUP}, slow=True),
    "muon-zero0-p2": Row(2, 2, _layout(zero=0), optimizer=MUON, slow=True),
    "muon-zero1-p2": Row(2, 4, _layout(), optimizer=MUON),
    "muon-zero2-p4": Row(4, 1, _layout(zero=2), optimizer=MUON, slow=True),
    "muon-offload-p2": Row(2, 2, _layout(offload="optimizer"), optimizer=MUON, slow=True),
    "muon-llama-t2-zero0": Row(2, 4, _layout(2, zero=0), LLAMA, optimizer=ORIGINAL),
    "muon-llama-t4-d2-zero2": Row(8, 2, _layout(4, zero=2), LLAMA, optimizer=ORIGINAL, slow=True),
    "muon-t2-p2-d2-masked": Row(8, 2, _layout(2, 2), GPT3, True, optimizer=MUON, slow=True),
    "muon-llama-p4": Row(4, 2, _layout(1, 4), LLAMA, optimizer=MUON),
    "muon-p2-dual-d2": Row(4, 1, _layout(1, 2, **DUAL), optimizer=MUON, slow=True),
    "adafactor-p2": Row(2, 2, _layout(zero=0), optimizer=ADAFACTOR),
    "bf16-muon-zero1-p2": Row(2, 2, _layout(), optimizer=MUON, compute="bf16", slow=True),
    "bf16-muon-t2-p2-d2": Row(8, 2, _layout(2, 2), optimizer=MUON, compute="bf16", slow=True),
    "bf16-zero1-p2": Row(2, 2, _layout(zero=1), compute="bf16"),
    "bf16-zero2-p2": Row(2, 2, _layout(zero=2), compute="bf16"),
    "bf16-zero3-p2": Row(2, 1, _layout(zero=3), compute="bf16"),
    "bf16-t2-zero3": Row(2, 4, _layout(2, zero=3), compute="bf16"),
    "bf16-p2": Row(2, 2, _layout(1, 2), compute="bf16"),
    "bf16-offload-p2": Row(2, 2, _layout(1, 2, offload="optimizer"), compute="bf16"),
    "bf16-p2-dual-masked": Row(2, 2, _layout(1, 2, **DUAL), GPT3, True, compute="bf16", slow=True),
    "bf16-t2-p2-d2": Row(8, 1, _layout(2, 2), LLAMA, compute="bf16", slow=True),
    "fp16-zero1-p2": Row(2, 2, _layout(zero=1), compute="fp16"),
    "fp16-zero2-p2": Row(2, 2, _layout(zero=2), compute="fp16", slow=True),
    "fp16-zero3-p2": Row(2, 1, _layout(zero=3), compute="fp16", slow=True),
    "fp16-t2-zero3": Row(2, 4, _layout(2, zero=3), compute="fp16"),
    "fp16-p2-selective": Row(2, 2, _layout(1, 2, **SELECTIVE), compute="fp16"),
    "fp16-p2-dual-full-masked": Row(2, 2, _layout(1, 2, **DUAL, **FULL), GPT3, True, compute="fp16", slow=True),
    "fp16-offload-zero2-p2": Row(2, 2, _layout(zero=2, offload="optimizer"), compute="fp16", slow=True),
    "fp16-offload-all-p2": Row(2, 2, _layout(zero=3, offload="all"), compute="fp16", slow=True),
    "fp16-t2-p2-d2": Row(8, 1, _layout(2, 2), LLAMA, compute="fp16", slow=True),
    "z-loss-t2-p2-masked": Row(4, 2, _layout(2, 2), GPT3, True, z_loss=0.05),
    "z-loss-p2-dual": Row(2, 1, _layout(1, 2, **DUAL), z_loss=0.05, slow=True),
    "z-loss-t4-zero3": Row(4, 2, _layout(4, zero=3), LLAMA, z_loss=0.05, slow=True),
    "z-loss-fp16-t2-zero2": Row(2, 4, _layout(2, zero=2), compute="fp16", z_loss=0.05, slow=True),
    "compile-zero2-p2": Row(2, 2, _layout(zero=2), compile=True, slow=True),
    "compile-t2-masked": Row(2, 2, _layout(2), LLAMA, True, compile=True, slow=True),
    "compile-p2-selective": Row(2, 2, _layout(1, 2, **SELECTIVE), compile=True, slow=True),
    "compile-p2-dual-full-masked": Row(2, 2, _layout(1, 2, **DUAL, **FULL), GPT3, True, compile=True, slow=True),
    "compile-bands": Row(1, 4, _layout(), BANDS, compile=True, slow=True),
    "compile-bf16": Row(1, 4, _layout(), LLAMA, compute="bf16", compile=True, slow=True),
    "compile-fp16-full-z-loss": Row(1, 4, _layout(**FULL), compute="fp16", z_loss=0.05, compile=True, slow=True),
}  # fmt: skip


def run_of(
    corpus: Path,
    directory: Path,
    model: dict[str, Any] = GPT3,
    masked: bool = False,
    ramp: bool = True,
    z_loss: float = 0.0,
    optimizer: dict[str, Any] = ADAMW,
) -> dict[str, Any]:
    """A run of 20 steps with a batch ramp, a late mixture and clipping that bites; ZeRO 0, one pass a step."""
    samples = 5 * 8 + 15 * 16 if ramp else 20 * 16
    return {
        "name": "layout",
        "directory": str(directory),
        "train": {"tokens": 16 * samples, "z_loss": z_loss, "validate_every": "10 steps", "validation_tokens": 160},
        "model": model,
        "data": {
            "manifest": str(corpus),
            "stages": [{"from_tokens": 1600, "mixture": {"wiki": 1, "books": 3}}],
            "document_mask": masked,
        },
        "batch": {
            "global_batch_size": 16,
            "micro_batch_size": 8,
            "ramp": {"start": 8, "tokens": 640} if ramp else None,
        },
        "optimizer": {"learning_rate": 1e-3, "clip": 0.5, **optimizer},
        "schedule": {"warmup": 640},
        "precision": {"compute": "fp32"},
        "parallel": {"zero": 0},
        "monitoring": {"terminal": "none", "tensorboard": False, "peak_tflops": 1, "inside": {"every": "10 steps"}},
    }


def run_of_row(row: Row, corpus: Path, directory: Path) -> dict[str, Any]:
    """The run of a row of the table."""
    changes = {
        "train": {"compile": row.compile},
        "parallel": row.parallel,
        "batch": {"micro_batch_size": row.micro_batch_size},
        "precision": {"compute": row.compute, **SCALED.get(row.compute, {})},
    }
    return merge(run_of(corpus, directory, *row.objective), changes)
