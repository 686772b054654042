"""Texts of files, recipes and corpora, in order: what training and comparing tokenizers outside a corpus needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from pretrain.config.corpus import Corpus, CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Broken
from pretrain.corpus.sources import find_units, read_unit
from pretrain.shards.indexed import IndexedReader
from pretrain.shards.manifest import Manifest
from pretrain.shards.tokenizer import tokenizer_of

PACKED = (".gz", ".zst", ".bz2", ".xz")


def texts_of_files(files: Iterable[str], text_field: str, limit: int) -> Iterator[str]:
    """Texts of JSON Lines, Parquet and text files (told apart by suffix) until `limit` bytes.

    Raises ConfigError when a file is missing or a record is broken.
    """
    return _until(limit, (text for file in files for text in _texts(_source(file, text_field))))


def texts_of_named(files: Iterable[str], text_field: str, limit: int) -> dict[str, list[str]]:
    """The first `limit` bytes of each source of words such as `ko=data/ko-*.jsonl`; a path alone is named by itself."""
    paths: dict[str, list[str]] = {}
    for word in files:
        name, equals, path = word.partition("=")
        paths.setdefault(name if equals else Path(word).name.partition(".")[0], []).append(path if equals else word)
    return {name: list(texts_of_files(found, text_field, limit)) for name, found in paths.items()}


def texts_of_recipe(recipe: Corpus, limit: int) -> dict[str, list[str]]:
    """The first `limit` bytes of each source of a recipe, as they are read: no rule is applied to them."""
    return {name: list(_until(limit, _texts(source))) for name, source in recipe.sources.items()}


def texts_of_corpus(manifest: Manifest, limit: int) -> dict[str, list[str]]:
    """The first `limit` bytes of each source of a prepared corpus, decoded from its training tokens."""
    return {name: list(_until(limit, _decoded(manifest, name))) for name in manifest.sources}


def _decoded(manifest: Manifest, source: str) -> Iterator[str]:
    tokenizer = tokenizer_of(manifest)
    for shard in manifest.sources[source].splits["train"].shards:
        reader = IndexedReader(manifest.directory / shard.path)
        for first, stop in pairwise(reader.document_starts.tolist()):
            tokens = [token for sequence in range(first, stop) for token in reader[sequence].tolist()]
            yield tokenizer.decode(token for token in tokens if token != tokenizer.end_of_text)


def _until(limit: int, texts: Iterable[str]) -> Iterator[str]:
    size = 0
    for text in texts:
        size += len(text.encode())
        if size > limit:
            return
        yield text


def _source(file: str, text_field: str) -> CorpusSource:
    name = next((file.removesuffix(suffix) for suffix in PACKED if file.endswith(suffix)), file)
    kind = "jsonl" if name.endswith((".jsonl", ".json")) else "parquet" if name.endswith(".parquet") else "text"
    field = {} if kind == "text" else {"text_field": text_field}
    return CorpusSource.parse({"kind": kind, "paths": [file], "weight": 1, **field})


def _texts(source: CorpusSource) -> Iterator[str]:
    for unit in find_units(source):
        for record in read_unit(source, unit):
            if not isinstance(record, Broken):
                yield record.text
            elif source.on_error == "refuse" and not record.expected:
                where = f"{record.file}, record {record.record:,}"
                raise ConfigError.of("files", where, record.reason, "correct the record, or leave the file out")
