"""Every way to start `python -m pretrain.train` on a cluster trains the same run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pretrain.train
from tests.cluster.slurm import Cluster
from tests.cluster.training import Training, finish, make_training, nothing_left, undisturbed
from tests.processes import train_processes, train_rows

Start = Callable[[Training], list[str]]
HEAD = "$(scontrol show hostnames $SLURM_JOB_NODELIST | head -1)"
TORCHRUN = "torchrun --nnodes 2 --nproc-per-node 1"


def srun(training: Training) -> list[str]:
    """SLURM's variables only."""
    return ["srun", "--nodes=2", "--ntasks=2", "python", "-m", "pretrain.train", str(training.path)]


def torchrun_c10d(training: Training) -> list[str]:
    meet = f"--rdzv-backend c10d --rdzv-id $SLURM_JOB_ID --rdzv-endpoint {HEAD}:29400"
    return _on_each_node(f"{TORCHRUN} {meet} -m pretrain.train {training.path}")


def torchrun_static(training: Training) -> list[str]:
    meet = f"--master-addr {HEAD} --master-port 29400 --node-rank $SLURM_NODEID"
    return _on_each_node(f"{TORCHRUN} {meet} -m pretrain.train {training.path}")


def pdsh(training: Training) -> list[str]:
    return _deepspeed(training, "pdsh", "--no_local_rank", "--module", "pretrain.train")


def deepspeed_slurm(training: Training) -> list[str]:
    """It ignores --module: the file stands for it."""
    return [
        *("salloc", "--nodes=2", "--ntasks=2"),
        *_deepspeed(training, "slurm", "--launcher_args=--nodes=2", str(pretrain.train.__file__)),
    ]


def _on_each_node(command: str) -> list[str]:
    return ["srun", "--nodes=2", "--ntasks-per-node=1", "bash", "-c", command]


def _deepspeed(training: Training, launcher: str, *options: str) -> list[str]:
    for node in training.cluster.nodes[:2]:
        node.start_sshd()
    hosts = hostfile(training)
    return ["deepspeed", f"--hostfile={hosts}", f"--launcher={launcher}", *options, str(training.path)]


def hostfile(training: Training) -> Path:
    (path := training.directory.parent / "hostfile").write_text("node1 slots=1\nnode2 slots=1\n")
    return path


slow = pytest.mark.slow
STARTS = [
    torchrun_c10d,
    pytest.param(torchrun_static, marks=slow),
    pdsh,
    pytest.param(deepspeed_slurm, marks=slow),
]


@pytest.fixture(scope="session")
def losses(corpus: Path, standing_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Of the run in one process."""
    run = {**make_training(standing_cluster, corpus, "one").run, "directory": str(tmp_path_factory.mktemp("one"))}
    return train_rows(train_processes(run, 1), "loss")


@pytest.mark.parametrize("start", STARTS)
def test_start(cluster: Cluster, corpus: Path, losses: list[float], start: Start) -> None:
    training = make_training(cluster, corpus, start.__name__)
    assert_trained(training.train(*start(training)), losses)
    nothing_left(cluster)


@slow
def test_deepspeed_without_ssh(cluster: Cluster, corpus: Path, losses: list[float]) -> None:
    """The same command on each node, with its number."""
    training = make_training(cluster, corpus, "no_ssh")
    meet = ["--no_ssh", "--master_addr=node1", "--master_port=29400", "--no_local_rank"]
    command = ["deepspeed", f"--hostfile={hostfile(training)}", *meet]
    processes = [
        training.start(*command, f"--node_rank={rank}", "--module", "pretrain.train", str(training.path), on=node)
        for rank, node in enumerate(cluster.nodes[:2])
    ]
    assert finish(processes) == [0, 0], training.told()
    assert_trained(training.rows(), losses)
    nothing_left(cluster)


def test_two_tasks_on_each_of_two_nodes(cluster: Cluster, corpus: Path, losses: list[float], tmp_path: Path) -> None:
    """Bit for bit what four processes of one machine compute."""
    training = make_training(cluster, corpus, "srun_2x2")
    rows = training.train("srun", "-N2", "--ntasks-per-node=2", "python", "-m", "pretrain.train", str(training.path))
    assert_trained(rows, losses)
    assert training.curve() == undisturbed(training, 4, tmp_path)


@slow
def test_two_jobs_on_the_same_nodes(cluster: Cluster, corpus: Path, losses: list[float]) -> None:
    """They do not meet at one port."""
    trainings = [make_training(cluster, corpus, f"neighbour_{number}") for number in range(2)]
    processes = [training.start(*srun(training)) for training in trainings]
    assert finish(processes) == [0, 0], "\n".join(training.told() for training in trainings)
    for training in trainings:
        assert_trained(training.rows(), losses)


def test_a_world_that_is_not_the_mesh(cluster: Cluster, corpus: Path) -> None:
    """Every rank refuses it, before it waits for another."""
    training = make_training(cluster, corpus, "mesh", parallel={"tensor": 2})
    process = training.start("srun", "-N3", "-n3", "python", "-m", "pretrain.train", str(training.path))
    assert finish([process]) == [2]
    assert training.told().count("pretrain: parallel") == 3, training.told()
    assert not training.directory.exists()


def assert_trained(rows: list[dict[str, Any]], losses: list[float]) -> None:
    """To the end, with the loss of one process at every step."""
    assert train_rows(rows, "loss") == pytest.approx(losses, abs=1e-5)
    assert len(losses) == 20
