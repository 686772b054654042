"""A profile as text and as a page, from numbers made up by hand."""

from __future__ import annotations

import dataclasses
import io

from rich.console import Console

from pretrain.monitoring.throughput import Throughput
from pretrain.profiling.page import MOST_BARS, page
from pretrain.profiling.profile import Profile
from pretrain.profiling.record import Operator
from pretrain.profiling.split import SHOWN
from pretrain.profiling.text import operator_table, show, split_table


def split(*seconds: float) -> dict[str, float]:
    return dict(zip(SHOWN, seconds, strict=True))


PROFILE = Profile(
    run="a<b",
    layout="pipe 2 x data 1 x tensor 1, 1F1B, ZeRO 1, fp32",
    device="cpu",
    steps=[3, 4],
    total_steps=1000,
    splits=[
        [split(0.0, 2.0, 4.0, 1.0, 1.0, 0.0), split(0.0, 2.0, 4.0, 1.0, 1.0, 0.0)],
        [split(0.5, 1.0, 2.0, 4.0, 0.5, 0.0), split(0.5, 1.0, 2.0, 4.0, 0.5, 0.0)],
    ],
    peak_bytes=[1_500_000_000, 1_250_000_000],
    speed=Throughput(2048.0, 0.0125, 0.25),
    unprofiled=Throughput(4096.0, 0.025, 0.5),
    operators=[
        Operator("aten::mm", "", 72, 6.0, 0.0, 4_000_000),
        Operator("aten::add_", "", 3, 0.5, 0.0, -10),
    ],
)


def test_the_split_of_several_ranks() -> None:
    assert split_table(PROFILE) == (
        ["part", "seconds", "share", "least", "most"],
        [
            ["data", "0.2500", "3.1%", "0.0000 (rank 0)", "0.5000 (rank 1)"],
            ["forward", "1.5000", "18.8%", "1.0000 (rank 1)", "2.0000 (rank 0)"],
            ["backward", "3.0000", "37.5%", "2.0000 (rank 1)", "4.0000 (rank 0)"],
            ["communication", "2.5000", "31.2%", "1.0000 (rank 0)", "4.0000 (rank 1)"],
            ["optimizer", "0.7500", "9.4%", "0.5000 (rank 1)", "1.0000 (rank 0)"],
            ["rest", "0.0000", "0.0%", "0.0000 (rank 0)", "0.0000 (rank 0)"],
            ["step", "8.0000", "100.0%", "", ""],
        ],
    )


def test_operators_per_step() -> None:
    headings, rows = operator_table(PROFILE)
    assert headings == ["operator", "calls", "CPU s", "share", "MB"]
    assert rows == [["aten::mm", "36", "3.0000", "37.5%", "2.0"], ["aten::add_", "2", "0.2500", "3.1%", "0.0"]]


def test_operators_of_a_gpu_are_those_of_its_kernels() -> None:
    on_gpu = dataclasses.replace(
        PROFILE, device="NVIDIA A100", operators=[Operator("aten::mm", "[[2, 2]]", 2, 1.0, 4.0, 0)]
    )
    headings, rows = operator_table(on_gpu)
    assert headings == ["operator", "shapes", "calls", "GPU s", "CPU s", "share", "MB"]
    assert rows == [["aten::mm", "[[2, 2]]", "1", "2.0000", "0.5000", "25.0%", "0.0"]]


def test_the_text() -> None:
    file = io.StringIO()
    show(PROFILE, Console(file=file, width=80))
    assert file.getvalue().splitlines()[:4] == [
        "a<b: steps 3 to 4 of 1,000, pipe 2 x data 1 x tensor 1, 1F1B, ZeRO 1, fp32, cpu",
        "profiled: 2.05k tokens/s, 0.0125 TFLOP/s per device, MFU 25.0%",
        "without the profiler: 4.1k tokens/s, 0.025 TFLOP/s per device, MFU 50.0%",
        "peak memory, resident: 1.50 GB (rank 0)",
    ]


def test_the_page_needs_nothing_else_and_has_a_bar_for_each_rank_and_step() -> None:
    shown = page(PROFILE)
    for rank in range(2):
        for step in (3, 4):
            assert f">rank {rank}, step {step}</text>" in shown
    assert "<h1>Profile of a&lt;b</h1>" in shown and "aten::mm" in shown
    for word in ("src=", 'href="http', "url(http", "<link", "<script"):
        assert word not in shown
    assert page(PROFILE) == shown, "the same bytes each time"


def test_a_page_of_many_ranks_stays_short() -> None:
    shown = page(dataclasses.replace(PROFILE, splits=PROFILE.splits * 100))
    assert f">rank {MOST_BARS - 1}</text>" in shown and f">rank {MOST_BARS}</text>" not in shown
