"""The training input at scale, beside megatron-core's: python -m benchmarks.reading

1. Opening mixtures of 1G to 1T tokens (sparse files) and computing the first batch, in cold processes without torch.
2. 2,048-token samples per CPU second with source ids, one process, random order, warm, beside GPTDataset and
   BlendedDataset of megatron-core on the same files: cold processes in turn.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.data import SOURCES, measure, write_corpus
from benchmarks.megatron import run_in, scratch_environment, write_documents

RUNS = 3
SAMPLE, BATCH, MICRO_BATCH = 2048, 256, 8
STEPS = 64
"""16,384 samples, gone through once before the clock starts."""
SHARDS = 250
"""Of each of four sources."""
SIZES = {"1G": 10**9, "10G": 10**10, "100G": 10**11, "1T": 10**12}


def main() -> None:
    """Measure in turn and print the medians."""
    with tempfile.TemporaryDirectory() as folder:
        opening(Path(folder))
        reading(Path(folder) / "warm")


def opening(folder: Path) -> None:
    """The table of opening times; the sizes take turns."""
    for name, tokens in SIZES.items():
        write_corpus(folder / name, SHARDS, tokens // (4 * SHARDS), sparse=True)
    opened: dict[str, list[dict[str, float]]] = {name: [] for name in SIZES}
    for _ in range(RUNS):
        for name in SIZES:
            opened[name].append(measure("open", folder / name))
    print("| tokens in 1,000 shards | open, first batch: s | with imports: s | memory of the process: MB |")
    print("|---|---|---|---|")
    for name, results in opened.items():
        seconds, all_seconds, memory = (
            statistics.median(result[key] for result in results)
            for key in ("seconds", "seconds_with_imports", "process_megabytes")
        )
        print(f"| {name} | {seconds:.3f} | {all_seconds:.3f} | {memory:.0f} |", flush=True)


def reading(folder: Path) -> None:
    """The table of samples per second; ours and theirs take turns."""
    write_warm(folder)
    rates: dict[str, list[float]] = {}
    with scratch_environment() as python:
        for _ in range(RUNS):
            for who, interpreter in (("ours", Path(sys.executable)), ("theirs", python)):
                for name, rate in json.loads(run_in(interpreter, "benchmarks.reading", who, str(folder))).items():
                    rates.setdefault(name, []).append(rate)
    ours = rates["pretrain"]
    print("\n| who | samples per second | lowest to highest | pretrain / it, median of the turns | target |")
    print("|---|---|---|---|---|")
    for name, measured in rates.items():
        ratio = statistics.median(mine / its for mine, its in zip(ours, measured, strict=True))
        middle, target = statistics.median(measured), "" if name == "pretrain" else ">= 5"
        print(f"| {name} | {middle:,.0f} | {min(measured):,.0f} - {max(measured):,.0f} | {ratio:.1f} | {target} |")


def write_warm(folder: Path) -> None:
    """Four sources of about 16M tokens, which both read."""
    from pretrain.shards.manifest import Manifest, Shard, Source, Split, TokenizerRecord

    folder.mkdir()
    sources = {}
    for seed, (name, weight) in enumerate(SOURCES.items()):
        tokens = write_documents(folder / name, "uint16", seed=seed)
        size = {".bin": {"bytes": (folder / f"{name}.bin").stat().st_size, "sha256": "0" * 64}}
        split = Split(1, tokens, 4 * tokens, (Shard(name, 1, tokens, 4 * tokens, size),))
        sources[name] = Source(weight, (), {"train": split, "validation": Split(0, 0, 0, ())})
    record = TokenizerRecord("tokenizer", "0" * 16, 50_257, 50_256)
    Manifest("bench", record, "uint16", True, sources, {}, "bench").save(folder / "manifest.json")


def read_ours(folder: Path) -> dict[str, float]:
    """Samples per second through the loader, without its thread."""
    from pretrain.data.dataset import Corpus
    from pretrain.data.loader import Loader
    from pretrain.data.plan import DataPlan, Phase, Stage
    from pretrain.shards.manifest import load_manifest

    corpus = Corpus(load_manifest(folder / "manifest.json"), SAMPLE)
    order = corpus.order(DataPlan(1, SAMPLE, corpus.sources, (Phase(0, 0, BATCH),), (Stage(0, (60, 22, 16, 3)),)))

    def read() -> None:
        for batch in Loader(corpus, order, range(STEPS), MICRO_BATCH, prefetch=0):
            assert batch.source.shape == (MICRO_BATCH,)

    return {"pretrain": timed(read)}


def read_theirs(folder: Path) -> dict[str, float]:
    """Samples per second of GPTDataset on the largest source, and of a blend of four, which tells the source.

    Without attention masks and without resets, which is their fastest; batches are not put together.
    """
    from megatron.core.datasets.blended_dataset import BlendedDataset

    datasets = [gpt_dataset(folder / name, STEPS * BATCH) for name in SOURCES]
    weights = [float(weight) for weight in SOURCES.values()]
    blend = BlendedDataset(datasets, weights, STEPS * BATCH, datasets[0].config)

    def read(dataset: Any) -> Callable[[], None]:
        def all_samples() -> None:
            for number in range(STEPS * BATCH):
                assert len(dataset[number]["tokens"]) == SAMPLE

        return all_samples

    names = {"megatron-core GPTDataset, no source ids": datasets[0], "megatron-core BlendedDataset": blend}
    return {name: timed(read(dataset)) for name, dataset in names.items()}


def gpt_dataset(prefix: Path, samples: int) -> Any:
    """megatron-core's dataset over one shard."""
    import numpy as np
    import torch
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    class Tokenizer:
        """What the dataset asks of one."""

        vocab_size, eod, pad, bos = 50_257, 50_256, -1, None
        unique_identifiers: dict[str, str] = {}  # noqa: RUF012

    torch.set_num_threads(1)
    config = GPTDatasetConfig(
        random_seed=1, sequence_length=SAMPLE, blend=None, split="1,0,0", tokenizer=Tokenizer(),
        reset_position_ids=False, reset_attention_mask=False, eod_mask_loss=False, create_attention_mask=False,
        path_to_cache=None, mid_level_dataset_surplus=0.005,
    )  # fmt: skip
    low = IndexedDataset(str(prefix), multimodal=False, mmap=True)
    documents = np.arange(len(low.document_indices) - 1, dtype=np.int32)
    return GPTDataset(low, str(prefix), documents, samples, Split.train, config)


def timed(read: Callable[[], None]) -> float:
    """Samples per CPU second of this process, the second time."""
    read()
    started = time.process_time()
    read()
    return STEPS * BATCH / (time.process_time() - started)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"ours": read_ours, "theirs": read_theirs}[sys.argv[1]](Path(sys.argv[2]))))
    else:
        main()
