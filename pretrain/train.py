"""The entry that every launcher starts: python -m pretrain.train RUN.yaml [key=value ...]"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from pretrain.config.auto import choose_layout
from pretrain.config.constraints import check_run
from pretrain.config.errors import ConfigError, RunError
from pretrain.config.load import load_run
from pretrain.data.vocabulary import with_vocabulary
from pretrain.shards.manifest import load_manifest


def train(path: str, overrides: Sequence[str] = ()) -> None:
    """Train the run in `path`, or go on with it. Called in every process of the run.

    Raises ConfigError, before any process group is formed, when the run, its data or its layout are wrong.
    """
    from pretrain.parallel.process import find_place, join_world, leave_world

    place = find_place(os.environ)
    run = choose_layout(load_run(path, overrides), place.size, place.node_size)
    check_run(run, place.size, place.node_size)
    manifest = load_manifest(run.data.manifest)
    run = with_vocabulary(run, manifest)
    check_run(run, place.size, place.node_size)  # the vocabulary is known only now
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch")
    world = join_world()
    try:
        from pretrain.training.run import run_training  # imports deepspeed, which looks at what join_world arranged

        run_training(run, manifest, world)
        world.done()
    except (ConfigError, RunError) as error:
        if world.watch:
            world.watch.tell(error)  # in most cases every rank raises it
        raise
    except Exception as error:
        if world.watch is None:
            raise
        raise RunError(world.watch.explain(error)) from error
    finally:
        leave_world()  # still watched after an error: should this wait for a dead rank, it is ended


def run_or_exit(path: str, overrides: Sequence[str] = ()) -> None:
    """`train`; ends that need a person are printed without a traceback: exit code 2 for bad input, else 1."""
    try:
        train(path, overrides)
    except (ConfigError, RunError) as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        print(f"pretrain: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, ConfigError) else 1)


def main() -> None:
    """Run from the command line."""
    # deepspeed's launcher adds --local_rank unless told not to; the environment says the same
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    if not arguments or arguments[0] in ("-h", "--help"):
        sys.exit(__doc__)
    run_or_exit(arguments[0], arguments[1:])


if __name__ == "__main__":
    main()
