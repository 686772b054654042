"""Starts a run, sees that it ends well, and starts it again when there is more to do:

    python -m launch.supervise RUNDIR [options] -- COMMAND...

The one thing that every rendered script runs. It passes signals on as a `stop` request, ends a command whose ranks hang
or died unnoticed, records how each attempt ended, and then goes by what `decide` says. In COMMAND `{attempt}` and
`{port}` stand for the attempt's number and for a port that belongs to it. Needs nothing but Python itself.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import signal
import sys
import time
from pathlib import Path

from launch import slurm
from launch.again import by_a_person, start_again, wait_for_the_end
from launch.attempt import Ended, Settings, run_attempt
from launch.logs import last_words, launcher_log, tail, told
from launch.record import PATIENCE, HeldError, held, read_json, read_launch
from launch.report import crash_report
from launch.say import say, write
from launch.signals import Signals
from pretrain.config.errors import ConfigError
from pretrain.resilience.attempts import (
    Attempt,
    Decision,
    Outcome,
    decide,
    end,
    give_up,
    launched,
    next_attempt,
    read_attempts,
)
from pretrain.resilience.stop import clear_stop, read_stop

HANDOVER = 60.0
"""Seconds to wait for the supervisor of an earlier start of the same job."""


def supervise(settings: Settings, signals: Signals) -> int:
    """Attempts until there is nothing more to do here. The exit code: 0 unless a person is needed."""
    directory = settings.directory
    if settings.node == 0:
        lost = close_lost(directory)
        if (code := over_already(settings)) is not None:
            return code
        begin_anew(settings)
        if lost and (code := _once_too_often(settings)) is not None:
            return code
    while True:
        number = next_attempt(directory)
        if wish := _wish(directory, signals):
            return _say(0, f"asked to end before attempt {number}: {wish}")
        ended = run_attempt(settings, number, signals)
        attempt = _closed(settings, number, ended)
        decision = decide(read_attempts(directory), settings.limit, settings.same_failure)
        _say(0, f"attempt {number} ended, {attempt.outcome}{attempt.reason and ': '}{attempt.reason}")
        if decision.action == "done":
            return 0
        if _wish(directory, signals):
            return _say(int(attempt.outcome != "saved"), "not started again: asked to end")
        if decision.action == "give up":
            return _give_up(settings, number, decision)
        if settings.slurm:
            return _hand_on(settings, decision, bool(attempt.bad_hosts), signals)
        _clear_stop(settings)
        _rest(settings, attempt, signals)


def begin_anew(settings: Settings) -> None:
    """Where a person starts the run, restarts are counted anew; requests to stop of earlier starts are cleared.

    A wish to end that came while one job of a run handed it on to another is still to be met.
    """
    launch = read_launch(settings.directory)
    person = not settings.slurm or by_a_person(settings.directory)
    if person:
        launched(settings.directory)
    by_hand = person and (launch is None or slurm.own_job().split("_")[0] not in launch.jobs)
    asked = read_stop(settings.directory)
    if not settings.slurm or by_hand or asked is None or asked.time < (launch.time if launch else 0):
        clear_stop(settings.directory)
    _clear_stop(settings)


def close_lost(directory: Path) -> bool:
    """Record the end of an attempt whose supervisor died with it, as when a node fails. Whether there was one."""
    attempts = read_attempts(directory)
    if not attempts or attempts[-1].outcome is not None:
        return False
    last = attempts[-1]
    words, _ = last_words(directory, last.number)
    reason = words or "ended without a word, and its supervisor with it"
    end(directory, last.number, "lost", step=_step(directory, last.number), reason=reason)
    return True


def _once_too_often(settings: Settings) -> int | None:
    """The exit code when SLURM should not have started the job again: nobody could judge the attempt that was lost."""
    attempts = read_attempts(settings.directory)
    decision = decide(attempts, settings.limit, settings.same_failure)
    if decision.action != "give up" or attempts[-1].followed:
        return None
    return _give_up(settings, attempts[-1].number, decision)


def over_already(settings: Settings) -> int | None:
    """The exit code for a later link of a chain whose run has ended, or that a person must look at; else None."""
    launch, job = read_launch(settings.directory), slurm.own_job().split("_")[0]
    attempts = read_attempts(settings.directory)
    if not settings.slurm or launch is None or job not in launch.jobs or not attempts:
        return None
    last = attempts[-1]
    if (last.ended or 0) < launch.time:
        return None
    if last.gave_up:
        return _say(1, f"this run was given up after attempt {last.number}: {last.gave_up}")
    if last.outcome in ("finished", "stopped"):
        return _say(0, f"nothing more to do: attempt {last.number} {last.outcome}")
    return None


def _closed(settings: Settings, number: int, ended: Ended) -> Attempt:
    """The attempt with its end: written here when rank 0 did not; on other machines once the first has written it."""
    directory = settings.directory
    until = time.monotonic() + settings.grace
    while True:
        attempt = next((one for one in read_attempts(directory) if one.number == number), Attempt(number))
        if attempt.outcome is not None:
            return attempt
        if settings.node == 0:
            outcome, reason = _verdict(directory, attempt, ended)
            with contextlib.suppress(OSError):  # a full disk may have room again
                end(directory, number, outcome, step=_step(directory, number), reason=reason, code=ended.code)
                continue
        if time.monotonic() > until:
            sys.exit(_say(1, f"node 0 could not write how attempt {number} ended"))
        time.sleep(0.5)


def _verdict(directory: Path, attempt: Attempt, ended: Ended) -> tuple[Outcome, str]:
    """How an attempt ended for which rank 0 did not say so: never well, whatever the exit code. That of DeepSpeed's
    launcher, killed by a signal, is 0.
    """
    words, _ = last_words(directory, attempt.number)
    why = ended.why or words or f"ended without a word, exit code {ended.code}"
    if attempt.started is not None:
        return "lost", why
    if told(directory, attempt.number) and 2 in (ended.code, _exit_code_told(launcher_log(directory, attempt.number))):
        return "refused", words
    return "failed", why


def _exit_code_told(log: Path) -> int | None:
    """The exit code of the rank that failed first, as torchrun and deepspeed tell it: their own is always 1."""
    found = re.search(r"(?:exitcode\s*:|return code =)\s*(-?\d+)", "\n".join(tail(log, 100)))
    return int(found[1]) if found else None


def _step(directory: Path, number: int) -> int | None:
    """The step in which an attempt was last heard of."""
    beat = read_json(directory / "heartbeat.json")
    return beat.get("step") if beat.get("attempt") == number else None


def _wish(directory: Path, signals: Signals) -> str:
    """Why the run is to end, by a request or a signal; nothing when it may go on."""
    asked = read_stop(directory)
    return asked.why if asked and asked.then == "end" else signals.wish_to_end


def _clear_stop(settings: Settings) -> None:
    """A request to save and start again is met by starting again."""
    asked = read_stop(settings.directory)
    if settings.node == 0 and asked and asked.then == "requeue":
        clear_stop(settings.directory)


def _give_up(settings: Settings, number: int, decision: Decision) -> int:
    directory = settings.directory
    attempts = read_attempts(directory)
    if settings.node == 0:
        report = crash_report(directory, decision, attempts)
        write(report.encode(), sys.stderr)
        with contextlib.suppress(OSError):
            give_up(directory, number, decision.why)
            (directory / "crash-report.txt").write_text(report)
    return 2 if attempts[-1].outcome == "refused" else 1


def _hand_on(settings: Settings, decision: Decision, new_bad_hosts: bool, signals: Signals) -> int:
    """Under SLURM the job itself starts again. Without an answer from SLURM a person is needed."""
    directory = settings.directory
    signals.news()  # those that came before count no more
    try:
        again = start_again(directory, decision, new_bad_hosts, settings.exclude)
        _say(0, again.words)
        if again.jobs == (slurm.own_job(),):
            wait_for_the_end(lambda: signal.SIGTERM in signals.news() or bool(_wish(directory, signals)))
    except slurm.SlurmError as error:
        return _say(1, f"not started again: {error}. It goes on with: sbatch {directory / 'job.sbatch'}")
    if wish := _wish(directory, signals):
        _say(0, f"taken back, asked to end: {wish}")
        with contextlib.suppress(slurm.SlurmError):  # should it start nevertheless, it finds the request and ends
            slurm.call("scancel", *again.jobs)
    return 0


def _rest(settings: Settings, attempt: Attempt, signals: Signals) -> None:
    """Before another start; after failures in a row twice as long each time. A signal cuts it short."""
    failures = 0
    for one in reversed(read_attempts(settings.directory)):
        if one.outcome not in ("failed", "lost"):
            break
        failures += 1
    until = time.monotonic() + (min(settings.backoff, 2.0**failures) if failures else 0)
    while time.monotonic() < until and not signals.wish_to_end:
        time.sleep(0.1)


def _say(code: int, words: str) -> int:
    say(words)
    return code


def parse(arguments: list[str]) -> Settings:
    """Settings from the command line."""
    parser = argparse.ArgumentParser(prog="python -m launch.supervise", description=__doc__, allow_abbrev=False)
    parser.add_argument("directory", type=Path, metavar="RUNDIR")
    parser.add_argument("--slurm", action="store_true", help="this is the batch script of a SLURM job")
    parser.add_argument("--node", type=int, default=0, help="number of this machine, where each has a supervisor")
    parser.add_argument("--exclude", default="", help="nodes that the script's own --exclude names")
    parser.add_argument("--output", default=Settings.output, help="of the command, in RUNDIR")
    for name in ("grace", "start", "silence", "spoken", "kill", "backoff"):
        parser.add_argument(f"--{name}", type=float, default=getattr(Settings, name), help="seconds")
    for name in ("limit", "same-failure"):
        parser.add_argument(f"--{name}", type=int, default=getattr(Settings, name.replace("-", "_")), help="restarts")
    parser.add_argument("command", nargs="+", metavar="-- COMMAND")
    split = arguments.index("--") if "--" in arguments else len(arguments)
    plain = vars(parser.parse_args([*arguments[:split], "--", *arguments[split + 1 :]]))
    return Settings(**{**plain, "command": tuple(plain["command"])})


def main() -> int:
    """Run from the command line."""
    settings = parse(sys.argv[1:])
    signals = Signals(settings.slurm)
    settings.directory.mkdir(parents=True, exist_ok=True)
    if settings.node > 0:
        return supervise(settings, signals)
    try:
        with held(
            settings.directory, slurm.own_job() if settings.slurm else "", HANDOVER if settings.slurm else PATIENCE
        ):
            return supervise(settings, signals)
    except HeldError as other:
        return _say(1, f"{settings.directory} is supervised by {other} already")
    except ConfigError as error:
        return _say(2, str(error))


if __name__ == "__main__":
    sys.exit(main())
