"""What is refused before anything is queued, with its rule and its fix."""

from __future__ import annotations

import errno
import fcntl
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.checks import Result
from launch.record import Launch, held, write_launch
from launch.sites import read_hostfile
from launch.start import check
from pretrain.config.errors import ConfigError
from pretrain.config.load import merge
from pretrain.config.run import Run
from tests.example import small_run
from tests.launch.fakes import FakeSlurm
from tests.synthetic import made_up_tokenizer, make_corpus

SINFO = """node1|gpu*|gpu:a100:8(S:0-1)|64|1-00:00:00|idle
node2|gpu*|gpu:a100:8(S:0-1)|64|1-00:00:00|mix
node3|gpu*|gpu:a100:8(S:0-1)|64|1-00:00:00|drain
node4|cpu|(null)|128|infinite|idle"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    fake = FakeSlurm(tmp_path)
    fake.answer(sinfo_out=SINFO)
    for name, value in fake.environment.items():
        monkeypatch.setenv(name, value)
    return fake


def results(corpus: Path, folder: Path, cluster: dict[str, Any] | None = None, **changes: Any) -> dict[str, Result]:
    plain = small_run(corpus, Path("runs/small"), cluster=cluster or {})
    return {result.name: result for result in check(Run.parse(merge(plain, changes)), folder)}


def refused(corpus: Path, folder: Path, name: str, cluster: dict[str, Any] | None = None, **changes: Any) -> str:
    """The problem of one check, which must be the only one that refuses."""
    found = results(corpus, folder, cluster, **changes)
    assert [result.name for result in found.values() if result.state == "refused"] == [name]
    return "\n".join(map(str, found[name].problems))


def test_all_is_well(corpus: Path, tmp_path: Path) -> None:
    found = results(corpus, tmp_path)
    assert {result.name: result.state for result in found.values()} == dict.fromkeys(
        ["layout", "corpus", "run directory", "script", "disk space", "alone", "unfinished"], "ok"
    )
    assert found["layout"].detail == "pipe 1 x data 1 x tensor 1, ZeRO 1"
    assert found["unfinished"].detail == "0 of 1.28k tokens done"
    assert not (tmp_path / "runs").exists()


def test_layout(corpus: Path, tmp_path: Path) -> None:
    found = results(corpus, tmp_path, {"launcher": "local", "gpus_per_node": 4})
    assert str(found["layout"].problems[0]).startswith("batch.global_batch_size = 4\n    rule: must be a multiple of")
    assert found["corpus"].problems == found["layout"].problems  # told once by the command
    problem = refused(corpus, tmp_path, "layout", {"launcher": "local", "min_nodes": 2})
    assert "must not exceed cluster.nodes (1)" in problem
    auto = {"launcher": "torchrun", "nodes": 2, "min_nodes": 1, "torchrun": {"endpoint": "node1"}}
    assert "needs a layout that follows the number of nodes" in refused(corpus, tmp_path, "layout", auto)
    assert results(corpus, tmp_path, auto, parallel={"auto": True})["layout"].state == "ok"


def test_corpus(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    manifest = make_corpus(tmp_path / "corpus")
    (tmp_path / "corpus" / "wiki-train-0.bin").write_bytes(b"cut")
    assert "it has 3" in refused(manifest, tmp_path, "corpus")
    shutil.rmtree(tmp_path / "corpus")
    (tmp_path / "corpus").mkdir()
    manifest = make_corpus(tmp_path / "corpus")
    made_up_tokenizer(300).save(tmp_path / "corpus" / "tokenizer")
    assert "its fingerprint is" in refused(manifest, tmp_path, "corpus")
    assert "must be an existing file" in refused(tmp_path / "missing.json", tmp_path, "corpus")


def test_a_mixture_that_the_corpus_does_not_have(corpus: Path, tmp_path: Path) -> None:
    problem = refused(corpus, tmp_path, "corpus", data={"mixture": {"wikki": 1}})
    assert problem.startswith("data.mixture.wikki = 1") and "did you mean 'wiki'?" in problem


def test_directory(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file in the way")
    found = results(corpus, tmp_path)["run directory"]
    assert found.state == "refused" and "must be a writable directory" in str(found.problems[0])
    assert "must not contain *" in str(results(corpus, tmp_path, directory="runs/*")["run directory"].problems[0])


def test_a_directory_without_locks(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_file: int, _kind: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    assert "has none: No locks available" in refused(corpus, tmp_path, "run directory")


def test_space(corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    problem = refused(corpus, tmp_path, "disk space", checkpoint={"keep_last": 1})
    # 34,112 parameters with the padded vocabulary, 16 bytes each, twice
    assert "must have 0.00109 GB for 2 checkpoints; 1e-06 GB are free" in problem


def test_alone(corpus: Path, tmp_path: Path, fake: FakeSlurm) -> None:
    directory = tmp_path / "runs" / "small"
    directory.mkdir(parents=True)
    with held(directory, "17"):
        assert "it is supervised by job 17 on" in refused(corpus, tmp_path, "alone")
    with open(directory / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "a training runs in it" in refused(corpus, tmp_path, "alone")
    write_launch(directory, Launch("slurm", jobs=["17", "18"]))
    fake.answer(squeue_out="18|PENDING|Priority")
    assert "job 18 is PENDING (Priority)" in refused(corpus, tmp_path, "alone")
    fake.answer(squeue_out="18|CANCELLED|None")
    assert results(corpus, tmp_path)["alone"].state == "ok"
    fake.answer(squeue_error="you are not a user of this cluster")
    assert "you are not a user of this cluster" in refused(corpus, tmp_path, "alone")


def test_a_finished_run(corpus: Path, tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / "small" / "checkpoints" / "step-00000020"
    checkpoint.mkdir(parents=True)
    (checkpoint / "state.json").write_text(json.dumps({"step": 20, "tokens": 1280}))
    (checkpoint.parent / "latest").write_text(checkpoint.name)
    assert refused(corpus, tmp_path, "unfinished") == (
        "train.tokens = 1280\n    rule: must be more than what was trained already (1,280 tokens)\n"
        "    fix:  raise it to go on, or give the run another name"
    )
    assert results(corpus, tmp_path, train={"tokens": 1344})["unfinished"].state == "ok"


@pytest.mark.parametrize(
    "cluster, name, words",
    [
        ({"slurm": {"partition": "cpu"}}, "partition", "they have up to 0 GPUs and 128 CPUs, asked: 1, 1"),
        ({"cpus_per_gpu": 65}, "partition", "they have up to 8 GPUs and 64 CPUs, asked: 1, 65"),
        ({"nodes": 4}, "partition", "must not exceed what gpu has: 3 such nodes\n    fix:  cluster.nodes: 3"),
        ({"slurm": {"time": "2 days"}}, "time", "must not exceed the partition's 1-00:00:00"),
        ({"slurm": {"time": "4 min"}}, "time", "must be longer than cluster.slurm.warn (300 s)"),
    ],
)
def test_slurm(corpus: Path, tmp_path: Path, fake: FakeSlurm, cluster: dict[str, Any], name: str, words: str) -> None:
    assert words in refused(corpus, tmp_path, name, {"launcher": "slurm", **cluster}, batch={"micro_batch_size": 1})


def test_slurm_that_is_well_or_nearly(corpus: Path, tmp_path: Path, fake: FakeSlurm) -> None:
    found = results(corpus, tmp_path, {"launcher": "slurm", "nodes": 2})
    assert (found["partition"].state, found["partition"].detail) == ("ok", "gpu: 2 such nodes are up, 2 asked")
    assert found["time"].detail == "1-00:00:00, warned 300 s before"
    assert found["run directory"].state == "doubt"  # tests run below /tmp, which nodes do not share
    batch = {"global_batch_size": 6}
    waits = results(corpus, tmp_path, {"launcher": "slurm", "nodes": 3}, batch=batch)["partition"]
    assert (waits.state, waits.detail) == ("doubt", "gpu: only 2 of 3 such nodes are up, 3 asked: it will wait")
    unknown = results(corpus, tmp_path, {"launcher": "slurm", "slurm": {"partition": "gpx"}})
    assert "must be a partition of this cluster\n    fix:  one of: cpu, gpu" in str(unknown["partition"].problems[0])
    fake.answer(sinfo_error="sinfo: error: no such cluster")
    silent = results(corpus, tmp_path, {"launcher": "slurm"})
    assert "needs SLURM here: sinfo: sinfo: error: no such cluster" in str(silent["partition"].problems[0])


def test_a_checkpoint_takes_longer_than_the_warning(corpus: Path, tmp_path: Path, fake: FakeSlurm) -> None:
    model = {"layers": 96, "d_model": 12288, "heads": 96}
    found = results(corpus, tmp_path, {"launcher": "slurm"}, model=model)["time"]
    assert "must be time enough to save: 2783 s at 1 GB/s from each of 1 nodes" in str(found.problems[0])


def test_torchrun(corpus: Path, tmp_path: Path) -> None:
    cluster: dict[str, Any] = {"launcher": "torchrun", "nodes": 2}
    assert "must name node 0" in refused(corpus, tmp_path, "endpoint", cluster)
    for endpoint, words in [
        ("localhost", "must be a name that all nodes know"),
        ("node1:port", "must be host or host:port"),
    ]:
        assert words in refused(corpus, tmp_path, "endpoint", {**cluster, "torchrun": {"endpoint": endpoint}})
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        taken = {"endpoint": f"{socket.gethostname()}:{port}"}
        assert f"port {port} is in use" in refused(corpus, tmp_path, "endpoint", {**cluster, "torchrun": taken})
    assert "must be 1 with --on local" in refused(corpus, tmp_path, "nodes", {"launcher": "local", "nodes": 2})


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "must name at least one host"),
        ("node1 slots=8\nnode2 slot=8\n", "line 2 must be `HOST slots=N`"),
        ("node1 slots=8\nnode1 slots=8\n", "each host once"),
        ("node1\n", "line 1 must be"),
        ("node1 slots=0\n", "line 1 must be"),
    ],
)
def test_bad_hostfiles(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "hosts").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_hostfile(tmp_path / "hosts")


def test_hostfile(corpus: Path, tmp_path: Path, fake: FakeSlurm) -> None:
    for name in ("pdsh", "ssh"):
        shutil.copy(tmp_path / "slurm" / "bin" / "sinfo", tmp_path / "slurm" / "bin" / name)
    hosts = tmp_path / "hosts"
    cluster = {"launcher": "deepspeed", "nodes": 2, "deepspeed": {"hostfile": str(hosts)}}
    assert "must be a readable text file" in refused(corpus, tmp_path, "hostfile", cluster)
    hosts.write_text("# the two\nnode1 slots=1\nnode2 slots=1\n")
    assert results(corpus, tmp_path, cluster)["ssh"].detail == "2 hosts answer"
    fake.answer(ssh_error="ssh: connect to host node1 port 22: Connection refused")
    problem = refused(corpus, tmp_path, "ssh", cluster)
    assert problem.count("ssh must reach it: ssh: connect to host node1 port 22: Connection refused") == 2
    (tmp_path / "slurm" / "ssh.error").unlink()
    assert "--nodes 2" in refused(corpus, tmp_path, "hostfile", {**cluster, "nodes": 1})
    hosts.write_text("node1 slots=1\nnode2 slots=8\n")
    assert "must give every host slots=1, node2 has slots=8" in refused(corpus, tmp_path, "hostfile", cluster)
    missing = {**cluster, "deepspeed": {}}
    assert "is needed with several nodes" in refused(corpus, tmp_path, "hostfile", missing)


def test_an_image_that_is_not_there(corpus: Path, tmp_path: Path) -> None:
    cluster = {"container": {"kind": "apptainer", "image": "/images/none.sif"}}
    assert "must be an existing file" in refused(corpus, tmp_path, "container", cluster)


def test_checks_do_not_import_torch() -> None:
    words = "import sys, launch.start, launch.status; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", words]).returncode == 0


def test_the_supervisor_needs_nothing_but_python() -> None:
    words = "import sys, launch.supervise, launch.keep; sys.exit(str({'pydantic', 'yaml', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert done.stderr.strip() == "set()"
