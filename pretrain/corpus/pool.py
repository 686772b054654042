"""Run independent tasks in processes. Results come in the order of the tasks, so nothing depends on the timing."""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from pretrain.config.errors import ConfigError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Pool:
    """Worker processes, started when first needed, stopped at the end of the `with` block. One worker: this process."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._executor: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """Results in the order of `tasks`, of which only a few are taken ahead. Raises what a task raises.

        Raises ConfigError when a worker is killed, which the kernel does when memory runs out.
        """
        if self._workers == 1:
            yield from map(function, tasks)
            return
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._started().submit(function, task))
                if len(waiting) >= 2 * self._workers:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for future in waiting:
                future.cancel()

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._executor is None:
            # spawn: forking a process that has threads (arrow's, gigatoken's) can deadlock.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(self._workers, mp_context=context)
        return self._executor


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except BrokenProcessPool:
        rule = "a worker process was killed; the usual cause is that memory ran out"
        fix = "give fewer workers and run the same command again: what is finished is kept"
        raise ConfigError.of("workers", None, rule, fix) from None
