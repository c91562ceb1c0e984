"""The branch of unattended runs is refused only where somebody has that very branch checked out."""

import subprocess

import pytest

from flows.retrain.branch import Branch
from levy_core.base.errors import LevyError


@pytest.fixture
def home(tmp_path):
    """A checkout on `main`, and a worktree beside it on `retrain/digits-v2`."""
    checkout = tmp_path / "home"
    for command in (
        ["init", "-q", "-b", "main", checkout],
        ["-C", checkout, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-qm", "a", "--allow-empty"],
        ["-C", checkout, "worktree", "add", "-q", "-b", "retrain/digits-v2", tmp_path / "beside"],
    ):
        subprocess.run(["git", *command], check=True)
    return checkout


def test_a_branch_whose_name_begins_like_one_that_is_checked_out_is_free(home):
    assert Branch.of("retrain/digits", home).tip is None


def test_a_branch_that_is_checked_out_is_refused_with_its_folder(home):
    with pytest.raises(LevyError, match=f"retrain/digits-v2 is checked out in {home.parent}/beside"):
        Branch.of("retrain/digits-v2", home)
