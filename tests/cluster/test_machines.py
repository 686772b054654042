"""The test cluster itself: it does what it says, and nothing of it is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.machine import ROOT, all_processes, command_of, environment_of
from tests.cluster.slurm import Cluster, Node, missing, wait_for

needs_cluster = pytest.mark.skipif(bool(missing()), reason=f"a SLURM cluster needs {', '.join(missing())}")


def of(base: Path) -> list[list[str]]:
    """Commands of all processes that have to do with a cluster's directory."""
    found = [(command_of(pid), environment_of(pid)) for pid in all_processes()]
    return [words for words, variables in found if str(base) in " ".join([*words, *variables.values()])]


def links() -> str:
    return subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout


def test_jobs_have_nodes_devices_and_names(cluster: Cluster) -> None:
    say = "echo $SLURM_PROCID $(hostname) $(hostname -I) $CUDA_VISIBLE_DEVICES"
    told = cluster.ask("srun", "-N2", "--ntasks-per-node=2", "--gpus-per-task=1", "--gres=gpu:2", "bash", "-c", say)
    assert sorted(told.splitlines()) == [
        *("0 node1 10.77.0.11 0", "1 node1 10.77.0.11 1"),
        *("2 node2 10.77.0.12 0", "3 node2 10.77.0.12 1"),
    ]


def test_a_crashed_node_says_nothing_and_comes_back_as_new(cluster: Cluster, tmp_path: Path) -> None:
    """Neither to the controller nor to those who talk with it: nobody closes its connections."""
    node = cluster.node(2)
    node.start_sshd()
    job = cluster.sbatch("sleep 300", "-w", "node2")
    cluster.wait_for_job(job, "RUNNING")
    talk = cluster.login.popen(["ssh", "node2", "echo hello; sleep 301"], cluster.environment, tmp_path / "talk")
    wait_for(lambda: {"300", "301"} <= {command_of(pid)[-1] for pid in node.foreign()}, 10, "both sleeps")
    node.crash()
    with pytest.raises(subprocess.TimeoutExpired):
        talk.wait(1)
    assert cluster.job_state(job) == "RUNNING"
    cluster.reset()
    assert node.alive
    assert cluster.squeue() == {}
    assert cluster.ask("srun", "-w", "node2", "hostname") == "node2\n"


def test_the_controller_keeps_its_jobs(cluster: Cluster) -> None:
    job = cluster.sbatch("sleep 300")
    cluster.wait_for_job(job, "RUNNING")
    cluster.restart_controller()
    assert cluster.squeue() == {str(job): "RUNNING"}
    cluster.stop_controller()  # the next test finds it up again


def test_ssh_between_nodes(cluster: Cluster) -> None:
    cluster.node(3).start_sshd()
    for machine in (cluster.login, cluster.node(1)):
        assert machine.run(["ssh", "node3", "hostname"], cluster.environment).stdout == "node3\n"


@needs_cluster
def test_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one that could not start wholly, while a test fails inside, and a job runs."""
    before, start = links(), Node.start

    def start_or_fail(node: Node) -> None:
        if node.name == "node3":
            raise RuntimeError("no third node")
        start(node)

    with pytest.raises(ZeroDivisionError), Cluster(nodes=2) as whole:
        whole.sbatch("sleep 300")
        raise ZeroDivisionError
    monkeypatch.setattr(Node, "start", start_or_fail)
    half = Cluster()
    with pytest.raises(RuntimeError, match="no third node"), half:
        pass
    assert of(whole.base) + of(half.base) == []
    assert not whole.base.exists() and not half.base.exists()
    assert links() == before
    assert str(whole.base) not in Path("/proc/mounts").read_text()


@needs_cluster
def test_no_process_outlives_the_one_that_started_it() -> None:
    code = (
        "import time; from tests.cluster.slurm import Cluster\n"
        "with Cluster(nodes=1) as cluster: print(cluster.base, flush=True); time.sleep(100)"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        base = Path(owner.stdout.readline().strip())
        assert len(of(base)) > 4
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: of(base) == [], 10, "its machines to go")
    subprocess.run(["rm", "-r", str(base)], check=True)
