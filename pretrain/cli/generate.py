"""pretrain generate CHECKPOINT --prompt "..." """

from __future__ import annotations

from typing import Annotated

import typer


def generate(
    checkpoint: Annotated[str, typer.Argument(help="A checkpoint (runs/x/checkpoints/step-...) or a run directory.")],
    prompt: Annotated[str, typer.Option(help="Text to go on from; empty starts a new document.")] = "",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens to write at most.")] = 128,
    temperature: Annotated[float, typer.Option(min=0.0, help="0 always takes the likeliest token.")] = 0.8,
    top_k: Annotated[int, typer.Option(min=0, help="Only the k likeliest tokens; 0: all.")] = 0,
    top_p: Annotated[float, typer.Option(min=0.0, max=1.0, help="Only the likeliest tokens of this total.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda; auto takes a GPU where there is one.")] = "auto",
) -> None:
    """Write text with a trained model, as it is drawn."""
    from pretrain.checkpoint.weights import load_model
    from pretrain.training.sample import stream_text

    model, tokenizer = load_model(checkpoint, device)
    typer.echo(prompt, nl=False)
    for piece in stream_text(model, tokenizer, prompt, max_tokens, temperature, top_k, top_p, seed):
        typer.echo(piece, nl=False)
    typer.echo()
