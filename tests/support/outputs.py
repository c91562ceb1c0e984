"""The outputs of a whole run in one process: real files for tests of what happens to them afterwards."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import TINY, Checkout, between_workers, make_checkout, merged

ONE_DESIGN = merged(
    TINY,
    {
        "designs": ["ddpm"],
        "train": {"steps": 10},
        "evaluate": {"images": {"classifier": {"steps": 10}}},
        "tune": {"steps": [2], "samples": 16},
        "sample": {"grid": {"paper": {"discretisations": ["ei-score"], "steps": [2], "etas": [0.5]}}},
    },
)
STAGES = """
from importlib import import_module
from tasks.params import loading

settings = loading.load()
for stage in ("prepare", "reference", "train", "tune", "sample", "observe", "evaluate", "compare", "report"):
    names = ["digits", "ddpm"] if stage in ("train", "tune", "sample", "observe", "evaluate") else ["digits"]
    getattr(import_module(f"tasks.{stage}"), stage)(settings, *names)
"""


def finished_checkout(tmp_path_factory: pytest.TempPathFactory, name: str) -> Checkout:
    """A checkout in which every stage has run and is in dvc.lock, committed, and nothing is recorded yet.

    Made once for all workers of pytest-xdist, in one process for all stages, which takes a third of the time of `dvc repro`;
    each caller gets a copy.
    """
    shared = between_workers(tmp_path_factory) / "finished"
    with shared.with_suffix(".lock").open("a") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not (shared / ".made").exists():
            shutil.rmtree(shared, ignore_errors=True)
            _make(shared)
    own = tmp_path_factory.mktemp(name) / "checkout"
    shutil.copytree(shared, own, symlinks=True)
    return Checkout(own)


def _make(folder: Path) -> None:
    checkout = make_checkout(folder, ONE_DESIGN)
    checkout.run(sys.executable, "-c", STAGES)
    checkout.run(sys.executable, "-m", "dvc", "commit", "--force", "--quiet")
    (folder / ".git" / "info" / "exclude").write_text(".made\n")
    checkout.run("git", "add", "dvc.lock")
    checkout.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "ran")
    (folder / ".made").touch()


def flip(path: Path) -> None:
    """A byte becomes another; size, times and rights stay."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
