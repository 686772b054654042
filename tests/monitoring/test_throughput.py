"""Model FLOPs utilisation."""

import pytest
import torch

from pretrain.config.counts import flops_per_token
from pretrain.monitoring import throughput
from pretrain.monitoring.throughput import Meter, measured_tflops, peak_tflops
from tests.config.example import make_run


def test_by_hand() -> None:
    """Two processes, 1,000 tokens/s: half of 1,000 x FLOPs per token each, of a peak of 2e-4 TFLOP/s."""
    run = make_run(model={"vocab_size": 512}, monitoring={"peak_tflops": 2e-4})
    speed = Meter(run, 2, torch.device("cpu")).measure(4000, 4.0)
    flops = flops_per_token(run.model, 128)
    assert speed.tokens_per_second == 1000
    assert speed.tflops == pytest.approx(1000 * flops / 2 / 1e12)
    assert speed.mfu == pytest.approx(speed.tflops / 2e-4)


def test_a_cpu_is_measured() -> None:
    """Any CPU of this century multiplies matrices at 1 GFLOP/s to 10 TFLOP/s."""
    assert 1e-3 < measured_tflops(torch.device("cpu"), torch.float32, size=256, seconds=0.02) < 10


@pytest.mark.parametrize(
    ("name", "compute", "peak"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16", 312.0),
        ("NVIDIA A100-SXM4-40GB", "fp32", 19.5),
        ("NVIDIA H100 PCIe", "bf16", 756.0),
        ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
    ],
)
def test_gpus_by_name(monkeypatch: pytest.MonkeyPatch, name: str, compute: str, peak: float) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_tflops(torch.device("cuda", 0), compute) == peak


def test_an_unknown_gpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """An A4000 is not an A40."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA RTX A4000")
    monkeypatch.setattr(throughput, "measured_tflops", lambda device, dtype: 1.5)
    assert peak_tflops(torch.device("cuda", 0), "bf16") == 1.5
