"""Tokenizing with GPT-2's vocabulary, beside datatrove and bare loops: python -m benchmarks.tokenizing [times]

Whole cold processes, alternated, start-up included; two workers (the loops have one). The input is 40 MB of
PRETRAIN_TEST_DATA/corpus in four files, or `times` as much. All make the same tokens, which is checked.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RUNS = 3
BYTES = 40_000_000
FILES = 4


def main() -> None:
    """Run all in turn and print the medians."""
    if "PRETRAIN_TEST_DATA" not in os.environ:
        print("skipped: set PRETRAIN_TEST_DATA to a folder with corpus/*.jsonl.gz and gpt2-tokenizer/")
        return
    times = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    ways = {"pretrain": pretrain, "datatrove": datatrove, "tokenizers": loop, "gigatoken": loop}
    if times > 1:
        del ways["tokenizers"]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, float] = dict.fromkeys(ways, 0)
    with tempfile.TemporaryDirectory() as folder:
        size = write_input(Path(folder), times)
        digests = {}
        for _ in range(RUNS):
            for name in ways:
                out = Path(tempfile.mkdtemp(dir=folder))
                started = time.monotonic()
                peak = measured([sys.executable, "-m", "benchmarks.tokenizing", name, folder, str(out)])
                seconds[name].append(time.monotonic() - started)
                memory[name] = max(memory[name], peak)
                digests[name] = digest(out)
    assert len(set(digests.values())) == 1, f"tokens differ: {digests}"
    ours = statistics.median(seconds["pretrain"])
    print(f"{size / 1e6:.0f} MB of JSON Lines, the same tokens\n")
    print("| | seconds | by pretrain's | largest process, MB |\n|---|---|---|---|")
    for name in ways:
        middle = statistics.median(seconds[name])
        print(f"| {name} | {middle:.2f} | {middle / ours:.1f} | {memory[name]:,.0f} |")


def measured(command: list[str]) -> float:
    """Run it; the largest memory of a process of it, in MB."""
    script = (
        "import resource, subprocess, sys;"
        "subprocess.run(sys.argv[1:], check=True, stdout=2, stderr=subprocess.DEVNULL);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1]) / 1000


def write_input(folder: Path, times: int) -> int:
    """part-0.jsonl, ...; returns bytes."""
    lines = []
    for name in ("web", "webtext", "books", "wiki"):
        with gzip.open(Path(os.environ["PRETRAIN_TEST_DATA"], "corpus", f"{name}.jsonl.gz")) as file:
            size = 0
            for line in file:
                lines.append(line)
                size += len(line)
                if size > BYTES // 4:
                    break
    total = 0
    for part in range(FILES):
        own = b"".join(lines[part::FILES]) * times
        (folder / f"part-{part}.jsonl").write_bytes(own)
        total += len(own)
    return total


def digest(out: Path) -> str:
    """Of all tokens, file by file, in the order of the input."""
    tokens = hashlib.sha256()
    for path in sorted(out.rglob("*.bin")) or sorted(out.rglob("*.tokens")):
        tokens.update(path.read_bytes())
    return tokens.hexdigest()


def pretrain(folder: str, out: str) -> None:
    """`corpus prepare`: read, deduplicate nothing, keep the order, tokenize."""
    data = Path(os.environ["PRETRAIN_TEST_DATA"])
    recipe = {
        "name": "benchmark", "directory": out, "tokenizer": str(data / "gpt2-tokenizer"), "order": "file",
        "deduplicate": False, "validation": 0, "workers": 2,
        "sources": {"all": {"kind": "jsonl", "paths": f"{folder}/part-*.jsonl", "weight": 1}},
    }  # fmt: skip
    Path(out, "recipe.yaml").write_text(json.dumps(recipe))
    command = [str(Path(sys.executable).with_name("pretrain")), "corpus", "prepare", f"{out}/recipe.yaml"]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def datatrove(folder: str, out: str) -> None:
    """Its Megatron writer."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens.megatron_tokenizer import MegatronDocumentTokenizer

    tokenizer = gzip.decompress(Path(os.environ["PRETRAIN_TEST_DATA"], "gpt2-tokenizer/tokenizer.json.gz").read_bytes())
    Path(folder, "tokenizer.json").write_bytes(tokenizer)
    writer = MegatronDocumentTokenizer(
        output_folder=out, tokenizer_name_or_path=f"{folder}/tokenizer.json", eos_token="<|endoftext|>"
    )
    steps = [JsonlReader(folder, glob_pattern="part-*.jsonl", compression=None), writer]
    LocalPipelineExecutor(steps, tasks=FILES, workers=2, logging_dir=f"{out}/logs").run()


def loop(name: str, folder: str, out: str) -> None:
    """orjson, a tokenizer, and plain writes."""
    import numpy as np
    import orjson

    data = Path(os.environ["PRETRAIN_TEST_DATA"])
    if name == "tokenizers":
        import tokenizers

        raw = gzip.decompress((data / "gpt2-tokenizer/tokenizer.json.gz").read_bytes())
        encoder = tokenizers.Tokenizer.from_str(raw.decode())
    else:
        from tokenizer import load_tokenizer

        fast = load_tokenizer(data / "gpt2-tokenizer")
    for path in sorted(Path(folder).glob("part-*.jsonl")):
        with open(path, "rb") as lines, open(Path(out, path.stem + ".tokens"), "wb") as file:
            while batch := lines.readlines(4_000_000):
                texts = [orjson.loads(line)["text"] for line in batch]
                if name == "tokenizers":
                    for text in texts:
                        file.write(np.array([*encoder.encode(text).ids, 50256], dtype=np.uint16).tobytes())
                else:
                    tokens, lengths = fast.encode_batch(texts)
                    file.write(np.insert(tokens, np.cumsum(lengths), np.uint32(50256)).astype(np.uint16).tobytes())


if __name__ == "__main__":
    if len(sys.argv) > 2:
        way = sys.argv[1]
        _ = loop(way, *sys.argv[2:]) if way in ("tokenizers", "gigatoken") else globals()[way](*sys.argv[2:])
    else:
        main()
