"""Data sets of Hugging Face: from the hub (stored or streamed), a save_to_disk folder, or a folder of data files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError, nearest
from pretrain.corpus.document import Broken, Document, Record, Unit

TIMEOUT = 10
"""Seconds for the hub to answer."""
ROWS = 50_000
"""Rows of a stored data set in one unit."""


def units(source: CorpusSource) -> list[Unit]:
    """Ranges of rows, or the shards of a streamed data set. Loads (and for the hub fetches) the data set."""
    data = _load(source)
    _check_column(source, data)
    if source.streaming:
        shards = data.num_shards
        stamp = f"{source.revision or 'main'}/{shards}"
        return [Unit(shard, (_name(source),), shard, shards, stamp) for shard in range(shards)]
    starts = range(0, max(len(data), 1), ROWS)
    return [
        Unit(index, (_name(source),), start, min(start + ROWS, len(data)), data._fingerprint)
        for index, start in enumerate(starts)
    ]


def read(source: CorpusSource, unit: Unit) -> Iterator[Record]:
    """The rows of a unit, numbered from 1 in the data set (streamed: in the shard)."""
    data = _load(source)
    if source.streaming:
        name, first = f"{_name(source)}/shard-{unit.start:05}", 0
        rows: Any = data.shard(num_shards=unit.stop, index=unit.start)
    else:
        name, first = _name(source), unit.start
        rows = data.select(range(unit.start, unit.stop))
    for number, row in enumerate(rows, first + 1):
        yield _record(source, name, number, row)


def _record(source: CorpusSource, name: str, number: int, row: dict[str, Any]) -> Record:
    text = row.get(source.text_field)
    if not isinstance(text, str):
        return Broken(name, number, f"column {source.text_field!r} holds {type(text).__name__}, not text")
    own = row.get(source.id_field) if source.id_field else None
    return Document(text, name, number, None if own is None else str(own))


def _name(source: CorpusSource) -> str:
    return "/".join(part for part in (str(source.dataset), source.config, source.split) if part)


def _load(source: CorpusSource) -> Any:
    import datasets

    path = Path(str(source.dataset))
    try:
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            stored = datasets.load_from_disk(str(path))
            return stored[source.split] if isinstance(stored, datasets.DatasetDict) else stored
        if not path.exists():
            _ask_hub(source)
        return datasets.load_dataset(
            str(source.dataset),
            source.config,
            split=source.split,
            revision=source.revision,
            streaming=source.streaming,
        )
    except Exception as error:  # missing, private, offline, no such split: datasets raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        fix = "check its name, config and split; without network use a folder on disk"
        raise ConfigError.of("sources.dataset", _name(source), f"cannot be loaded ({reason})", fix) from None


def _ask_hub(source: CorpusSource) -> None:
    """Ask for the data set once. Without a network `datasets` would try for half a minute, in each process again."""
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError

    try:
        HfApi().dataset_info(str(source.dataset), revision=source.revision, timeout=TIMEOUT)
    except HfHubHTTPError:  # the hub answers that there is none, or that it is private
        raise
    except Exception:
        if source.streaming:
            raise
        # What an earlier call stored here can still be read.
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True


def _check_column(source: CorpusSource, data: Any) -> None:
    known = list(data.column_names or ())
    for field, column in (("text_field", source.text_field), ("id_field", source.id_field)):
        if known and column is not None and column not in known:
            guess = nearest(column, known)
            fix = f"did you mean {guess!r}?" if guess else f"its columns: {', '.join(known)}"
            raise ConfigError.of(f"sources.{field}", column, f"must be a column of {_name(source)}", fix)
