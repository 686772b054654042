"""What cannot start on a cluster: one clear message within a minute, and nothing left running."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.launched import Launched, make_launched
from tests.cluster.slurm import Cluster, wait_for
from tests.cluster.training import Curve, nothing_left

Whole = Callable[..., Curve]
Told = Callable[..., None]
pytestmark = pytest.mark.slow
MINUTE = 60.0


def refused(run: Launched, *words: str) -> str:
    """What `pretrain launch` says after its table, with exit code 2."""
    began = time.monotonic()
    code, said = run.pretrain("launch", str(run.path), *words)
    assert code == 2 and time.monotonic() - began < MINUTE, said
    assert not (run.directory / "launch.json").exists()
    nothing_left(run.cluster)
    return said.partition("nothing was started:\n")[2].strip()


def hosts_of(run: Launched, text: str) -> str:
    (path := run.directory.parent / "hostfile").write_text(text)
    return str(path)


@pytest.mark.parametrize(
    "text, words",
    [
        ("node1 slots=1\nnode2 slots=one\n", "line 2 must be `HOST slots=N`"),
        ("node1 slots=1\n", "must have one line for each of 2 nodes, it has 1"),
        ("node1 slots=1\nnode1 slots=1\n", "each host once"),
    ],
    ids=["a bad line", "a host missing", "a host twice"],
)
def test_a_wrong_hostfile(cluster: Cluster, corpus: Path, told: Told, text: str, words: str) -> None:
    """Refused with the line."""
    run = make_launched(cluster, corpus, f"hosts-{len(text)}")
    said = refused(run, "--on", "deepspeed", "--hostfile", hosts_of(run, text))
    assert said.count(words) == 1 and said.count("fix:") >= 1
    told(note=said.splitlines()[1].strip())


def test_ssh_is_refused_and_a_node_is_unreachable(cluster: Cluster, corpus: Path, told: Told) -> None:
    """Each host that cannot be reached is named with the reason."""
    cluster.node(1).start_sshd()
    cluster.node(4).crash()
    run = make_launched(cluster, corpus, "ssh", nodes=3)
    hosts = hosts_of(run, "node1 slots=1\nnode3 slots=1\nnode4 slots=1\n")
    said = refused(run, "--on", "deepspeed", "--hostfile", hosts, "batch.global_batch_size=6")
    assert "node1" not in said
    assert re.search(r"hostfile = 'node3'\n +rule: ssh must reach it: .*Connection refused", said), said
    assert re.search(r"hostfile = 'node4'\n +rule: ssh must reach it: (no answer|.*timed out|.*No route)", said), said
    told(note=" / ".join(line.strip() for line in said.splitlines() if "rule:" in line))


def test_a_port_in_use(cluster: Cluster, corpus: Path, told: Told) -> None:
    """torchrun's endpoint is taken on this machine: refused."""
    holder = cluster.login.popen(
        ["python", "-m", "http.server", "29555"], cluster.environment, cluster.base / "log" / "holder"
    )
    listens = ["ss", "-Hltn", "sport = :29555"]
    wait_for(lambda: cluster.login.run(listens, cluster.environment).stdout != "", 20, "the port to be taken")
    run = make_launched(cluster, corpus, "port", where={"torchrun": {"endpoint": "login:29555"}})
    began = time.monotonic()
    code, said = run.pretrain("launch", str(run.path), "--on", "torchrun", "--node", "0")
    holder.kill()
    assert code == 2 and time.monotonic() - began < MINUTE
    assert said.count("port 29555 is in use") == 2, said  # in the table, and with its fix
    told(note="port 29555 is in use")


def test_the_port_of_rank_0_is_in_use(cluster: Cluster, corpus: Path, whole: Whole, told: Told) -> None:
    """Under SLURM it follows from the job: rank 0 says so, and the next attempt has another. Same curve."""
    run = make_launched(cluster, corpus, "store")
    probe = cluster.sbatch("true")
    cluster.wait_for_job(probe, "COMPLETED")
    port = 20000 + ((probe + 1) * 17) % 12000
    holder = cluster.node(1).popen(
        ["python", "-m", "http.server", str(port)], cluster.environment, cluster.base / "log" / "holder"
    )
    wait_for(
        lambda: cluster.node(1).run(["ss", "-Hltn", f"sport = :{port}"], cluster.environment).stdout != "",
        20,
        "the port to be taken",
    )
    began = time.time()
    assert run.submit() == str(probe + 1)
    run.until(lambda: run.attempts() and run.attempts()[0].outcome, "the end of the first attempt")
    ended: Any = run.attempts()[0].ended
    holder.kill()
    first, second = run.until_finished(2)
    assert first.outcome == "failed" and f"rank 0 cannot listen at port {port} of node1" in first.reason
    assert ended - began < MINUTE
    assert second.outcome == "finished" and run.curve() == whole(run)
    told(note=f"{ended - began:.0f} s: {first.reason[:160]}")
