"""A step's time split into its parts, from what the profiler saw. The parts and the rest add up to the step.

On a CPU a part lasts as long as the main thread is in its range. On a GPU it lasts as long as kernels run that were
launched from its range; kernels of collectives are communication while no other kernel runs, so communication hidden
behind computation costs nothing; a GPU that idles while the main thread waits for data shows as data, else as rest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, NamedTuple

from pretrain.profiling.ranges import PARTS

STEP = "step "
"""Before the number of a step: the range around all of it."""
REST = "rest"
SHOWN = (*PARTS, REST)
"""Names of a split, in order."""
Split = dict[str, float]
"""Seconds by name, SHOWN."""


class Span(NamedTuple):
    """Something with a beginning and an end, in seconds."""

    name: str
    start: float
    end: float


class Kernel(NamedTuple):
    """Work of a GPU."""

    name: str
    start: float
    end: float
    launched: float
    """When the host asked for it, in seconds."""


def laid_over(window: Span, spans: Iterable[Span]) -> Iterator[Span]:
    """`window` cut into pieces without gap; where spans overlap the later in the list shows, where none is REST."""
    shown = [span for span in spans if span.start < window.end and span.end > window.start]
    coming = sorted(range(len(shown)), key=lambda index: -shown[index].start)
    edges = {window.start, window.end, *(max(span.start, window.start) for span in shown)}
    edges |= {min(span.end, window.end) for span in shown}
    over: list[int] = []
    """Of spans that have begun, the last in the list on top."""
    for start, end in pairwise(sorted(edges)):
        while coming and shown[coming[-1]].start <= start:
            heappush(over, -coming.pop())
        while over and shown[-over[0]].end <= start:
            heappop(over)
        yield Span(shown[-over[0]].name if over else REST, start, end)


def host_pieces(step: Span, ranges: Iterable[Span]) -> list[Span]:
    """What the main thread does in a step: of ranges inside each other the innermost, which begins last."""
    return list(laid_over(step, sorted(ranges, key=lambda span: (span.start, -span.end))))


def device_pieces(step: Span, host: Sequence[Span], kernels: Iterable[Kernel]) -> list[Span]:
    """What a GPU does in a step, given what its host does (`host_pieces`)."""
    starts = [piece.start for piece in host]

    def asked(kernel: Kernel) -> str:
        return host[max(0, bisect_right(starts, kernel.launched) - 1)].name

    sends: list[Span] = []
    computes: list[Span] = []
    for kernel in kernels:
        is_collective = kernel.name.startswith("nccl")
        name = "communication" if is_collective else asked(kernel)
        (sends if is_collective else computes).append(Span(name, kernel.start, kernel.end))
    waits = [piece for piece in host if piece.name == "data"]
    return list(laid_over(step, [*waits, *sends, *computes]))


def summed(pieces: Iterable[Span]) -> Split:
    """Seconds of each part and of the rest."""
    split = dict.fromkeys(SHOWN, 0.0)
    for piece in pieces:
        split[piece.name] += piece.end - piece.start
    return split


def splits(events: Sequence[Any], has_device: bool) -> list[Split]:
    """Of each step in the trace, in order; `events` are Kineto's."""
    zero = min(event.start_ns() for event in events)  # seconds since 1970 would round to a quarter of a microsecond
    host = [event for event in events if _is_host(event) and not event.is_async()]
    marks = [event for event in host if event.name().startswith(STEP)]
    main = marks[0].start_thread_id()
    ranges = [_span(event, zero) for event in host if event.start_thread_id() == main and _part(event)]
    kernels = list(_kernels(events, zero)) if has_device else []
    found = []
    for step in sorted((_span(mark, zero) for mark in marks), key=lambda span: span.start):
        pieces = host_pieces(step, ranges)
        found.append(summed(device_pieces(step, pieces, kernels) if has_device else pieces))
    return found


def _part(event: Any) -> str | None:
    """The part that an event of the main thread belongs to by its name."""
    name = str(event.name())
    if name.startswith("c10d::"):  # handing a message over
        return "communication"
    return name if name in PARTS else None


def _span(event: Any, zero: int) -> Span:
    start = (event.start_ns() - zero) * 1e-9
    return Span(_part(event) or event.name(), start, start + event.duration_ns() * 1e-9)


def _is_host(event: Any) -> bool:
    return str(event.device_type()).endswith("CPU")


def _kernels(events: Sequence[Any], zero: int) -> Iterator[Kernel]:
    """Everything that ran on the GPU, with the time at which the operator that asked for it began."""
    began = {
        event.correlation_id(): (event.start_ns() - zero) * 1e-9
        for event in events
        if _is_host(event) and not event.linked_correlation_id()  # an operator, not a call of CUDA
    }
    for event in events:
        if not _is_host(event) and not event.is_user_annotation() and event.linked_correlation_id() in began:
            _, start, end = _span(event, zero)
            yield Kernel(event.name(), start, end, began[event.linked_correlation_id()])
