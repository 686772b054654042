"""`pretrain tokenizer train | compare | show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pretrain.config.tokenizer import TokenizerTraining

app = typer.Typer(no_args_is_help=True)

TextField = Annotated[str, typer.Option(help="Field or column of the text.")]


@app.command()
def train(
    files: Annotated[list[str], typer.Argument(help="Text, .jsonl or .parquet files (.gz, .zst); globs are fine.")],
    output: Annotated[Path, typer.Option(help="A new or empty directory.")],
    vocab_size: Annotated[str, typer.Option(help="Entries, such as 32000 or 50k.")],
    algorithm: Annotated[str, typer.Option(help="byte-bpe, sentencepiece-bpe or sentencepiece-unigram.")] = "byte-bpe",
    sample: Annotated[str, typer.Option(help="Stop at this many bytes of text; held in memory.")] = "1GB",
    special: Annotated[
        list[str] | None, typer.Option(help="Another special token, such as <|pad|>. More than once.")
    ] = None,
    character_coverage: Annotated[
        float | None, typer.Option(help="SentencePiece: share of the characters that are pieces. Default: 0.9995.")
    ] = None,
    split_digits: Annotated[bool, typer.Option(help="SentencePiece: every digit is a piece of its own.")] = False,
    text_field: TextField = "text",
) -> None:
    """Train a tokenizer on files, in order. A corpus recipe can train one too (tokenizer.train)."""
    from pretrain.checkpoint.huggingface.beside import check_target
    from pretrain.corpus.texts import texts_of_files
    from tokenizer import train_tokenizer

    check_target(output, "--output")
    training = _training(vocab_size, sample, algorithm, special or [], character_coverage, split_digits)
    texts = texts_of_files(files, text_field, training.sample)
    tokenizer = train_tokenizer(texts, **training.options())
    tokenizer.save(output)
    print(f"wrote {output}: {tokenizer.vocab_size:,} entries, fingerprint {tokenizer.fingerprint}")


@app.command()
def compare(
    tokenizers: Annotated[list[Path], typer.Argument(help="Directories or files of tokenizers.")],
    files: Annotated[
        list[str] | None, typer.Option(help="NAME=PATH or PATH: texts to encode. Globs are fine; more than once.")
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A corpus recipe: its sources, as they are read.")] = None,
    manifest: Annotated[str | None, typer.Option(help="manifest.json of a corpus: its training texts.")] = None,
    sample: Annotated[str, typer.Option(help="Bytes of text of each source.")] = "10MB",
    text_field: TextField = "text",
    json: Annotated[Path | None, typer.Option(help="Also write the numbers to this file.")] = None,
) -> None:
    """Bytes a token, tokens a word, and speed of several tokenizers, by source."""
    from pretrain.corpus.compare import compare, comparison_table, load_named
    from pretrain.corpus.show import terminal

    loaded = load_named(tokenizers)
    compared = compare(loaded, _sources(files or [], recipe, manifest, sample, text_field))
    terminal().print(comparison_table(loaded, compared))
    if json:
        import orjson

        rows = [row.plain(loaded[row.tokenizer]) for row in compared]
        json.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2) + b"\n")


@app.command()
def show(
    path: Annotated[Path, typer.Argument(help="Directory of a tokenizer, a tokenizer.json or a tokenizer.model.")],
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
            print(f"{token:>8}  {tokenizer.piece(token)!r}  {tokenizer.decode([token])!r}")


def _training(
    vocab_size: str, sample: str, algorithm: str, special: list[str], coverage: float | None, split_digits: bool
) -> TokenizerTraining:
    from pretrain.config.tokenizer import TokenizerTraining

    plain: dict[str, object] = {
        "vocab_size": vocab_size,
        "sample": sample,
        "algorithm": algorithm,
        "special_tokens": special,
    }
    plain |= {"split_digits": split_digits} | ({} if coverage is None else {"character_coverage": coverage})
    return TokenizerTraining.parse(plain)


def _sources(
    files: list[str], recipe: str | None, manifest: str | None, sample: str, text_field: str
) -> dict[str, list[str]]:
    """The texts of the one kind of source that is given, by name. Raises ConfigError."""
    from pretrain.config.corpus import Corpus
    from pretrain.config.errors import ConfigError
    from pretrain.config.load import find, load_yaml
    from pretrain.config.units import parse_bytes
    from pretrain.corpus.texts import texts_of_corpus, texts_of_named, texts_of_recipe
    from pretrain.shards.manifest import load_manifest

    try:
        limit = parse_bytes(sample)
    except ValueError as error:
        raise ConfigError.of("--sample", sample, str(error), "for example 10MB") from None
    if sum(map(bool, (files, recipe, manifest))) != 1:
        rule = "needs one of --files, --recipe and --manifest"
        raise ConfigError.of("compare", [*files, recipe, manifest], rule, "for example --files ko=data/ko.jsonl.gz")
    if recipe:
        return texts_of_recipe(Corpus.parse(load_yaml(find(recipe, "data"))), limit)
    return texts_of_corpus(load_manifest(manifest), limit) if manifest else texts_of_named(files, text_field, limit)
