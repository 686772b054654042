"""Checks of what each launcher needs: SLURM's partition, the hosts of a hostfile, ports, images."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from launch import slurm
from launch.attempt import in_use
from launch.checks import DISK_SPEED, Case, Check, DoubtError, checkpoint_bytes
from pretrain.config.errors import ConfigError, Problem

SSH_TIMEOUT = 10
"""Seconds in which a host must answer."""
DOWN = ("down", "drain", "fail", "maint", "unk", "inval")
"""Beginnings of the states of nodes that cannot be used now."""


def checks_for(case: Case) -> list[Check]:
    """The checks of this launcher."""
    cluster = case.run.cluster
    checks: list[Check] = [("container", image)] if cluster.container else []
    if cluster.launcher == "slurm":
        return [*checks, ("partition", partition), ("time", time)]
    if cluster.launcher == "local" and cluster.nodes > 1:
        return [*checks, ("nodes", one_node)]
    if cluster.launcher == "torchrun" and cluster.nodes > 1:
        return [*checks, ("endpoint", endpoint)]
    if cluster.launcher == "deepspeed" and (cluster.nodes > 1 or cluster.deepspeed.hostfile):
        tools: list[Check] = [("tools", tools_installed), ("hostfile", hosts)]
        return [*checks, *tools, ("ssh", reachable)] if _uses_ssh(case) else [*checks, *tools]
    return checks


@dataclass(frozen=True)
class Node:
    """One node as sinfo tells it."""

    name: str
    partition: str
    default: bool
    gpus: int
    cpus: int
    limit: float | None
    """Seconds; None without a limit."""
    up: bool


def partition(case: Case) -> str:
    """The partition has the nodes, with the devices and cores that are asked for."""
    cluster, wanted = case.run.cluster, case.run.cluster.slurm.partition
    nodes = _nodes(wanted)
    name = nodes[0].partition
    gpus = cluster.gpus_per_node if cluster.gpus else 0
    cpus = cluster.gpus_per_node * (cluster.cpus_per_gpu or 1)
    fitting = [node for node in nodes if node.gpus >= gpus and node.cpus >= cpus]
    if not fitting:
        best = max(nodes, key=lambda node: (node.gpus, node.cpus))
        rule = (
            f"must fit a node of {name}; they have up to {best.gpus} GPUs and {best.cpus} CPUs, asked: {gpus}, {cpus}"
        )
        fix = "cluster.gpus: false on nodes without GPUs, or fewer cluster.gpus_per_node or cpus_per_gpu"
        raise ConfigError.of("cluster.gpus_per_node", cluster.gpus_per_node, rule, fix)
    if len(fitting) < (cluster.min_nodes or cluster.nodes):
        rule = f"must not exceed what {name} has: {len(fitting)} such nodes"
        raise ConfigError.of("cluster.nodes", cluster.nodes, rule, f"cluster.nodes: {len(fitting)}")
    up = sum(node.up for node in fitting)
    if up < cluster.nodes:
        raise DoubtError(f"{name}: only {up} of {len(fitting)} such nodes are up, {cluster.nodes} asked: it will wait")
    return f"{name}: {up} such nodes are up, {cluster.nodes} asked"


def _nodes(wanted: str | None) -> list[Node]:
    """The nodes of a partition, or of the default one. Raises ConfigError when there is none or SLURM is silent."""
    field = "cluster.slurm.partition"
    try:
        shown = slurm.call("sinfo", "--noheader", "--Node", "--format=%N|%P|%G|%c|%l|%t")
    except slurm.SlurmError as error:
        raise ConfigError.of("cluster.launcher", "slurm", f"needs SLURM here: {error}", "log in where it is") from None
    nodes = [_node(line) for line in shown.splitlines()]
    found = [node for node in nodes if (node.partition == wanted if wanted else node.default)]
    if not found:
        known = sorted({node.partition for node in nodes})
        raise ConfigError.of(field, wanted, "must be a partition of this cluster", f"one of: {', '.join(known)}")
    return found


def _node(line: str) -> Node:
    name, part, gres, cpus, limit, state = line.split("|")
    gpus = sum(int(count) for count in re.findall(r"gpu:(?:[^:,(]+:)?(\d+)", gres))
    up = not state.lower().startswith(DOWN)
    return Node(name, part.rstrip("*"), part.endswith("*"), gpus, int(cpus.rstrip("+")), slurm.seconds(limit), up)


def time(case: Case) -> str:
    """The time limit is allowed, and leaves time to train and to save."""
    settings, nodes = case.run.cluster.slurm, case.run.cluster.nodes
    asked, warn = settings.time, settings.warn
    allowed = _nodes(settings.partition)[0].limit
    limit = asked or allowed
    if asked and allowed and asked > allowed:
        rule = f"must not exceed the partition's {slurm.time_limit(allowed)}"
        raise ConfigError.of("cluster.slurm.time", slurm.time_limit(asked), rule, "lower it: the job goes on by itself")
    if limit and limit <= warn:
        rule = f"must be longer than cluster.slurm.warn ({warn:.0f} s)"
        raise ConfigError.of("cluster.slurm.time", slurm.time_limit(limit), rule, "raise it, or lower warn")
    writing = checkpoint_bytes(case.run) / (DISK_SPEED * nodes)
    if warn < writing:
        rule = f"must be time enough to save: {writing:.0f} s at {DISK_SPEED / 1e9:.0f} GB/s from each of {nodes} nodes"
        raise ConfigError.of("cluster.slurm.warn", f"{warn:.0f} s", rule, f"cluster.slurm.warn: {writing * 1.5:.0f} s")
    return f"{slurm.time_limit(limit) if limit else 'no limit'}, warned {warn:.0f} s before"


def one_node(case: Case) -> str:
    """Raises ConfigError: `local` is this machine."""
    rule = "must be 1 with --on local"
    raise ConfigError.of("cluster.nodes", case.run.cluster.nodes, rule, "--on torchrun, deepspeed or slurm")


def endpoint(case: Case) -> str:
    """Where torchrun's nodes meet is given, and a fixed port is free."""
    given = case.run.cluster.torchrun.endpoint
    if not given:
        rule, fix = "must name node 0 when there are several", "cluster.torchrun.endpoint: HOST of node 0"
        raise ConfigError.of("cluster.torchrun.endpoint", None, rule, fix)
    host, _, port = given.partition(":")
    if host in ("localhost", "127.0.0.1", "::1"):
        rule = "must be a name that all nodes know: each would wait for itself"
        raise ConfigError.of("cluster.torchrun.endpoint", given, rule, "the host name of node 0")
    if port and not (port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError.of("cluster.torchrun.endpoint", given, "must be host or host:port", "leave the port out")
    if port and _is_here(host) and in_use(int(port)):
        raise ConfigError.of("cluster.torchrun.endpoint", given, f"port {port} is in use", "leave the port out")
    return given


def _is_here(host: str) -> bool:
    return host in (socket.gethostname(), socket.getfqdn())


def tools_installed(case: Case) -> str:
    """What DeepSpeed's launcher calls is there."""
    needed: Mapping[str, str] = {"pdsh": "pdsh", "openmpi": "mpirun", "slurm": "srun", "no_ssh": "bash"}
    kind = case.run.cluster.deepspeed.launcher
    if shutil.which(needed[kind]) is None:
        fix = f"install {needed[kind]}, or another cluster.deepspeed.launcher"
        raise ConfigError.of("cluster.deepspeed.launcher", kind, f"needs {needed[kind]}, which is not here", fix)
    return needed[kind]


def hosts(case: Case) -> str:
    """The hostfile is there, every line of it is right, and it has the nodes and slots asked for."""
    cluster, path = case.run.cluster, case.run.cluster.deepspeed.hostfile
    if path is None:
        raise ConfigError.of("cluster.deepspeed.hostfile", None, "is needed with several nodes", "--hostfile FILE")
    slots = read_hostfile(Path(path))
    nodes, per_node = cluster.nodes, cluster.gpus_per_node
    if len(slots) != nodes:
        rule, fix = f"must have one line for each of {nodes} nodes, it has {len(slots)}", f"--nodes {len(slots)}"
        raise ConfigError.of("cluster.deepspeed.hostfile", path, rule, fix)
    if wrong := [host for host, count in slots.items() if count != per_node]:
        rule = f"must give every host slots={per_node}, {wrong[0]} has slots={slots[wrong[0]]}"
        raise ConfigError.of("cluster.deepspeed.hostfile", path, rule, f"--gpus-per-node {slots[wrong[0]]}")
    return ", ".join(slots)


def read_hostfile(path: Path) -> dict[str, int]:
    """Host -> slots. Raises ConfigError with the line that is wrong."""
    field = "cluster.deepspeed.hostfile"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError.of(field, str(path), f"must be a readable text file ({error})", "check the path") from None
    slots: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = re.fullmatch(r"(\S+)\s+slots=([1-9]\d*)\s*(?:#.*)?", line)
        if not match or match[1] in slots:
            rule = f"line {number} must be `HOST slots=N`" + (", each host once" if match else "")
            raise ConfigError.of(field, line, rule, f"correct line {number} of {path}")
        slots[match[1]] = int(match[2])
    if not slots:
        raise ConfigError.of(field, str(path), "must name at least one host", "write lines such as `node1 slots=8`")
    return slots


def reachable(case: Case) -> str:
    """Every host lets us in by ssh without a password. Raises ConfigError with each that does not."""
    path = case.run.cluster.deepspeed.hostfile
    names = list(read_hostfile(Path(path))) if path and Path(path).is_file() else []
    with ThreadPoolExecutor(16) as pool:
        said = pool.map(lambda host: _ssh(host, case.run.cluster.deepspeed.ssh_port), names)
    field = "cluster.deepspeed.hostfile"
    fix = "check the name, that sshd runs there, and that your key is in its authorized_keys"
    problems = [
        Problem(field, host, f"ssh must reach it: {words}", fix)
        for host, words in zip(names, said, strict=True)
        if words
    ]
    if problems:
        raise ConfigError(problems)
    return f"{len(names)} hosts answer"


def _ssh(host: str, port: int | None) -> str:
    """Why a host cannot be reached; nothing when it can."""
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={SSH_TIMEOUT}"] + (["-p", str(port)] if port else [])
    command, limit = ["ssh", *options, host, "true"], SSH_TIMEOUT + 2
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit, stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        return "ssh is not installed here"
    except subprocess.TimeoutExpired:
        return f"no answer within {SSH_TIMEOUT} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return "" if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")


def _uses_ssh(case: Case) -> bool:
    return case.run.cluster.deepspeed.launcher in ("pdsh", "openmpi")


def image(case: Case) -> str:
    """A container image that is a file is there."""
    container = case.run.cluster.container
    assert container is not None
    if ("/" in container.image or container.image.endswith((".sqsh", ".sif"))) and "://" not in container.image:
        path = Path(container.image)
        is_name = container.kind == "pyxis" and not container.image.startswith((".", "/"))
        if not path.exists() and not is_name:
            fix = "build it: launch/containers/ has the recipes"
            raise ConfigError.of("cluster.container.image", container.image, "must be an existing file", fix)
    return container.image
