"""One write of a stage's work fails or is its last: strace attaches to a child of a process that has imported everything."""

import os
import re
import shutil
import signal
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.conftest import ROOT, STRACE, TINY, merged, wait_until
from tests.support import victims

# System calls that change a file or a folder; openat counts where it opens for writing.
WRITES = (
    "openat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync", "msync",
    "copy_file_range", "sendfile", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat",
)  # fmt: skip
FAULTS = {"ENOSPC": "error=ENOSPC", "EIO": "error=EIO", "kill": "signal=KILL"}
CLASSES, PER_CLASS = "0123", 40
SMALLEST = merged(
    TINY,
    {
        "designs": [victims.DESIGN],
        "data": {"digits": {"imbalance": 3}},
        "net": {"channels": [8, 8]},
        "train": {"steps": 3, "batch": 8, "save_every": 1},
        "tune": {"steps": [2], "samples": 16, "first": 8, "last": 8, "solvers": ["ode"], "eta_schedules": ["constant"]},
        "sample": {
            "grid": {"paper": {"solvers": ["ode"], "discretisations": ["ei-noise"], "steps": [2], "etas": [0.5]}},
            "seeds": [0, 1],
            "n": 8,
            "batch": 8,
        },
        "evaluate": {"images": {"kid_subsets": 2, "kid_subset_size": 4, "classifier": {"steps": 2, "batch": 8}}},
    },
)


@dataclass(frozen=True)
class Write:
    """The ``number``-th call of a system call in a stage's work, from 1 on, and what it wrote to, relative to the folder."""

    call: str
    number: int
    path: str


class MissedError(Exception):
    """A fault met another call than the one that was counted."""


def make_folder(folder: Path) -> None:
    """A folder with nothing but the smallest params.yaml and a few images of some classes."""
    params = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALLEST)
    (folder / "data/digits").mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    with (
        zipfile.ZipFile(ROOT / "data/digits/digits.zip") as source,
        zipfile.ZipFile(folder / "data/digits/digits.zip", "w") as target,
    ):
        for name in CLASSES:
            for image in [image for image in sorted(source.namelist()) if image.startswith(f"{name}/")][:PER_CLASS]:
                target.writestr(zipfile.ZipInfo(image), source.read(image))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the outputs, also hidden ones and those that are no output of DVC."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "outputs").rglob("*")) if p.is_file()}


def put_back(folder: Path, kept: dict[str, bytes]) -> None:
    """The outputs as ``contents`` found them, and nothing else."""
    shutil.rmtree(folder / "outputs", ignore_errors=True)
    for name, content in kept.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def writes_of(folder: Path, what: str, log: Path) -> list[Write]:
    """Every write of a stage's main thread into the folder, in order, counted while it goes through undisturbed.

    What zarr's threads write is left out: their calls do not come in the same order each time.
    """
    trace = log.with_suffix(".trace")
    exitcode, said = _run(folder, what, log, "-y", "-o", str(trace), "-e", f"trace={','.join(WRITES)}")
    assert exitcode == 0, said
    counts: dict[str, int] = {}
    found = []
    for line in trace.read_text().splitlines():
        if call := re.match(r"(\w+)\((.*)", line):
            name, arguments = call.groups()
            counts[name] = counts.get(name, 0) + 1
            if path := _written(folder, name, arguments):
                found.append(Write(name, counts[name], path))
    return found


def fail(folder: Path, what: str, write: Write, fault: str, log: Path) -> tuple[int | None, str]:
    """Exit status and last words of a stage whose one write fails with ``fault``, a name of ``FAULTS``.

    Raises:
        MissedError: another call had the number of the write; those of openat that only read are not always as many.
    """
    trace = log.with_suffix(".trace")
    options = ("-e", f"trace={write.call}", "-e", f"inject={write.call}:{FAULTS[fault]}:when={write.number}")
    exitcode, said = _run(folder, what, log, "-y", "-o", str(trace), *options)
    calls = [call for call in map(re.compile(r"(\w+)\((.*)").match, trace.read_text().splitlines()) if call]
    if len(calls) < write.number or _written(folder, *calls[write.number - 1].groups()) != write.path:
        raise MissedError(write)
    return exitcode, said


def _written(folder: Path, call: str, arguments: str) -> str | None:
    """What a call wrote to, with the random parts of temporary names left out; None for what is outside of the folder."""
    if call == "openat" and not re.search(r"O_WRONLY|O_RDWR|O_CREAT", arguments):
        return None
    place = re.search(r'"([^"]*)"' if '"' in arguments and "write" not in call else r"\d+<([^>]*)>", arguments)
    if place is None or place[1].startswith(("pipe:", "socket:")):
        return None
    path = Path(os.path.normpath(folder / place[1]))
    if call.endswith("at") and not Path(place[1]).is_absolute() and (base := re.match(r"\d+<([^>]*)>", arguments)):
        path = Path(base[1], place[1])
    if not path.is_relative_to(folder):
        return None
    name = re.sub(r"(/\.[^/]+)\.[a-z0-9_]{8}(?=/|$)", r"\1", str(path.relative_to(folder)))  # tempfile's
    return re.sub(r"/\.tmp\w{6}$", "/.tmp", name)  # safetensors'


def _run(folder: Path, what: str, log: Path, *options: str) -> tuple[int | None, str]:
    """The stage, under strace with these options."""
    process = victims.fork(_work, folder, what, log, bool(options))
    if options:
        assert wait_until(lambda: _state(process.pid) == "T", 60, every=0.002)
        strace = subprocess.Popen([STRACE, *options, "-p", str(process.pid)], stderr=subprocess.PIPE, text=True)
        strace.stderr.readline()  # attached
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        strace.communicate()
    process.join()
    return process.exitcode, log.read_text()


def finish(folder: Path, what: str, log: Path) -> None:
    """The stage, undisturbed."""
    exitcode, said = _run(folder, what, log)
    assert exitcode == 0, f"{what} ended with {exitcode} and said {said}"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def _work(folder: Path, what: str, log: Path, held: bool) -> None:
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(folder)
    if held:
        os.kill(os.getpid(), signal.SIGSTOP)  # until strace has attached
    victims.work(what)
