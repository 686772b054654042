"""The files that the machines of a test cluster read: hosts, ssh, munge and SLURM."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from tests.cluster.machine import python_path

SLURM = """
ClusterName=test
SlurmctldHost=login(10.77.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it starts again; the default is two minutes
AuthInfo=socket={base}/munge/socket,cred_expire=5
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool/%n
SlurmctldPidFile={base}/slurmctld.pid
SlurmdPidFile={base}/slurmd.%n.pid
SlurmctldLogFile={base}/log/slurmctld.log
SlurmdLogFile={base}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000,bf_interval=2,bf_continue
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
JobRequeue=1
SlurmdTimeout={patience}
SlurmctldTimeout=30
MessageTimeout=10
KillWait=5
InactiveLimit=0
MinJobAge=3600
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=train Nodes=node[1-{count}] Default=YES MaxTime=INFINITE PriorityTier=10
PartitionName=low   Nodes=node[1-{count}] MaxTime=INFINITE PriorityTier=1 GraceTime=5
PartitionName=high  Nodes=node[1-{count}] MaxTime=INFINITE PriorityTier=100
"""
NODE = (
    "NodeName={name} NodeAddr={address} CPUs={cpus} Boards=1 SocketsPerBoard=2 CoresPerSocket={cores} "
    "ThreadsPerCore=1 RealMemory=500000 Gres=gpu:{gpus} State=UNKNOWN"
)

SSHD = """
Port 22
ListenAddress {address}
HostKey {base}/ssh/key
AuthorizedKeysFile {base}/ssh/key.pub
PermitRootLogin yes
PasswordAuthentication no
UsePAM no
# so that shells here run nothing of the user's own, nor write to it
SetEnv HOME={base}/home PATH={path}
# the directories above lie in /tmp, which everybody may write to
StrictModes no
PidFile none
"""
SSH = """
Host *
    IdentityFile {base}/ssh/key
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    GlobalKnownHostsFile /dev/null
    LogLevel ERROR
"""


def write_settings(base: Path, addresses: dict[str, str], cpus: int, gpus: int, patience: int) -> None:
    """Everything below `base`. `patience`: seconds until SLURM gives a silent node up."""
    for name in ("etc", "log", "state", "spool", "munge", "dev", "ssh", "home", "runs"):
        (base / name).mkdir()
    (base / "munge" / "key").write_bytes(os.urandom(128))
    (base / "munge" / "key").chmod(0o400)
    key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(base / "ssh" / "key")]
    subprocess.run(key, check=True, stdin=subprocess.DEVNULL)
    _write_network(base, addresses)
    for number in range(gpus):  # the scheduler counts device files; those of /dev/null do
        os.mknod(base / "dev" / f"nvidia{number}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    nodes = {name: address for name, address in addresses.items() if name != "login"}
    lines = [
        NODE.format(name=name, address=address, cpus=cpus, cores=cpus // 2, gpus=gpus)
        for name, address in nodes.items()
    ]
    text = SLURM.format(base=base, nodes="\n".join(lines), count=len(nodes), patience=patience)
    (base / "etc" / "slurm.conf").write_text(text)
    devices = f"{base}/dev/nvidia[0-{gpus - 1}]"
    (base / "etc" / "gres.conf").write_text(f"NodeName=node[1-{len(nodes)}] Name=gpu File={devices}\n")


def _write_network(base: Path, addresses: dict[str, str]) -> None:
    hosts = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in addresses.items())]
    (base / "etc" / "hosts").write_text("\n".join(hosts) + "\n")
    (base / "etc" / "ssh_config").write_text(SSH.format(base=base))
    for name, address in addresses.items():
        (base / "etc" / f"sshd_config.{name}").write_text(SSHD.format(base=base, address=address, path=python_path()))
