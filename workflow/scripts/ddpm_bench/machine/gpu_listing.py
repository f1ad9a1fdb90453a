"""GPUs of this machine, by the names that CUDA_VISIBLE_DEVICES takes."""

import itertools
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from ddpm_bench.machine.torch_build import torch_build

WSL = "/usr/lib/wsl/lib"  # where WSL keeps nvidia-smi, which is not always in PATH
ANSWER_SECONDS = 60.0  # a driver that wakes many GPUs takes its time
DRIVER = Path("/proc/driver/nvidia")
DEVICES = Path("/dev")
KFD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")  # of AMD's driver
WHOLE = re.compile(r"^GPU (\d+):")
DESCRIBED = re.compile(r"^(\d+), (\S+), (\d+)\.(\d+), (.+?)\s*$")
SLICE = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)")


@dataclass(frozen=True)
class NvidiaGpu:
    """One of NVIDIA's GPUs: its index, its name and its compute capability, like (7, 5)."""

    index: str
    name: str
    capability: tuple[int, int]

    def in_words(self) -> str:
        """Return the GPU and its capability as a text for errors and notes."""
        capability = ".".join(map(str, self.capability))
        return f"GPU {self.index} ({self.name}, compute capability {capability})"


def present_devices() -> list[str]:
    """Return the GPUs that this process may use, by index or UUID; [] on a machine without GPUs.

    DDPM_BENCH_DEVICES (comma-separated names) replaces what the machine has. A GPU that is cut into
    slices (MIG) is listed as its slices.
    """
    for variable in ("DDPM_BENCH_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if variable in os.environ:
            return named_devices(os.environ[variable])
    return nvidia_devices() or amd_devices()


def named_devices(text: str) -> list[str]:
    """Return the names of a comma-separated list.

    CUDA takes the names before the first that is none: -1 hides all, SLURM has NoDevFiles.
    """
    names = (name.strip() for name in text.split(","))
    return list(itertools.takewhile(lambda name: name not in ("", "-1", "NoDevFiles"), names))


def is_slice(name: str) -> bool:
    """Return True for the name of a slice of a GPU, of which CUDA gives a process only one."""
    return name.startswith("MIG-")


def nvidia_devices() -> list[str]:
    """Return NVIDIA's GPUs and slices, by nvidia-smi or, where it is missing or fails, by the files
    of the driver."""
    listing = _nvidia_smi("-L")
    return listed_devices(listing) if listing is not None else _by_files_of_the_driver()


def nvidia_gpus() -> list[NvidiaGpu]:
    """Return the GPUs that nvidia-smi describes, without those that the environment leaves out.

    [] where it is missing, or older than driver 510 and without compute capabilities.
    """
    query = "--query-gpu=index,uuid,compute_cap,name"
    listing = _nvidia_smi(query, "--format=csv,noheader") or ""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    kept = None if named is None else named_devices(named)
    gpus = []
    for line in listing.splitlines():
        if found := DESCRIBED.match(line):
            index, identity, major, minor, name = found.groups()
            if kept is None or any(one == index or identity.startswith(one) for one in kept):
                gpus.append(NvidiaGpu(index, name, (int(major), int(minor))))
    return gpus


def _nvidia_smi(*options: str) -> str | None:
    """Return the output of nvidia-smi; None where it is missing, fails or does not answer."""
    program = shutil.which("nvidia-smi") or shutil.which("nvidia-smi", path=WSL)
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, *options], capture_output=True, text=True, timeout=ANSWER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def listed_devices(listing: str) -> list[str]:
    """Return the devices that `nvidia-smi -L` has printed: indices, and UUIDs of slices."""
    devices: list[str] = []
    whole = ""
    for line in listing.splitlines():
        if found := WHOLE.match(line):
            whole = found[1]
            devices.append(whole)
        elif found := SLICE.match(line):
            if devices[-1:] == [whole]:
                devices.pop()
            devices.append(found[1])
    return devices


def _by_files_of_the_driver() -> list[str]:
    """Return the indices of the GPUs that NVIDIA's driver has; a container may be given fewer."""
    there = len(list(DRIVER.glob("gpus/*")))
    nodes = [path for path in DEVICES.glob("nvidia*") if path.name[6:].isdigit()]
    counts = [count for count in (there, len(nodes)) if count]  # nodes appear with the first use
    return [str(index) for index in range(min(counts, default=0))]


def amd_devices() -> list[str]:
    """Return the indices of AMD's GPUs, if torch is built for them.

    Others would find the graphics of a laptop's processor.
    """
    if torch_build().hip is None:
        return []
    properties = (path.read_text() for path in KFD_NODES.glob("*/properties"))
    count = sum(re.search(r"^simd_count [1-9]", text, re.M) is not None for text in properties)
    return [str(index) for index in range(count)]


def driver_version() -> str | None:
    """Return the version of NVIDIA's driver, by its file or by nvidia-smi; None if unknown."""
    try:
        text = (DRIVER / "version").read_text()
    except OSError:
        text = _nvidia_smi("--query-gpu=driver_version", "--format=csv,noheader") or ""
    found = re.search(r"\b\d{3,}\.\d+(\.\d+)?\b", text)
    return found[0] if found else None
