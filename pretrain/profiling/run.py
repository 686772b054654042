"""Some steps of a run under the profiler, made of the pieces of its training loop; its own files are not touched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from torch.profiler import profile as Recording
from torch.profiler import record_function

from pretrain.checkpoint.state import layout_words
from pretrain.config.run import Run
from pretrain.data.batch import Batch
from pretrain.monitoring.throughput import Meter, Throughput, peak_memory_bytes
from pretrain.parallel.process import World
from pretrain.profiling.page import page
from pretrain.profiling.profile import Profile
from pretrain.profiling.ranges import Mark, marked_batches, ranges
from pretrain.profiling.record import annotated, operators_of, recorded, splits_of
from pretrain.profiling.split import STEP
from pretrain.profiling.start import Asked
from pretrain.profiling.text import show, speed_line
from pretrain.shards.files import write_atomically
from pretrain.shards.manifest import Manifest
from pretrain.training.loop import open_batches, open_loader, run_step
from pretrain.training.setup import Session, open_session, saved_layout
from pretrain.training.staging import stage


class Done(NamedTuple):
    """One step."""

    seconds: float
    tokens: int
    """Target tokens of the global batch."""


def profile_steps(run: Run, manifest: Manifest, world: World, asked: Asked, steps: range, directory: Path) -> None:
    """Run `steps` from the initial weights, all but the warm-up recorded, and write and print what was found."""
    manifest, _ = stage(run, manifest, world)
    session = open_session(run, manifest, world)
    mark: Mark = torch.cuda.nvtx.range if asked.nvtx else record_function
    with open_loader(session, steps) as loader, ranges(session.runner, mark):
        batches = marked_batches(open_batches(session, steps, loader), mark)
        warm = [_step(session, step, batches, mark) for step in steps[: asked.warmup]]
        if asked.nvtx:
            with annotated():
                done = [_step(session, step, batches, mark) for step in steps[asked.warmup :]]
        else:
            with recorded(world.device, directory, world.rank, asked.shapes) as recording:
                done = [_step(session, step, batches, mark) for step in steps[asked.warmup :]]
                world.at("checkpoint")  # writing begins
    meter = Meter(run, world.size, world.device)
    speed = _speed(done, meter)
    if asked.nvtx:
        if world.is_writer:
            print(f"{run.name}: {speed_line(speed)}")
        return
    profile = _profile(session, asked, steps, recording, speed, _speed(warm[1:], meter) if warm[1:] else None)
    if world.is_writer:
        _write(profile, directory)


def _step(session: Session, step: int, batches: Iterator[Batch], mark: Mark) -> Done:
    """One step of the training loop, in a range of its number."""
    world = session.world
    world.at("data", step + 1)
    started = time.perf_counter()
    with mark(f"{STEP}{step + 1}"):
        result = run_step(session, step, batches, votes=[])
        if world.device.type == "cuda":
            torch.cuda.synchronize(world.device)  # its kernels are part of it
    world.started()
    return Done(time.perf_counter() - started, sum(result.losses.tokens))


def _speed(done: Sequence[Done], meter: Meter) -> Throughput:
    return meter.measure(sum(step.tokens for step in done), sum(step.seconds for step in done))


def _profile(
    session: Session,
    asked: Asked,
    steps: range,
    recording: Recording,
    speed: Throughput,
    unprofiled: Throughput | None,
) -> Profile:
    """What all ranks found; operators are this one's. All ranks call it together."""
    world, run = session.world, session.run
    on_gpu = world.device.type == "cuda"
    return Profile(
        run=run.name,
        layout=layout_words(saved_layout(session.mesh.layout, run)),
        device=torch.cuda.get_device_name(world.device) if on_gpu else "cpu",
        steps=[step + 1 for step in steps[asked.warmup :]],
        total_steps=session.total_steps,
        splits=world.gather(splits_of(recording, world.device)),
        peak_bytes=world.gather(peak_memory_bytes(world.device)),
        speed=speed,
        unprofiled=unprofiled,
        operators=operators_of(recording, world.device, asked.shapes) if world.is_writer else [],
    )


def _write(profile: Profile, directory: Path) -> None:
    """The text, on the terminal too; the page; the numbers."""
    with open(directory / "profile.txt", "w", encoding="utf-8") as file:
        show(profile, Console(file=file, width=120))
    write_atomically(directory / "profile.html", page(profile).encode())
    write_atomically(directory / "profile.json", (json.dumps(profile.plain(), indent=2) + "\n").encode())
    console = Console()
    show(profile, console)
    console.out(f"all of it is in {directory}: profile.html, profile.json, trace-rank0.json.gz (ui.perfetto.dev), ...")
