"""What parallel layouts do against what they should: python -m benchmarks.parallel [NAME ...]

Each layout trains a model of 4 layers, 256 wide, for a few steps in real gloo processes; one step is counted
(arithmetic, messages, memory, order of a pipeline's passes), never timed, and compared with pretrain/planning.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from tests.parallel.counted import count_step
from tests.parallel.ratios import Ratio, ratios

GPT = {"layers": 4, "d_model": 256, "heads": 4, "context": 256, "vocab_size": 2048}
LLAMA = {
    **GPT,
    "positions": "rope",
    "norm": "rmsnorm",
    "activation": "swiglu",
    "bias": False,
    "tied_embeddings": False,
}
GATHER_TWICE = {"zero_optimization": {"stage3_max_live_parameters": 0, "stage3_max_reuse_distance": 0}}
ALL_REDUCE = {"zero_optimization": {"use_multi_rank_bucket_allreduce": True}}


class Case(NamedTuple):
    """A layout to count."""

    processes: int
    micro_batches: int
    parallel: dict[str, Any]
    model: dict[str, Any] = GPT
    deepspeed: dict[str, Any] | None = None
    compute: str = "fp32"

    @property
    def data(self) -> int:
        """Size of the data axis."""
        return self.processes // int(self.parallel.get("tensor", 1) * self.parallel.get("pipe", 1))

    def run(self) -> dict[str, Any]:
        """The run's mapping; its data are not read."""
        return {
            "name": "counted",
            "train": {"tokens": "1M"},
            "model": self.model,
            "data": {"manifest": "none"},
            "batch": {"global_batch_size": 2 * self.micro_batches * self.data, "micro_batch_size": 2},
            "optimizer": {"learning_rate": 1e-3},
            "precision": {"compute": self.compute},
            "parallel": self.parallel,
            "deepspeed": self.deepspeed or {},
        }


CASES = {
    "one process": Case(1, 2, {"zero": 0}),
    "one process, vocabulary 2,000": Case(1, 2, {"zero": 0}, {**GPT, "vocab_size": 2000}),
    "llama, plain attention": Case(1, 2, {"zero": 0}, {**LLAMA, "attention": "plain"}),
    "recompute selective": Case(1, 2, {"zero": 0, "recompute": "selective"}),
    "recompute full": Case(1, 2, {"zero": 0, "recompute": "full"}),
    "recompute every 2": Case(1, 2, {"zero": 0, "recompute": "full", "recompute_every": 2}),
    "tensor 2": Case(2, 2, {"zero": 1, "tensor": 2}),
    "tensor 2, recompute full": Case(2, 2, {"zero": 1, "tensor": 2, "recompute": "full"}),
    "tensor 2, no sequence parallelism": Case(2, 2, {"zero": 1, "tensor": 2, "sequence_parallel": False}),
    "tensor 4, llama with 2 key heads": Case(4, 2, {"zero": 1, "tensor": 4}, {**LLAMA, "kv_heads": 2}),
    "pipe 2": Case(2, 4, {"zero": 1, "pipe": 2}),
    "pipe 4": Case(4, 8, {"zero": 1, "pipe": 4}),
    "pipe 2, dualpipev": Case(2, 4, {"zero": 1, "pipe": 2, "schedule": "dualpipev"}),
    "pipe 4, dualpipev": Case(4, 8, {"zero": 1, "pipe": 4, "schedule": "dualpipev"}, {**GPT, "layers": 8}),
    "zero 1, data 2": Case(2, 2, {"zero": 1}),
    "zero 1, data 2, DeepSpeed's default": Case(2, 2, {"zero": 1}, deepspeed=ALL_REDUCE),
    "zero 1, data 2, bf16": Case(2, 2, {"zero": 1}, compute="bf16"),
    "zero 2, data 2": Case(2, 2, {"zero": 2}),
    "zero 2, data 2, bf16": Case(2, 2, {"zero": 2}, compute="bf16"),
    "zero 2, data 4": Case(4, 2, {"zero": 2}),
    "zero 3, data 2": Case(2, 2, {"zero": 3}),
    "zero 3, data 4, gathered twice": Case(4, 2, {"zero": 3}, deepspeed=GATHER_TWICE),
    "tensor 2, pipe 2, data 2": Case(8, 2, {"zero": 1, "tensor": 2, "pipe": 2}),
}
"""name: what is counted."""


def main(names: list[str]) -> None:
    """Count the named layouts, all without names, and print a table of each."""
    missed = []
    for name in names or CASES:
        case = CASES[name]
        asked = (case.run(), case.processes, case.micro_batches)
        found = ratios(*asked, count_step(*asked))
        print(f"\n### {name}\n\n| what | counted | formula | ratio | wanted | | |\n|---|---|---|---|---|---|---|")
        for figure in found:
            print(row(figure), flush=True)
        missed += [f"{name}: {figure.what} {figure.ratio:.3f}" for figure in found if not figure.ok]
    print(f"\nMissed: {len(missed)}\n" + "\n".join(f"- {line}" for line in missed))


def row(figure: Ratio) -> str:
    """One line of a table."""
    form = ",.0f" if figure.formula >= 10 else ".4f"
    verdict = "ok" if figure.ok else "MISSED"
    numbers = f"{figure.counted:{form}} | {figure.formula:{form}} | {figure.ratio:.4f} | <= {figure.limit}"
    return f"| {figure.what} | {numbers} | {verdict} | {figure.note} |"


if __name__ == "__main__":
    main(sys.argv[1:])
