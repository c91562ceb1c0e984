"""How much memory this process may still take."""

import ctypes
import resource
from collections.abc import Iterator
from math import inf
from pathlib import Path

import psutil
import torch

GROUPS = Path("/proc/self/cgroup")  # "number:controllers:path" per hierarchy; "0::path" in the unified one
# Where its folders are -> files of the limit and of what is taken, and what of memory.stat the kernel gives back when it is asked.
HIERARCHIES = {
    "": (Path("/sys/fs/cgroup"), "memory.max", "memory.current", "inactive_file"),
    "memory": (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def free_memory(device: torch.device | None = None) -> int:
    """Bytes: of a GPU what is free there, else the least of what the machine has left, what the control groups of this process (of a
    container, a service) leave it, and what its limit of addresses (``ulimit -v``) does."""
    if device is not None and device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    addresses = inf if most == resource.RLIM_INFINITY else most - psutil.Process().memory_info().vms
    return max(0, int(min(psutil.virtual_memory().available, addresses, *left_in_groups())))


def give_back() -> None:
    """Hands what this process has let go of back to the kernel, where its C library keeps it for itself, as glibc does, and can do so."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def left_in_groups(
    groups: Path = GROUPS, hierarchies: dict[str, tuple[Path, str, str, str]] = HIERARCHIES
) -> list[int]:
    """Bytes that each control group of this process with a limit has left, its own and those above it."""
    if not groups.exists():  # no Linux
        return []
    found = []
    for line in groups.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in hierarchies.keys() & set(controllers.split(",")):
            root, limit, taken, reclaimed = hierarchies[name]
            for folder in _upwards(root, path):
                if (most := _read(folder / limit)) is not None and (used := _read(folder / taken)) is not None:
                    found.append(most - used + _statistic(folder / "memory.stat", reclaimed))
    return found


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """The folder of a group and those above it; in a container the root alone may be there."""
    folder = root / path.lstrip("/")
    while folder != root:
        yield folder
        folder = folder.parent
    yield root


def _read(path: Path) -> int | None:
    """A file's number; None where there is no such file, or no limit."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def _statistic(path: Path, name: str) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(value) for key, value in lines if key == name), 0)
