"""pretrain export CHECKPOINT --to DIR"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

Target = Annotated[Path, typer.Option("--to", help="A new or empty directory.")]
Check = Annotated[bool, typer.Option(help="Compare logits with transformers'; takes the whole model in memory.")]
ShardSize = Annotated[str, typer.Option(help="Largest file, such as 5GB.")]


def export(
    checkpoint: Annotated[
        Path, typer.Argument(help="A checkpoint (runs/x/checkpoints/step-...), a run directory, or an imported one.")
    ],
    to: Target,
    dtype: Annotated[Literal["fp32", "bf16", "fp16"], typer.Option(help="fp32: the master weights as they are.")] = (
        "fp32"
    ),
    shard_size: ShardSize = "5GB",
    check: Check = True,
) -> None:
    """Write a model as transformers' AutoModelForCausalLM and AutoTokenizer load it: safetensors, config, tokenizer.

    From any layout, one tensor at a time. export.json beside it has the largest logit difference.
    """
    from pretrain.checkpoint.huggingface.export import export as write

    with printed_errors():
        done = write(checkpoint, to, dtype, shard_bytes(shard_size), check)
    typer.echo(f"wrote {to}: {done.architecture}, {done.parameters:,} parameters, {dtype}, weights {done.fingerprint}")
    typer.echo(f"{done.compared or 'logits were not compared (--no-check)'}")
    if done.rounding:
        typer.echo(f"not the same bytes after an import: {done.rounding}")


def shard_bytes(text: str) -> int:
    """`5GB` in bytes. Raises ConfigError."""
    from pretrain.config.errors import ConfigError
    from pretrain.config.units import parse_bytes

    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise ConfigError.of("--shard-size", text, str(error), "--shard-size 5GB") from None
    if size < 1:
        raise ConfigError.of("--shard-size", text, "must be at least one byte", "--shard-size 5GB")
    return size


@contextlib.contextmanager
def printed_errors() -> Iterator[None]:
    """A RunError is told without a traceback, exit code 1."""
    from pretrain.config.errors import RunError

    try:
        yield
    except RunError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
