"""A workspace that was cut off while it was made is completed by the next run, and a full disk there is told in one line."""

import sys
from pathlib import Path

import pytest

from tests.conftest import STRACE, traceable
from tests.support.injection import FAULTS
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.skipif(not traceable(), reason="strace is not installed, or may not trace here")
MAKE = (sys.executable, "-c", "from flows.pipeline.workspace import Workspace; Workspace.of_working_tree('mine', {})")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    found = finished_checkout(tmp_path_factory, "workspaces")
    (found.root / ".dvc/config.local").write_text("['remote \"mine\"']\n    url = /nowhere\n")
    return found


def fail_at(checkout, path, call, fault, *command):
    """A command in the checkout whose first ``call`` that concerns a file fails."""
    options = ("-qq", "-o", "/dev/null", "-P", str(checkout.root / path), "-e", f"trace={call}")
    return checkout.run(STRACE, *options, "-e", f"inject={call}:{FAULTS[fault]}:when=1", *command, check=False)


@pytest.mark.parametrize(("path", "call"), [(".dvc.lock.part", "openat"), (".dvc/config.local", "close")])
def test_a_workspace_that_was_cut_off_gets_the_lock_and_the_cache_of_its_checkout_afterwards(checkout, path, call):
    folder = checkout.root / ".levy/mine"
    checkout.run("git", "worktree", "remove", "--force", str(folder), check=False)
    assert fail_at(checkout, folder.relative_to(checkout.root) / path, call, "kill", *MAKE).returncode == -9
    checkout.run(*MAKE)
    assert (folder / "dvc.lock").read_bytes() == (checkout.root / "dvc.lock").read_bytes()
    assert "url = /nowhere" in (folder / ".dvc/config.local").read_text()
    shown = checkout.run("sh", "-c", f"cd {folder} && {sys.executable} -m dvc cache dir").stdout
    assert Path(folder, shown.strip()).resolve() == checkout.root / ".dvc/cache"


def test_a_disk_that_is_full_for_the_own_files_of_a_run_is_told_in_one_line(checkout):
    (checkout.root / "mine.yaml").write_text("train: {steps: 11}\n")
    command = (sys.executable, "-m", "flows.cli", "run", "--params", "mine.yaml", "--no-record")
    done = fail_at(checkout, ".levy/run-mine.lock", "write", "ENOSPC", *command)
    assert done.returncode == 1
    assert done.stderr.startswith("error: the disk is full (")
    assert len(done.stderr.splitlines()) == 1
