"""How the planner's constants were found: python -m benchmarks.planner_fit [--without SOURCE | --each] [--rounds 8]

Least squares of the logarithms of planned by measured step time over all rows of published runs, each source weighing
as much as its goal is strict, with every constant held to what is expected of it physically (a Gaussian in its
logarithm).
Prints the constants and the errors by source. With --without the errors of the source that was left out are those of
runs that the constants never saw; --each leaves out one after the other (25 minutes of a processor) and prints only
what was left out; --write puts that into docs/planning-errors.md. Needs scipy.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.planner import GOALS, Checked, _shared, as_tuned, error_table, fixed_seconds, gpu_table, write_between
from benchmarks.published import PRACTICES, jobs_of, measured_seconds, read_rows
from pretrain.config.hardware import Hardware
from pretrain.planning.job import Job
from pretrain.planning.timing import attention as attention_time
from pretrain.planning.timing import block as block_time
from pretrain.planning.timing import ends as ends_time
from pretrain.planning.timing import kernels
from pretrain.planning.timing import step as step_time

SMALL = 12
"""One row of so many is used of the largest source, whose rows are much alike."""
WEIGHT = {"korthikanti22_t5": 8, "vtrain_multi": 4, "narayanan21_t1": 3, "hagemann23": 2, "bigscience_a100": 2}
"""Of a source; 1 where not said, 2 of those on H100."""
UNIT = 0.1
"""Error that counts as one."""


class Constant(NamedTuple):
    """What is expected of it, and how far it may be from that: a standard deviation of its logarithm."""

    expected: float
    spread: float


HARDWARE = {
    "a100 matmul": Constant(0.8, 0.2),
    "h100 matmul": Constant(0.65, 0.3),
    "500w matmul": Constant(0.6, 0.2),
    "memory": Constant(0.8, 0.3),
    "a100 flash": Constant(0.55, 0.4),
    "h100 flash": Constant(0.35, 0.15),
    "500w flash": Constant(0.25, 0.3),
    "links": Constant(0.75, 0.15),
    "network": Constant(0.75, 0.15),
    "link_latency": Constant(5e-6, 1.0),
    "network_latency": Constant(5e-6, 1.0),
    "launch_seconds": Constant(3e-5, 0.7),
}
MODULES: dict[str, tuple[Any, str, Constant]] = {
    "RAMP": (kernels, "RAMP", Constant(128, 1.0)),
    "KERNELS": (block_time, "KERNELS", Constant(20, 0.7)),
    "TENSOR_KERNELS": (block_time, "TENSOR_KERNELS", Constant(6, 1.0)),
    "SHOWN": (block_time, "SHOWN", Constant(0.4, 0.5)),
    "ENDS": (ends_time, "KERNELS", Constant(15, 0.7)),
    "RING": (attention_time, "RING", Constant(0.7, 0.3)),
    "FLASH_RAMP": (attention_time, "FLASH_RAMP", Constant(512, 0.7)),
    "NARROW": (attention_time, "NARROW", Constant(0.7, 0.3)),
    "UPDATED": (step_time, "UPDATED", Constant(30, 0.3)),
    "SCALED": (step_time, "SCALED", Constant(16, 1.0)),
}
TABLES: dict[str, tuple[dict[Any, Any], Any, Constant]] = {
    "unaligned": (kernels.SPEED_OF, 8, Constant(0.6, 0.3)),
    "odd": (kernels.SPEED_OF, 1, Constant(0.3, 0.5)),
}
OTHERS = {
    "a100 first flash": Constant(0.79, 0.3),
    "h100 first flash": Constant(0.55, 0.3),
    "fp8": Constant(1.5, 0.3),
    "plain scores": Constant(26, 0.4),
    "logits": Constant(38, 0.4),
    "gradient sums": Constant(8, 0.5),
    "waits": Constant(2.5e-4, 0.7),
    "input gradients, hagemann": Constant(1.5, 0.3),
    "network, hagemann": Constant(3.1, 1.0),
    "network, bigscience": Constant(3.1, 1.0),
    "links, bigscience": Constant(200, 0.5),
    "in turn": Constant(2e-3, 1.0),
}
EXPECTED = {
    **HARDWARE,
    **{name: constant for name, (_, _, constant) in MODULES.items()},
    **{name: constant for name, (_, _, constant) in TABLES.items()},
    **OTHERS,
}
Values = dict[str, float]


class Case(NamedTuple):
    """A published row."""

    row: dict[str, str]
    seconds: float
    jobs: list[Job]


def main() -> None:
    """Fit, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", choices=list(GOALS), default="")
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    cases = list(published())
    if asked.each:
        tell([row for source in GOALS for row in left_out(cases, source, asked.rounds)], asked.write)
        return
    values = fit([case for case in thinned(cases) if case.row["group"] != asked.without], asked.rounds)
    print("\n".join(f"{name:28} {value:.4g}" for name, value in values.items()))
    with using(values):
        print("\n".join(error_table([checked(case, values) for case in cases])))


def left_out(cases: list[Case], source: str, rounds: int) -> list[Checked]:
    """Rows of `source`, planned with constants of all others; constants of it alone stay at what is expected."""
    values = fit([case for case in thinned(cases) if case.row["group"] != source], rounds)
    with using(values):
        return [checked(case, values) for case in cases if case.row["group"] == source]


def tell(found: list[Checked], page: Path | None) -> None:
    """By source and by GPU."""
    text = "\n".join([*error_table(found), "", *gpu_table(found)])
    print(text)
    if page:
        write_between(page, "left out", text)


def published() -> Iterator[Case]:
    """Rows that say enough."""
    for row in read_rows(_shared()):
        if row["split"] != "extra" and (seconds := measured_seconds(row)):
            yield Case(row, seconds, list(jobs_of(row)))


def thinned(cases: list[Case]) -> list[Case]:
    """With one of SMALL rows of the largest source."""
    number = Counter[str]()
    kept = []
    for case in cases:
        number[case.row["group"]] += 1
        if case.row["group"] != "vtrain_single" or number["vtrain_single"] % SMALL == 0:
            kept.append(case)
    return kept


def fit(cases: list[Case], rounds: int) -> Values:
    """Constants that plan `cases` best."""
    import numpy
    from scipy.optimize import least_squares

    sizes = Counter(case.row["group"] for case in cases)
    weights = [math.sqrt(_weight(case.row) * 30 / sizes[case.row["group"]]) / UNIT for case in cases]
    start = numpy.log([constant.expected for constant in EXPECTED.values()])
    spreads = numpy.array([constant.spread for constant in EXPECTED.values()])

    def misses(logarithms: Any) -> Any:
        values = _values(logarithms)
        with using(values):
            errors = [math.log(checked(case, values).planned / case.seconds) for case in cases]
        return numpy.concatenate([numpy.array(errors) * weights, (logarithms - start) / spreads])

    found = least_squares(misses, start, loss="soft_l1", f_scale=2.0, max_nfev=rounds, diff_step=1e-3)
    return _values(found.x)


def _weight(row: dict[str, str]) -> float:
    return WEIGHT.get(row["group"], 2 if row["gpu"].startswith("H") and row["group"] != "llm_foundry" else 1)


def _values(logarithms: Any) -> Values:
    return {name: math.exp(value) for name, value in zip(EXPECTED, logarithms, strict=True)}


def checked(case: Case, values: Values) -> Checked:
    """A row planned with the constants in use."""
    planned = as_tuned([_changed(case.row, job, values) for job in case.jobs])
    return Checked(case.row, case.seconds, planned, fixed_seconds(case.jobs[0]))


@contextmanager
def using(values: Values) -> Iterator[None]:
    """Put `values` where the planner reads its constants, for a while."""
    before = {name: getattr(module, field) for name, (module, field, _) in MODULES.items()}
    entries = {name: table[key] for name, (table, key, _) in TABLES.items()}
    scores, logits = attention_time.SCORE_BYTES["plain"], ends_time.LOGIT_BYTES["steps"]
    _put(values, values)
    attention_time.SCORE_BYTES["plain"] = (values["plain scores"],) * 2
    ends_time.LOGIT_BYTES["steps"] = (values["logits"], 0.6 * values["logits"])
    try:
        yield
    finally:
        _put(before, entries)
        attention_time.SCORE_BYTES["plain"], ends_time.LOGIT_BYTES["steps"] = scores, logits


def _put(fields: Values, entries: Values) -> None:
    for name, (module, field, _) in MODULES.items():
        setattr(module, field, fields[name])
    for name, (table, key, _) in TABLES.items():
        table[key] = entries[name]


def _changed(row: dict[str, str], job: Job, values: Values) -> Job:
    """A job with `values` in its hardware and practice."""
    source, practice = row["group"], job.practice
    practice = replace(
        practice,
        accumulated=values["gradient sums"],
        waits=values["waits"] if practice.waits else 0.0,
        in_turn=values["in turn"] if practice.in_turn else 0.0,
    )
    if practice.product_speed > 1:
        practice = replace(practice, product_speed=values["fp8"])
    if practice.flash_speed != 1:
        practice = replace(practice, flash_speed=values[f"{_kind(job.hardware)} first flash"])
    if source == "hagemann23":
        practice = replace(practice, input_gradients=values["input gradients, hagemann"])
    assert source in PRACTICES
    return replace(job, hardware=_hardware(job.hardware, source, values), practice=practice)


def _kind(hardware: Hardware) -> str:
    return "500w" if "500w" in hardware.gpu else hardware.gpu[0] + "100"


def _hardware(hardware: Hardware, source: str, values: Values) -> Hardware:
    kind = _kind(hardware)
    shares = {"matmul": values[f"{kind} matmul"], "flash": values[f"{kind} flash"]}
    shares |= {name: values[name] for name in ("memory", "links", "network")}
    fields = {name: values[name] for name in ("link_latency", "network_latency", "launch_seconds")}
    if source == "hagemann23":
        fields["network_bandwidth"] = values["network, hagemann"]
    if source == "bigscience_a100":
        fields |= {"network_bandwidth": values["network, bigscience"], "link_bandwidth": values["links, bigscience"]}
    return hardware.model_copy(update={**fields, "efficiency": hardware.efficiency.model_copy(update=shares)})


if __name__ == "__main__":
    main()
