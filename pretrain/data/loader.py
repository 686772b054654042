"""Micro-batches of one data-parallel rank, read ahead in the background. The order never depends on the reading."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator

import numpy as np

from pretrain.data.batch import Batch
from pretrain.data.dataset import Corpus
from pretrain.data.order import Order, Places


def micro_batches(order: Order, step: int, micro_batch_size: int, rank: int, ranks: int) -> Iterator[Places]:
    """The places of each micro-batch of `step` on data-parallel `rank`: every rank reads its slice of each one.

    The micro-batches of all ranks together are the global batch, whatever `ranks` and `micro_batch_size` are.
    """
    places = order.step(step)
    for mine in micro_batch_slices(len(places.source), micro_batch_size, rank, ranks):
        yield Places(places.source[mine], places.position[mine])


def micro_batch_slices(samples: int, micro_batch_size: int, rank: int, ranks: int) -> Iterator[slice]:
    """Which samples of a global batch are in each micro-batch of a data-parallel rank."""
    for start in range(0, samples, micro_batch_size * ranks):
        yield slice(start + rank * micro_batch_size, start + (rank + 1) * micro_batch_size)


class Loader:
    """Iterates over the micro-batches of steps `first_step` .. `last_step - 1`, in order.

    `prefetch` micro-batches are read ahead by one thread; 0 reads in the foreground. An error while reading is raised
    where the batch would have come. Close it, or use it in a `with` block.
    """

    def __init__(
        self,
        corpus: Corpus,
        order: Order,
        steps: range,
        micro_batch_size: int,
        rank: int = 0,
        ranks: int = 1,
        prefetch: int = 4,
    ) -> None:
        self._batches = self._read(corpus, order, steps, micro_batch_size, rank, ranks)
        self._queue: queue.Queue[Batch | BaseException] = queue.Queue(maxsize=max(1, prefetch))
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="data", daemon=True) if prefetch else None
        if self._thread:
            self._thread.start()

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._thread is None:
            return next(self._batches)
        item = self._queue.get()
        if isinstance(item, BaseException):
            self._queue.put(item)  # a later call ends the same way
            raise item
        return item

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading ahead."""
        self._closed.set()
        if self._thread:
            while self._thread.is_alive():
                self._drain()
                self._thread.join(timeout=0.05)

    def _drain(self) -> None:
        while not self._queue.empty():
            self._queue.get_nowait()

    def _fill(self) -> None:
        try:
            for batch in self._batches:
                if self._closed.is_set():
                    return
                self._queue.put(batch)
            self._queue.put(StopIteration())
        except Exception as error:
            self._queue.put(error)

    @staticmethod
    def _read(
        corpus: Corpus, order: Order, steps: range, micro_batch_size: int, rank: int, ranks: int
    ) -> Iterator[Batch]:
        for step in steps:
            parts = list(micro_batches(order, step, micro_batch_size, rank, ranks))
            yield from corpus.read_together(corpus.train, parts)


def validation_places(
    corpus: Corpus, tokens: int, micro_batch_size: int, rank: int, ranks: int, multiple: int = 1
) -> Iterator[tuple[Places, int]]:
    """The validation windows of this rank in micro-batches: (places [B], how many of them count).

    Each source gives its first windows, up to `tokens` tokens. Every rank gets the same number of micro-batches, which
    collectives inside a forward pass need, a multiple of `multiple`; the last are filled up with windows that do not
    count.
    """
    per_source = [min(stream.samples, -(-tokens // corpus.sequence_length)) for stream in corpus.validation]
    source = np.repeat(np.arange(len(per_source)), per_source)
    position = np.concatenate([np.arange(count) for count in per_source])
    stride = micro_batch_size * ranks
    number = -(-len(source) // (stride * multiple)) * multiple
    for start in range(0, number * stride, stride):
        first = start + rank * micro_batch_size
        index = np.arange(first, first + micro_batch_size)
        counted = int((index < len(source)).sum())
        index = np.minimum(index, len(source) - 1)
        yield Places(source[index], position[index]), counted
