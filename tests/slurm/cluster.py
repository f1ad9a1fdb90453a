#!/usr/bin/env python
"""A private SLURM cluster on this machine: virtual nodes, stand-in GPUs, folders of its own.

    tests/slurm/cluster.py /tmp/cluster                     two nodes of two GPUs and a CPU node
    tests/slurm/cluster.py /tmp/cluster --gpu-nodes 3 --gpus 1 --gpu-partition a100

prints what to set so that sbatch, squeue and snakemake use it, and stops it on Ctrl-C or SIGTERM.
Several may run side by side; the system's own SLURM, if there is one, is not touched. Needs root
(virtual nodes share one machine) and the packages slurm-wlm and munge.
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

INSTALL = "apt-get install --no-install-recommends slurm-wlm munge"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
CGROUPS = Path("/sys/fs/cgroup")
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass(frozen=True)
class Shape:
    """What a cluster has."""

    gpu_nodes: int = 2
    gpus: int = 2  # of each node
    cpus: int = 4  # of each node; virtual
    memory_mb: int = 12000  # of each node; virtual
    gpu_partition: str = "gpu"
    cpu_partition: str = "cpu"
    lines: tuple[str, ...] = ()  # of slurm.conf, beside ours
    network: bool = True  # False: what srun starts has none, not even the loopback


def hindrance() -> str | None:
    """Why no cluster can be started on this machine, and what to do; None if one can."""
    paths = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    missing = [name for name in PROGRAMS if shutil.which(name, path=paths) is None]
    if missing:
        return f"{', '.join(missing)} not found; to install: {INSTALL}"
    if os.geteuid() != 0:
        return (
            "the tests' SLURM cluster needs root, because all its nodes share this machine; run "
            "as root: make test-slurm"
        )
    return None


class Cluster:
    """A running cluster. `environment` is what its users' programs need."""

    def __init__(self, folder: Path, shape: Shape | None = None) -> None:
        """folder: of a short name, because step daemons listen on sockets below it (sun_path)."""
        self.folder = folder.resolve()
        self.shape = shape or Shape()
        self.name = f"bench{random.randrange(16**6):06x}"
        if len(str(self.folder)) > 40:
            raise ValueError(f"{self.folder}: name a folder of at most 40 characters")
        controller, *nodes = _free_ports(self.shape.gpu_nodes + 2)
        names = [f"{self.name}-gpu{number}" for number in range(1, self.shape.gpu_nodes + 1)]
        self.gpu_nodes = tuple(names)
        self.cpu_node = f"{self.name}-cpu1"
        self.controller_port = controller
        self._ports = dict(zip([*names, self.cpu_node], nodes, strict=True))
        self.environment = {
            **os.environ,
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]]),
            "GLOO_SOCKET_IFNAME": "lo",
            "DDPM_BENCH_STAND_IN_GPUS": "1",  # programs get device files, and compute on the CPU
        }

    def start(self) -> None:
        """Write the configuration and start every daemon. Raises TimeoutError naming the logs."""
        for name in ("bin", "state", "spool", "log", "munge"):
            # A controller refuses the state of a cluster of another name.
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        (self.folder / "slurm.conf").write_text(self._slurm_conf())
        (self.folder / "gres.conf").write_text(self._gres_conf())
        (self.folder / "cgroup.conf").write_text(_cgroup_conf())
        self._write_commands()
        self._start_munge()
        self.start_controller()
        for node in self._ports:
            self.start_node(node)
        self._wait_until_idle()

    def start_controller(self) -> None:
        self._daemon("slurmctld")

    def stop_controller(self) -> None:
        self._end("slurmctld")

    def start_node(self, node: str) -> None:
        self._daemon("slurmd", "-N", node)

    def kill_node_daemon(self, node: str) -> None:
        """SIGKILL a node's slurmd alone: its jobs live on, and nobody watches them."""
        os.kill(self._pid(f"slurmd.{node}"), signal.SIGKILL)

    def kill_node(self, node: str) -> None:
        """What a power cut does: a node's slurmd, its step daemons and all of its jobs are gone."""
        self.kill_node_daemon(node)
        for pid in self.processes_of_node(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes_of_node(self, node: str) -> list[int]:
        """Every process of a node's jobs, and the step daemons above them."""
        found = set()
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if f"SLURMD_NODENAME={node}\0".encode() in (path / "environ").read_bytes():
                    found.add(int(path.name))
                    parent = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1])
                    if b"slurmstepd" in Path(f"/proc/{parent}/cmdline").read_bytes():
                        found.add(parent)
        return sorted(found)

    def run(self, *command: str) -> str:
        """What a command of SLURM's prints. Raises CalledProcessError."""
        done = subprocess.run(
            command, env=self.environment, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def stop(self) -> None:
        """Cancel all jobs, end every daemon and remove what they made outside the folder."""
        with suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            subprocess.run(
                ["scancel", "--signal=KILL", "--full", "--user=root"],
                env=self.environment,
                check=False,
                capture_output=True,
                timeout=STOP_SECONDS,
            )
        for node in self._ports:
            for pid in self.processes_of_node(node):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self._end("slurmctld", *(f"slurmd.{node}" for node in self._ports))
        for pid in self._step_daemons():  # of jobs that are gone, with nobody left to tell
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end("munge/munged")
        self._remove_cgroups()

    def _step_daemons(self) -> list[int]:
        """Step daemons work in the cluster's folder, and outlive the daemon of their node."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                name = (path / "comm").read_text().strip()
                if name == "slurmstepd" and (path / "cwd").readlink().is_relative_to(self.folder):
                    found.append(int(path.name))
        return found

    def _slurm_conf(self) -> str:
        shape, host = self.shape, socket.gethostname()
        cgroups = (CGROUPS / "freezer").is_dir() and os.access(CGROUPS / "freezer", os.W_OK)
        common = (
            f"NodeHostname={host} NodeAddr=127.0.0.1 CPUs={shape.cpus} RealMemory={shape.memory_mb}"
        )
        lines = [
            f"ClusterName={self.name}",
            f"SlurmctldHost={host}(127.0.0.1)",
            f"SlurmctldPort={self.controller_port}",
            "SlurmUser=root",
            "SlurmdUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/munge/socket,cred_expire=10",
            "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool/%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd.%n.pid",
            f"SlurmctldLogFile={self.folder}/log/slurmctld.log",
            f"SlurmdLogFile={self.folder}/log/slurmd.%n.log",
            "SlurmdParameters=config_overrides",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_Core_Memory",
            "GresTypes=gpu",
            f"ProctrackType=proctrack/{'cgroup' if cgroups else 'linuxproc'}",
            f"TaskPlugin=task/{'cgroup' if cgroups else 'none'}",
            "JobAcctGatherType=jobacct_gather/linux",
            "JobAcctGatherFrequency=task=1",
            *([] if cgroups else ["JobAcctGatherParams=OverMemoryKill"]),
            "SwitchType=switch/none",
            "MpiDefault=none",
            "ReturnToService=2",
            "KillWait=10",
            "SlurmdTimeout=10",
            "MinJobAge=300",
            "SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0",
            *(
                f"NodeName={node} {common} Port={self._ports[node]} Gres=gpu:a100:{shape.gpus}"
                for node in self.gpu_nodes
            ),
            f"NodeName={self.cpu_node} {common} Port={self._ports[self.cpu_node]}",
            f"PartitionName={shape.gpu_partition} Nodes={','.join(self.gpu_nodes)} "
            "MaxTime=1-0 State=UP",
            f"PartitionName={shape.cpu_partition} Nodes={self.cpu_node} "
            "MaxTime=1-0 State=UP Default=YES",
            *shape.lines,
        ]
        return "\n".join(lines) + "\n"

    def _gres_conf(self) -> str:
        # Any device files do: programs see their numbers in CUDA_VISIBLE_DEVICES.
        files = f"/dev/tty[0-{self.shape.gpus - 1}]" if self.shape.gpus > 1 else "/dev/tty0"
        lines = [f"NodeName={node} Name=gpu Type=a100 File={files}" for node in self.gpu_nodes]
        return "\n".join(lines) + "\n"

    def _write_commands(self) -> None:
        """Commands that find this cluster: the plugin's jobs lose SLURM_CONF, and keep PATH."""
        for name in ("sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo"):
            path = self.folder / "bin" / name
            command, settings = f'{shutil.which(name)} "$@"', ""
            if name == "srun" and not self.shape.network:
                # The command begins after the options, which hold their values: --gpus=1, -n1.
                settings = (
                    'options=()\nwhile [[ "${1-}" == -* ]]; do options+=("$1"); shift; done\n'
                )
                command = f'{shutil.which(name)} "${{options[@]}}" unshare --net -- "$@"'
            path.write_text(
                f'#!/bin/bash\n{settings}SLURM_CONF="{self.folder}/slurm.conf" exec {command}\n'
            )
            path.chmod(0o755)

    def _start_munge(self) -> None:
        folder = self.folder / "munge"
        (folder / "key").write_bytes(os.urandom(128))
        (folder / "key").chmod(0o400)
        folder.chmod(0o755)
        subprocess.run(
            [
                "/usr/sbin/munged",
                "--force",
                f"--socket={folder}/socket",
                f"--key-file={folder}/key",
                f"--pid-file={folder}/munged.pid",
                f"--log-file={folder}/log",
                f"--seed-file={folder}/seed",
                "--num-threads=2",
            ],
            check=True,
            capture_output=True,
            text=True,
        )

    def _daemon(self, name: str, *options: str) -> None:
        program = shutil.which(name, path=os.pathsep.join([os.defpath, "/usr/sbin", "/sbin"]))
        subprocess.run([program, *options], env=self.environment, check=True)

    def _pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text())

    def _end(self, *names: str) -> None:
        """End daemons: ask all, then wait for each."""
        pids = []
        for name in names:
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                pids.append(self._pid(name))
                os.kill(pids[-1], signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for pid in pids:
            with suppress(ProcessLookupError):
                while time.monotonic() < deadline:
                    os.kill(pid, 0)
                    time.sleep(0.1)
                os.kill(pid, signal.SIGKILL)

    def _wait_until_idle(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with suppress(subprocess.CalledProcessError):
                states = self.run("sinfo", "--noheader", "--Node", "--format=%T").split()
                if states and set(states) == {"idle"}:
                    return
            time.sleep(0.3)
        raise TimeoutError(f"the cluster did not come up; its logs are in {self.folder / 'log'}")

    def _remove_cgroups(self) -> None:
        for _ in range(50):
            folders = [path for node in self._ports for path in CGROUPS.glob(f"*/slurm_{node}")]
            for path in folders:
                for below in [*sorted(path.glob("**/"), reverse=True), path]:
                    with suppress(OSError):
                        below.rmdir()
            if not folders:
                return
            time.sleep(0.2)


def _cgroup_conf() -> str:
    return (
        "CgroupPlugin=cgroup/v1\n"
        f"CgroupMountpoint={CGROUPS}\n"
        "CgroupAutomount=no\n"
        "ConstrainRAMSpace=yes\n"
    )


def _free_ports(count: int) -> list[int]:
    with socket.socket() as first:
        sockets = [first, *(socket.socket() for _ in range(count - 1))]
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        ports = [item.getsockname()[1] for item in sockets]
        for item in sockets:
            item.close()
    return ports


@contextmanager
def cluster(folder: Path, shape: Shape | None = None) -> Iterator[Cluster]:
    """A cluster that runs until the block ends."""
    made = Cluster(folder, shape)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument(
        "folder", type=Path, nargs="?", help="for its configuration, state and logs"
    )
    options.add_argument(
        "--check", action="store_true", help="say only whether a cluster can be started here"
    )
    for name, default in Shape().__dict__.items():
        if name not in ("lines", "network"):
            options.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    given = vars(options.parse_args())
    folder, check = given.pop("folder"), given.pop("check")
    if why := hindrance():
        print(f"error: {why}", file=sys.stderr)
        raise SystemExit(2)
    if check:
        return
    if folder is None:
        options.error("name a folder")
    signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with cluster(folder, Shape(**given)) as made, suppress(KeyboardInterrupt):
        for name in ("SLURM_CONF", "PATH", "GLOO_SOCKET_IFNAME"):
            print(f"export {name}={json.dumps(made.environment[name])}")
        print(f"# {made.name} runs; Ctrl-C stops it", flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
