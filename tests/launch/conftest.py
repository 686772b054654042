"""What tests of launching share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.launch.fakes import FakeSlurm


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    """A SLURM that only answers: the job runs, the next one submitted is 18."""
    fake = FakeSlurm(tmp_path)
    fake.answer(squeue_out="RUNNING None", sbatch_out="18")
    return fake
