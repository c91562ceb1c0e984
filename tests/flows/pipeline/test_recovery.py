"""What crashes, full disks and damaged bytes leave is mended by the next run, to the same result."""

import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import yaml
import zarr
from dvc.dvcfile import Lockfile
from dvc.repo import Repo

from flows.pipeline.dvc import RWLOCK, Dvc, StageFailedError, find_rwlock_damage, repair_rwlock
from flows.pipeline.lockfile import (
    DAMAGED,
    KEPT,
    _damage_of,
    find_lock_damage,
    keep_lock,
    repair_lock,
)
from flows.pipeline.recovery import repair_checkout, repair_outputs
from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import write_tensors
from tasks.params import loading
from tasks.params.schema import Params
from tasks.runtime import stage
from tests.conftest import ROOT, wait_until
from tests.support.outputs import flip

CACHE = Path(".dvc/cache/files/md5")
STAGE = {
    "cmd": "mkdir -p outputs/folder && cp in outputs/folder/a && echo b > outputs/folder/b && cp in outputs/file",
    "deps": ["in"],
    "outs": [{"outputs/folder": {"persist": True}}, {"outputs/file": {"persist": True}}],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A DVC repository with one stage that has run, a folder and a file for its outputs."""
    folder = tmp_path_factory.mktemp("made")
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, cwd=folder, check=True)
    (folder / "in").write_bytes(bytes(range(256)) * 1000)
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": STAGE}}))
    assert Dvc(folder).reproduce("make", print) == "ran"
    return folder


@pytest.fixture
def repository(made, tmp_path, monkeypatch):
    """The working directory: a copy of it, which DVC has not seen yet; its dvc.lock."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("dvc.lock").read_bytes()


@pytest.fixture
def seen(repository):
    """The same, of which DVC has read every file: it reads none again whose size and time are as they were."""
    assert json.loads(Dvc().output("status", "--json")) == {}
    return repository


def test_a_question_to_dvc_that_nobody_waits_for_any_more_is_stopped(repository):
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": {"cmd": "touch begun && sleep 300"}}}))
    dvc = Dvc()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(dvc.output, "repro", "make")
        assert wait_until(Path("begun").exists)
        dvc.stop_all()
        with pytest.raises(LevyError, match="`dvc repro make` failed"):
            asked.result(60)


@pytest.mark.parametrize("shell", ["", "exec "])
def test_a_stage_whose_process_was_killed_says_by_which_signal_and_names_memory(repository, shell):
    kill = "import os, signal; print('half', flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    stages = {"make": {"cmd": f'{shell}python -c "{kill}"' + (" && true" if not shell else "")}}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    with pytest.raises(StageFailedError, match=r"make failed: its process was killed by SIGKILL, .* memory runs out"):
        Dvc().reproduce("make", print)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_dvc_that_was_killed_says_by_which_signal_and_what_it_said_before(repository, number):
    Path("dvc.yaml").write_text(
        yaml.safe_dump({"stages": {"make": {"cmd": "echo is busy && touch begun && sleep 300"}}})
    )

    def kill():
        assert wait_until(Path("begun").exists)
        (victim,) = (p for p in psutil.Process().children() if "--single-item" in p.cmdline())
        sleeping = victim.children(recursive=True)
        victim.send_signal(number)
        for process in sleeping:  # a user's shell command is on no leash
            process.kill()

    with ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill)
        with pytest.raises(
            StageFailedError, match=rf"(?s)make failed: DVC was killed by {number.name}.* before that: .*busy"
        ):
            Dvc().reproduce("make", print)
        killing.result()


def cached(output: str) -> Path:
    """The cache's entry of an output."""
    (found,) = [
        o["md5"] for o in yaml.safe_load(Path("dvc.lock").read_text())["stages"]["make"]["outs"] if o["path"] == output
    ]
    return CACHE / found[:2] / found[2:]


def contents() -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(Path("outputs").rglob("*")) if p.is_file()}


@pytest.mark.parametrize("entry", ["outputs/file", "outputs/folder"])
def test_a_damaged_cache_that_dvc_trusts_is_found_and_its_outputs_made_again(seen, entry):
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
    assert repair_outputs(Dvc(), ["make"]) == damaged
    assert Dvc().reproduce("make", print) == "ran"
    assert contents() == before
    assert Path("dvc.lock").read_bytes() == seen
    left = [] if damaged else [str(cached(entry).resolve())]  # DVC does not write an entry that is there
    assert repair_outputs(Dvc(), ["make"]) == left
    assert repair_outputs(Dvc(), ["make"]) == []


def test_a_damaged_output_comes_back_from_a_sound_cache(seen):
    before = contents()
    flip(Path("outputs/folder/a"))
    assert repair_outputs(Dvc(), ["make"]) == ["outputs/folder/a"]
    assert contents() == before
    assert Dvc().reproduce("make", print) == "skipped"


def test_damaged_entries_of_the_cache_are_written_anew_from_outputs_that_are_whole(seen):
    entries = {cached("outputs/file"), cached("outputs/folder")}
    before = {entry: (entry.read_bytes(), entry.stat().st_mode) for entry in entries}
    for entry in entries:
        flip(entry)
    assert set(repair_outputs(Dvc(), ["make"])) == {str(entry.resolve()) for entry in entries}
    assert {entry: (entry.read_bytes(), entry.stat().st_mode) for entry in entries} == before
    assert Dvc().reproduce("make", print) == "skipped"
    assert repair_outputs(Dvc(), ["make"]) == []


def test_unfinished_outputs_are_left_alone(seen):
    flip(Path("outputs/file"))  # in place, as bits rot: no size and no time tells
    assert json.loads(Dvc().output("status", "--json")) == {}
    Path("outputs/file").write_text("of a stage that was interrupted")
    assert list(repair_checkout(Dvc())) == []
    assert repair_outputs(Dvc(), ["make"]) == ["outputs/file"]


def test_bits_that_rotted_in_outputs_and_locks_left_behind_are_mended_together_and_named(seen):
    before = contents()
    flip(Path("outputs/folder/a"))
    RWLOCK.write_text('{"write": {"a"')
    Path("dvc.lock").write_bytes(b"")
    keep = Path("kept")
    keep.write_bytes(seen)
    keep.rename(KEPT)
    lines = list(repair_checkout(Dvc()))
    assert [line.split()[0] for line in lines] == [".dvc/tmp/rwlock", "dvc.lock", "1"]
    assert "outputs/folder/a" in lines[2]
    assert contents() == before
    assert Path("dvc.lock").read_bytes() == seen
    assert list(repair_checkout(Dvc())) == []


def read_by_dvc(repo, text: str) -> bool:
    """Whether DVC itself reads a dvc.lock."""
    Path("dvc.lock").write_text(text)
    try:
        return bool(Lockfile(repo, "dvc.lock").load())
    except Exception:
        return False


def test_a_lock_is_damaged_only_where_dvc_cannot_read_it_or_no_stage_is_left(repository):
    entry = yaml.safe_load(repository)["stages"]["make"]
    text = yaml.safe_dump({"schema": "2.0", "stages": {"make@a": entry, "make@b": entry}}, sort_keys=False)
    repo = Repo()
    damaged = 0
    for end in range(len(text) + 1):
        cut = text[:end]
        if _damage_of(cut):
            damaged += 1
            assert not read_by_dvc(repo, cut) or "stages" not in yaml.safe_load(cut)
        else:
            assert read_by_dvc(repo, cut)
    assert 0 < damaged < len(text)


@pytest.mark.parametrize(
    "change", ["no final newline", "a stage without outputs", "fewer stages", "cut off, but whole"]
)
def test_a_lock_that_dvc_can_read_is_never_replaced(repository, change):
    keep_lock()
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "lock"], check=True)
    newer = yaml.safe_load(repository)
    newer["stages"]["say"] = {"cmd": "echo"}
    text = {
        "no final newline": repository.decode().rstrip("\n"),
        "a stage without outputs": yaml.safe_dump(newer),
        "fewer stages": "schema: '2.0'\nstages: {}\n",
        "cut off, but whole": repository.decode()[: repository.index(b"    outs:")],
    }[change]
    Path("dvc.lock").write_text(text)
    assert find_lock_damage() == ""
    assert repair_lock() == ""
    assert Path("dvc.lock").read_text() == text
    assert not DAMAGED.exists()
    assert Dvc().reproduce("make", print) in ("ran", "skipped")
    assert (
        yaml.safe_load(Path("dvc.lock").read_text())["stages"]["make"] == yaml.safe_load(repository)["stages"]["make"]
    )


def test_marks_of_a_merge_are_for_a_person_to_resolve(repository):
    keep_lock()
    lines = repository.decode().splitlines(keepends=True)
    text = "".join(["<<<<<<< HEAD\n", *lines, "=======\n", *lines, ">>>>>>> other\n"])
    Path("dvc.lock").write_text(text)
    for look in (find_lock_damage, repair_lock, lambda: list(repair_checkout(Dvc()))):
        with pytest.raises(LevyError, match=r"marks of a git merge from line 1 on .*: resolve the conflict"):
            look()
    assert Path("dvc.lock").read_text() == text


def test_a_lock_that_was_cut_off_gives_way_to_the_last_whole_one(repository):
    def cut_off(remains: bytes, place: str) -> None:
        Path("dvc.lock").write_bytes(remains)
        assert place in find_lock_damage()
        assert Path("dvc.lock").read_bytes() == remains  # who only looks changes nothing
        assert not DAMAGED.exists()
        assert place in repair_lock()
        assert DAMAGED.read_bytes() == remains
        DAMAGED.unlink()

    in_a_key = repository[: repository.index(b" md5: ") + 3]
    cut_off(in_a_key, "there is no whole copy")
    assert not Path("dvc.lock").exists()  # neither kept nor committed
    assert Dvc().reproduce("make", print) == "ran"
    assert Path("dvc.lock").read_bytes() == repository
    keep_lock()
    cut_off(b"", "the copy that was kept after the last stage (.dvc/tmp/dvc.lock.kept)")
    assert Path("dvc.lock").read_bytes() == repository
    KEPT.write_bytes(in_a_key)
    subprocess.run(["git", "add", "dvc.lock"], check=True)
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "lock"], check=True)
    cut_off(in_a_key, "the last commit's")
    assert Path("dvc.lock").read_bytes() == repository
    assert repair_lock() == find_lock_damage() == ""


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
        before = path.read_text()
        assert find_rwlock_damage() == ".dvc/tmp/rwlock names processes that have ended: `levy run` takes them out"
        assert path.read_text() == before
        assert "taken out" in repair_rwlock()
        Dvc().output("repro", "--force", "--single-item", "make")
        path.write_text(json.dumps({"write": {"a": at_work}, "read": {"b": [reused, at_work], "c": [reused]}}))
        repair_rwlock()
        assert json.loads(path.read_text()) == {"write": {"a": at_work}, "read": {"b": [at_work]}}
    finally:
        living.communicate(b"\n")
    for remains in ("", '{"write": {"a"', "[]", '{"write": {"a": 3}}'):
        path.write_text(remains)
        assert "is half written" in find_rwlock_damage()
        assert path.read_text() == remains
        assert "was half written" in repair_rwlock()
        assert not path.exists()
    path.write_text("{}")
    assert find_rwlock_damage() == repair_rwlock() == ""
    assert path.read_text() == "{}"


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

    def work(settings: Params) -> None:
        WRITERS[library](tmp_path / "small")

    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=r"error: the disk is full .* free some space and run the same command again"):
        stage.run(work, loading.load)
