"""What crashes, full disks and damaged bytes leave is mended by the next run, to the same result."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
import zarr

from flows.checkout.dvc import Dvc, StageFailedError, mend_rwlock
from flows.checkout.recovery import DAMAGED, _is_whole, keep_lock, mend_lock, mend_outputs
from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import write_tensors
from tasks.params import schema
from tasks.runtime import stage
from tests.conftest import ROOT, wait_until

CACHE = Path(".dvc/cache/files/md5")
STAGE = {
    "cmd": "mkdir -p outputs/folder && cp in outputs/folder/a && echo b > outputs/folder/b && cp in outputs/file",
    "deps": ["in"],
    "outs": [{"outputs/folder": {"persist": True}}, {"outputs/file": {"persist": True}}],
}


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """The working directory: a DVC repository with one stage that has run, a folder and a file for its outputs."""
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    Path("in").write_bytes(bytes(range(256)) * 1000)
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": STAGE}}))
    assert Dvc().reproduce("make", print) == "ran"
    return Path("dvc.lock").read_bytes()


def test_a_question_to_dvc_that_nobody_waits_for_any_more_is_stopped(repository):
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "touch begun && sleep 300"}}}))
    dvc = Dvc()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(dvc.output, "repro", "make")
        assert wait_until(Path("begun").exists)
        dvc.stop_all()
        with pytest.raises(LevyError, match="`dvc repro make` failed"):
            asked.result(60)


def flip(path: Path) -> None:
    """A byte becomes another; size, times and rights stay."""
    before = path.stat()
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    path.chmod(before.st_mode)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def cached(output: str) -> Path:
    """The cache's entry of an output."""
    (found,) = [
        o["md5"] for o in yaml.safe_load(Path("dvc.lock").read_text())["stages"]["make"]["outs"] if o["path"] == output
    ]
    return CACHE / found[:2] / found[2:]


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path("outputs").rglob("*")) if p.is_file()}


@pytest.mark.parametrize("entry", ["outputs/file", "outputs/folder"])
def test_a_damaged_cache_that_dvc_trusts_is_found_and_its_outputs_made_again(repository, entry):
    before = contents()
    flip(cached(entry))
    shutil.rmtree("outputs")
    Dvc().output("checkout") if entry == "outputs/file" else None
    damaged = {"outputs/file": ["outputs/file", "outputs/folder/a"], "outputs/folder": []}[
        entry
    ]  # equal bytes, one entry
    if damaged:
        assert contents() != before
        assert json.loads(Dvc().output("status", "--json")) == {}  # DVC sees nothing
    assert mend_outputs(Dvc(), ["make"]) == damaged
    assert Dvc().reproduce("make", print) == "ran"
    assert contents() == before
    assert Path("dvc.lock").read_bytes() == repository
    assert mend_outputs(Dvc(), ["make"]) == []


def test_a_damaged_output_comes_back_from_a_sound_cache(repository):
    before = contents()
    flip(Path("outputs/folder/a"))
    assert mend_outputs(Dvc(), ["make"]) == ["outputs/folder/a"]
    assert contents() == before
    assert Dvc().reproduce("make", print) == "skipped"


def test_whole_outputs_are_read_once_and_unfinished_ones_are_left_alone(repository):
    assert mend_outputs(Dvc(), ["make"]) == []
    flip(Path("outputs/file"))  # in place, as bits rot: no size and no time tells
    assert mend_outputs(Dvc(), ["make"]) == []
    Path("outputs/file").write_text("of a stage that was interrupted")
    assert mend_outputs(Dvc(), ["make"], changed=["outputs/file"]) == []
    assert mend_outputs(Dvc(), ["make"]) == ["outputs/file"]


def test_a_lock_cut_off_anywhere_is_noticed_unless_what_is_left_is_whole(repository):
    entry = yaml.safe_load(repository)["stages"]["make"]
    text = yaml.safe_dump({"schema": "2.0", "stages": {"make@a": entry, "make@b": entry}}, sort_keys=False)
    whole = []
    for end in range(len(text)):
        if _is_whole(text[:end]):
            whole.append(end)
            for found in yaml.safe_load(text[:end])["stages"].values():
                assert found | {"outs": entry["outs"]} == entry  # and DVC misses outputs that are not listed
                assert found["outs"] == entry["outs"][: len(found["outs"])]
    assert _is_whole(text)
    assert whole[-1] < len(text) - 1


def test_a_lock_that_was_cut_off_gives_way_to_the_last_whole_one(repository, capsys):
    def cut_off(remains: bytes) -> None:
        Path("dvc.lock").write_bytes(remains)
        mend_lock()
        assert DAMAGED.read_bytes() == remains
        assert "was cut off in mid-write" in capsys.readouterr().err

    cut_off(repository[:-40])
    assert not Path("dvc.lock").exists()  # neither kept nor committed
    assert Dvc().reproduce("make", print) == "ran"
    assert Path("dvc.lock").read_bytes() == repository
    keep_lock()
    cut_off(b"")
    assert Path("dvc.lock").read_bytes() == repository
    Path(".dvc/tmp/dvc.lock.kept").unlink()
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "lock"], check=True)
    cut_off(repository[:100])
    assert Path("dvc.lock").read_bytes() == repository
    mend_lock()
    assert capsys.readouterr().err == ""


def test_locks_of_the_dead_are_removed_also_when_their_number_lives_on(repository):
    path = Path(".dvc/tmp/rwlock")
    dvc = "/usr/bin/dvc repro --single-item make"
    living = subprocess.Popen(
        [sys.executable, "-c", "input()", "repro", "--single-item", "make"], stdin=subprocess.PIPE
    )
    try:
        reused, at_work = {"pid": os.getpid(), "cmd": dvc}, {"pid": living.pid, "cmd": dvc}
        output = str(Path("outputs/file").resolve())
        path.write_text(json.dumps({"write": {output: reused}, "read": {"b": [reused]}}))
        with pytest.raises(Exception, match="is busy"):
            Dvc().output("repro", "--force", "--single-item", "make")
        mend_rwlock()
        Dvc().output("repro", "--force", "--single-item", "make")
        path.write_text(json.dumps({"write": {"a": at_work}, "read": {"b": [reused, at_work], "c": [reused]}}))
        mend_rwlock()
        assert json.loads(path.read_text()) == {"write": {"a": at_work}, "read": {"b": [at_work]}}
    finally:
        living.communicate(b"\n")
    for remains in ("", '{"write": {"a"', "[]", '{"write": {"a": 3}}'):
        path.write_text(remains)
        mend_rwlock()
        assert not path.exists()


def test_lock_files_that_nobody_holds_stop_nobody(repository):
    for name in ("lock", "rwlock.lock", "levy.lock"):
        Path(f".dvc/tmp/{name}").write_text("4711")
    assert Dvc().reproduce("make", print) == "skipped"


@pytest.fixture
def small_disk(tmp_path):
    """Makes a folder a file system of its own of so many KiB; again, with another size."""
    mounted = []

    def mount(folder: Path, kib: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        options = f"size={kib}k" + (",remount" if folder in mounted else "")
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
        ).returncode:
            pytest.skip("a small file system cannot be mounted here (not root)")
        mounted.append(folder)

    yield mount
    for folder in set(mounted):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("place", [".dvc/cache", "outputs"])
def test_after_a_full_disk_the_same_command_completes_with_the_same_lock(repository, small_disk, place):
    before = contents()
    for folder in ("outputs", ".dvc/cache"):
        shutil.rmtree(folder)
    Path("dvc.lock").unlink()
    small_disk(Path(place).resolve(), 64)
    with pytest.raises(StageFailedError, match="the disk is full: free some space and run the same command again"):
        Dvc().reproduce("make", print)
    small_disk(Path(place).resolve(), 4096)
    assert Dvc().reproduce("make", print) == "ran"
    assert contents() == before
    assert Path("dvc.lock").read_bytes() == repository


WRITERS = {
    "safetensors": lambda folder: write_tensors(folder / "x", {"x": torch.zeros(50_000)}),
    "numpy": lambda folder: np.save(folder / "x.npy", np.zeros(50_000)),
    "zarr": lambda folder: zarr.create_array(folder / "x", data=np.random.default_rng(0).random(50_000)),
    "json": lambda folder: write_json(folder / "x", "x" * 200_000),
}


@pytest.mark.parametrize("library", WRITERS)
def test_a_full_disk_is_named_whichever_library_meets_it(tmp_path, small_disk, monkeypatch, library):
    small_disk(tmp_path / "small", 64)

    def work(settings: schema.Params) -> None:
        WRITERS[library](tmp_path / "small")

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=r"error: the disk is full .* free some space and run the same command again"):
        stage.run(work)
