"""The entry that every launcher starts: python -m pretrain.train RUN.yaml [key=value ...]"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

from pretrain.config.auto import choose_layout
from pretrain.config.constraints import check_run
from pretrain.config.errors import ConfigError, RunError
from pretrain.config.load import load_run
from pretrain.data.vocabulary import with_vocabulary
from pretrain.parallel.place import find_place
from pretrain.resilience.attempts import Outcome
from pretrain.shards.manifest import load_manifest


def train(path: str, overrides: Sequence[str] = ()) -> int:
    """Train the run in `path`, or go on with it. Called in every process of the run.

    Returns the exit code: 0 when nothing more is to be done, 75 when it was saved before its end, to be started again.

    Raises ConfigError, before any process group is formed, when the run, its data or its layout are wrong.
    """
    from pretrain.parallel.process import join_world, leave_world

    place = find_place(os.environ)
    run = choose_layout(load_run(path, overrides), place.size, place.node_size)
    check_run(run, place.size, place.node_size)
    manifest = load_manifest(run.data.manifest)
    run = with_vocabulary(run, manifest)
    check_run(run, place.size, place.node_size)  # the vocabulary is known only now
    if run.train.compile:
        from pretrain.parallel.compile import check_compiler

        check_compiler()
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    world = join_world(run.resilience)
    assert world.watch is not None
    from pretrain.training.record import Record

    record = Record(world)
    try:
        from pretrain.training.run import run_training  # imports deepspeed, which looks at what join_world arranged

        code = run_training(run, manifest, world, record)
        world.barrier()  # some launchers end the other ranks when one is gone
        world.done()
        return code
    except (ConfigError, RunError) as error:
        world.watch.tell(error)  # in most cases every rank raises it
        outcome: Outcome = "refused" if isinstance(error, ConfigError) else "failed"
        record.ended(outcome, str(error), getattr(error, "bad_hosts", ()))
        raise
    except Exception as error:
        if world.size == 1:
            record.ended("failed", f"{type(error).__name__}: {error}")
            raise
        verdict = world.watch.explain(error)
        record.ended("failed", verdict)
        raise RunError(verdict) from error
    finally:
        leave_world()  # still watched after an error: should this wait for a dead rank, it is ended


def run_or_exit(path: str, overrides: Sequence[str] = ()) -> None:
    """`train`; ends that need a person are printed without a traceback: exit code 2 for bad input, else 1."""
    try:
        code = train(path, overrides)
    except (ConfigError, RunError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"pretrain: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)
    if code:
        sys.exit(code)


def main() -> None:
    """Run from the command line."""
    # deepspeed's launcher adds --local_rank unless told not to; the environment says the same
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(__doc__)
    try:
        run_or_exit(arguments[0], arguments[1:])
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


if __name__ == "__main__":
    main()
