"""What the data room costs: python -m benchmarks.data

1. Opening a manifest of 1,000 shards and computing the first batch, in a fresh process without torch.
2. 2,048-token samples per CPU second from warm files in random order, one process, beside bare numpy.memmap slices.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 5
SAMPLE = 2048
SOURCES = {"crawl": "60", "web": "22", "books": "16", "wiki": "3"}


def main() -> None:
    """Measure each in fresh processes and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        many, warm = Path(folder) / "many", Path(folder) / "warm"
        write_corpus(many, shards=250, tokens=4_000_000, sparse=True)
        write_corpus(warm, shards=4, tokens=4_000_000, sparse=False)
        opened = [measure("open", many) for _ in range(RUNS)]
        read = [measure("read", warm) for _ in range(RUNS)]
    print("| what | median | target |\n|---|---|---|")
    row("open 1,000 shards, first batch: seconds", opened, "seconds", "<= 0.2", ".3f")
    row("the same, with the imports it needs: seconds", opened, "seconds_with_imports", "", ".3f")
    row("memory above numpy: MB", opened, "megabytes", "<= 30", ".1f")
    row("2,048-token samples per second", read, "samples_per_second", ">= 50,000", ",.0f")
    row("the same windows through numpy.memmap", read, "memmap_samples_per_second", "", ",.0f")
    row("ratio to numpy.memmap", read, "ratio", "", ".2f")


def row(title: str, results: list[dict[str, float]], key: str, target: str, form: str) -> None:
    """One line of the table."""
    print(f"| {title} | {statistics.median(result[key] for result in results):{form}} | {target} |")


def measure(what: str, corpus: Path) -> dict[str, float]:
    """One measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.data", what, str(corpus / "manifest.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def write_corpus(directory: Path, shards: int, tokens: int, sparse: bool) -> None:
    """Four sources of `shards` shards of `tokens` tokens; sparse ones take no disk."""
    import numpy as np

    from pretrain.shards.manifest import Manifest, Shard, Source, Split, TokenizerRecord

    directory.mkdir()
    sources, random = {}, np.random.default_rng(0)
    for name, weight in SOURCES.items():
        parts = []
        for number in range(shards):
            path = directory / f"{name}-{number}.bin"
            with open(path, "wb") as file:
                file.truncate(2 * tokens)
                if not sparse:
                    file.write(random.integers(0, 50_257, tokens, dtype=np.uint16).tobytes())
            sizes = {".bin": 2 * tokens, ".idx": tokens // 40, ".documents.parquet": tokens // 100}
            for suffix in (".idx", ".documents.parquet"):
                with open(path.with_suffix(suffix), "wb") as file:
                    file.truncate(sizes[suffix])
            files = {suffix: {"bytes": size, "sha256": "0" * 64} for suffix, size in sizes.items()}
            parts.append(Shard(path.stem, 1, tokens, 4 * tokens, files))
        train = Split(shards, shards * tokens, 4 * shards * tokens, tuple(parts))
        sources[name] = Source(weight, (), {"train": train, "validation": Split(0, 0, 0, ())})
    record = TokenizerRecord("tokenizer", "0" * 16, 50_257, 50_256)
    Manifest("bench", record, "uint16", True, sources, {}, "bench").save(directory / "manifest.json")


def open_corpus(manifest: str) -> dict[str, float]:
    """Open and compute the first batch of 512 samples (order and tokens of one micro-batch of 8)."""
    import numpy  # noqa: F401  the memory above it is what is asked for

    before = peak_kilobytes()
    started = time.perf_counter()
    from pretrain.data.dataset import Corpus
    from pretrain.data.loader import micro_batches
    from pretrain.data.plan import DataPlan, Phase, Stage
    from pretrain.shards.manifest import load_manifest

    imported = time.perf_counter()
    corpus = Corpus(load_manifest(manifest), SAMPLE)
    order = corpus.order(DataPlan(1, SAMPLE, corpus.sources, (Phase(0, 0, 512),), (Stage(0, (60, 22, 16, 3)),)))
    batch = corpus.read(corpus.train, next(micro_batches(order, 0, 8, 0, 1)))
    ended = time.perf_counter()
    assert batch.tokens.shape == (8, SAMPLE + 1) and "torch" not in sys.modules
    used = peak_kilobytes() - before
    return {
        "seconds": ended - imported,
        "seconds_with_imports": ended - started,
        "megabytes": used / 1000,
        "process_megabytes": peak_kilobytes() / 1000,
    }


def peak_kilobytes() -> int:
    """The largest resident size of this process since it was started (getrusage would count its parent's too)."""
    status = Path("/proc/self/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))


def read_samples(manifest: str) -> dict[str, float]:
    """Read 16,384 samples in batches of 64 through the order, and the same windows through numpy.memmap."""
    import numpy as np

    from pretrain.data.dataset import Corpus
    from pretrain.data.order import Places
    from pretrain.data.plan import DataPlan, Phase, Stage
    from pretrain.shards.manifest import load_manifest

    corpus = Corpus(load_manifest(manifest), SAMPLE)
    order = corpus.order(DataPlan(1, SAMPLE, corpus.sources, (Phase(0, 0, 64),), (Stage(0, (60, 22, 16, 3)),)))
    steps = range(256)
    for step in steps:
        corpus.read(corpus.train, order.step(step))  # warm
    started = time.process_time()
    for step in steps:
        corpus.read(corpus.train, order.step(step))
    ours = len(steps) * 64 / (time.process_time() - started)
    files = [np.memmap(path, dtype=np.uint16, mode="r") for path in sorted(Path(manifest).parent.glob("*.bin"))]
    places: list[Places] = [order.step(step) for step in steps]
    started = time.process_time()
    for place in places:
        starts = place.position * SAMPLE % (len(files[0]) - SAMPLE - 1)
        rows = [files[p % len(files)][s : s + SAMPLE + 1] for p, s in zip(place.position, starts, strict=True)]
        np.stack(rows).astype(np.int32)
    plain = len(steps) * 64 / (time.process_time() - started)
    return {"samples_per_second": ours, "memmap_samples_per_second": plain, "ratio": ours / plain}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"open": open_corpus, "read": read_samples}[sys.argv[1]](sys.argv[2])))
    else:
        main()
