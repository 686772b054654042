"""The layouts of one verification: the one that a run asks for, on a few processes, and its neighbours.

Each is checked by the constraint table before any process starts; a neighbour that breaks a rule is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import yaml

from pretrain.config.constraints import check_run, find_problems
from pretrain.config.errors import ConfigError, Problem
from pretrain.config.layout import Layout
from pretrain.config.parallel import Parallel
from pretrain.config.precision import Format, Precision
from pretrain.config.run import Batch, Run
from pretrain.verification.scale import SAMPLES, small_tensor

WORDS: dict[str, dict[str, Any]] = {
    "1f1b": {"schedule": "1f1b"},
    "dualpipev": {"schedule": "dualpipev"},
    "unsplit": {"sequence_parallel": False},
    "selective": {"recompute": "selective"},
    "full": {"recompute": "full"},
    "hosted": {"offload": "optimizer"},
    "allhosted": {"offload": "all"},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
}
"""Words of a layout's name that are not a field and its number."""


@dataclass(frozen=True)
class Trial:
    """A scaled run on one grid of processes."""

    run: Run
    axes: Layout

    @property
    def name(self) -> str:
        """Such as `pipe2-data2-tensor2-zero1-1f1b`; axes of one process are not named."""
        parallel = self.run.parallel
        said = {
            **{f"{axis}{size}": size > 1 for axis, size in self.axes._asdict().items()},
            f"zero{parallel.zero}": True,
            parallel.schedule: parallel.pipe > 1,
            "unsplit": parallel.tensor > 1 and not parallel.splits_sequence,
            parallel.recompute: parallel.recompute != "none",
            f"every{parallel.recompute_every}": parallel.recompute_every > 1,
            "hosted": parallel.offload == "optimizer",
            "allhosted": parallel.offload == "all",
            self.run.precision.compute: self.run.precision.compute != "fp32",
        }
        return "-".join(word for word, holds in said.items() if holds)


def settle(run: Run) -> Run:
    """The run with a layout of its own, checked. `parallel: auto` may choose any axis, so it gets all that can be."""
    if not run.parallel.auto:
        check_run(run, run.parallel.tensor * run.parallel.pipe)
        return run
    given = {name: getattr(run.parallel, name) for name in run.parallel.model_fields_set}
    for tensor, pipe in ((2, 2), (2, 1), (1, 2), (1, 1)):
        fields = {"tensor": tensor, "pipe": pipe, **given, "auto": False}
        settled = run.model_copy(update={"parallel": Parallel(**fields)})
        problems = find_problems(settled, settled.parallel.tensor * settled.parallel.pipe)
        if not problems:
            return settled
    raise ConfigError(problems)


def small_axes(run: Run, processes: int) -> Layout:
    """The grid of a settled run: an axis above 1 becomes 2 (tensor: `small_tensor`), data always is taken to be.

    Where that is more than `processes`, the data axis is left out first, then the pipeline.
    """
    tensor, pipe = small_tensor(run.model, run.parallel.tensor), min(run.parallel.pipe, 2)
    grids = (Layout(pipe, 2, tensor), Layout(pipe, 1, tensor), Layout(1, 2, tensor), Layout(1, 1, tensor))
    return next((grid for grid in grids if grid.processes <= processes), Layout(1, 1, 1))


def lay(run: Run, axes: Layout, given: Mapping[str, Any] | None = None) -> Trial:
    """The scaled `run` on `axes`: what it says of an axis that is not there is dropped, but for what is `given`."""
    given = dict(given or {})
    precision = number_format(given.pop("precision", "fp32"))
    fields = run.parallel.plain() | {"pipe": axes.pipe, "tensor": axes.tensor}
    fields |= {"zero": 1} if axes.pipe > 1 else {"schedule": "1f1b"}
    fields |= {} if axes.tensor > 1 else {"sequence_parallel": None}
    fields |= given
    if "offload" not in given and fields["zero"] != 3:
        fields["offload"] = "none" if fields["zero"] == 0 or fields["offload"] == "none" else "optimizer"
    parallel = Parallel.parse(fields, "parallel")
    batch = run.batch.model_copy(update={"micro_batch_size": micro_batch(axes, parallel)})
    return Trial(run.model_copy(update={"parallel": parallel, "precision": precision, "batch": batch}), axes)


def number_format(compute: str) -> Precision:
    """fp16 with a loss scale that overflows in none of a few steps."""
    scale = {"loss_scale": {"initial": 2.0**10, "minimum": 2.0**10}} if compute == "fp16" else {}
    return Precision.parse({"compute": compute, **scale}, "precision")


def micro_batch(axes: Layout, parallel: Parallel) -> int:
    """Samples: two micro-batches on each data rank; in a pipeline twice as many as stages, on all together.

    DualPipeV needs so many on each.
    """
    number = 2 * axes.data if axes.pipe == 1 else max(2 * axes.pipe, axes.data)
    if parallel.schedule == "dualpipev":
        number = 2 * axes.pipe * axes.data
    return max(1, SAMPLES // number)


def reference(run: Run, compute: Format) -> Trial:
    """One process, every batch of the scaled run in as few passes as can be; with ZeRO 1 where 16 bits need it."""
    start = run.batch.ramp.start if run.batch.ramp else run.batch.global_batch_size
    batch = Batch(**run.batch.plain() | {"micro_batch_size": start.samples(run.sequence_length)})
    parallel = Parallel(zero=0 if compute == "fp32" else 1)
    alone = {"batch": batch, "parallel": parallel, "precision": number_format(compute), "deepspeed": {}}
    return Trial(run.model_copy(update=alone), Layout(1, 1, 1))


def default_trials(run: Run, axes: Layout, processes: int, compute: Format, limit: int | None = 4) -> list[Trial]:
    """The requested layout and its neighbours, `limit` in all (None: every one); in 16 bits the requested once more.

    Raises ConfigError when scaling broke a rule for the requested one.
    """
    requested = lay(run, axes)
    check_trial(requested)
    trials = {requested.name: requested}
    for trial in neighbours(run, axes):
        if trial.axes.processes <= processes and not find_problems(trial.run, trial.axes.processes):
            trials.setdefault(trial.name, trial)
    chosen = list(islice(trials.values(), limit))
    return chosen if compute == "fp32" else [*chosen, lay(run, axes, {"precision": compute})]


def neighbours(run: Run, axes: Layout) -> Iterator[Trial]:
    """Each axis alone, data with the other ZeRO stages, pipe with the other schedule, tensor with whole sequences."""
    tensor = Layout(1, 1, max(axes.tensor, 2))
    yield lay(run, Layout(2, 1, 1))
    yield lay(run, tensor)
    yield lay(run, Layout(1, 2, 1))
    for zero in (3, 2, 1, 0):
        yield lay(run, Layout(1, 2, 1), {"zero": zero})
    for schedule in ("dualpipev", "1f1b"):
        yield lay(run, Layout(2, 1, 1), {"schedule": schedule})
    yield lay(run, tensor, {"sequence_parallel": not lay(run, tensor).run.parallel.splits_sequence})


def chosen_trials(run: Run, specs: Sequence[str], processes: int) -> list[Trial]:
    """The layouts that a person named, such as `tensor=2,pipe=2` or `data2-zero3`. Raises ConfigError."""
    trials = []
    for spec in specs:
        given = parse_spec(spec)
        axes = Layout(*(int(given.pop(axis, 1)) for axis in Layout._fields))
        trial = lay(run, axes, given)
        if axes.processes > processes:
            rule = f"has {axes.processes} processes, more than {processes}"
            raise ConfigError.of("--layout", spec, rule, f"--processes {axes.processes}, or smaller axes")
        check_trial(trial)
        trials.append(trial)
    return trials


def check_trial(trial: Trial) -> None:
    """Raise ConfigError, saying that it is about the scaled run, when a rule forbids the layout."""
    try:
        check_run(trial.run, trial.axes.processes)
    except ConfigError as error:
        where = f"of the scaled run on {trial.name}"
        raise ConfigError([Problem(f"{p.field} {where}", p.value, p.rule, p.fix) for p in error.problems]) from None


def parse_spec(spec: str) -> dict[str, Any]:
    """`tensor=2,zero=3` or a name as it is printed -> fields of `parallel`, `data` and `precision`."""
    if "=" in spec:
        pairs = [part.partition("=") for part in spec.split(",")]
        fields = {key.strip(): yaml.safe_load(text) for key, _, text in pairs}
    else:
        fields = {}
        for word in spec.split("-"):
            fields |= _word(word, spec)
    for axis in Layout._fields:
        if not isinstance(fields.get(axis, 1), int) or fields.get(axis, 1) < 1:
            raise ConfigError.of(f"--layout {axis}", fields[axis], "must be a number of processes", f"{axis}=2")
    return fields


def _word(word: str, spec: str) -> dict[str, Any]:
    if word in WORDS:
        return WORDS[word]
    numbered = re.fullmatch(r"(pipe|data|tensor|zero|every)(\d+)", word)
    if numbered is None:
        rule = f"has the word {word!r}, which names nothing"
        raise ConfigError.of("--layout", spec, rule, "write for example tensor=2,pipe=2 or pipe2-tensor2-zero1")
    return {"recompute_every" if numbered[1] == "every" else numbered[1]: int(numbered[2])}
