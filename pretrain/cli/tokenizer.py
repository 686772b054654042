"""`pretrain tokenizer train | compare | show`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from tokenizer.compare import Measured

app = typer.Typer(no_args_is_help=True)


@app.command()
def train(
    files: Annotated[list[str], typer.Argument(help="Text, .jsonl or .parquet files (.gz, .zst); globs are fine.")],
    output: Annotated[Path, typer.Option(help="Directory to write.")],
    vocab_size: Annotated[str, typer.Option(help="Entries, such as 32000 or 50k.")],
    algorithm: Annotated[
        str, typer.Option(help="byte-bpe, or a SentencePiece model: sentencepiece-bpe, sentencepiece-unigram.")
    ] = "byte-bpe",
    character_coverage: Annotated[
        float, typer.Option(help="SentencePiece: share of characters with a piece of their own.")
    ] = 0.9995,
    split_digits: Annotated[bool, typer.Option(help="SentencePiece: each digit is a piece.")] = True,
    sample: Annotated[str, typer.Option(help="Stop at this many bytes of text; held in memory.")] = "1GB",
    text_field: Annotated[str, typer.Option(help="Field or column of the text.")] = "text",
) -> None:
    """Train a tokenizer on files, in order. A corpus recipe can train one too (tokenizer.train)."""
    from pretrain.config.units import parse_bytes, parse_count
    from pretrain.corpus.texts import texts_of_files
    from tokenizer import Learning, train_tokenizer

    entries, limit = _number("--vocab-size", vocab_size, parse_count), _number("--sample", sample, parse_bytes)
    model = _algorithm(algorithm)
    learning = Learning(model, character_coverage, split_digits) if model else None
    tokenizer = train_tokenizer(texts_of_files(files, text_field, limit), entries, learning)
    tokenizer.save(output)
    print(f"wrote {output}: {tokenizer.vocab_size:,} entries, fingerprint {tokenizer.fingerprint}")


def _number(option: str, text: str, parse: Callable[[str], int]) -> int:
    from pretrain.config.errors import ConfigError

    try:
        return parse(text)
    except ValueError as error:
        raise ConfigError.of(option, text, str(error), "for example 32000, or 1GB") from None


def _algorithm(name: str) -> Literal["bpe", "unigram"] | None:
    """The SentencePiece model that an algorithm is; None: byte-level BPE."""
    from pretrain.config.errors import ConfigError, nearest

    known: dict[str, Literal["bpe", "unigram"] | None] = {
        "byte-bpe": None,
        "sentencepiece-bpe": "bpe",
        "sentencepiece-unigram": "unigram",
    }
    if name not in known:
        guess = nearest(name, known)
        fix = f"did you mean {guess}?" if guess else f"one of {', '.join(known)}"
        raise ConfigError.of("--algorithm", name, "is not an algorithm", fix)
    return known[name]


@app.command()
def compare(
    paths: Annotated[list[Path], typer.Argument(help="Directories of tokenizers.")],
    text: Annotated[list[str], typer.Option(help="NAME=FILES: a source; files as for `train`. Several times.")],
    sample: Annotated[str, typer.Option(help="Bytes of text of each source.")] = "10MB",
    text_field: Annotated[str, typer.Option(help="Field or column of the text.")] = "text",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bytes per token, tokens per word and speed of several tokenizers on the same texts, per source."""
    from pretrain.config.units import parse_bytes
    from pretrain.corpus.texts import texts_of_files
    from tokenizer import load_tokenizer
    from tokenizer.compare import compare

    limit = _number("--sample", sample, parse_bytes)
    texts = {name: list(texts_of_files([files], text_field, limit)) for name, files in map(_named, text)}
    tokenizers = {str(path): load_tokenizer(path) for path in paths}
    found = dict(zip(tokenizers, compare(list(tokenizers.values()), texts), strict=True))
    if json:
        import orjson

        plain = {path: {"fingerprint": tokenizers[path].fingerprint, "sources": rows} for path, rows in found.items()}
        print(orjson.dumps(plain, option=orjson.OPT_INDENT_2).decode())
    else:
        _print_table(found, {path: one.vocab_size for path, one in tokenizers.items()})


def _named(text: str) -> tuple[str, str]:
    from pretrain.config.errors import ConfigError

    name, equals, files = text.partition("=")
    if not (name and equals and files):
        raise ConfigError.of("--text", text, "must be written NAME=FILES", "for example wiki=wiki.jsonl.gz")
    return name, files


def _print_table(found: Mapping[str, Mapping[str, Measured]], sizes: Mapping[str, int]) -> None:
    """On a terminal and in a log alike: plain columns, the best of each source marked."""
    width = max(len(path) for path in found)
    print(f"{'':{width}}  {'source':<12} entries  bytes/token  tokens/word  as bytes   MB/s")
    best = {name: max(rows[name].bytes_per_token for rows in found.values()) for name in next(iter(found.values()))}
    for path, rows in found.items():
        for name, one in rows.items():
            mark = "*" if one.bytes_per_token == best[name] and len(found) > 1 else " "
            numbers = f"{one.bytes_per_token:10.3f}{mark}  {one.tokens_per_word:11.3f}  {one.fallback_share:8.2%}"
            print(f"{path:{width}}  {name:<12} {sizes[path]:7,}  {numbers}  {one.megabytes_per_second:5.1f}")
    if len(found) > 1:
        print("* the shortest sequences of a source. MB/s: processor time of one core")


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
