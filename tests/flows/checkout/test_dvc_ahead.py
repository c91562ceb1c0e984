"""DVC processes that are started ahead keep the books that `dvc repro` keeps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flows.checkout.dvc import Dvc

STAGES = {
    "first": {
        "cmd": "mkdir -p folder && cp in folder/a",
        "deps": ["in"],
        "params": ["lr", "names", "nothing", "inner"],
        "outs": ["folder"],
    },
    "second": {"cmd": "cat folder/a in > both", "deps": ["folder", "in"], "outs": [{"both": {"persist": True}}]},
}
PARAMS = {"names": ["no", "1e5", ""], "nothing": None, "inner": {"deep": [{"x": None}, 1.5], "on": True}}


@pytest.fixture
def folders(tmp_path):
    """Two equal DVC repositories, in which nothing has run."""
    for name in ("theirs", "ours"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q"], cwd=folder, check=True)
        (folder / "in").write_text("x")
        (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}, sort_keys=False))
    return tmp_path / "theirs", tmp_path / "ours"


def test_the_lock_is_that_of_dvcs_own_command(folders):
    locks = []
    for rate in ("1e-5", "0.25"):  # the second time stages are replaced in a lock that is there
        for folder in folders:
            (folder / "params.yaml").write_text(yaml.safe_dump(PARAMS) + f"lr: {rate}\n")
        theirs, ours = folders
        subprocess.run([sys.executable, "-m", "dvc", "repro", "-q"], cwd=theirs, check=True)
        dvc = Dvc(ours)
        assert [dvc.reproduce(stage, print) for stage in STAGES] == (
            ["ran", "ran"] if not locks else ["ran", "skipped"]
        )
        dvc.stop_all()
        assert (ours / "dvc.lock").read_bytes() == (theirs / "dvc.lock").read_bytes()
        locks.append((ours / "dvc.lock").read_text())
    assert "lr: 1e-05" in locks[0]
    assert "lr: 0.25" in locks[1]


def test_the_lock_is_replaced_not_written_in_place(folders):
    _, ours = folders
    (ours / "params.yaml").write_text(yaml.safe_dump({**PARAMS, "lr": 1}))
    dvc = Dvc(ours)
    dvc.reproduce("first", print)
    os.link(ours / "dvc.lock", ours / "before")
    dvc.reproduce("second", print)
    dvc.stop_all()
    assert "second" not in (ours / "before").read_text()
    assert "second" in (ours / "dvc.lock").read_text()
    assert not list(Path(ours).glob(".dvc.lock*"))
