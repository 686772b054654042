"""Products and kernels by hand: waves of tiles, the start of a tile, unaligned sides, bandwidth."""

from dataclasses import replace

import pytest

from pretrain.config.hardware import Efficiency, Hardware
from pretrain.config.layout import Layout
from pretrain.planning.job import Job
from pretrain.planning.timing.kernels import bytes_seconds, product_seconds
from tests.config.example import make_run

FOUR = Hardware(
    gpu="four", tflops=1, fp32_tflops=0.5, memory=2**30, memory_bandwidth=1e6, multiprocessors=4, tile=(128, 128),
    link_bandwidth=1, network_bandwidth=1, watts=1, dollars_per_hour=1,
    efficiency=Efficiency(matmul=1, memory=0.5),
)  # fmt: skip
JOB = Job(make_run(precision={"compute": "bf16"}), Layout(1, 1, 1), FOUR)


def test_a_full_wave() -> None:
    """4 tiles on 4 multiprocessors; 64 of 64 + 164 columns are not the tile's start and end: 2 x 256^2 x 228 / 1e12."""
    assert product_seconds(JOB, 256, 256, 64) == pytest.approx(2.9884416e-5)


def test_a_cpu_has_no_start_of_a_tile() -> None:
    cluster = JOB.run.cluster.model_copy(update={"gpus": False})
    there = replace(JOB, run=JOB.run.model_copy(update={"cluster": cluster}))
    assert product_seconds(there, 256, 256, 64) == pytest.approx(2 * 256 * 256 * 64 / 1e12)


def test_a_second_wave_for_one_tile() -> None:
    """5 tiles take as long as 8: tiles of half the height fill 10 of 16 slots, and are slower."""
    once = product_seconds(JOB, 128, 128 * 4, 64)
    assert product_seconds(JOB, 128, 128 * 5, 64) / once == pytest.approx(2.0)


def test_an_unaligned_side() -> None:
    """Rows of 8 x 2 bytes are no multiple of 128 bytes: 0.47 of the speed; and 248 of 256 columns are useful."""
    assert product_seconds(JOB, 256, 248, 64) / product_seconds(JOB, 256, 256, 64) == pytest.approx(1 / 0.47)


def test_fp32_has_its_own_peak() -> None:
    run = make_run(precision={"compute": "fp32"})
    assert product_seconds(replace(JOB, run=run), 256, 256, 64) == pytest.approx(2 * 2.9884416e-5)


def test_a_thin_product_is_bound_by_memory() -> None:
    """One row: reading 4096 x 4096 numbers of 2 bytes at half of 1 GB/s takes longer than computing."""
    slow = replace(JOB, hardware=FOUR.model_copy(update={"memory_bandwidth": 1.0}))
    assert product_seconds(slow, 1, 4096, 4096) == pytest.approx(2 * (4096 + 4096 + 4096**2) / 0.5e9)


def test_bytes() -> None:
    assert bytes_seconds(FOUR, 5e14) == pytest.approx(1.0)
