"""pretrain import DIR --to DIR"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pretrain.cli.export import Check, ShardSize, Target, printed_errors, shard_bytes


def import_(
    directory: Annotated[Path, typer.Argument(help="A directory that transformers' save_pretrained wrote.")],
    to: Target,
    shard_size: ShardSize = "5GB",
    check: Check = True,
) -> None:
    """Take over a model of Hugging Face, to go on training it.

    A run starts from it with `train: {initial_weights: DIR}` and `model: DIR/model.yaml`, in any layout.
    """
    from pretrain.checkpoint.huggingface.import_ import import_model

    with printed_errors():
        done = import_model(directory, to, shard_bytes(shard_size), check)
    typer.echo(f"wrote {to}: {done.architecture}, {done.parameters:,} parameters, weights {done.fingerprint}")
    typer.echo(f"tokenizer {done.tokenizer_fingerprint}: prepare the corpus with `tokenizer: {to / 'tokenizer'}`")
    typer.echo(f"{done.compared or 'logits were not compared (--no-check)'}")
    typer.echo(f"in the run: `model: {to / 'model.yaml'}` and `train: {{initial_weights: {to}}}`")
