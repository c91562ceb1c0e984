"""`levy doctor`: a healthy checkout gives only ok; each fault, made for real, is found, and its advice mends it."""

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from flows.cli import dispatch
from flows.doctor import checkup, servers, storage
from flows.doctor.findings import mask_passwords, ok, run_check
from tasks.params import plain_yaml
from tasks.registry import keys
from tests.conftest import Checkout
from tests.support.outputs import finished_checkout, flip
from tests.support.servers import free_port, running
from tests.support.service import prefect_server

pytestmark = pytest.mark.long
LOST_SECOND = """
from tasks.registry import integrity, promotions, tracking
client = tracking.connect().MlflowClient()
first = client.get_model_version("levy-digits", "1")
tags = {name: value for name, value in first.tags.items() if name != integrity.TAG}
version = str(client.create_model_version("levy-digits", first.source, tags=tags).version)
promotions.move(client, "levy-digits", promotions.CHAMPION, version, "test")
"""
FIND = """
import dataclasses, json, sys
from flows.doctor import checkup
from flows.doctor.findings import run_check
print(json.dumps([dataclasses.asdict(finding) for finding in run_check(checkup.checks(False)[sys.argv[1]], 120)]))
"""


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


def shell(advice: str) -> None:
    """Does what an advice says, as a person would in the checkout."""
    subprocess.run(advice, shell=True, check=True, capture_output=True)


def find_anew(name: str) -> list[dict[str, str]]:
    """What is not ok, of one check in a process of its own, which keeps no connection to what was there before."""
    done = subprocess.run([sys.executable, "-c", FIND, name], capture_output=True, text=True, check=True)
    return [finding for finding in json.loads(done.stdout.splitlines()[-1]) if finding["state"] != "ok"]


def mend(name: str, *words: str) -> None:
    """A check finds something with these words; the command that it names is run as it stands, and then the check gives only ok."""
    found = find_anew(name)
    text = " ".join(finding["found"] + finding["advice"] for finding in found)
    assert found
    assert all(word in text for word in words), text
    for advice in dict.fromkeys(finding["advice"] for finding in found):
        done = subprocess.run(advice, shell=True, capture_output=True, text=True)
    assert find_anew(name) == [], (found, done.stdout, done.stderr)


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


def test_a_package_that_lacks_another_is_named_and_the_advice_mends_it(here, tmp_path, monkeypatch):
    venv = tmp_path / "a venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    (site,) = venv.glob("lib/*/site-packages")
    (site / "ours.pth").write_text(str(Path(pytest.__file__).parent.parent))
    described = site / "broken-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: broken\nVersion: 1.0\nRequires-Dist: levy-none\nRequires-Dist: rich<1\n"
    )
    (described / "RECORD").write_text("broken-1.0.dist-info/METADATA,,\nbroken-1.0.dist-info/RECORD,,\n")
    monkeypatch.setattr(sys, "executable", str(venv / "bin" / "python"))
    mend(
        "environment",
        "broken 1.0 requires levy-none, which is not installed.",
        "broken 1.0 has requirement rich<1, but you have rich",
    )


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


def test_files_that_git_must_not_keep_are_named_and_the_advice_mends_it(here, monkeypatch):
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "test")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "test@localhost")
    before = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True).strip()
    kept = [here / "outputs" / f"kept {number}" for number in range(5)]
    try:
        for path in kept:
            path.write_text("x")
        subprocess.run(["git", "add", "-f", *kept], check=True)
        subprocess.run(["git", "commit", "-qm", "fault"], check=True)
        mend("git", "git keeps outputs/kept 0", "5 files")
        assert all(path.exists() for path in kept)
    finally:
        subprocess.run(["git", "reset", "-q", before], check=True)
        for path in kept:
            path.unlink(missing_ok=True)


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


def test_a_signing_key_that_others_can_read_is_named(here, monkeypatch, tmp_path):
    monkeypatch.setenv(keys.TRUSTED, str(keys.make(tmp_path / "key")))
    monkeypatch.setenv(keys.SIGNING, str(tmp_path / "key"))
    assert is_well("keys")
    (tmp_path / "key").chmod(0o644)
    state, text = find("keys")
    assert (state, f"chmod 600 {tmp_path / 'key'}" in text) == ({"wrong"}, True)


def test_locks_left_behind_are_named_and_the_advice_mends_them(here):
    lock = here / ".dvc" / "tmp" / "rwlock"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    other = subprocess.Popen(["sleep", "600"])

    def held(pid):
        return json.dumps({"read": {}, "write": {str(here / "outputs"): {"pid": pid, "cmd": "dvc repro"}}})

    try:
        for remains in (held(gone.pid), held(other.pid), '{"write": {"half', '{"write": {"a": 3}}', "[]"):
            lock.write_text(remains)
            mend("locks", "rwlock")
    finally:
        other.kill()
        other.wait()
        lock.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "share", ["0", "in a key", "in the last line", "before outs", "between outs", "between stages", "gone"]
)
def test_a_lock_that_was_cut_off_is_named_and_mended_and_hides_no_damage(here, share):
    path = here / "dvc.lock"
    whole = path.read_bytes()
    compare = whole.index(b"  compare@")
    end = {
        "0": 0,
        "in a key": whole.index(b" md5: ") + 3,
        "in the last line": len(whole) - 1,
        "before outs": whole.index(b"    outs:", compare),
        "between outs": whole.index(b"    - path:", whole.index(b"    outs:", compare) + 20),
        "between stages": compare,
    }
    path.write_bytes(whole[: end[share]]) if share in end else path.unlink()
    victim = max((p for p in (here / "data").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    good = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(good[:-5])
    output = here / "outputs/digits/models/ddpm/model.safetensors"
    trained = output.read_bytes()
    flip(output)
    assert "data/ differs from data.dvc" in find("data")[1]
    mend("locks", "dvc.lock")
    assert plain_yaml.read(path.read_text()) == plain_yaml.read(whole.decode())
    assert output.read_bytes() == trained
    shell(re.search(r"`(dvc pull .*?)`", find("data")[1])[1])
    assert is_well("data")
    assert victim.read_bytes() == good


def test_data_that_came_from_a_damaged_cache_are_named_after_the_cache_was_mended(here):
    shutil.rmtree(here / "data")
    entry = max((p for p in (here / ".dvc/cache/files/md5").glob("??/*")), key=lambda p: p.stat().st_size)
    good = entry.read_bytes()
    flip(entry)
    shell("dvc pull -q data.dvc")
    assert is_well("data") is False
    mend("cache", entry.name)
    mend("data", "neither size nor time")
    assert entry.read_bytes() == good
    shutil.rmtree(here / ".levy" / "data.damaged")


def test_changed_data_are_named_and_the_advice_brings_the_recorded_version_back(here):
    victim = next(p for p in (here / "data").rglob("*") if p.is_file())
    victim.unlink()
    state, text = find("data")
    assert state == {"wrong"}
    shell(re.search(r"`(dvc pull .*?)`", text)[1])
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
    assert " 0 of 9 stages" not in find("data")[1]  # the next run makes the other one again
    made.write_bytes(good[made])


def test_a_remote_without_anything_is_named_and_the_advice_fills_it(here, tmp_path):
    shell(f"dvc remote add --local storage {tmp_path / 'store'}")
    shutil.move(here / "outputs", tmp_path / "outputs")  # as in a fresh clone: nothing is there to push
    try:
        mend("remotes", "nothing is kept in the remote storage")
    finally:
        shutil.rmtree(here / "outputs", ignore_errors=True)
        shutil.move(tmp_path / "outputs", here / "outputs")


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
    old = tmp_path / "an old.db"
    shutil.copy(here / "mlflow.db", old)
    with sqlite3.connect(old) as database:
        database.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")  # MLflow 1.0's
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{old}")
    state, text = find("mlflow")
    assert state == {"wrong"}
    assert f"mlflow db upgrade 'sqlite:///{old}'" in text


@pytest.fixture
def kept_record(here, tmp_path):
    """The record of the healthy checkout, put back afterwards with its artifacts."""
    shutil.copy(here / "mlflow.db", tmp_path)
    shutil.copytree(here / "mlartifacts", tmp_path / "mlartifacts")
    yield here / "mlflow.db"
    shutil.copy(tmp_path / "mlflow.db", here)
    shutil.rmtree(here / "mlartifacts")
    shutil.copytree(tmp_path / "mlartifacts", here / "mlartifacts")


def test_a_database_that_is_none_is_named_and_the_advice_restores_it(kept_record):
    kept_record.write_text("hello")
    mend("mlflow", "cannot be used")
    assert find_anew("registry") == []


def test_a_champion_that_is_not_whole_is_named_and_the_advice_brings_it_back(here, kept_record):
    weights = next((here / "mlartifacts").rglob("models/*/artifacts/**/model.safetensors"))
    good = weights.read_bytes()
    one_bit, half = good[:-1] + bytes([good[-1] ^ 1]), good[: len(good) // 2]
    for expected, content in (("model.safetensors", one_bit), ("model.safetensors", half), ("", None)):
        weights.unlink(missing_ok=True)
        if content is not None:
            weights.write_bytes(content)
        mend(
            "registry", "levy-digits@champion (version 1) is not whole", expected, "levy restore models:/levy-digits/1"
        )
        assert weights.read_bytes() == good


def test_a_champion_of_an_earlier_levy_whose_artifacts_are_lost_is_named_and_the_advice_gives_the_one_before(
    kept_record,
):
    subprocess.run([sys.executable, "-c", LOST_SECOND], check=True)
    with sqlite3.connect(kept_record) as database:
        database.execute(
            "UPDATE model_versions SET source = 'file:///no', storage_location = 'file:///no' WHERE version = 2"
        )
    mend("registry", "(version 2) is not whole", "levy rollback")


def test_what_keeps_a_deployment_from_running_is_named_and_the_advice_mends_it(healthy, here, tmp_path, monkeypatch):
    port = free_port()
    own = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PWD": str(here)}
    options = {"cwd": here, "env": healthy.environment | own}
    for name, value in own.items():
        monkeypatch.setenv(name, value)

    def is_served(pool):
        return not any(f.found == f"no worker serves the work pool {pool}" for f in run_check(servers.schedule, 60))

    with prefect_server(port, tmp_path, **options):
        assert is_well("prefect")
        (missing,) = run_check(servers.schedule, 60)
        shell(missing.advice)
        with contextlib.ExitStack() as workers:
            for unserved in run_check(servers.schedule, 60):
                worker = [sys.executable, "-m", *shlex.split(unserved.advice.split(", or ")[1])]
                ready = partial(is_served, worker[-1])
                workers.enter_context(running(worker, tmp_path / f"{worker[-1]}.log", ready, **options))
            assert is_well("schedule")
            shell("prefect work-pool pause levy")
            mend("schedule", "the work pool levy is paused")
            shell("prefect --no-prompt deployment schedule pause --all")
            mend("schedule", "the deployment retrain-digits is paused")
            found = {d["name"]: d["id"] for d in servers.query_prefect("deployments/filter", {})}
            servers.query_prefect(f"deployments/{found['retrain-digits']}/pause_deployment", {})
            mend("schedule", "the deployment retrain-digits is paused")
