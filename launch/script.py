"""The scripts of a run: plain text that a person can read, edit and start without our command line."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from shlex import quote

from launch import commands
from launch.slurm import time_limit
from pretrain.config.cluster import Cluster
from pretrain.config.errors import ConfigError
from pretrain.config.run import Run
from pretrain.planning.layouts.settle import can_settle

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = {"slurm": "job.sbatch"}
"""Names of the scripts by launcher; launch.sh for the others."""
_PLACE = re.compile(r"@\{(\w+)\}")


def script_name(run: Run) -> str:
    """job.sbatch or launch.sh."""
    return SCRIPTS.get(run.cluster.launcher, "launch.sh")


def render(run: Run, workdir: Path, array: int = 1) -> dict[str, str]:
    """The scripts by name, the first the one to start. Paths stay relative to `workdir`, where they are run.

    Raises ConfigError for a template that is missing or has unknown places, for what a launcher cannot do, and for a
    path that cannot be written for it.
    """
    cluster, directory = run.cluster, Path(run.run_directory)
    name = script_name(run)
    _check_place(cluster, workdir / directory)
    values = {
        "name": run.name,
        "directory": quote(str(directory)),
        "workdir": quote(str(workdir)),
        "directives": "\n".join(f"#SBATCH {line}" for line in directives(run, workdir, array)),
        "preparation": "\n".join(preparation(run)),
        "supervise": supervise(run),
        "again": f"{quote(sys.executable)} -m launch.again {quote(str(directory))}",
        "command": " \\\n        ".join(
            " ".join(words) for words in commands.command(cluster, directory, workdir)
        ),
        "usage": " NODE, on each machine with its number" if commands.each_node_runs_it(cluster) else "",
        "train": " ".join(commands.train(cluster, directory)),
    }  # fmt: skip
    scripts = {name: _fill(Path(cluster.template) if cluster.template else TEMPLATES / name, values)}
    if commands.uses_rank_script(cluster):
        values["preparation"] = "\n".join(_setup(run, inside=cluster.container is not None))
        scripts["rank.sh"] = _fill(TEMPLATES / "rank.sh", values)
    return scripts


def _check_place(cluster: Cluster, directory: Path) -> None:
    """In bash every path can be quoted; #SBATCH lines, and what DeepSpeed sends to other machines, are not bash."""
    bare = cluster.launcher == "slurm" or (cluster.launcher == "deepspeed" and cluster.deepspeed.hostfile is not None)
    if re.search(r"[\s%\"'\\]" if bare else r"[\r\n]", str(directory)):
        rule = "must not contain blanks, quotes, backslashes or %" if bare else "must not contain line breaks"
        fix = "set `directory:` to another absolute path" + (", and launch from another folder" if bare else "")
        raise ConfigError.of("directory", str(directory), f"{rule} with --on {cluster.launcher}", fix)


def directives(run: Run, workdir: Path, array: int = 1) -> list[str]:
    """The options of sbatch."""
    cluster, slurm = run.cluster, run.cluster.slurm
    fewest, vary = cluster.min_nodes or cluster.nodes, commands.nodes_vary(cluster)
    log = workdir / run.run_directory / "logs" / ("job-%A_%a.log" if array > 1 else "job-%j.log")
    tasks = 1 if slurm.start == "torchrun" else cluster.gpus_per_node
    cpus = (cluster.cpus_per_gpu or 1) * cluster.gpus_per_node // tasks
    # told tasks per node, SLURM counts them for the fewest nodes and allocates no more than those
    per_node = f"--mincpus={cpus * tasks}" if vary else f"--ntasks-per-node={tasks}"
    lines = [
        f"--job-name={run.name}",
        f"--nodes={f'{fewest}-{cluster.nodes}' if vary else cluster.nodes}",
        per_node,
        f"--gres=gpu:{cluster.gpus_per_node}" if cluster.gpus else "",
        f"--cpus-per-task={cpus}" if cluster.cpus_per_gpu else "",
        f"--time={time_limit(slurm.time)}" if slurm.time else "",
        *(f"--{key}={value}" for key in _NAMED if (value := getattr(slurm, key))),
        "--exclusive" if slurm.exclusive else "",
        f"--array=1-{array}%1" if array > 1 else "",
        "--requeue",
        f"--signal=B:USR1@{slurm.warn:.0f}",
        "--open-mode=append",
        f"--output={log}",
        *slurm.options,
    ]
    return [line for line in lines if line]


_NAMED = ("partition", "account", "qos", "constraint", "switches", "exclude")


def preparation(run: Run) -> list[str]:
    """Shell lines before the supervisor starts: the site's, the environment, and who this machine is."""
    cluster = run.cluster
    lines = _setup(run)
    if cluster.launcher == "slurm" and commands.nodes_vary(cluster):
        counts = " ".join(map(str, node_counts(run)))
        lines.append("# of the nodes that the job got, as many as there is a layout for")
        lines.append(f'for NODES in {counts}; do [ "$SLURM_JOB_NUM_NODES" -ge "$NODES" ] && break; done')
    if cluster.launcher == "slurm" and cluster.slurm.start == "torchrun":
        lines.append('HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)')
        address = r"""scontrol show node "$HEAD" | sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p'"""
        lines.append(f'getent hosts "$HEAD" > /dev/null || HEAD=$({address})')
    if cluster.launcher == "deepspeed" and cluster.deepspeed.hostfile:
        hostfile = quote(cluster.deepspeed.hostfile)
        lines.append(f"HEAD=$(grep -v -e '^#' -e '^ *$' {hostfile} | head -n 1 | cut -d ' ' -f 1)")
    if commands.each_node_runs_it(cluster):
        lines.append("NODE=${1:?the number of this machine, from 0}")
    return lines


def node_counts(run: Run) -> list[int]:
    """Numbers of nodes for which there is a layout, the most first: three may not do where four and two do."""
    cluster = run.cluster
    numbers = range(cluster.nodes, (cluster.min_nodes or cluster.nodes) - 1, -1)
    per_node = cluster.gpus_per_node
    return [nodes for nodes in numbers if can_settle(run, nodes * per_node, per_node)]


def _setup(run: Run, inside: bool = False) -> list[str]:
    """The site's lines, which a container does not know (`inside`), and the environment."""
    cluster = run.cluster
    threads = {"OMP_NUM_THREADS": str(cluster.cpus_per_gpu)} if cluster.cpus_per_gpu else {}
    exports = [f"export {key}={quote(value)}" for key, value in {**threads, **cluster.environment}.items()]
    return exports if inside else [*cluster.setup, *exports]


def supervise(run: Run) -> str:
    """The supervisor with its settings. On a cluster with containers it runs outside, on any Python from 3.11 on."""
    cluster, resilience = run.cluster, run.resilience
    words = [quote(sys.executable), "-m", "launch.supervise", quote(run.run_directory)]
    if cluster.launcher == "slurm":
        # told to end, srun kills its tasks at once, but waits for lost machines KillWait + 2 s, by default 32
        words += ["--slurm", f"--grace={max(10.0, cluster.slurm.warn - 20):.0f}", "--kill=3"]
        words += [f"--exclude={quote(cluster.slurm.exclude)}"] if cluster.slurm.exclude else []
    if commands.each_node_runs_it(cluster):
        words.append('--node="$NODE"')
    words += [f"--output={commands.rank_output(cluster)}"]
    words += [f"--start={resilience.stall.start:.0f}", f"--silence={resilience.stall.silence:.0f}"]
    words += [f"--limit={resilience.restarts.limit}", f"--same-failure={resilience.restarts.same_failure}"]
    return " ".join(words)


def _fill(template: Path, values: dict[str, str]) -> str:
    try:
        text = template.read_text(encoding="utf-8")
    except OSError as error:
        rule, fix = f"must be a readable file ({error.strerror})", f"copy one from {TEMPLATES}"
        raise ConfigError.of("cluster.template", str(template), rule, fix) from None
    unknown = sorted(set(_PLACE.findall(text)) - set(values))
    if unknown:
        rule, fix = f"has no place for @{{{unknown[0]}}}", f"known places: {', '.join(sorted(values))}"
        raise ConfigError.of("cluster.template", str(template), rule, fix)
    filled = _PLACE.sub(lambda match: values[match[1]], text)
    return re.sub(r"\n{3,}", "\n\n", filled)
