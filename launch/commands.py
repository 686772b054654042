"""The one line that starts all processes, for each launcher. Every process is `python -m pretrain.train launch.yaml`.

`{attempt}` and `{port}` are filled in by the supervisor, `$NODE` by the shell: the number of the machine.
"""

from __future__ import annotations

import sys
from pathlib import Path
from shlex import quote

from pretrain.config.cluster import Cluster
from pretrain.config.errors import ConfigError

RANK_LOG = "logs/attempt-{attempt}.rank-%5t.log"
"""srun writes the number of the task for %5t."""
Words = list[str]


def python(cluster: Cluster) -> str:
    """The interpreter of the training processes."""
    return cluster.python or ("python" if cluster.container else quote(sys.executable))


def train(cluster: Cluster, directory: Path) -> Words:
    """One process."""
    return [python(cluster), "-u", "-m", "pretrain.train", quote(str(directory / "launch.yaml"))]


def command(cluster: Cluster, directory: Path, workdir: Path) -> list[Words]:
    """What the supervisor runs: words by line. Raises ConfigError for what this launcher cannot do."""
    if cluster.launcher == "slurm":
        return _slurm(cluster, directory, workdir)
    if cluster.container and cluster.container.kind == "pyxis":
        fix = "launch with --on slurm, or use cluster.container.kind: apptainer"
        raise ConfigError.of("cluster.container.kind", "pyxis", "is a plugin of srun", fix)
    inside = _apptainer(cluster, workdir) if cluster.container else []
    if cluster.launcher == "deepspeed":
        return _deepspeed(cluster, directory)
    if cluster.launcher == "local" and cluster.gpus_per_node == 1:
        return [[*inside, *train(cluster, directory)]]
    return [[*inside, *words] for words in _torchrun(cluster, directory)]


def rank_output(cluster: Cluster) -> str:
    """Where the command's own output goes: one process alone is its own launcher."""
    alone = cluster.launcher == "local" and cluster.gpus_per_node == 1
    return "logs/attempt-{attempt}.rank-00000.log" if alone else "logs/attempt-{attempt}.log"


def uses_rank_script(cluster: Cluster) -> bool:
    """Whether processes are started through rank.sh."""
    if cluster.launcher == "slurm":
        return cluster.slurm.start == "torchrun"
    return rank_output(cluster) == "logs/attempt-{attempt}.log"


def each_node_runs_it(cluster: Cluster) -> bool:
    """Whether the script is to be run once on every machine, with the machine's number."""
    if cluster.nodes == 1:
        return False
    by_hand = cluster.launcher == "deepspeed" and cluster.deepspeed.launcher == "no_ssh"
    return cluster.launcher == "torchrun" or by_hand


def nodes_vary(cluster: Cluster) -> bool:
    """Whether the job may start with fewer nodes than were asked for."""
    return (cluster.min_nodes or cluster.nodes) < cluster.nodes


def _slurm(cluster: Cluster, directory: Path, workdir: Path) -> list[Words]:
    # --wait and not --kill-on-bad-exit: ranks say themselves who ended and why, which takes up to 20 s; one that
    # never heard of the others, because rank 0 could not start, would wait far longer
    srun = ["srun", "--kill-on-bad-exit=0", "--wait=30"]
    if nodes_vary(cluster):
        srun += ["--nodes=$NODES", "--relative=0"]
    logs = ["--open-mode=append", f"--output={quote(str(directory))}/{RANK_LOG}"]
    if cluster.slurm.start == "torchrun":
        one = ["--ntasks-per-node=1", f"--cpus-per-task={cluster.gpus_per_node * (cluster.cpus_per_gpu or 1)}"]
        return [[*srun, *one, *_contained(cluster, workdir)], *_torchrun_in_slurm(cluster, directory)]
    cpus = [f"--cpus-per-task={cluster.cpus_per_gpu}"] if cluster.cpus_per_gpu else []
    if nodes_vary(cluster):  # the job does not say how many tasks it has
        cpus.append(f"--ntasks-per-node={cluster.gpus_per_node}")
    lines = [[*srun, *cpus], logs, _contained(cluster, workdir), train(cluster, directory)]
    return [line for line in lines if line]


def _contained(cluster: Cluster, workdir: Path) -> Words:
    """What makes srun start its tasks in the container."""
    container = cluster.container
    if container is None:
        return []
    if container.kind == "apptainer":
        return _apptainer(cluster, workdir)
    mounts = ",".join([f"{workdir}:{workdir}", *container.mounts])
    image = f"--container-image={quote(container.image)}"
    return [image, f"--container-mounts={quote(mounts)}", f"--container-workdir={quote(str(workdir))}"]


def _apptainer(cluster: Cluster, workdir: Path) -> Words:
    assert cluster.container is not None
    binds = [word for mount in (f"{workdir}:{workdir}", *cluster.container.mounts) for word in ("--bind", quote(mount))]
    devices = ["--nv"] if cluster.gpus else []
    return ["apptainer", "exec", *devices, *binds, "--pwd", quote(str(workdir)), quote(cluster.container.image)]


def _torchrun(cluster: Cluster, directory: Path) -> list[Words]:
    words = [python(cluster), "-m", "torch.distributed.run", f"--nproc-per-node={cluster.gpus_per_node}"]
    rank = ["--no-python", "bash", quote(str(directory / "rank.sh")), "{attempt}"]
    if cluster.nodes == 1:
        return [[*words, "--standalone"], rank]
    host, _, port = (cluster.torchrun.endpoint or "").partition(":")
    port = port or "{port}"
    if cluster.torchrun.backend == "static":
        meet = ["--node-rank=$NODE", f"--master-addr={host}", f"--master-port={port}"]
    else:
        run = f"--rdzv-id={quote(directory.name)}-{{attempt}}"
        meet = ["--rdzv-backend=c10d", run, f"--rdzv-endpoint={host}:{port}"]
    return [[*words, f"--nnodes={cluster.nodes}"], meet, rank]


def _torchrun_in_slurm(cluster: Cluster, directory: Path) -> list[Words]:
    words = [python(cluster), "-m", "torch.distributed.run", f"--nproc-per-node={cluster.gpus_per_node}"]
    meet = ["--rdzv-backend=c10d", "--rdzv-id=$SLURM_JOB_ID-{attempt}", "--rdzv-endpoint=$HEAD:{port}"]
    rank = ["--no-python", "bash", quote(str(directory / "rank.sh")), "{attempt}"]
    nodes = "$NODES" if nodes_vary(cluster) else "$SLURM_JOB_NUM_NODES"
    return [[*words, f"--nnodes={nodes}"], meet, rank]


def _deepspeed(cluster: Cluster, directory: Path) -> list[Words]:
    hosts = cluster.deepspeed
    if cluster.container:
        fix = "launch with --on slurm or --on torchrun, or start it inside the container"
        raise ConfigError.of("cluster.container", cluster.container.image, "cannot be entered over ssh", fix)
    words = [python(cluster), "-m", "deepspeed.launcher.runner", "--no_local_rank", "--master_port={port}"]
    rank = ["--no_python", "bash", quote(str(directory / "rank.sh")), "{attempt}"]
    if cluster.nodes == 1 and hosts.hostfile is None:
        return [[*words, f"--num_gpus={cluster.gpus_per_node}"], rank]
    meet = [f"--hostfile={quote(hosts.hostfile or '')}", "--master_addr=$HEAD"]
    meet += [f"--ssh_port={hosts.ssh_port}"] if hosts.ssh_port else []
    extra = hosts.launcher_args
    if hosts.launcher == "no_ssh":
        return [words, [*meet, "--no_ssh", "--node_rank=$NODE"], rank]
    if hosts.launcher == "slurm":  # its processes are always `python SCRIPT`, and write where srun is told
        extra = f"{extra} --open-mode=append --output={directory}/{RANK_LOG}".strip()
        script = Path(__file__).resolve().parents[1] / "pretrain" / "train.py"
        rank = [quote(str(script)), quote(str(directory / "launch.yaml"))]
    given = [f"--launcher_args={quote(extra)}"] if extra else []
    return [[*words, "--force_multi"], [*meet, f"--launcher={hosts.launcher}", *given], rank]
