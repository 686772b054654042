"""What a training step costs against peers: python -m benchmarks.step [ROW ...] [--rounds 5]

6 layers, d_model 384, 256 tokens, vocabulary 8,192, 8 samples a step in one process with one thread; fp32 master
weights, AdamW and clipping everywhere. Ours is `pretrain train` itself with corpus, checkpoints and local metrics; the
peers are given the same tokens from memory. Cold processes in turn; of each the median CPU seconds of a step.

ours      DeepSpeed at ZeRO 0 (fp32) or 1 (bf16), as chosen for one process
zero1     the same under ZeRO 1 in fp32 too, to see what that choice is worth
plain     the shortest PyTorch loop: SDPA, autocast, cross-entropy of all logits, fused AdamW
trainer   transformers' Trainer with GPT2LMHeadModel; needs `accelerate`
litgpt    litgpt's GPT and cross-entropy in the same loop, tied as the others; needs `litgpt` and `lightning`
compiled  the same with torch.compile
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

WARM, STEPS = {"fp32": 2, "bf16": 1}, {"fp32": 8, "bf16": 2}
"""Where a CPU has no bf16 instructions a step of it takes half a minute."""
LAYERS, WIDTH, HEADS, LENGTH, VOCABULARY, SAMPLES = 6, 384, 6, 256, 8192, 8
TOKENS = SAMPLES * LENGTH
WAYS = {"plain": "torch", "ours": "torch", "zero1": "torch", "trainer": "accelerate", "litgpt": "lightning"}
"""And the package that each needs."""
PRECISIONS = ("fp32", "bf16")


class Clock:
    """A sink that writes down the processor time at each step: an own part, named in the YAML by import path."""

    def __init__(self, path: Path, warm: int) -> None:
        self.path, self.warm, self.times = path, warm, list[float]()

    def write(self, kind: str, row: dict[str, Any]) -> None:
        """Take the time of a training row."""
        if kind == "train":
            self.times.append(time.process_time())

    def flush(self) -> None:
        """Nothing waits."""

    def rewind(self, step: int) -> None:
        """Never here."""

    def close(self) -> None:
        """Leave what was measured in the file."""
        self.path.write_text(json.dumps(measured(self.times, self.warm)))


def measured(times: list[float], warm: int) -> dict[str, Any]:
    """Median CPU seconds of a step, and the largest resident size in bytes."""
    import resource

    steps = [after - before for before, after in pairwise(times[warm:])]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": statistics.median(steps), "peak": peak}


def main() -> None:
    """Print a table with ratios to the plain loop."""
    from tests.synthetic import make_corpus

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="such as ours-fp32 or plain-bf16-compiled; default: all")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rows = asked.rows or [*rows_here()]
    found: dict[str, list[dict[str, Any]]] = {row: [] for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder) / "corpus", VOCABULARY, 200_000, 2_000)
        for number in range(asked.rounds):
            for row in rows if number % 2 == 0 else reversed(rows):
                found[row].append(measure(row, Path(folder), number))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; one thread, {asked.rounds} rounds\n")
    print(
        "| step | CPU seconds | tokens per CPU second | to plain | peak memory | to plain |\n|---|---|---|---|---|---|"
    )
    for row, results in found.items():
        base = found.get(f"plain-{row.split('-')[1]}", results)
        seconds, peak = (statistics.median(one[key] for one in results) for key in ("seconds", "peak"))
        speed, memory = ratio(base, results, "seconds"), ratio(results, base, "peak")
        print(
            f"| {row} | {seconds:.3f} | {TOKENS / seconds:,.0f} | {speed:.3f} | {peak / 1e6:,.0f} MB | {memory:.3f} |"
        )


def ratio(above: list[dict[str, Any]], below: list[dict[str, Any]], key: str) -> float:
    """Median over rounds."""
    return statistics.median(a[key] / b[key] for a, b in zip(above, below, strict=True))


def steps_of(precision: str) -> int:
    """Steps that a process makes."""
    return WARM[precision] + STEPS[precision] + 1


def rows_here() -> Iterator[str]:
    """What can be measured on this machine."""
    for precision in PRECISIONS:
        for way in WAYS:
            if find_spec(WAYS[way]) and (way, precision) != ("zero1", "bf16"):  # ours is that
                yield f"{way}-{precision}"
        yield from (f"{way}-{precision}-compiled" for way in ("plain", "ours"))


def measure(row: str, folder: Path, number: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    out = folder / f"{row}-{number}.json"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, "-m", "benchmarks.step", "--row", row, str(folder), str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{row} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def run_row(row: str, folder: Path, out: Path) -> None:
    """Run one row in this process."""
    import torch

    torch.set_num_threads(1)
    way, precision, *compiled = row.split("-")
    {"ours": ours, "zero1": zero1, "plain": plain, "trainer": trainer, "litgpt": litgpt}[way](
        folder, out, precision, bool(compiled)
    )


def zero1(folder: Path, out: Path, precision: str, compiled: bool) -> None:
    """The real loop, as it would be with several processes."""
    ours(folder, out, precision, compiled, zero=1)


def ours(folder: Path, out: Path, precision: str, compiled: bool, zero: int | None = None) -> None:
    """The real loop."""
    import yaml

    from pretrain.train import train

    run = {
        "name": out.stem,
        "directory": str(folder / out.stem),
        "train": {
            "tokens": steps_of(precision) * TOKENS,
            "validation_tokens": 2_000,
            **({"compile": True} if compiled else {}),
        },
        "model": {"layers": LAYERS, "d_model": WIDTH, "heads": HEADS, "context": LENGTH},
        "data": {"manifest": str(folder / "corpus" / "manifest.json")},
        "batch": {"global_batch_size": SAMPLES, "micro_batch_size": SAMPLES},
        "optimizer": {"learning_rate": 3e-4},
        "precision": {"compute": precision},
        "parallel": {"zero": zero if zero is not None else 0 if precision == "fp32" else 1},
        "monitoring": {
            "terminal": "plain",
            "sinks": [{"class": "benchmarks.step.Clock", "path": str(out), "warm": WARM[precision]}],
        },
    }
    path = folder / f"{out.stem}.yaml"
    path.write_text(yaml.safe_dump(run))
    train(str(path))


def batches() -> Iterator[Any]:
    """Random tokens [8, 257] from memory, new ones each step."""
    import torch

    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randint(0, VOCABULARY, (SAMPLES, LENGTH + 1), generator=generator)


def plain(folder: Path, out: Path, precision: str, compiled: bool) -> None:
    """The shortest PyTorch loop."""
    import torch.nn.functional as F

    def loss_of(logits: Any, targets: Any) -> Any:
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    loop(plain_model(), loss_of, out, precision, compiled)


def litgpt(folder: Path, out: Path, precision: str, compiled: bool) -> None:
    """The same loop around litgpt's model and loss. It has no learned positions; rope is off, as GPT-2 has none."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        n_layer=LAYERS, n_embd=WIDTH, n_head=HEADS, block_size=LENGTH, vocab_size=VOCABULARY,
        padded_vocab_size=VOCABULARY, bias=True, attn_bias=True, parallel_residual=False, rotary_percentage=0.0,
        gelu_approximate="tanh",
    )  # fmt: skip
    model = GPT(config)
    model.lm_head.weight = model.transformer.wte.weight
    loop(model, chunked_cross_entropy, out, precision, compiled)


def loop(model: Any, loss_of: Callable[[Any, Any], Any], out: Path, precision: str, compiled: bool) -> None:
    """Forward, loss, backward, clip, update; nothing else."""
    import torch

    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    forward: Callable[[Any], Any] = torch.compile(model) if compiled else model
    source, times = batches(), list[float]()
    for _ in range(steps_of(precision)):
        tokens = next(source)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits = forward(tokens[:, :-1])
        loss = loss_of(logits, tokens[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        times.append(time.process_time())
    out.write_text(json.dumps(measured(times, WARM[precision])))


def plain_model() -> Any:
    """GPT-2's architecture in PyTorch's own words."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
            attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(attended.transpose(1, 2).flatten(2))
            return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks, self.norm = nn.Sequential(*(Block() for _ in range(LAYERS))), nn.LayerNorm(WIDTH)
            nn.init.normal_(self.tokens.weight, std=0.02)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
            return F.linear(self.norm(self.blocks(x)), self.tokens.weight)

    return GPT()


def trainer(folder: Path, out: Path, precision: str, compiled: bool) -> None:
    """transformers' Trainer with GPT2LMHeadModel of the same shape."""
    import torch
    import transformers

    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_positions=LENGTH, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, attn_implementation="sdpa",
    )  # fmt: skip
    times: list[float] = []

    class Take(transformers.TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.process_time())

    class Tokens(torch.utils.data.IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            for batch in batches():
                yield from ({"input_ids": row[:-1], "labels": row[:-1]} for row in batch)  # it shifts labels itself

    arguments = transformers.TrainingArguments(
        output_dir=str(folder / out.stem), max_steps=steps_of(precision), per_device_train_batch_size=SAMPLES,
        use_cpu=True, bf16=precision == "bf16", learning_rate=3e-4, weight_decay=0.1, logging_steps=1,
        save_strategy="no",
        report_to=["tensorboard"], optim="adamw_torch_fused", disable_tqdm=True,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    transformers.Trainer(model, arguments, train_dataset=Tokens(), callbacks=[Take()]).train()
    out.write_text(json.dumps(measured(times, WARM[precision])))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--row"]:
        run_row(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
    else:
        main()
