"""Where a launcher put this process."""

import subprocess

import pytest

from pretrain.config.errors import ConfigError
from pretrain.parallel.process import Place, _slurm_rendezvous, find_place

SRUN = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8"}


def test_alone() -> None:
    assert find_place({}) == Place(0, 0, 1)


def test_torchrun_and_deepspeed() -> None:
    assert find_place({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}) == Place(3, 1, 4)


def test_bare_srun() -> None:
    assert find_place(SRUN) == Place(5, 1, 8)


def test_torchrun_inside_srun() -> None:
    """srun starts one torchrun a node; torchrun's variables are the process's own."""
    assert find_place({**SRUN, "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}) == Place(3, 1, 4)


def test_a_shell_in_an_allocation_of_one_task() -> None:
    assert find_place({**SRUN, "SLURM_NTASKS": "1"}) == Place(0, 0, 1)


def test_the_batch_script_itself() -> None:
    """sbatch says the job's number of tasks there, but runs one process."""
    assert find_place({name: value for name, value in SRUN.items() if name != "SLURM_STEP_ID"}) == Place(0, 0, 1)


def test_half_a_launcher_is_refused() -> None:
    with pytest.raises(ConfigError, match="must be set together"):
        find_place({"RANK": "0", "WORLD_SIZE": "2"})


def test_rendezvous_is_the_first_node_and_a_port_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def scontrol(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command == ["scontrol", "show", "hostnames", "node[3-4]"]
        return subprocess.CompletedProcess(command, 0, "node3\nnode4\n", "")

    monkeypatch.setattr(subprocess, "run", scontrol)
    job = {"SLURM_JOB_NODELIST": "node[3-4]", "SLURM_JOB_ID": "100"}
    assert _slurm_rendezvous(job) == {"MASTER_ADDR": "node3", "MASTER_PORT": "21700"}
    assert _slurm_rendezvous({**job, "SLURM_RESTART_COUNT": "1"})["MASTER_PORT"] == "21701"


def test_no_rendezvous_on_localhost() -> None:
    with pytest.raises(ConfigError, match="must name the first node"):
        _slurm_rendezvous({"SLURM_JOB_ID": "1"})
