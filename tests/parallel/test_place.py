"""Where a launcher put this process, and where it finds rank 0."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from pretrain.config.errors import ConfigError
from pretrain.parallel.place import Place, find_place, find_rendezvous

SRUN = {
    "SLURM_STEP_ID": "0",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "8",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_TASKS_PER_NODE": "2(x4)",
}
TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"}
MPIRUN = {
    "OMPI_COMM_WORLD_RANK": "7",
    "OMPI_COMM_WORLD_LOCAL_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "16",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, Place(0, 0, 1)),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, Place(3, 1, 4)),
        (TORCHRUN, Place(3, 1, 4, 2)),
        (SRUN, Place(5, 1, 8, 2)),
        (MPIRUN, Place(7, 3, 16, 4)),
        # srun starts one torchrun, or one daemon of mpirun, a node: theirs are the process's own
        ({**SRUN, **TORCHRUN}, Place(3, 1, 4, 2)),
        ({**SRUN, **MPIRUN}, Place(7, 3, 16, 4)),
        ({**SRUN, "SLURM_STEP_TASKS_PER_NODE": "3(x2),2"}, Place(5, 1, 8)),
        # the batch script, and the shell that salloc opens: the job has 8 tasks, this is one process
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "8"}, Place(0, 0, 1)),
        ({**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"}, Place(0, 0, 1)),
    ],
)
def test_place(environment: dict[str, str], place: Place) -> None:
    assert find_place(environment) == place


@pytest.mark.parametrize("environment", [{"RANK": "0", "WORLD_SIZE": "2"}, {"OMPI_COMM_WORLD_SIZE": "2"}])
def test_half_a_launcher_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must be set together"):
        find_place(environment)


def answer(monkeypatch: pytest.MonkeyPatch, answers: dict[str, str]) -> None:
    """Have scontrol say this; whatever else it is asked, it fails."""

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        said = answers.get(" ".join(command))
        return subprocess.CompletedProcess(command, said is None, said or "", "" if said else "Invalid node name")

    monkeypatch.setattr(subprocess, "run", run)


def resolve(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Have only these names lead to an address."""

    def getaddrinfo(name: str, _: None) -> list[object]:
        if name not in names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return []

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


JOB = {"SLURM_JOB_NODELIST": "node[1-4]", "SLURM_STEP_NODELIST": "node[3-4]", "SLURM_JOB_ID": "100"}
FIRST = {"scontrol show hostnames node[3-4]": "node3\nnode4\n"}


def test_rendezvous_is_the_launchers_where_it_has_one() -> None:
    said = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert find_rendezvous({**JOB, **said}) == said


def test_rendezvous_is_the_first_node_and_a_port_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, FIRST)
    resolve(monkeypatch, "node3")
    assert find_rendezvous(JOB) == {"MASTER_ADDR": "node3", "MASTER_PORT": "21700"}
    assert find_rendezvous({**JOB, "SLURM_RESTART_COUNT": "1"})["MASTER_PORT"] == "21701"
    assert find_rendezvous({**JOB, "SLURM_STEP_ID": "2", "SLURM_RESTART_COUNT": "1"})["MASTER_PORT"] == "21703"
    assert find_rendezvous({**JOB, "SLURM_JOB_ID": "706"})["MASTER_PORT"] == "20002"


def test_a_node_that_the_resolver_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    resolve(monkeypatch)
    answer(monkeypatch, {**FIRST, "scontrol show node node3": "NodeName=node3 \n   NodeAddr=10.1.2.3 NodeHostName=n3"})
    assert find_rendezvous(JOB)["MASTER_ADDR"] == "10.1.2.3"
    answer(monkeypatch, FIRST)
    with pytest.raises(ConfigError, match="scontrol show node node3") as error:
        find_rendezvous(JOB)
    assert "Invalid node name" in str(error.value)


def test_ranks_placed_by_a_list(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """srun --distribution=arbitrary: rank 0 need not be on the first node of the step."""
    resolve(monkeypatch, "node4")
    (hosts := tmp_path / "hosts").write_text("node4\nnode3\n")
    job = {**JOB, "SLURM_DISTRIBUTION": "arbitrary", "SLURM_HOSTFILE": str(hosts)}
    assert find_rendezvous(job)["MASTER_ADDR"] == "node4"
    with pytest.raises(ConfigError, match="on which node rank 0 is"):
        find_rendezvous({**job, "SLURM_HOSTFILE": str(tmp_path / "none")})


@pytest.mark.parametrize("environment", [{}, MPIRUN, {**JOB, **MPIRUN}, {"MASTER_ADDR": "node1"}])
def test_no_rendezvous_on_localhost(environment: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="must say where rank 0 is"):
        find_rendezvous(environment)
