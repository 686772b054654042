"""A corpus that jobs of a real SLURM prepare is the one that this machine prepares."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pretrain.corpus.prepare import prepare
from tests.cluster.slurm import Cluster, wait_for
from tests.corpus.test_phases import everything, made
from tokenizer import train_tokenizer


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """Of bytes and a few merges."""
    train_tokenizer([f"word{i} secret{i} again twice" for i in range(500)], 600).save(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def test_prepare(cluster: Cluster, tokenizer: Path) -> None:
    """Submitted, told while it runs, killed in a phase, taken up again with another number of tasks."""
    shared = cluster.runs("corpus")
    slurm = {"kind": "slurm", "partition": "train", "tasks": 3, "workers": 2, "memory": "1 GB", "time": "10 min"}
    recipe = everything(shared / "jobs", tokenizer, executor=slurm)
    path = shared / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe.plain(), sort_keys=False))

    def command(*more: str) -> str:
        done = cluster.login.run(["pretrain", "corpus", "prepare", str(path), *more], cluster.environment)
        assert done.returncode == 0, done.stderr
        return done.stderr

    said = command()
    assert "submitted read as job" in said and "submitted finish as job" in said, said
    assert "#SBATCH --partition=train" in (shared / "jobs" / "slurm" / "read" / "launch_script.slurm").read_text()
    assert "tasks left" in command()
    cluster.ask("scancel", "--name=tiny-read")
    wait_for(lambda: not cluster.squeue(), 60, "the end of what was cancelled, and of what waited for it")
    assert not (shared / "jobs" / "manifest.json").exists()
    assert "submitted read as job" in command("executor.tasks=2")
    wait_for((shared / "jobs" / "manifest.json").exists, 200, "the manifest", every=0.5)
    wait_for(lambda: not cluster.squeue(), 60, "an empty queue")
    assert "is up to date" in command()
    prepare(everything(shared / "here", tokenizer))
    ours = {name: content for name, content in made(shared / "jobs").items() if not name.startswith("slurm/")}
    assert ours == made(shared / "here")


def test_a_partition_that_is_not_there(cluster: Cluster, tokenizer: Path) -> None:
    shared = cluster.runs("refused")
    slurm = {"kind": "slurm", "partition": "nowhere"}
    path = shared / "recipe.yaml"
    path.write_text(yaml.safe_dump(everything(shared / "out", tokenizer, executor=slurm).plain()))
    done = cluster.login.run(["pretrain", "corpus", "prepare", str(path)], cluster.environment)
    assert done.returncode == 2 and "sbatch did not take the job" in done.stderr and "sinfo" in done.stderr
    assert not cluster.squeue()
