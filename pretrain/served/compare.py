"""Whether two runs are served the same samples, and from which step on they are not."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pretrain.data.dataset import Corpus
from pretrain.data.order import Order, Places
from pretrain.data.plan import differences
from pretrain.served.open import Served

Follow = Callable[..., Iterable[tuple[int, bool]]]
"""Shows progress: corpus.progress.Reporter.follow."""


@dataclass(frozen=True)
class Comparison:
    """Of the steps that both runs have."""

    same: bool
    text: str


def compare(a: Served, b: Served, follow: Follow) -> Comparison:
    """Compare the batches of all steps that both have done; of all that both will do where one has done none.

    Where both corpora serve the same tokens, what the plans say alike is not looked at again.
    """
    done = min(a.steps, b.steps)
    steps = done or min(a.total_steps, b.total_steps)
    same = _same_corpus(a.corpus, b.corpus)
    lines = [] if same else ["the corpora differ: the tokens of the steps are read and compared"]
    agreed = agreed_steps(a.order, b.order, steps) if same else 0
    rest = enumerate(_differences(a, b, range(agreed, steps), same), agreed + 1)
    looked = follow("steps", rest, steps - agreed, lambda row: f"step {row[0]}") if agreed < steps else ()
    if first := next((step for step, differs in looked if differs), None):
        before = f"steps 1 to {first - 1:,} are the same, " if first > 1 else ""
        lines.append(f"{before}step {first:,} differs")
        why = (f"  {words}" for words in differences(a.order.plan.until(first), b.order.plan.until(first)))
        return Comparison(False, "\n".join([*lines, *_first_sample(a, b, first), *why]))
    lines.append(f"the same samples in all of the {steps:,} steps that both {'have done' if done else 'will do'}")
    proven, words = _hashes(a, b) if same else (True, [])
    return Comparison(proven, "\n".join([*lines, *words]))


def agreed_steps(a: Order, b: Order, steps: int) -> int:
    """How many of the first `steps` are the same because the plans say so; later ones may be, too.

    Looks at log2(steps) plans, and at no sample.
    """
    if a.sizes != b.sizes:
        return 0
    # plans that differ until one step differ until every later one
    return bisect_left(range(1, steps + 1), True, key=lambda step: a.plan.until(step) != b.plan.until(step))


def _same_corpus(a: Corpus, b: Corpus) -> bool:
    return a.manifest.fingerprint() == b.manifest.fingerprint() and a.sequence_length == b.sequence_length


def _differences(a: Served, b: Served, steps: range, same: bool) -> Iterator[bool]:
    """For each step (the first is 0) whether the batches differ: by place, or between corpora by their tokens."""
    for step in steps:
        left, right = a.order.step(step), b.order.step(step)
        if len(left.source) != len(right.source):
            yield True
        elif same:
            yield not all(map(np.array_equal, _named(a.corpus, left), _named(b.corpus, right)))
        else:
            yield not np.array_equal(_tokens(a.corpus, left), _tokens(b.corpus, right))


def _tokens(corpus: Corpus, places: Places) -> npt.NDArray[np.int32]:
    return corpus.read(corpus.train, places).tokens


def _named(corpus: Corpus, places: Places) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    return np.array(corpus.sources)[places.source], places.position


def _hashes(a: Served, b: Served) -> tuple[bool, list[str]]:
    """Whether the hashes of what was served agree, at the last step of which both have a checkpoint."""
    known = [{state.step: state.order_hash for state in one.states} for one in (a, b)]
    step = max(known[0].keys() & known[1].keys(), default=None)
    if step is None:
        return True, []
    left, right = known[0][step], known[1][step]
    at = f"the order hash in the checkpoints of step {step:,}"
    if left == right:
        return True, [f"{at} is {left[:16]} in both"]
    return False, [f"{at} differs ({left[:16]} and {right[:16]}): one was served something else than its plan says"]


def _first_sample(a: Served, b: Served, step: int) -> Iterator[str]:
    """How a step begins to differ."""
    left, right = a.order.step(step - 1), b.order.step(step - 1)
    if len(left.source) != len(right.source):
        yield f"  {a.name} takes {len(left.source):,} samples in it, {b.name} {len(right.source):,}"
    for row in range(min(len(left.source), len(right.source))):
        one, other = _words(a, left, row), _words(b, right, row)
        if one != other:
            yield f"  sample {row + 1} of the step: {a.name} takes {one}, {b.name} {other}"
            return


def _words(served: Served, places: Places, row: int) -> str:
    return f"sample {places.position[row]:,} of {served.corpus.sources[places.source[row]]}"
