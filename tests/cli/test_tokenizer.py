"""`pretrain tokenizer` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.test_cli import pretrain
from tests.tokenizer.conftest import SENTENCES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizers")
    (path / "some.txt").write_text("".join(SENTENCES))
    for algorithm in ("byte-bpe", "sentencepiece-bpe"):
        words = ("some.txt", "--output", algorithm, "--vocab-size", "420", "--algorithm", algorithm)
        done = pretrain("tokenizer", "train", *words, cwd=path)
        assert done.returncode == 0, done.stderr
        assert f"wrote {algorithm}: 420 entries, fingerprint " in done.stdout
    return path


def test_compare(folder: Path) -> None:
    words = ("byte-bpe", "sentencepiece-bpe", "--text", "a=some.txt", "--text", "b=some.txt")
    table = pretrain("tokenizer", "compare", *words, cwd=folder).stdout.splitlines()
    assert [line.split()[:2] for line in table[1:4]] == [["byte-bpe", "a"], ["byte-bpe", "b"], ["byte-bpe", "all"]]
    assert sum("*" in line for line in table[1:7]) >= 3
    plain = json.loads(pretrain("tokenizer", "compare", *words, "--json", cwd=folder).stdout)
    assert plain["byte-bpe"]["sources"]["a"]["bytes"] == len("".join(SENTENCES).encode())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("train", "some.txt", "--output", "x", "--vocab-size", "420", "--algorithm", "bpe"), "did you mean byte-bpe?"),
        (("train", "some.txt", "--output", "x", "--vocab-size", "many"), "--vocab-size = 'many'"),
        (("compare", "byte-bpe", "--text", "some.txt"), "must be written NAME=FILES"),
        (("compare", "nothing", "--text", "a=some.txt"), "must be an existing file or directory"),
    ],
)
def test_bad_words(folder: Path, words: tuple[str, ...], told: str) -> None:
    done = pretrain("tokenizer", *words, cwd=folder)
    assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr
