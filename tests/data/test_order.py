"""P2: the batch at step k is a pure function of manifest, seed, plan and k."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.data.dataset import Corpus
from pretrain.data.loader import Loader, micro_batches, validation_places
from pretrain.data.order import Order, Places, extend_hash
from pretrain.data.plan import DataPlan, Phase, Stage, Window
from pretrain.shards.manifest import load_manifest
from pretrain.shards.repetition import repeated
from tests.example import small_run
from tests.synthetic import make_corpus

PLAN = DataPlan(
    seed=7,
    sequence_length=16,
    sources=("a", "b", "c"),
    phases=(Phase(0, 0, 8), Phase(10, 80, 16)),
    stages=(Stage(0, (60, 22, 3)), Stage(100, (0, 1, 1))),
    skipped=(Window(30, 6),),
)
SIZES = (50, 5, 40)


def test_literal_places() -> None:
    """A change here changes the batches of every run."""
    places = Order(PLAN, SIZES).step(0)
    assert places.source.tolist() == [2, 0, 0, 1, 0, 0, 1, 0]
    assert places.position.tolist() == POSITIONS


POSITIONS = [13, 48, 15, 2, 21, 32, 0, 37]


def test_each_epoch_serves_each_sample_once_in_a_new_order() -> None:
    places = Order(DataPlan(**{**PLAN.__dict__, "skipped": ()}), SIZES).places(np.arange(100))
    mine = places.position[places.source == 1].tolist()
    epochs = [mine[n : n + 5] for n in range(0, 20, 5)]
    assert all(sorted(epoch) == [0, 1, 2, 3, 4] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_later_mixture_goes_on_where_the_first_stood() -> None:
    places = Order(PLAN, SIZES).places(np.arange(300))
    third = places.position[places.source == 2]
    assert sorted(third[:40].tolist()) == list(range(40))
    late = places.source[100 - 6 :]  # six samples are skipped before sample 100 of the order
    assert 0 not in late
    assert np.bincount(late).tolist()[1:] == [103, 103]


def test_skipped_samples_are_never_served() -> None:
    order = Order(PLAN, SIZES)
    plain = Order(DataPlan(**{**PLAN.__dict__, "skipped": ()}), SIZES)
    served, unskipped = order.places(np.arange(60)), plain.places(np.arange(66))
    keep = np.r_[0:30, 36:66]
    assert np.array_equal(served.position, unskipped.position[keep])
    assert np.array_equal(served.source, unskipped.source[keep])


def test_epochs() -> None:
    plain = DataPlan(**{**PLAN.__dict__, "skipped": ()})
    assert Order(plain, SIZES).epochs(85) == [60 / 50, 22 / 5, 3 / 40]


def test_what_each_source_has_served_is_counted_in_closed_form() -> None:
    order = Order(PLAN, SIZES)
    places = order.places(np.arange(400))
    for samples in (0, 1, 29, 30, 31, 94, 95, 300, 400):
        assert order.served(samples) == np.bincount(places.source[:samples], minlength=3).tolist()
    assert order.epochs(400) == [number / size for number, size in zip(order.served(400), SIZES, strict=True)]


def test_more_epochs_than_allowed_are_refused(tmp_path: Path) -> None:
    """80 samples are served, 47 or 48 of them crawl's, which has 62 (999 // 16)."""
    manifest = load_manifest(make_corpus(tmp_path, train_tokens=1_000))
    corpus = Corpus(manifest, 16)
    run = Run.parse(small_run(tmp_path / "manifest.json", tmp_path / "run", data={"max_epochs": 0.75}))
    with pytest.raises(ConfigError, match=r"crawl would be gone through 0\.7\d+ times"):
        corpus.plan(run)
    corpus.plan(Run.parse(small_run(tmp_path / "manifest.json", tmp_path / "run", data={"max_epochs": 0.78})))


def test_the_warning_above_four_epochs() -> None:
    (warning,) = repeated({"few": 4.0, "many": 4.01})
    assert warning.startswith("many is gone through 4.01 times")


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro_batch_size", [1, 2, 4])
def test_ranks_and_micro_batches_share_the_same_batch(ranks: int, micro_batch_size: int) -> None:
    order = Order(PLAN, SIZES)
    for step in (0, 12):
        whole = order.step(step)
        parts = [list(micro_batches(order, step, micro_batch_size, rank, ranks)) for rank in range(ranks)]
        shuffled = [part for micro in zip(*parts, strict=True) for part in micro]
        together = Places(*(np.concatenate(column) for column in zip(*shuffled, strict=True)))
        assert np.array_equal(together.source, whole.source)
        assert np.array_equal(together.position, whole.position)


def test_running_hash_is_literal() -> None:
    order, digest = Order(PLAN, SIZES), ""
    for step in range(3):
        digest = extend_hash(digest, order.step(step))
    assert digest == HASH


HASH = "bcd56a89549def5ad8b22992f9b1651ab51edb4caf51047e2118e3b1d32b009a"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return Corpus(load_manifest(make_corpus(tmp_path_factory.mktemp("corpus"))), 16)


def real_order(corpus: Corpus) -> Order:
    plan = DataPlan(7, 16, corpus.sources, (Phase(0, 0, 8),), (Stage(0, (60, 22, 16, 3)),))
    return corpus.order(plan)


def test_windows_are_the_source_s_tokens_also_across_shards(corpus: Corpus) -> None:
    split = corpus.manifest.sources["web"].splits["train"]
    files = [corpus.manifest.directory / f"{shard.path}.bin" for shard in split.shards]
    stream = np.concatenate([np.fromfile(file, np.uint16) for file in files])
    samples = corpus.train[1].samples
    assert samples == (len(stream) - 1) // 16
    every = corpus.read(corpus.train, Places(np.full(samples, 1), np.arange(samples)))
    expected = np.stack([stream[16 * n : 16 * n + 17] for n in range(samples)])
    assert np.array_equal(every.tokens, expected)


@pytest.mark.parametrize("prefetch", [0, 1, 4])
def test_prefetch_never_changes_the_order(corpus: Corpus, prefetch: int) -> None:
    order = real_order(corpus)
    expected = [
        corpus.read(corpus.train, places).tokens
        for step in range(3, 8)
        for places in micro_batches(order, step, 2, 1, 2)
    ]
    with Loader(corpus, order, range(3, 8), 2, rank=1, ranks=2, prefetch=prefetch) as loader:
        served = [batch.tokens for batch in loader]
    assert len(served) == 10
    assert all(np.array_equal(a, b) for a, b in zip(served, expected, strict=True))


def test_a_reading_error_comes_where_the_batch_would_have(tmp_path: Path) -> None:
    corpus = Corpus(load_manifest(make_corpus(tmp_path)), 16)
    for path in tmp_path.glob("*-train-0.bin"):
        path.write_bytes(path.read_bytes()[:100])
    with Loader(corpus, real_order(corpus), range(100), 4) as loader, pytest.raises(OSError, match=r"bin ends at byte"):
        for _ in loader:
            pass


def test_a_loader_closes_before_its_end(corpus: Corpus) -> None:
    with Loader(corpus, real_order(corpus), range(10_000), 2) as loader:
        next(loader)
    assert loader._thread is not None and not loader._thread.is_alive()


def test_document_ids_restart_targets_at_each_document(tmp_path: Path) -> None:
    corpus = Corpus(load_manifest(make_corpus(tmp_path)), 64, document_mask=True)
    batch = corpus.read(corpus.train, Places(np.array([0, 1]), np.array([0, 3])))
    assert batch.document is not None
    for row in range(2):
        inputs, document = batch.tokens[row, :-1], batch.document[row]
        assert document[0] == 0
        starts = np.flatnonzero(np.diff(document)) + 1
        assert (inputs[starts - 1] == 0).all() and len(starts) == (inputs[:-1] == 0).sum()
        assert np.array_equal(batch.is_target[row], inputs != 0)
    assert batch.target_tokens == int((batch.tokens[:, :-1] != 0).sum())


@pytest.mark.parametrize("ranks", [1, 3])
def test_validation_windows_are_the_same_for_any_ranks(corpus: Corpus, ranks: int) -> None:
    everyone = [list(validation_places(corpus, 160, 4, rank, ranks)) for rank in range(ranks)]
    assert len({len(mine) for mine in everyone}) == 1
    counted = [
        (int(source), int(position))
        for micro in zip(*everyone, strict=True)
        for places, count in micro
        for source, position in zip(places.source[:count], places.position[:count], strict=True)
    ]
    assert counted == [(source, position) for source in range(4) for position in range(10)]


def test_the_same_in_another_process(tmp_path: Path) -> None:
    """No hash seeds, no global random state."""
    code = (
        "import numpy as np\n"
        "from tests.data.test_order import PLAN, SIZES, Order\n"
        "print(Order(PLAN, SIZES).places(np.arange(50)).position.tolist())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(Order(PLAN, SIZES).places(np.arange(50)).position.tolist())
