"""What a step with something wrong is told as: who made it, on which data, and what was done."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from pretrain.checkpoint.state import TrainState
from pretrain.data.origin import document_id, origins
from pretrain.parallel.watch import host_name
from pretrain.resilience.spikes import Finding, History, Verdict, judge
from pretrain.training.setup import Session
from pretrain.training.step import Clues, Judge, StepResult

SHOWN = 4
"""Ranks, parameters or samples that a message names."""
TRANSIENT = (
    "no rank's own gradient was, when the step was run once more: not the data and not the weights, but an error of a "
    "device, of memory or of the network"
)


class RollBack(Exception):  # noqa: N818
    """A step asks to go back to an earlier checkpoint, after its update was left out. All ranks raise it together."""

    def __init__(self, step: int, finding: Finding, message: str) -> None:
        super().__init__(message)
        self.step, self.finding, self.message = step, finding, message
        """The step counts from 0."""


def make_judge(session: Session, state: TrainState) -> Judge:
    """The judge of the step that follows `state`, whose loss scale is set."""
    history, config = History.from_plain(state.spikes), session.run.resilience.spikes
    scaling = session.run.precision.scaling
    if scaling is not None:
        session.runner.scale_loss(history.scale_under(scaling).value)
    return lambda loss, norm: judge(history, loss, norm, config, scaling)


def describe(session: Session, step: int, result: StepResult) -> str:
    """What is wrong with `step` (from 0), and where it comes from if that can be said. All ranks call it together."""
    verdict = result.verdict
    window = session.plan.window(range(step, step + 1))
    samples = f"samples {window.first_sample} to {window.first_sample + window.samples - 1} of the order"
    said = f"{verdict.finding} at step {step + 1} ({samples})"
    if verdict.overflow:
        said = f"fp16 overflow at every step, now with the smallest loss scale ({verdict.loss_scale:g}): {said}"
    if result.clues is not None:
        said += "; " + who(session, step, result.clues)
    return said


def advice(session: Session, verdict: Verdict) -> str:
    """What a person could do after the run was stopped."""
    is_number = verdict.finding is not None and verdict.finding.is_number
    narrow = session.run.precision.scaling is not None and not is_number
    other = "fp16 ends at 65,504; precision.compute: bf16 reaches as far as fp32. " if narrow else ""
    if verdict.overflow:
        return f"{other}Or lower optimizer.learning_rate, or precision.loss_scale.minimum"
    return (
        f"{other}Lower optimizer.learning_rate, leave these samples out with data.skip, or let the run do so: "
        f"resilience.spikes.{'spike' if is_number else 'nan'}: rollback"
    )


def told(session: Session, state: TrainState, result: StepResult) -> Iterator[str]:
    """Of a step after which training goes on, what a person should know. All ranks call it together."""
    verdict = result.verdict
    if verdict.overflow and verdict.history.scale is not None:
        scales = f"{verdict.loss_scale:,.15g}; the next is {verdict.history.scale.value:,.15g}"
        yield f"fp16 overflow at step {state.step}, its update is left out: the loss scale was {scales}"
    elif verdict.finding is not None:
        done = "training goes on" if verdict.updates else "its update is left out"
        yield f"{describe(session, state.step - 1, result)}: {done}"


def who(session: Session, step: int, clues: Clues) -> str:
    """The ranks at which a number ceased to be one, and what they know of it. All ranks call it together.

    Bad weights come before bad samples, which they cause; of ranks with bad gradients the last stages come first.
    """
    mine = _account(session, step, clues)
    everyone = [found for found in session.world.gather(mine) if found is not None]
    if not everyone:
        return TRANSIENT
    first = min(everyone)[:2]
    texts = [text for *place, text in sorted(everyone) if tuple(place) == first]
    more = f" and {len(texts) - SHOWN} more ranks" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


Account = tuple[int, int, str]
"""Kind of evidence and place in the pipeline, the telling first; and the words."""


def _account(session: Session, step: int, clues: Clues) -> Account | None:
    me, pipe = f"rank {session.world.rank} on {host_name()}", session.mesh.at.pipe
    if clues.weights:
        return 0, 0, f"{me} holds weights that are no numbers: {_few(clues.weights)}"
    if clues.samples:
        share = "every one" if len(clues.samples) == clues.rows else str(len(clues.samples))
        return 1, 0, f"{me} had {share} of its {clues.rows} samples without a loss: {_samples(session, step, clues)}"
    if clues.gradient:
        return 2, -pipe, f"{me} made a gradient that is no number"
    return None


def _samples(session: Session, step: int, clues: Clues) -> str:
    """This rank's bad samples: micro-batch, source and document."""
    size, at = session.run.batch.micro_batch_size, session.mesh.at.data
    first, stride = session.plan.batch(step)[0], size * session.mesh.layout.data
    shown = clues.samples[:SHOWN]
    served = np.array([first + index * stride + at * size + row for index, row in shown])
    found = origins(session.corpus, session.order, session.plan.order_index(served))
    words = [
        f"sample {origin.sample} in micro-batch {index + 1} of {clues.micro_batches} ({origin.source}, "
        f"{document_id(session.corpus, origin)})"
        for (index, _), origin in zip(shown, found, strict=True)
    ]
    return _few(words, len(clues.samples))


def _few(words: list[str], number: int | None = None) -> str:
    more = (number or len(words)) - SHOWN
    return ", ".join(words[:SHOWN]) + (f" and {more} more" if more > 0 else "")
