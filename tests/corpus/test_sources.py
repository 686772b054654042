"""Every kind of source reads the same documents; what is broken is refused or counted, with its place."""

import bz2
import gzip
import io
import json
import lzma
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pretrain.config.corpus import CorpusSource
from pretrain.config.errors import ConfigError
from pretrain.corpus.document import Broken, Document, Record, text_key
from pretrain.corpus.sources import files, find_units, read_unit

TEXTS = ["one", "zwei\nlines", "셋 \u2028 three", "four\r\n"]


def records(**plain: Any) -> list[Record]:
    source = CorpusSource.parse({"weight": 1, **plain})
    return [record for unit in find_units(source) for record in read_unit(source, unit)]


def lines(field: str = "text") -> bytes:
    return b"".join(json.dumps({field: text, "url": i}).encode() + b"\n" for i, text in enumerate(TEXTS))


def texts(found: list[Record]) -> list[str]:
    assert all(isinstance(record, Document) for record in found), found
    return [record.text for record in found if isinstance(record, Document)]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_jsonl(suffix: str, tmp_path: Path) -> None:
    half = len(lines()) // 2
    packed = {
        "": lines(),
        ".gz": gzip.compress(lines()[:half]) + gzip.compress(lines()[half:]),
        ".zst": zstandard.compress(lines()[:half]) + zstandard.compress(lines()[half:]),
        ".bz2": bz2.compress(lines()[:half]) + bz2.compress(lines()[half:]),
        ".xz": lzma.compress(lines()[:half]) + lzma.compress(lines()[half:]),
    }
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(packed[suffix])
    found = records(kind="jsonl", paths=str(path), id_field="url")
    assert texts(found) == TEXTS
    assert found[2] == Document(TEXTS[2], str(path), 3, "2")


def test_globs_are_sorted_and_each_file_is_read_once(tmp_path: Path) -> None:
    for name in ("b", "a", "c"):
        (tmp_path / f"{name}.txt").write_text(name)
    paths = [str(tmp_path / "c.txt"), str(tmp_path / "*.txt")]
    assert texts(records(kind="text", paths=paths)) == ["c", "a", "b"]


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": [*TEXTS, None], "n": [7, 8, 9, 10, 11]}), tmp_path / "a.parquet", row_group_size=2)
    found = records(kind="parquet", paths=str(tmp_path / "a.parquet"), text_field="body", id_field="n")
    assert texts(found[:4]) == TEXTS
    assert found[3] == Document(TEXTS[3], str(tmp_path / "a.parquet"), 4, "10")
    assert isinstance(found[4], Broken) and "NoneType, not text" in found[4].reason


def test_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("first\r\n\n<|end|>\nsecond 둘\n<|end|>".encode())
    assert texts(records(kind="text", paths=str(tmp_path / "a.txt"), separator="<|end|>")) == ["first", "second 둘", ""]
    assert texts(records(kind="text", paths=str(tmp_path / "a.txt")))[0].startswith("first\r\n\n<|end|>")


def test_huggingface_folders(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"text": TEXTS, "url": ["a", "b", "c", "d"]})
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict({"train": data, "test": data.select([0])}).save_to_disk(str(tmp_path / "two"))
    found = records(kind="huggingface", dataset=str(tmp_path / "one"), id_field="url")
    assert texts(found) == TEXTS
    assert found[1] == Document(TEXTS[1], f"{tmp_path / 'one'}/train", 2, "b")
    assert texts(records(kind="huggingface", dataset=str(tmp_path / "two"), split="test")) == ["one"]


@pytest.mark.parametrize("streaming", [False, True])
def test_huggingface_data_files(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-0.jsonl").write_bytes(lines())
    (tmp_path / "data" / "train-1.jsonl").write_bytes(lines())
    found = records(kind="huggingface", dataset=str(tmp_path / "data"), streaming=streaming)
    assert texts(found) == TEXTS + TEXTS
    with pytest.raises(ConfigError, match="cannot be loaded"):
        records(kind="huggingface", dataset=str(tmp_path / "data"), split="nowhere")
    with pytest.raises(ConfigError, match="did you mean 'text'"):
        records(kind="huggingface", dataset=str(tmp_path / "data"), text_field="txt", streaming=streaming)


def sharded(folder: Path) -> None:
    """Two configurations, splits of several Parquet files, the text in a column of its own name."""
    for language, split, shards in (("ko", "train", 3), ("ko", "test", 1), ("en", "train", 2)):
        (folder / language).mkdir(parents=True, exist_ok=True)
        for i in range(shards):
            table = pa.table({"content": [f"{language} {split} {i} {row}" for row in range(4)], "n": [0, 1, 2, 3]})
            pq.write_table(table, folder / language / f"{split}-{i:05}-of-{shards:05}.parquet")
    paths = "\n".join(
        f"- config_name: {name}\n  data_files:\n" + "".join(f"  - {{split: {s}, path: {name}/{s}-*}}\n" for s in splits)
        for name, splits in (("ko", ("train", "test")), ("en", ("train",)))
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{paths}---\n")


@pytest.mark.parametrize("streaming", [False, True])
def test_sharded_data_set(streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    sharded(tmp_path / "data")
    plain = {"kind": "huggingface", "dataset": str(tmp_path / "data"), "text_field": "content", "streaming": streaming}
    source = CorpusSource.parse({**plain, "config": "ko", "weight": 1})
    assert len(find_units(source)) == (3 if streaming else 1)
    assert texts(records(**plain, config="ko")) == [f"ko train {i} {row}" for i in range(3) for row in range(4)]
    assert texts(records(**plain, config="ko", split="test")) == [f"ko test 0 {row}" for row in range(4)]
    assert records(**plain, config="en", id_field="n")[5].id == "1"  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="cannot be loaded"):
        records(**plain, config="fr")


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_that_cannot_be_reached_is_said_soon(
    streaming: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets, hub = pytest.importorskip("datasets"), pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(hub.constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    for place in (hub.constants, datasets.config):
        monkeypatch.setattr(place, "HF_HUB_OFFLINE", False)
    start = time.monotonic()
    with pytest.raises(ConfigError, match=r"sources\.dataset = 'some/thing/train'\n +rule: cannot be loaded"):
        records(kind="huggingface", dataset="some/thing", streaming=streaming)
    assert time.monotonic() - start < 10  # tries of datasets alone: 24 s


def test_installed_docs() -> None:
    source = {"kind": "installed-docs"}
    topics = texts(records(**source, collection="language-reference"))
    assert len(topics) > 50 and all(topics)
    about = records(**source, collection="package-descriptions")
    assert len(texts(about)) > 10 and not any(str(record).find("id='pretrain ") >= 0 for record in about)
    stdlib = CorpusSource.parse({**source, "collection": "stdlib-docs", "weight": 1})
    units = find_units(stdlib)
    assert units == find_units(stdlib) and len(units) >= 3
    first = [record for record in read_unit(stdlib, units[0]) if isinstance(record, Document)]
    named = {record.id: record.text for record in first}
    assert named["argparse.ArgumentParser"].startswith("Object for parsing command line strings into Python objects.")


def test_docstrings_are_cleaned_and_code_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "prosaic"
    (package / "tests").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Top.\n\n    Indented.\n    """\nraise SystemExit("must not run")\n')
    (package / "a.py").write_text(
        'class A:\n    """About A."""\n    def f(self):\n        "About f, \\ud800 broken."\n'
    )
    (package / "broken.py").write_text("def (:\n")
    (package / "tests" / "test_a.py").write_text('"""Not read."""\n')
    monkeypatch.syspath_prepend(tmp_path)
    found = records(kind="installed-docs", collection="package-docs", packages=["prosaic"])
    assert found == [
        Document("Top.\n\nIndented.", "prosaic/__init__.py", 1, "prosaic"),
        Document("About A.", "prosaic/a.py", 1, "prosaic.a.A"),
    ]
    with pytest.raises(ConfigError, match="must be an installed package"):
        records(kind="installed-docs", collection="package-docs", packages=["no_such_package"])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "is not JSON"),
        (b'{"text": "\xff"}', "is not JSON"),
        (b'{"text": "\\ud800"}', "is not JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"txt": "a"}', "has no field 'text' (its fields: 'txt')"),
        (b'{"text": 3}', "has no text in the field 'text'"),
    ],
)
def test_broken_lines(line: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + line + b"\n")
    fine, broken = records(kind="jsonl", paths=str(path))
    assert fine == Document("fine", str(path), 1)
    assert isinstance(broken, Broken)
    assert (broken.record, broken.bytes) == (3, len(line))
    assert broken.reason.startswith(reason)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"ok|b\xffd")
    found = records(kind="text", paths=str(tmp_path / "a.txt"), separator="|")
    assert found[1] == Broken(str(tmp_path / "a.txt"), 2, "is not UTF-8 at byte 1 of the document", 3)


def test_parquet_that_is_not_utf8(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"\xff\xfe"], pa.binary())
    strings = pa.StringArray.from_buffers(2, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": strings}), tmp_path / "a.parquet")
    fine, broken = records(kind="parquet", paths=str(tmp_path / "a.parquet"))
    assert isinstance(fine, Document) and isinstance(broken, Broken)
    assert broken.reason == "column 'text' is not UTF-8"


@pytest.mark.parametrize(("name", "damage"), [
    ("a.jsonl.gz", lambda raw: raw[:-20]),
    ("a.jsonl.gz", lambda raw: raw[:40] + bytes(20) + raw[60:]),
    ("a.jsonl.gz", lambda raw: b"not gzip"),
    ("a.jsonl.zst", lambda raw: raw[:-20]),
    ("a.jsonl.zst", lambda raw: b"not zstandard"),
    ("a.jsonl.bz2", lambda raw: raw[:-20]),
    ("a.jsonl.bz2", lambda raw: raw[:20] + bytes(20) + raw[40:]),
    ("a.jsonl.xz", lambda raw: raw[:-20]),
    ("a.jsonl.xz", lambda raw: raw[:60] + bytes(20) + raw[80:]),
])  # fmt: skip
@pytest.mark.parametrize("on_error", ["refuse", "count"])
def test_damaged_compression_is_always_refused(name: str, damage: Any, on_error: str, tmp_path: Path) -> None:
    packers = {"gz": gzip.compress, "zst": zstandard.compress, "bz2": bz2.compress, "xz": lzma.compress}
    pack = packers[name.rpartition(".")[2]]
    (tmp_path / name).write_bytes(damage(pack(lines() * 50)))
    with pytest.raises(ConfigError, match="its compressed data is damaged"):
        records(kind="jsonl", paths=str(tmp_path / name), on_error=on_error)


@pytest.mark.parametrize("size", [4, 64, 65, 66, 1000, 200_000])
def test_pieces_are_those_of_split(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Separators may lie across the bytes that are read at a time."""
    monkeypatch.setattr(files, "CHUNK", 64)
    raw = b"<|end|>".join(bytes([65 + i]) * (i * size // 7) for i in range(9))
    assert list(files.pieces(io.BytesIO(raw), b"<|end|>", len(raw))) == raw.split(b"<|end|>")
    lengths = [len(piece) for piece in raw.split(b"<|end|>")]
    found = list(files.pieces(io.BytesIO(raw), b"<|end|>", size))
    assert [len(piece) if isinstance(piece, bytes) else piece for piece in found] == lengths
    assert [isinstance(piece, int) for piece in found] == [length > size for length in lengths]
    assert list(files.pieces(io.BytesIO(raw), b"", len(raw))) == [raw]
    assert list(files.pieces(io.BytesIO(raw), b"", len(raw) - 1)) == [len(raw)]


def test_records_that_are_too_large(tmp_path: Path) -> None:
    line = json.dumps({"text": "a" * 1000}).encode()
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "one"}\n' + line + b'\n{"text": "two"}')
    one, large, two = records(kind="jsonl", paths=str(tmp_path / "a.jsonl"), maximum_record_bytes=500)
    assert isinstance(one, Document) and isinstance(two, Document) and (two.text, two.record) == ("two", 3)
    assert large == Broken(str(tmp_path / "a.jsonl"), 2, "is larger than maximum_record_bytes (500)", len(line))
    pq.write_table(pa.table({"text": ["한" * 166, "한" * 167]}), tmp_path / "a.parquet")
    fits, over = records(kind="parquet", paths=str(tmp_path / "a.parquet"), maximum_record_bytes=500)
    assert isinstance(fits, Document) and isinstance(over, Broken) and over.bytes == 501


def test_memory_of_one_long_line(tmp_path: Path) -> None:
    """A gzip of zeros is a line of 64 MB; 1 MB of it may be held, and some reads."""
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(bytes(64_000_000), 1))
    tracemalloc.start()
    (broken,) = records(kind="jsonl", paths=str(tmp_path / "a.jsonl.gz"), maximum_record_bytes=1_000_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(broken, Broken) and broken.bytes == 64_000_000
    assert peak < 8_000_000


def test_missing_files_and_columns(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be an existing file"):
        records(kind="text", paths=str(tmp_path / "none.txt"))
    with pytest.raises(ConfigError, match="matches no file"):
        records(kind="text", paths=[str(tmp_path / "*.txt")])
    pq.write_table(pa.table({"content": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match="its columns: content"):
        records(kind="parquet", paths=str(tmp_path / "a.parquet"), text_field="body")
    with pytest.raises(ConfigError, match="did you mean 'content'"):
        records(kind="parquet", paths=str(tmp_path / "a.parquet"), text_field="contents")
    (tmp_path / "b.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ConfigError, match="cannot be read as Parquet"):
        records(kind="parquet", paths=str(tmp_path / "b.parquet"))


def test_text_key_never_changes() -> None:
    """Order and validation of every corpus hang on it."""
    assert text_key(b"") == (4_665_148_505_410_102_986, 8_103_847_710_287_220_046)
    assert text_key("안녕".encode()) == (15_479_668_537_069_981_302, 14_269_423_602_851_690_110)
