"""Documents of the folder of test data."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import orjson


def real_documents(folder: Path, source: str, count: int) -> Iterator[str]:
    """The texts of the first `count` documents of a source."""
    with gzip.open(folder / "corpus" / f"{source}.jsonl.gz") as lines:
        for line in islice(lines, count):
            yield orjson.loads(line)["text"]
