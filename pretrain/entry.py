"""What every entry that launchers start does around its work: a checked run, the other processes, errors told."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pretrain.checkpoint.huggingface.imported import check_initial_weights
from pretrain.config.constraints import check_run
from pretrain.config.errors import ConfigError, RunError
from pretrain.config.load import load_run
from pretrain.config.metric_names import check_alert_sources
from pretrain.config.run import Run
from pretrain.data.vocabulary import with_vocabulary
from pretrain.parallel.place import find_place
from pretrain.planning.layouts.settle import settle
from pretrain.shards.manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from pretrain.parallel.process import World


def checked(path: str, overrides: Sequence[str]) -> tuple[Run, Manifest]:
    """The run in `path` for the processes there are, and its corpus.

    Raises ConfigError, before any process group is formed, when the run, its data or its layout are wrong.
    """
    place = find_place(os.environ)
    run = settle(load_run(path, overrides), place.size, place.node_size)
    check_run(run, place.size, place.node_size)
    manifest = load_manifest(run.data.manifest)
    check_alert_sources(run, manifest.sources)
    run = with_vocabulary(run, manifest)
    check_run(run, place.size, place.node_size)  # the vocabulary is known only now
    check_initial_weights(run, manifest.tokenizer, Path(run.run_directory) / "checkpoints")
    if run.train.compile:
        from pretrain.parallel.compile import check_compiler

        check_compiler()
    return run, manifest


@contextlib.contextmanager
def joined(run: Run) -> Iterator[World]:
    """All processes of the run. Only inside may deepspeed be imported: it looks at what is arranged here."""
    from pretrain.parallel.process import join_world, leave_world

    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    try:
        yield join_world(run.resilience)
    finally:
        leave_world()  # still watched after an error: should this wait for a dead rank, it is ended


@contextlib.contextmanager
def explained(world: World) -> Iterator[None]:
    """The work of all ranks, which end it together. An error of one is told to the others, and which rank's it was."""
    assert world.watch is not None
    try:
        yield
        world.barrier()  # some launchers end the other ranks when one is gone
        world.done()
    except (ConfigError, RunError) as error:
        world.watch.tell(error)  # in most cases every rank raises it
        raise
    except Exception as error:
        if world.size == 1:
            raise
        raise RunError(world.watch.explain(error)) from error


def or_exit(work: Callable[[], int]) -> None:
    """`work`; ends that need a person are printed without a traceback: exit code 2 for bad input, else 1."""
    try:
        code = work()
    except (ConfigError, RunError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"pretrain: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    if code:
        sys.exit(code)


def launched(about: str | None, work: Callable[[list[str]], None]) -> NoReturn:
    """`work` on the arguments of this process, which ends with it; `about` is printed where there are none."""
    # deepspeed's launcher adds --local_rank unless told not to; the environment says the same
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(about)
    try:
        work(arguments)
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except Exception:
        traceback.print_exc()
        code = 1
    leave(code)


def leave(code: int) -> NoReturn:
    """End this process without Python's teardown: threads of libraries have been seen to abort in it, after the work.

    A launcher would take that for a failure of the run.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
