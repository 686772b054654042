"""Rendered scripts, literally: what a person reads is what runs."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.script import render
from launch.start import Choice, choose, rank_map
from pretrain.config.errors import ConfigError
from pretrain.config.load import load_run, merge
from pretrain.config.run import Run
from tests.example import small_run

PY = sys.executable
SUPERVISE = "--start=1200 --silence=60 --limit=100 --same-failure=3"
WARNED = "--slurm --grace=580 --kill=3 --exclude=node7"


def run_with(cluster: dict[str, Any], **changes: Any) -> Run:
    plain = small_run(Path("corpus/manifest.json"), Path("runs/small"), cluster=cluster)
    return Run.parse(merge(plain, changes))


def scripts(cluster: dict[str, Any], array: int = 1, **changes: Any) -> dict[str, str]:
    return render(run_with(cluster, **changes), Path("/home/ada"), array)


def test_slurm() -> None:
    cluster = {
        "launcher": "slurm",
        "nodes": 4,
        "gpus_per_node": 8,
        "cpus_per_gpu": 12,
        "setup": ["module load cuda/12.4"],
        "environment": {"NCCL_SOCKET_IFNAME": "ib0", "NCCL_DEBUG": 1},
        "slurm": {
            "partition": "gpu",
            "account": "physics",
            "qos": "long",
            "time": "36 h",
            "constraint": "a100",
            "switches": "1@60:00",
            "exclude": "node7",
            "warn": "10 min",
            "options": ["--mail-type=END"],
        },
    }
    assert scripts(cluster) == {
        "job.sbatch": f"""#!/bin/bash
# small, rendered by `pretrain launch`. It can be edited, and submitted by hand: sbatch runs/small/job.sbatch
#SBATCH --job-name=small
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=12
#SBATCH --time=1-12:00:00
#SBATCH --partition=gpu
#SBATCH --account=physics
#SBATCH --qos=long
#SBATCH --constraint=a100
#SBATCH --switches=1@60:00
#SBATCH --exclude=node7
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=B:USR1@600
#SBATCH --open-mode=append
#SBATCH --output=/home/ada/runs/small/logs/job-%j.log
#SBATCH --mail-type=END
# a warning that comes before the supervisor listens must not end the job
trap '' USR1
cd /home/ada
module load cuda/12.4
export OMP_NUM_THREADS=12
export NCCL_SOCKET_IFNAME=ib0
export NCCL_DEBUG=1

# saves when SLURM warns, starts again when there is more to do
{PY} -m launch.supervise runs/small {WARNED} --output=logs/attempt-{{attempt}}.log {SUPERVISE} -- \\
    srun --kill-on-bad-exit=0 --wait=30 --cpus-per-task=12 \\
        --open-mode=append --output=runs/small/logs/attempt-{{attempt}}.rank-%5t.log \\
        {PY} -u -m pretrain.train runs/small/launch.yaml &
supervisor=$!
trap 'kill -USR1 $supervisor' USR1
trap 'kill -TERM $supervisor' TERM
while kill -0 $supervisor 2> /dev/null; do wait $supervisor; done
wait $supervisor
code=$?
# killed with kill -9, as when memory is short: it starts again all the same
[ $code -ne 137 ] || {PY} -m launch.again runs/small
exit $code
"""
    }


def test_local() -> None:
    assert scripts({"launcher": "local"}) == {
        "launch.sh": f"""#!/bin/bash
# small, rendered by `pretrain launch`. It can be edited, and run by hand: bash runs/small/launch.sh
cd /home/ada

# saves on Ctrl-C, starts again when a rank dies
exec {PY} -m launch.supervise runs/small --output=logs/attempt-{{attempt}}.rank-00000.log {SUPERVISE} -- \\
    {PY} -u -m pretrain.train runs/small/launch.yaml
"""
    }


def test_torchrun_on_one_machine() -> None:
    found = scripts({"launcher": "local", "gpus_per_node": 8, "environment": {"A": "b c"}})
    assert found == scripts({"launcher": "torchrun", "gpus_per_node": 8, "environment": {"A": "b c"}})
    assert found["launch.sh"].partition("-- \\\n")[2] == (
        f"    {PY} -m torch.distributed.run --nproc-per-node=8 --standalone \\\n"
        "        --no-python bash runs/small/rank.sh {attempt}\n"
    )
    assert found["rank.sh"] == (
        f"""#!/bin/bash
# One rank of small: `rank.sh ATTEMPT`, run by the launcher once per process. Its output goes to a file of its own.
cd /home/ada
export A='b c'

rank=$(printf %05d "${{RANK:-${{OMPI_COMM_WORLD_RANK:-0}}}}")
exec {PY} -u -m pretrain.train runs/small/launch.yaml >> runs/small/logs/attempt-"$1".rank-"$rank".log 2>&1
"""
    )


NODES = {"nodes": 2, "gpus_per_node": 4}
PYXIS = {"kind": "pyxis", "image": "a.sqsh", "mounts": ["/data:/data"]}
STATIC = {"backend": "static", "endpoint": "node1:29500"}
DEEPSPEED = f"{PY} -m deepspeed.launcher.runner --no_local_rank --master_port={{port}}"
RANK = "bash runs/small/rank.sh {attempt}"


@pytest.mark.parametrize(
    "cluster, command",
    [
        (
            {"launcher": "torchrun", **NODES, "torchrun": {"endpoint": "node1"}},
            [
                f"{PY} -m torch.distributed.run --nproc-per-node=4 --nnodes=2",
                "--rdzv-backend=c10d --rdzv-id=small-{attempt} --rdzv-endpoint=node1:{port}",
                f"--no-python {RANK}",
            ],
        ),
        (
            {"launcher": "torchrun", **NODES, "torchrun": STATIC},
            [
                f"{PY} -m torch.distributed.run --nproc-per-node=4 --nnodes=2",
                "--node-rank=$NODE --master-addr=node1 --master-port=29500",
                f"--no-python {RANK}",
            ],
        ),
        (
            {"launcher": "deepspeed", "gpus_per_node": 4},
            [f"{DEEPSPEED} --num_gpus=4", f"--no_python {RANK}"],
        ),
        (
            {"launcher": "deepspeed", **NODES, "deepspeed": {"hostfile": "hosts", "ssh_port": 2222}},
            [
                f"{DEEPSPEED} --force_multi",
                "--hostfile=hosts --master_addr=$HEAD --ssh_port=2222 --launcher=pdsh",
                f"--no_python {RANK}",
            ],
        ),
        (
            {"launcher": "deepspeed", **NODES, "deepspeed": {"hostfile": "hosts", "launcher": "no_ssh"}},
            [DEEPSPEED, "--hostfile=hosts --master_addr=$HEAD --no_ssh --node_rank=$NODE", f"--no_python {RANK}"],
        ),
        (
            {"launcher": "slurm", **NODES, "slurm": {"start": "torchrun"}},
            [
                "srun --kill-on-bad-exit=0 --wait=30 --ntasks-per-node=1 --cpus-per-task=4",
                f"{PY} -m torch.distributed.run --nproc-per-node=4 --nnodes=$SLURM_JOB_NUM_NODES",
                "--rdzv-backend=c10d --rdzv-id=$SLURM_JOB_ID-{attempt} --rdzv-endpoint=$HEAD:{port}",
                f"--no-python {RANK}",
            ],
        ),
        (
            {
                "launcher": "slurm",
                **NODES,
                "container": {"kind": "pyxis", "image": "a.sqsh", "mounts": ["/data:/data"]},
            },
            [
                "srun --kill-on-bad-exit=0 --wait=30",
                "--open-mode=append --output=runs/small/logs/attempt-{attempt}.rank-%5t.log",
                "--container-image=a.sqsh --container-mounts=/home/ada:/home/ada,/data:/data"
                " --container-workdir=/home/ada",
                "python -u -m pretrain.train runs/small/launch.yaml",
            ],
        ),
        (
            {"launcher": "local", "container": {"kind": "apptainer", "image": "a.sif"}},
            [
                "apptainer exec --nv --bind /home/ada:/home/ada --pwd /home/ada a.sif"
                " python -u -m pretrain.train runs/small/launch.yaml"
            ],
        ),
    ],
)
def test_commands(cluster: dict[str, Any], command: list[str]) -> None:
    script = next(iter(scripts(cluster).values()))
    lines = script.rstrip().partition("-- \\\n")[2].partition(" &\n")[0].split(" \\\n")
    assert [line.strip() for line in lines] == command


@pytest.mark.parametrize(
    "cluster, line",
    [
        ({"launcher": "slurm", "gpus": False}, "#SBATCH --ntasks-per-node=1\n#SBATCH --exclusive"),
        (
            {"launcher": "slurm", "nodes": 4, "min_nodes": 2, "gpus_per_node": 8, "cpus_per_gpu": 12},
            "#SBATCH --nodes=2-4\n#SBATCH --mincpus=96",
        ),
        (
            {"launcher": "torchrun", **NODES, "torchrun": STATIC},
            "NODE=${1:?the number of this machine, from 0}",
        ),
        (
            {"launcher": "deepspeed", **NODES, "deepspeed": {"hostfile": "hosts"}},
            "HEAD=$(grep -v -e '^#' -e '^ *$' hosts | head -n 1 | cut -d ' ' -f 1)",
        ),
        (
            {"launcher": "slurm", **NODES, "slurm": {"start": "torchrun"}},
            """getent hosts "$HEAD" > /dev/null || HEAD=$(scontrol show node "$HEAD" | sed -n """
            r"""'s/.*NodeAddr=\([^ ]*\).*/\1/p')""",
        ),
    ],
)
def test_lines(cluster: dict[str, Any], line: str) -> None:
    script = next(iter(scripts(cluster).values()))
    assert f"{line}\n" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_tasks_of_a_range_of_nodes() -> None:
    """Counted by srun: told to sbatch, SLURM 22.05 allocates the fewest nodes and never more."""
    script = scripts({"launcher": "slurm", "nodes": 4, "min_nodes": 2, "gpus_per_node": 8})["job.sbatch"]
    assert "#SBATCH --ntasks" not in script
    assert "srun --kill-on-bad-exit=0 --wait=30 --nodes=$NODES --relative=0 --ntasks-per-node=8 \\\n" in script


def test_nodes_for_which_there_is_no_layout_stay_idle() -> None:
    """A batch of 4 samples goes over 4, 2 or 1 processes. What the script does with the nodes that it got."""
    cluster = {"launcher": "slurm", "nodes": 4, "min_nodes": 1}
    script = scripts(cluster, parallel="auto", batch={"micro_batch_size": 1})["job.sbatch"]
    (line,) = [line for line in script.splitlines() if line.startswith("for NODES in")]
    assert line == 'for NODES in 4 2 1; do [ "$SLURM_JOB_NUM_NODES" -ge "$NODES" ] && break; done'
    for there, used in ((4, 4), (3, 2), (2, 2), (1, 1)):
        command = ["bash", "-c", f"SLURM_JOB_NUM_NODES={there}; {line}; echo $NODES"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == f"{used}\n"


def test_an_array() -> None:
    script = scripts({"launcher": "slurm"}, array=5)["job.sbatch"]
    assert "#SBATCH --array=1-5%1\n" in script
    assert "#SBATCH --output=/home/ada/runs/small/logs/job-%A_%a.log\n" in script


@pytest.mark.parametrize("folder", ["/home/ada love", "/home/ada%j", "/home/ada's", "/home/ada\\\\b"])
def test_folders_that_are_not_plain(folder: str) -> None:
    """Quoted for bash, refused where nothing can be quoted."""
    script = render(run_with({"gpus_per_node": 2}, directory="runs/my run"), Path(folder))
    command = script["launch.sh"].partition("exec ")[2]
    assert shlex.split(command)[-4:] == ["--no-python", "bash", "runs/my run/rank.sh", "{attempt}"]
    assert shlex.split(script["launch.sh"].splitlines()[2]) == ["cd", folder]
    for cluster in ({"launcher": "slurm"}, {"launcher": "deepspeed", **NODES, "deepspeed": {"hostfile": "hosts"}}):
        with pytest.raises(ConfigError, match="must not contain blanks, quotes, backslashes or % with --on"):
            render(run_with(cluster), Path(folder))


def test_the_warning_is_one_that_slurm_can_hold() -> None:
    with pytest.raises(ConfigError, match=r"cluster\.slurm\.warn = (.|\n)*65535"):
        run_with({"slurm": {"warn": "20 h"}})


def test_a_template_of_the_site(tmp_path: Path) -> None:
    template = tmp_path / "site.sbatch"
    template.write_text("#!/bin/bash\n@{directives}\n# me@site.org\nspack load x\nexec @{supervise} -- @{command}\n")
    script = scripts({"launcher": "slurm", "template": str(template)})["job.sbatch"]
    assert "# me@site.org\nspack load x\nexec " in script
    template.write_text("@{partition}")
    with pytest.raises(ConfigError, match=r"has no place for @\{partition\}\n.*known places: again, command,"):
        scripts({"launcher": "slurm", "template": str(template)})
    with pytest.raises(ConfigError, match="must be a readable file"):
        scripts({"launcher": "slurm", "template": "missing"})


@pytest.mark.parametrize(
    "cluster, words",
    [
        ({"launcher": "local", "container": {"kind": "pyxis", "image": "a"}}, "is a plugin of srun"),
        ({"launcher": "deepspeed", "container": {"kind": "apptainer", "image": "a"}}, "cannot be entered over ssh"),
    ],
)
def test_what_a_launcher_cannot_do(cluster: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        scripts(cluster)


@pytest.mark.parametrize(
    "choice, words",
    [
        (Choice("local", chain=2), "is for --on slurm"),
        (Choice("slurm", chain=2, array=2), "does not go with --chain"),
        (Choice("local", node=0), "is for launchers whose script runs on every node"),
        (Choice("torchrun", nodes=2, node=2), "must be from 0 to 1"),
    ],
)
def test_choices_that_do_not_go_together(choice: Choice, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        choose(run_with({}), choice)


def test_choices_stand_above_the_file() -> None:
    chosen = choose(run_with({"launcher": "slurm", "nodes": 9, "cpus_per_gpu": 3}), Choice("deepspeed", 2, 4, "hosts"))
    cluster = chosen.cluster
    assert (cluster.launcher, cluster.nodes, cluster.gpus_per_node, cluster.cpus_per_gpu) == ("deepspeed", 2, 4, 3)
    assert cluster.deepspeed.hostfile == "hosts"


def test_the_rank_map() -> None:
    run = run_with({"nodes": 2, "gpus_per_node": 2}, parallel={"tensor": 2}, batch={"micro_batch_size": 2})
    assert rank_map(run) == [
        "node 0  local 0  rank 0  pipe 0 data 0 tensor 0",
        "node 0  local 1  rank 1  pipe 0 data 0 tensor 1",
        "node 1  local 0  rank 2  pipe 0 data 1 tensor 0",
        "node 1  local 1  rank 3  pipe 0 data 1 tensor 1",
    ]


@pytest.mark.parametrize("name", [path.stem for path in Path("configs/clusters").glob("*.yaml")])
def test_the_shipped_clusters_render(name: str) -> None:
    run = load_run("gpt3-125m", [f"cluster={name}"])
    for script in render(run, Path("/home/ada")).values():
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
