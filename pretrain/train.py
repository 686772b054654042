"""The entry that every launcher starts: python -m pretrain.train RUN.yaml [key=value ...]"""

from __future__ import annotations

from collections.abc import Sequence

from pretrain.config.errors import ConfigError, RunError
from pretrain.entry import checked, explained, joined, launched, or_exit
from pretrain.resilience.attempts import Outcome


def train(path: str, overrides: Sequence[str] = ()) -> int:
    """Train the run in `path`, or go on with it. Called in every process of the run.

    Returns the exit code: 0 when nothing more is to be done, 75 when it was saved before its end, to be started again.

    Raises ConfigError, before any process group is formed, when the run, its data or its layout are wrong.
    """
    run, manifest = checked(path, overrides)
    with joined(run) as world:
        from pretrain.training.record import Record

        record = Record(world)
        try:
            with explained(world):
                from pretrain.training.run import run_training

                return run_training(run, manifest, world, record)
        except (ConfigError, RunError) as error:
            outcome: Outcome = "refused" if isinstance(error, ConfigError) else "failed"
            record.ended(outcome, str(error), getattr(error, "bad_hosts", ()))
            raise
        except Exception as error:
            record.ended("failed", f"{type(error).__name__}: {error}")
            raise


def run_or_exit(path: str, overrides: Sequence[str] = ()) -> None:
    """`train`; ends that need a person are printed without a traceback: exit code 2 for bad input, else 1."""
    or_exit(lambda: train(path, overrides))


def main() -> None:
    """Run from the command line."""
    launched(__doc__, lambda arguments: run_or_exit(arguments[0], arguments[1:]))


if __name__ == "__main__":
    main()
