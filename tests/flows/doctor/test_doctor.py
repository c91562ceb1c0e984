"""`levy doctor`: a healthy checkout gives only ok; each fault, made for real, is found, and its advice mends it."""

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flows.cli import dispatch
from flows.doctor import checkup, storage
from flows.doctor.findings import mask_passwords, ok, run_check
from flows.pipeline.dvc import repair_rwlock
from tests.conftest import Checkout
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.long
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@localhost")


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout after its first `levy run`: one champion in mlflow.db."""
    checkout = finished_checkout(tmp_path_factory, "healthy")
    checkout.levy("run")
    return checkout


@pytest.fixture
def here(healthy, monkeypatch) -> Path:
    """The healthy checkout as working directory, put back as git has it afterwards."""
    monkeypatch.chdir(healthy.root)
    monkeypatch.setenv("PATH", healthy.environment["PATH"])
    for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    yield healthy.root
    (healthy.root / ".dvc" / "config.local").unlink(missing_ok=True)
    subprocess.run(["git", "checkout", "-q", "."], check=True)
    subprocess.run(["git", "clean", "-qfd"], check=True)


def find(name: str, deep: bool = False):
    """The states, and the findings and advice in one text, of one check."""
    found = run_check(checkup.checks(deep)[name], 120)
    return {f.state for f in found}, " ".join(f"{f.found} -> {f.advice}" for f in found)


def is_well(name: str) -> bool:
    """Whether one check gives only ok."""
    return find(name)[0] == {"ok"}


def commit(path: str) -> None:
    subprocess.run(["git", "add", "-f", path], check=True)
    subprocess.run(["git", *IDENTITY, "commit", "-qm", "fault"], check=True)


def shell(advice: str) -> None:
    """Does what an advice says, as a person would in the checkout."""
    subprocess.run(advice, shell=True, check=True, capture_output=True)


def test_in_a_healthy_checkout_everything_is_ok_and_nothing_changes(healthy):
    def contents():
        files = {
            p for p in healthy.root.rglob("*") if p.is_file() and not p.is_relative_to(healthy.root / ".dvc" / "tmp")
        }
        return {p: p.stat().st_mtime_ns for p in files if "__pycache__" not in p.parts}

    before = contents()
    done = healthy.levy("doctor", "--json", check=False)
    report = json.loads(done.stdout)
    assert [f for f in report["findings"] if f["state"] != "ok"] == []
    assert report["healthy"]
    assert done.returncode == 0
    assert {f["check"] for f in report["findings"]} == set(checkup.checks(deep=False))
    assert contents() == before


def test_what_is_wrong_ends_with_exit_status_1_and_one_line_each(here, monkeypatch, capsys):
    (here / "params.yaml").unlink()
    some = {name: check for name, check in checkup.checks(deep=False).items() if name in ("disk", "params", "locks")}
    monkeypatch.setattr(checkup, "checks", lambda deep: some)
    monkeypatch.setattr(sys, "argv", ["levy", "doctor"])
    with pytest.raises(SystemExit) as ended:
        dispatch()
    assert ended.value.code == 1
    *lines, summary = capsys.readouterr().out.splitlines()
    assert all(line.split()[0] in ("ok", "warning", "wrong") for line in lines)
    assert any(line.startswith("wrong    params") for line in lines)
    assert " wrong, " in summary


def test_a_check_that_hangs_or_breaks_is_a_finding_and_the_rest_goes_on():
    release = threading.Event()
    (hung,) = run_check(lambda: [ok(str(release.wait(60)))], 0.05)
    release.set()
    (broken,) = run_check(lambda: [ok(str(1 / 0))], 60)
    assert (hung.state, broken.state) == ("wrong", "wrong")
    assert "no answer" in hung.found
    assert "ZeroDivisionError" in broken.found


def test_passwords_in_addresses_are_masked():
    assert mask_passwords("no answer from https://ann:s3cret@host/path") == "no answer from https://ann:***@host/path"


def test_a_package_that_lacks_another_is_named(here, monkeypatch, tmp_path):
    assert is_well("environment")
    described = tmp_path / "broken-1.0.dist-info" / "METADATA"
    described.parent.mkdir()
    described.write_text(
        "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\nRequires-Dist: levy-none\nRequires-Dist: rich<1\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    state, text = find("environment")
    assert state == {"wrong"}
    assert "broken 1.0 requires levy-none, which is not installed." in text
    assert "broken 1.0 has requirement rich<1, but you have rich" in text
    assert "pip install --no-deps -r requirements.lock" in text


def test_more_threads_than_cores_are_named(healthy, here):
    healthy.set_params({"compute": {"threads": 999}})
    state, text = find("processors")
    assert state == {"warning"}
    assert "999" in text


def test_little_room_is_named(here, monkeypatch):
    monkeypatch.setattr(storage, "ROOMY", 2**80)
    state, text = find("disk")
    assert state == {"warning"}
    assert "dvc gc" in text


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no second file system that can be written to")
def test_hardlinks_to_another_disk_are_named_and_the_advice_mends_it(here):
    shell("dvc cache dir --local /dev/shm/levy-no-cache && dvc config --local cache.type hardlink")
    state, text = find("disk")
    assert "wrong" in state
    shell(text.rsplit(" -> ", 1)[1])
    assert "wrong" not in find("disk")[0]


def test_uncommitted_files_are_named(here):
    (here / "tasks" / "mine.py").write_text("")
    state, text = find("git")
    assert state == {"warning"}
    assert "tasks/mine.py" in text


def test_a_file_that_git_must_not_keep_is_named_and_the_advice_mends_it(here):
    (here / "outputs" / "kept").write_text("x")
    commit("outputs/kept")
    try:
        state, text = find("git")
        assert "wrong" in state
        assert "git keeps outputs/kept" in text
        shell(f"git rm -q --cached outputs/kept && git {' '.join(IDENTITY)} commit -qm mended")
        assert is_well("git")
        subprocess.run(["git", "reset", "-q", "HEAD~1"], check=True)
    finally:
        (here / "outputs" / "kept").unlink(missing_ok=True)
        subprocess.run(["git", "reset", "-q", "HEAD~1"], check=True)


def test_a_password_that_others_can_read_is_named_and_the_advice_mends_it(here):
    shell("dvc cache dir --local /tmp && chmod 644 .dvc/config.local")
    (here / "client.env").write_text("MLFLOW_TRACKING_PASSWORD=\n")
    assert is_well("secrets")
    shell("dvc remote add --local storage ssh://host/path && dvc remote modify --local storage password pa55word")
    (here / "client.env").write_text("MLFLOW_TRACKING_PASSWORD=pa55word\n")
    state, text = find("secrets")
    assert state == {"wrong"}
    assert "others can read .dvc/config.local, client.env" in text
    assert "pa55word" not in text
    shell(text.rsplit(" -> ", 1)[1])
    assert is_well("secrets")


def test_locks_left_behind_are_named_and_the_advice_mends_them(here):
    lock = here / ".dvc" / "tmp" / "rwlock"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    other = subprocess.Popen(["sleep", "600"])

    def held(pid):
        lock.write_text(json.dumps({"read": {}, "write": {str(here / "outputs"): {"pid": pid, "cmd": "dvc repro"}}}))
        return find("locks")

    try:
        assert held(gone.pid)[0] == {"warning"}
        state, text = held(other.pid)
        assert state == {"wrong"}
        assert "sleep 600" in text
        assert text.endswith(" -> levy doctor --mend")
        shell("levy doctor --mend || true")  # other checks may find something
        assert is_well("locks")
        lock.write_text('{"write": {"half')
        state, text = find("locks")
        assert state == {"wrong"}
        assert text.endswith(" -> levy doctor --mend")
        repair_rwlock()  # what it does first
        assert is_well("locks")
    finally:
        other.kill()
        other.wait()
        lock.unlink(missing_ok=True)


def test_a_lock_file_that_dvc_cannot_read_is_named_and_the_advice_mends_it(here):
    path = here / "dvc.lock"
    whole = path.read_bytes()
    path.write_bytes(b"")
    state, text = find("locks")
    assert state == {"wrong", "ok"}
    assert "dvc.lock is damaged (it is empty)" in text
    assert path.read_bytes() == b""
    shell("levy doctor --mend || true")
    assert path.read_bytes() == whole
    assert is_well("locks")


def test_changed_data_are_named_and_the_advice_brings_the_recorded_version_back(here):
    victim = next(p for p in (here / "data").rglob("*") if p.is_file())
    victim.unlink()
    state, text = find("data")
    assert state == {"wrong"}
    assert "dvc pull data.dvc" in text
    shell("dvc pull -q data.dvc --force")
    assert is_well("data")


def test_damaged_cache_entries_are_named_and_the_advice_mends_them(here):
    entries = [p for p in (here / ".dvc/cache/files/md5").glob("??/*") if not p.name.endswith(".dir")]
    pulled = max(entries, key=lambda p: p.stat().st_size)  # the starter data
    made = next(p for p in entries if p.read_bytes() == (here / "outputs/digits/curves/ddpm.csv").read_bytes())
    good = {victim: victim.read_bytes() for victim in (pulled, made)}
    for victim in good:
        victim.chmod(0o644)
        victim.write_bytes(good[victim] + b"damage")
    state, text = find("cache", deep=True)
    assert state == {"wrong"}
    assert all(str(victim) in text for victim in good)
    shell(text.rsplit(" -> ", 1)[1].split(";")[0])
    assert is_well("cache")
    assert pulled.read_bytes() == good[pulled]
    assert " 0 of 8 stages" not in find("data")[1]  # the next run makes the other one again
    made.write_bytes(good[made])


def test_a_remote_that_does_not_answer_is_named(here):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nothing listens
        shell(f"dvc remote add --local storage ssh://127.0.0.1:{taken.getsockname()[1]}/store")
        state, text = find("remotes")
    assert state == {"ok", "wrong"}
    assert "storage (ssh://127.0.0.1" in text


def test_a_server_that_does_not_answer_is_named_within_seconds(here, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    begun = time.monotonic()
    for name in ("mlflow", "prefect"):
        state, text = find(name)
        assert state == {"wrong"}
        assert "does not answer" in text
        assert "unset" in text
    assert time.monotonic() - begun < 30


def test_a_database_of_another_mlflow_is_named(here, monkeypatch, tmp_path):
    old = tmp_path / "old.db"
    shutil.copy(here / "mlflow.db", old)
    with sqlite3.connect(old) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0's
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old}")
    state, text = find("mlflow")
    assert state == {"wrong"}
    assert f"mlflow db upgrade sqlite:///{old}" in text


def test_a_champion_that_is_not_whole_is_named(here):
    assert is_well("registry")
    weights = next((here / "mlartifacts").rglob("model.safetensors"))
    good = weights.read_bytes()
    one_bit, half = good[:-1] + bytes([good[-1] ^ 1]), good[: len(good) // 2]
    for expected, content in (("model.safetensors", one_bit), ("model.safetensors", half), ("", None)):
        weights.unlink(missing_ok=True)
        if content is not None:
            weights.write_bytes(content)
        state, text = find("registry")
        assert state == {"wrong"}
        assert "levy-digits@champion" in text
        assert expected in text
        assert "levy restore models:/levy-digits/1" in text
    weights.write_bytes(good)
    assert is_well("registry")
