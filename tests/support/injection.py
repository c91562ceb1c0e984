"""One write of a stage's work fails or is its last: strace attaches to a child of a process that has imported everything."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from pathlib import Path

import yaml
import zarr
from zarr.core.sync import sync

from tests.conftest import ROOT, STRACE, TINY, merged, wait_until
from tests.support import victims

# System calls that change a file or a folder; openat counts where it opens for writing.
WRITES = (
    "openat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "fsync", "fdatasync", "msync",
    "copy_file_range", "sendfile", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "rmdir", "chmod", "fchmod", "fchmodat", "utimensat",
)  # fmt: skip
FAULTS = {"ENOSPC": "error=ENOSPC", "EIO": "error=EIO", "kill": "signal=KILL"}
BY_ZARR = " by zarr's thread"  # after the name of a stage: that thread's writes instead of those of the main thread
SCRATCH = ".levy/scratch"  # for what would go to /tmp, where a disk may be full, too; git and DVC do not look into it
ATTEMPTS = 5  # to meet the call that was counted
# Parts of names that are others each time: of tempfile's folders, safetensors' files, MLflow's runs and models, backups.
RANDOM = {
    r"(/tmp|\.)[a-z0-9_]{8}(?=/|$)": r"\1*",
    r"/\.tmp\w{6}$": "/.tmp",
    r"[0-9a-f]{32}": "*",
    r"\d{8}T\d{6}\.\d{6}Z": "*",
}
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
    """The ``number``-th call of a system call in some work, from 1 on, and what it wrote to, relative to the folder.

    ``turn`` says which of the calls that write there it is: calls of openat that only read are not always as many.
    """

    call: str
    number: int
    path: str
    turn: int

    @property
    def name(self) -> tuple[str, str, int]:
        """What it is called however often others read."""
        return self.call, self.path, self.turn


class MissedError(Exception):
    """A fault met other calls than the one that was counted."""


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


def contents(folder: Path, pattern: str = "outputs") -> dict[str, bytes]:
    """Every file of the outputs, or of what else matches ``pattern``, also hidden ones and those that are no output of DVC."""
    files = [file for place in folder.glob(pattern) for file in (place, *place.rglob("*")) if file.is_file()]
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(files)}


def put_back(folder: Path, kept: dict[str, bytes], pattern: str = "outputs") -> None:
    """The files as ``contents`` found them, and nothing else."""
    for place in folder.glob(pattern):
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    for name, content in kept.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def writes_of(folder: Path, what: str, log: Path) -> list[Write]:
    """Every write of one thread of some work into the folder, in order, counted while it goes through undisturbed."""
    trace = log.with_suffix(".trace")
    exitcode, said = _run(folder, what, log, "-y", "-o", str(trace), "-e", f"trace={','.join(WRITES)}")
    assert exitcode == 0, said
    counts: Counter[str] = Counter()
    turns: Counter[tuple[str, str]] = Counter()
    found = []
    for line in trace.read_text().splitlines():
        if call := re.match(r"(\w+)\((.*)", line):
            name, arguments = call.groups()
            counts[name] += 1
            if path := _written(folder, name, arguments):
                turns[name, path] += 1
                found.append(Write(name, counts[name], path, turns[name, path]))
    return found


def ends_of_runs(writes: Sequence[Write]) -> list[Write]:
    """Of calls of one kind that follow each other at one file, as the pages of a database do, the first and the last."""
    runs = [list(run) for _, run in groupby(writes, lambda write: (write.call, write.path))]
    return [write for run in runs for write in (run[:1] if len(run) == 1 else (run[0], run[-1]))]


def choose(writes: Sequence[Write], faults: Mapping[str, int]) -> list[tuple[Write, str]]:
    """Which write fails with which fault: each fault at every write, or at one of as many as ``faults`` says."""
    pairs = product(enumerate(writes), enumerate(faults.items()))
    return [(write, fault) for (number, write), (place, (fault, every)) in pairs if not (number - place) % every]


def fail(
    folder: Path, what: str, write: Write, fault: str, log: Path, prepare: Callable[[], None]
) -> tuple[int | None, str]:
    """Exit status and last words of a stage whose one write fails with ``fault``, a name of ``FAULTS``.

    Args:
        prepare: makes the folder as it was before.

    Raises:
        MissedError: no attempt met the write.
    """
    for _ in range(ATTEMPTS):
        prepare()
        if (end := _try_to_fail(folder, what, write, fault, log)) is not None:
            return end
        prepare()  # another call has its number now
        write = next((found for found in writes_of(folder, what, log) if found.name == write.name), write)
    raise MissedError(f"{fault} at {write} of {what}")


def _try_to_fail(folder: Path, what: str, write: Write, fault: str, log: Path) -> tuple[int | None, str] | None:
    trace = log.with_suffix(".trace")
    options = ("-e", f"trace={write.call}", "-e", f"inject={write.call}:{FAULTS[fault]}:when={write.number}")
    exitcode, said = _run(folder, what, log, "-y", "-o", str(trace), *options)
    calls = [call for call in map(re.compile(r"(\w+)\((.*)").match, trace.read_text().splitlines()) if call]
    if len(calls) < write.number or _written(folder, *calls[write.number - 1].groups()) != write.path:
        return None
    return exitcode, said


def judge_end(fault: str, exitcode: int | None, said: str) -> list[str]:
    """What is wrong with how a stage or a command ended: an error must be told in one line, whichever library met it."""
    if fault == "kill":
        return [] if exitcode == -9 else [f"it ended with {exitcode}"]
    told = [line for line in said.splitlines() if line.startswith("error: ")]
    if exitcode == 0 or (exitcode == 1 and len(told) == 1 and "Traceback" not in said):
        return []
    return [f"it ended with {exitcode} and said {said[-600:]}"]


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
    name = str(path.relative_to(folder))
    for pattern, instead in RANDOM.items():
        name = re.sub(pattern, instead, name)
    return name


def _run(folder: Path, what: str, log: Path, *options: str) -> tuple[int | None, str]:
    """The work, under strace with these options."""
    thread = log.with_suffix(".thread")
    process = victims.fork(_work, folder, what, log, thread if options else None)
    if options:
        assert wait_until(lambda: _state(process.pid) == "T", 60, every=0.002)
        strace = subprocess.Popen([STRACE, *options, "-p", thread.read_text()], stderr=subprocess.PIPE, text=True)
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


def _work(folder: Path, what: str, log: Path, thread: Path | None) -> None:
    """In the child; where strace will attach, it says to which ``thread``, and waits until that is done."""
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of a test that started the server of these processes
    tempfile.tempdir = str(folder / SCRATCH)
    shutil.rmtree(tempfile.tempdir, ignore_errors=True)
    os.makedirs(tempfile.tempdir)
    zarr.config.set({"threading.max_workers": 1, "async.concurrency": 1})  # its calls come in the same order each time
    if thread:
        of_zarr = what.endswith(BY_ZARR)
        thread.write_text(str(sync(asyncio.to_thread(threading.get_native_id)) if of_zarr else os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)
    victims.work(what.removesuffix(BY_ZARR))
