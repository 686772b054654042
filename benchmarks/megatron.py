"""megatron-core reads what we wrote: python -m benchmarks.megatron [MANIFEST]

megatron-core comes from PyPI into a scratch environment below a temporary folder, which also sees the project's own
packages. It opens the `.idx` of every shard of MANIFEST, or of made-up shards of both token types, and each token of
each document is compared with what our reader gives.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "megatron-core==0.16.1"
"""Without its dependencies: torch and numpy are the project's. Its wheel holds the compiled helpers."""
DOCUMENTS = 20_000


@contextlib.contextmanager
def scratch_environment() -> Iterator[Path]:
    """The Python of an environment with megatron-core, gone at the end."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", PACKAGE], check=True)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        packages = subprocess.check_output([python, "-c", where], text=True).strip()
        (Path(packages) / "project.pth").write_text(sysconfig.get_path("purelib"))
        yield python


def run_in(python: Path, *arguments: str) -> str:
    """What a module of the benchmarks prints in that environment."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONWARNINGS": "ignore"}
    command = [str(python), "-m", *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def write_documents(prefix: Path, dtype: str, documents: int = DOCUMENTS, seed: int = 0) -> int:
    """Documents of log-normal lengths (median 403 tokens), written with our writer; returns their tokens."""
    import numpy as np

    from pretrain.shards.indexed import IndexedWriter

    random = np.random.default_rng(seed)
    lengths = np.clip(random.lognormal(6, 1.2, documents), 1, None).astype(np.int32)
    lengths[1] = 0  # an empty one
    with IndexedWriter(prefix, dtype) as writer:
        for part in np.array_split(lengths, 100):
            writer.add(random.integers(0, 50_257 if dtype == "uint16" else 250_000, part.sum(), dtype=dtype), part)
    return int(lengths.sum())


def compare(prefixes: list[str]) -> None:
    """In the scratch environment: every token and document of these shards, read by both."""
    import numpy as np
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    from pretrain.shards.indexed import IndexedReader

    documents = tokens = 0
    for prefix in prefixes:
        theirs, ours = IndexedDataset(prefix, multimodal=False, mmap=True), IndexedReader(prefix)
        assert len(theirs) == len(ours), prefix
        assert np.array_equal(theirs.document_indices, ours.document_starts), prefix
        assert np.array_equal(theirs.sequence_lengths, ours.lengths), prefix
        for number in range(len(ours)):
            one, other = theirs[number], ours[number]
            assert one.dtype == other.dtype and np.array_equal(one, other), (prefix, number)
            tokens += len(one)
        assert tokens and ours.token_count == int(theirs.sequence_lengths.sum(dtype=np.int64)), prefix
        documents += len(theirs.document_indices) - 1
    print(f"same tokens: {documents:,} documents, {tokens:,} tokens in {len(prefixes)} shards")


def prefixes_of(manifest: str) -> list[str]:
    """Every shard of a corpus."""
    from pretrain.shards.manifest import load_manifest

    corpus = load_manifest(manifest)
    splits = [split for source in corpus.sources.values() for split in source.splits.values()]
    return [str((corpus.directory / shard.path).resolve()) for split in splits for shard in split.shards]


def main() -> None:
    """Make the environment and compare."""
    with scratch_environment() as python, tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) > 1:
            prefixes = prefixes_of(sys.argv[1])
        else:
            prefixes = [str(Path(folder) / dtype) for dtype in ("uint16", "int32")]
            for prefix in prefixes:
                write_documents(Path(prefix), Path(prefix).name)
        print(run_in(python, "benchmarks.megatron", "compare", *prefixes), end="")


if __name__ == "__main__":
    if sys.argv[1:2] == ["compare"]:
        compare(sys.argv[2:])
    else:
        main()
