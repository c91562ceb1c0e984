"""A workspace that was cut off while it was made is completed by the next run, and a full disk there is told in one line."""

import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import STRACE, traceable
from tests.support import victims
from tests.support.injection import FAULTS, choose, fail, finish, writes_of
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.skipif(not traceable(), reason="strace is not installed, or may not trace here")
MAKE = (sys.executable, "-c", "from tests.support import victims; victims.work('workspace')")
PLACE = f".levy/{victims.WORKSPACE}"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    found = finished_checkout(tmp_path_factory, "workspaces")
    (found.root / ".dvc/config.local").write_text("['remote \"mine\"']\n    url = /nowhere\n")
    return found


def fail_at(checkout, path, call, fault, *command):
    """A command in the checkout whose first ``call`` that concerns a file fails."""
    options = ("-qq", "-o", "/dev/null", "-P", str(checkout.root / path), "-e", f"trace={call}")
    return checkout.run(STRACE, *options, "-e", f"inject={call}:{FAULTS[fault]}:when=1", *command, check=False)


def forget(checkout):
    """There is no workspace any more."""
    shutil.rmtree(checkout.root / PLACE, ignore_errors=True)
    checkout.run("git", "worktree", "prune")


def is_complete(checkout):
    """Whether the workspace has the lock, the settings and the cache of its checkout."""
    folder = checkout.root / PLACE
    shown = checkout.run("sh", "-c", f"cd {folder} && {sys.executable} -m dvc cache dir").stdout.strip()
    return (
        (folder / "dvc.lock").read_bytes() == (checkout.root / "dvc.lock").read_bytes()
        and "url = /nowhere" in (folder / ".dvc/config.local").read_text()
        and Path(folder, shown).resolve() == checkout.root / ".dvc/cache"
    )


@pytest.mark.long
@pytest.mark.parametrize(("path", "call"), [(".dvc.lock.part", "openat"), (".dvc/config.local", "close")])
def test_a_workspace_that_was_cut_off_gets_the_lock_and_the_cache_of_its_checkout_afterwards(checkout, path, call):
    forget(checkout)
    assert fail_at(checkout, f"{PLACE}/{path}", call, "kill", *MAKE).returncode == -9
    checkout.run(*MAKE)
    assert is_complete(checkout)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_after_any_own_write_of_its_making_failed_a_workspace_is_completed(checkout, tmp_path):
    log = tmp_path / "log"
    forget(checkout)
    writes = writes_of(checkout.root, "workspace", log)
    assert is_complete(checkout)
    counts, wrong = Counter(writes=len(writes)), []
    for write, fault in choose(writes, {"kill": 1, "ENOSPC": 1}):
        exitcode, _ = fail(checkout.root, "workspace", write, fault, log, lambda: forget(checkout))
        counts[fault] += 1
        counts["went on"] += exitcode == 0
        finish(checkout.root, "workspace", log)
        if not is_complete(checkout):
            wrong.append(f"{fault} at {write}")
    print(dict(counts), f"{len(wrong)} wrong")
    assert not wrong
    assert counts["kill"] == counts["ENOSPC"] == counts["writes"] > 10


def test_a_disk_that_is_full_for_the_own_files_of_a_run_is_told_in_one_line(checkout):
    (checkout.root / "mine.yaml").write_text("train: {steps: 11}\n")
    command = (sys.executable, "-m", "flows.cli", "run", "--params", "mine.yaml", "--no-record")
    done = fail_at(checkout, ".levy/run-mine.lock", "write", "ENOSPC", *command)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the disk is full (")
    assert len(done.stderr.splitlines()) == 1
