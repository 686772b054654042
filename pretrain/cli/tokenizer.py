"""`pretrain tokenizer train | show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.command()
def train(
    files: Annotated[list[str], typer.Argument(help="Text, .jsonl or .parquet files (.gz, .zst); globs are fine.")],
    output: Annotated[Path, typer.Option(help="Directory to write.")],
    vocab_size: Annotated[str, typer.Option(help="Entries, such as 32000 or 50k.")],
    sample: Annotated[str, typer.Option(help="Stop at this many bytes of text; held in memory.")] = "1GB",
    text_field: Annotated[str, typer.Option(help="Field or column of the text.")] = "text",
) -> None:
    """Train a byte-level BPE tokenizer on files, in order. A corpus recipe can train one too (tokenizer.train)."""
    from pretrain.config.errors import ConfigError
    from pretrain.config.units import parse_bytes, parse_count
    from pretrain.corpus.texts import texts_of_files
    from tokenizer import train_tokenizer

    try:
        entries, limit = parse_count(vocab_size), parse_bytes(sample)
    except ValueError as error:
        raise ConfigError.of("--vocab-size, --sample", [vocab_size, sample], str(error), "for example 32000") from None
    tokenizer = train_tokenizer(texts_of_files(files, text_field, limit), entries)
    tokenizer.save(output)
    print(f"wrote {output}: {tokenizer.vocab_size:,} entries, fingerprint {tokenizer.fingerprint}")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="Directory of a tokenizer, or a tokenizer.json.")],
    text: Annotated[str | None, typer.Option(help="Text to encode.")] = None,
) -> None:
    """Fingerprint, sizes and backend of a tokenizer, and how it cuts a text."""
    from tokenizer import load_tokenizer

    tokenizer = load_tokenizer(path)
    print(f"fingerprint   {tokenizer.fingerprint}")
    print(f"model         {tokenizer.specification['model']['type']}")
    print(f"vocabulary    {tokenizer.vocab_size:,} (padded to a multiple of 128: {tokenizer.padded_size(128):,})")
    print(f"end of text   {tokenizer.end!r}" + (f" = {tokenizer.end_of_text}" if tokenizer.end is not None else ""))
    print(f"encoded by    {tokenizer.backend.name}: {tokenizer.backend_reason}")
    if text is not None:
        tokens = tokenizer.encode(text)
        print(f"{len(tokens):,} tokens, {len(text.encode()):,} bytes")
        for token in tokens:
            print(f"{token:>8}  {tokenizer.decode([token])!r}")
