"""Shards copied to a disk of this machine."""

from __future__ import annotations

import io
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.order import Places
from pretrain.shards.manifest import Manifest, load_manifest
from pretrain.training.staging import Lines, copied_to, copy_corpus, home_of, needed_sources
from tests.example import small_run
from tests.remote import upload
from tests.synthetic import WEIGHTS, make_corpus

ALL = set(WEIGHTS)
BYTES = {"train": 2 * (4 * 8_000 + 6 * 101), "validation": 2 * (4 * 600 + 6 * 13)}
"""Of the made-up corpus: sources differ by 101 and 13 tokens of 2 bytes."""


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return load_manifest(make_corpus(tmp_path / "corpus"))


def test_everything_is_copied_once(manifest: Manifest, tmp_path: Path) -> None:
    assert copy_corpus(manifest, tmp_path / "scratch", ALL).bytes == sum(BYTES.values())
    home = home_of(manifest, tmp_path / "scratch")
    copy = copied_to(manifest, home)
    assert copy.fingerprint() == manifest.fingerprint()
    for name in ("wiki-train-2.bin", "web-validation-0.bin", "tokenizer/tokenizer.json"):
        assert (home / name).read_bytes() == (manifest.directory / name).read_bytes()
    assert copy_corpus(manifest, tmp_path / "scratch", ALL).bytes == 0
    (home / "web-train-1.bin").write_bytes(b"torn")
    (home / "web-train-2.bin").unlink()
    size = sum(shard.files[".bin"]["bytes"] for shard in manifest.sources["web"].splits["train"].shards[1:])
    assert copy_corpus(manifest, tmp_path / "scratch", ALL).bytes == size


def test_the_copy_serves_the_same(manifest: Manifest, tmp_path: Path) -> None:
    copy_corpus(manifest, tmp_path / "scratch", ALL)
    shutil.move(manifest.directory, tmp_path / "away")
    corpus = Corpus(copied_to(manifest, home_of(manifest, tmp_path / "scratch")), 16)
    away = Corpus(replace(manifest, directory=tmp_path / "away"), 16)
    places = Places(np.array([0, 3, 1]), np.array([5, 170, 0]))
    assert np.array_equal(corpus.read(corpus.train, places).tokens, away.read(away.train, places).tokens)


def test_sources_without_weight_stay_but_for_their_validation(manifest: Manifest, tmp_path: Path) -> None:
    data = {"mixture": {"web": 1}, "stages": [{"from_tokens": 160, "mixture": {"web": 1, "wiki": 2, "books": 0}}]}
    run = Run.parse(small_run(manifest.directory / "manifest.json", tmp_path / "run", data=data))
    assert needed_sources(run, manifest) == {"web", "wiki"}
    assert needed_sources(Run.parse(small_run(Path("m"), tmp_path / "run")), manifest) == ALL
    copied = copy_corpus(manifest, tmp_path / "scratch", {"web", "wiki"})
    assert copied.bytes == BYTES["validation"] + 2 * (2 * 8_000 + 4 * 101)


def test_from_a_url(manifest: Manifest, tmp_path: Path) -> None:
    remote = load_manifest(upload(manifest.directory, "memory://staging"))
    copy_corpus(remote, tmp_path / "scratch", ALL)
    home = home_of(remote, tmp_path / "scratch")
    assert (home / "wiki-train-2.bin").read_bytes() == (manifest.directory / "wiki-train-2.bin").read_bytes()
    assert (home / "tokenizer" / "tokenizer.json").is_file()


def test_adopted_shards_lie_anywhere(manifest: Manifest, tmp_path: Path) -> None:
    """Their paths may lead out of the manifest's directory; the copy's do not."""
    shard = manifest.sources["web"].splits["train"].shards[0]
    paths = {"../corpus/web-train-0": "up/corpus/web-train-0", str(manifest.directory / "web-train-0"): None}
    for path, inside in paths.items():
        web = manifest.sources["web"]
        train = replace(web.splits["train"], shards=(replace(shard, path=path),))
        moved = replace(manifest, sources={"web": replace(web, splits={**web.splits, "train": train})})
        copy_corpus(moved, tmp_path / "scratch", {"web"})
        home = home_of(moved, tmp_path / "scratch")
        (copied,) = copied_to(moved, home).sources["web"].splits["train"].shards
        assert copied.path == (inside or f"root{manifest.directory}/web-train-0")
        assert (home / f"{copied.path}.bin").read_bytes() == (manifest.directory / "web-train-0.bin").read_bytes()


def test_a_damaged_file_is_refused_and_the_others_are_kept(manifest: Manifest, tmp_path: Path) -> None:
    path = manifest.directory / "wiki-validation-0.bin"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ConfigError, match="its checksum differs") as caught:
        copy_corpus(manifest, tmp_path / "scratch", ALL)
    assert caught.value.problems[0].value == str(path)
    home = home_of(manifest, tmp_path / "scratch")
    assert (home / "crawl-train-0.bin").is_file() and not list(home.glob("wiki-validation*"))


def test_no_room(manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 10_000))  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"must have room for 70\.2kB more; 10kB are free"):
        copy_corpus(manifest, tmp_path / "scratch", ALL)


def test_a_place_that_cannot_be_written(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot be filled \(.*Not a directory"):
        copy_corpus(manifest, tmp_path / "file", ALL)


def test_lines_of_progress() -> None:
    stream = io.StringIO()
    lines = Lines(3_000_000, stream, seconds=1000)
    for _ in range(3):
        lines.advance(1_000_000)
    (line,) = stream.getvalue().splitlines()
    assert line.startswith("staging: 3MB of 3MB, ") and line.endswith("/s, 0:00 left")
