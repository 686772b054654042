"""Megatron-LM's .bin and .idx, byte for byte, and clear words for damaged ones."""

import hashlib
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.shards.indexed import IndexedReader, IndexedWriter, token_dtype
from tokenizer import load_tokenizer


def write(prefix: Path, documents: list[list[int]], dtype: str = "uint16") -> IndexedWriter:
    with IndexedWriter(prefix, dtype) as writer:
        for document in documents:
            writer.add(np.array(document, np.uint32), [len(document)])
    return writer


def test_bytes(tmp_path: Path) -> None:
    writer = write(tmp_path / "x", [[1, 2, 3], [], [65535]])
    assert (tmp_path / "x.bin").read_bytes() == bytes([1, 0, 2, 0, 3, 0, 255, 255])
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, 3, 4)
    arrays = struct.pack("<3i", 3, 0, 1) + struct.pack("<3q", 0, 6, 6) + struct.pack("<4q", 0, 1, 2, 3)
    assert (tmp_path / "x.idx").read_bytes() == header + arrays
    assert (writer.documents, writer.tokens) == (3, 4)
    assert writer.files[".bin"]["bytes"] == 8
    assert writer.files[".idx"]["sha256"] == hashlib.sha256(header + arrays).hexdigest()


def test_int32(tmp_path: Path) -> None:
    write(tmp_path / "x", [[70_000]], "int32")
    assert (tmp_path / "x.bin").read_bytes() == struct.pack("<i", 70_000)
    assert (tmp_path / "x.idx").read_bytes()[17] == 4
    assert IndexedReader(tmp_path / "x")[0].tolist() == [70_000]


@pytest.mark.parametrize(("vocabulary", "dtype"), [(2048, "uint16"), (65_499, "uint16"), (65_500, "int32")])
def test_token_dtype(vocabulary: int, dtype: str) -> None:
    assert token_dtype(vocabulary) == dtype


def test_reads_what_it_wrote(tmp_path: Path) -> None:
    documents = [[1, 2, 3], [], [4], list(range(1000))]
    write(tmp_path / "x", documents)
    reader = IndexedReader(tmp_path / "x")
    assert [reader[i].tolist() for i in range(len(reader))] == documents
    assert (reader.documents, reader.sequences, reader.token_count) == (4, 4, 1004)
    assert reader.lengths.tolist() == [3, 0, 1, 1000]
    assert reader.offsets.tolist() == [0, 6, 6, 8]
    assert reader.document_starts.tolist() == [0, 1, 2, 3, 4]
    assert reader.tokens[:4].tolist() == [1, 2, 3, 4]


def test_empty(tmp_path: Path) -> None:
    write(tmp_path / "x", [])
    reader = IndexedReader(tmp_path / "x")
    assert (len(reader), reader.token_count, reader.tokens.tolist()) == (0, 0, [])


def test_equals_megatron(tmp_path: Path) -> None:
    """200 documents through GPT-2's tokenizer and our writer are the files that Megatron-LM made of them."""
    root = os.environ.get("PRETRAIN_TEST_DATA")
    if not root:
        pytest.skip("set PRETRAIN_TEST_DATA to a folder that holds megatron-sample/ and gpt2-tokenizer/")
    tokenizer = load_tokenizer(Path(root, "gpt2-tokenizer"))
    sample = Path(root, "megatron-sample")
    with IndexedWriter(tmp_path / "ours", token_dtype(tokenizer.vocab_size)) as writer:
        for line in (sample / "sample.jsonl").read_bytes().splitlines():
            tokens = [*tokenizer.encode(json.loads(line)["text"]), tokenizer.end_of_text]
            writer.add(np.array(tokens, np.uint32), [len(tokens)])
    for suffix in (".bin", ".idx"):
        assert (tmp_path / f"ours{suffix}").read_bytes() == (sample / f"sample_text_document{suffix}").read_bytes()
    theirs = IndexedReader(sample / "sample_text_document")
    assert (theirs.documents, theirs.token_count, theirs[3][:4].tolist()) == (200, 116_611, [15842, 198, 198, 15732])


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), IndexedWriter(tmp_path / "x", "uint16") as writer:
        writer.add(np.array([1], np.uint32), [1])
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_lengths_must_add_up(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lengths sum to 3, there are 2"), IndexedWriter(tmp_path / "x", "uint16") as w:
        w.add(np.array([1, 2], np.uint32), [3])


@pytest.mark.parametrize(
    ("damage", "rule"),
    [
        (lambda raw: b"", "must start with MMIDIDX"),
        (lambda raw: b"NOTMEGATR" + raw[9:], "must start with MMIDIDX"),
        (lambda raw: raw[:9] + b"\x02" + raw[10:], "has version 2"),
        (lambda raw: raw[:17] + b"\x07" + raw[18:], "token type 7"),
        (lambda raw: raw[:-1], "must have 62 bytes for 1 sequences; it has 61"),
        (lambda raw: raw + b"\x00", "it has 63"),
        (lambda raw: raw[:26] + b"\x00" * 8 + raw[34:], "must have 46 bytes for 1 sequences; it has 62"),
    ],
)  # fmt: skip
def test_damaged_index(damage, rule: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    write(tmp_path / "x", [[1, 2]])
    index = tmp_path / "x.idx"
    assert len(index.read_bytes()) == 62
    index.write_bytes(damage(index.read_bytes()))
    with pytest.raises(ConfigError, match=rule):
        IndexedReader(tmp_path / "x")


def test_cut_or_missing_tokens(tmp_path: Path) -> None:
    write(tmp_path / "x", [[1, 2]])
    (tmp_path / "x.bin").write_bytes(b"123")
    with pytest.raises(ConfigError, match="must hold whole uint16 tokens"):
        IndexedReader(tmp_path / "x")
    (tmp_path / "x.bin").unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        IndexedReader(tmp_path / "x")
