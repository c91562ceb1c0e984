"""Bad input ends early: one message that names the thing, a non-zero exit, and nothing overwritten."""

import fcntl
import importlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from flows.cli import dispatch
from flows.pipeline import server
from flows.pipeline.dvc import Dvc, find_rwlock_damage
from flows.pipeline.preflight import find_prunable, prune_outputs
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files
from tasks.params import loading
from tasks.runtime import paths
from tests.conftest import ROOT, TINY, make_checkout, merged, wait_until


@pytest.fixture
def refused(bare_checkout, monkeypatch):
    """Runs a levy command in the bare checkout and returns the message that it ends with."""

    def run(*arguments, **environment):
        monkeypatch.chdir(bare_checkout.root)
        monkeypatch.setattr(sys, "argv", ["levy", *arguments])
        for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            dispatch()
        assert isinstance(ended.value.code, str)  # printed to standard error, exit status 1
        assert ended.value.code.startswith("error: ")
        # A private server that was started for the run is stopped, and forgotten.
        assert os.environ.get("PREFECT_API_URL") == environment.get("PREFECT_API_URL")
        return ended.value.code

    return run


def message_of(done):
    """The message of a command that refused."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def data(bare_checkout):
    """The data folder of the bare checkout, put back afterwards."""
    folder, kept = bare_checkout.root / "data", bare_checkout.root / ".dvc/tmp/kept"
    shutil.copytree(folder, kept)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)
    kept.rename(folder)


def nothing_ran(checkout):
    return (
        not (checkout.root / "outputs").exists()
        and not (checkout.root / "mlflow.db").exists()
        and not (checkout.root / "dvc.lock").exists()
    )


def test_bad_params_are_refused_and_a_params_file_is_not_adopted(bare_checkout, refused, tmp_path):
    before = (bare_checkout.root / "params.yaml").read_text()
    path = tmp_path / "bad.yaml"
    path.write_text(
        yaml.safe_dump(
            merged(
                yaml.safe_load(before),
                {"sample": {"grid": {"paper": {"etas": [-1.0]}}}, "models": {"lim": {"alpha": 3}}},
            )
        )
    )
    message = refused("run", "--params", str(path))
    assert "sample.grid.paper.etas[0] is -1.0" in message
    assert (bare_checkout.root / "params.yaml").read_text() == before
    assert nothing_ran(bare_checkout)


def test_a_refusal_leaves_no_half_written_lock_of_the_dvc_that_it_stops(bare_checkout, refused, monkeypatch):
    rwlock, stop_all = bare_checkout.root / ".dvc/tmp/rwlock", Dvc.stop_all

    def stop_within_a_write(dvc):
        stop_all(dvc)
        rwlock.write_text("")  # DVC opens the file anew for every stage that it looks at, dozens of times

    monkeypatch.setattr(Dvc, "stop_all", stop_within_a_write)
    (bare_checkout.root / "params.yaml").rename(bare_checkout.root / "kept.yaml")
    try:
        assert "params.yaml" in refused("check")
        assert find_rwlock_damage(bare_checkout.root) == ""
    finally:
        (bare_checkout.root / "kept.yaml").rename(bare_checkout.root / "params.yaml")


def test_missing_data_is_refused(bare_checkout, refused, data):
    shutil.rmtree(data)
    assert "`dvc pull data.dvc`" in refused("run")
    assert nothing_ran(bare_checkout)


def test_half_pulled_data_is_refused(bare_checkout, refused, data):
    (data / "digits" / "7").mkdir()
    (data / "digits" / "7" / "extra.csv").write_bytes(b"x")
    message = refused("check")
    assert "data/ differs from data.dvc: 1 added (data/digits/7/extra.csv)" in message
    assert "`dvc add data`" in message


def test_a_gpu_or_weights_that_are_not_there_are_refused_before_anything_runs(bare_checkout, refused, tmp_path):
    path = bare_checkout.root / "params.yaml"
    before = path.read_text()
    missing = str(tmp_path / "inception.pth")
    other = bare_checkout.root / "outputs/digits/curves/other.csv"  # of a design that params.yaml does not name
    other.parent.mkdir(parents=True)
    other.touch()
    try:
        path.write_text(
            yaml.safe_dump(merged(yaml.safe_load(before), {"evaluate": {"images": {"inception_weights": missing}}}))
        )
        assert f"evaluate.images.inception_weights is {missing}, which is no file" in refused("run")
        if not torch.cuda.is_available():
            path.write_text(yaml.safe_dump(merged(yaml.safe_load(before), {"compute": {"device": "cuda"}})))
            assert "compute.device is cuda, but torch finds no GPU" in refused("run")
        assert [file for file in (bare_checkout.root / "outputs").rglob("*") if file.is_file()] == [
            other
        ]  # not set aside
    finally:
        path.write_text(before)
        shutil.rmtree(bare_checkout.root / "outputs")
    assert nothing_ran(bare_checkout)


def test_a_truncated_zip_is_refused(bare_checkout, refused, data):
    path = data / "digits" / "digits.zip"
    whole = path.read_bytes()
    path.unlink()  # the workspace file may be a link into DVC's cache
    path.write_bytes(whole[: len(whole) // 2])
    assert "digits.zip is not a readable zip" in refused("run")
    assert nothing_ran(bare_checkout)


@pytest.mark.parametrize(
    ("variable", "address", "message"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "the MLflow server http://127.0.0.1:9 does not answer"),
        ("PREFECT_API_URL", "http://127.0.0.1:9/api", "the Prefect server http://127.0.0.1:9/api does not answer"),
        ("LEVY_SIGNING_KEY", "/nowhere/key", "LEVY_SIGNING_KEY: /nowhere/key cannot be read"),
    ],
)
def test_servers_that_do_not_answer_and_keys_that_cannot_be_read_are_named(
    bare_checkout, refused, variable, address, message
):
    importlib.import_module("prefect")  # a program that has Prefect and calls a command goes on after the refusal
    assert message in refused("run", **{variable: address})
    assert nothing_ran(bare_checkout)


def test_a_busy_dvc_and_a_second_run_are_named(bare_checkout, refused):
    for lock, message in (
        (".dvc/tmp/lock", "DVC is busy in this checkout"),
        (".dvc/tmp/levy.lock", "another `levy run` (process 4711)"),
    ):
        path = bare_checkout.root / lock
        with path.open("w") as stream:
            stream.write("4711")
            stream.flush()
            fcntl.flock(stream, fcntl.LOCK_EX)
            assert message in refused("run")
    assert nothing_ran(bare_checkout)


@pytest.mark.parametrize(
    ("file", "remains", "message"),
    [
        (".dvc/tmp/rwlock", "", ".dvc/tmp/rwlock is half written, and DVC refuses it: `levy run` removes it"),
        ("dvc.lock", "", "dvc.lock is damaged (it is empty): there is no whole copy, so `levy run` moves it to"),
        ("dvc.lock", "<<<<<<< HEAD\n", "dvc.lock holds marks of a git merge from line 1 on (<<<<<<<): resolve"),
    ],
)
def test_what_a_kill_left_is_named_by_a_check_that_changes_nothing(bare_checkout, refused, file, remains, message):
    path = bare_checkout.root / file
    path.write_text(remains)
    try:
        assert message in refused("check")
        assert path.read_text() == remains
    finally:
        path.unlink()


def test_a_check_of_other_settings_leaves_params_yaml_alone(bare_checkout, tmp_path):
    own, other = bare_checkout.root / "params.yaml", tmp_path / "other.yaml"
    before = own.read_text()
    other.write_text(yaml.safe_dump({**yaml.safe_load(before), "designs": ["ddpm"]}))
    said = bare_checkout.levy("check", "--params", str(other)).stdout
    assert f"1 designs, 24 cells per design, 2 seeds; `levy run --params {other}` runs in .levy/run-other" in said
    assert own.read_text() == before


def test_outputs_of_designs_that_are_not_named_are_kept_aside_and_come_back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = loading.load(ROOT / "params.yaml")
    designs, (dataset,) = both.designs[:2], both.datasets[:1]
    both = both.model_copy(update={"designs": designs, "datasets": [dataset]})
    one = both.model_copy(update={"designs": designs[:1]})
    for output in (output for design in designs for output in paths.outputs_of_design(dataset, design)):
        file = output if output.suffix else output / "cell.npy"  # one that DVC's cache has never seen
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"hours of work on {file}")
    (paths.curve(dataset, designs[1]).parent / ".half.csv.part").touch()
    resume = paths.resume(dataset, designs[1])
    resume.parent.mkdir()
    resume.touch()

    def contents():
        return {str(path): path.read_text() for path in Path().rglob("*") if path.is_file() and path.suffix != ".part"}

    before = contents()
    half = {paths.curve(dataset, designs[1]).parent}
    assert (find_prunable(both), prune_outputs(both), find_prunable(both)) == (half, [], set())
    assert find_prunable(one) == {output.parent for output in paths.outputs_of_design(dataset, designs[1])}
    (line,) = prune_outputs(one)
    assert f"moved to outputs/{dataset}/.pruned, as params.yaml does not name their designs" in line
    assert f"samples/{designs[1]}" in line
    for folder in (output.parent for output in paths.outputs_of_design(dataset, designs[0])):
        assert [path.name.removesuffix(path.suffix) for path in folder.iterdir()] == [designs[0]]
    assert resume.exists()
    assert sorted(contents().values()) == sorted(before.values())
    assert (find_prunable(one), prune_outputs(one)) == (set(), [])
    of_second = paths.outputs_of_design(dataset, designs[1])
    assert find_prunable(both) == {*of_second, *(output.parent for output in of_second)}
    (line,) = prune_outputs(both)
    assert f"brought back from outputs/{dataset}/.pruned" in line
    assert f"samples/{designs[1]}" in line
    assert contents() == before


def test_the_levy_command_itself_ends_with_status_1_and_no_traceback(bare_checkout, tmp_path):
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    message = message_of(bare_checkout.levy("lookup", "levy-cats", check=False, MLFLOW_TRACKING_URI=store))
    assert "no registered model levy-cats" in message


def test_unknown_names_on_a_stages_command_line(bare_checkout):
    done = bare_checkout.run(
        sys.executable, "-m", "tasks", "train", "--dataset", "digits", "--design", "gan", check=False
    )
    assert "unknown design 'gan': params.yaml has lim, ddpm" in message_of(done)
    shown = bare_checkout.run(sys.executable, "-m", "tasks", "train", "--help").stdout
    assert "interrupted, it goes on" in shown


def stage(checkout, *arguments):
    return checkout.run(sys.executable, "-m", *arguments, check=False)


def test_a_failed_prepare_keeps_what_was_there(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", TINY)
    assert stage(checkout, "tasks", "prepare", "--dataset", "digits").returncode == 0
    files = sorted(p for p in (checkout.root / "outputs").rglob("*") if p.is_file())
    before = hash_files(*files)
    archive = checkout.root / "data/digits/digits.zip"
    broken = bytearray(archive.read_bytes())
    for position in range(1000, len(broken) // 2, 997):  # in the images, not in the directory at the end
        broken[position] ^= 0xFF
    archive.unlink()
    archive.write_bytes(broken)
    assert "digits.zip" in message_of(stage(checkout, "tasks", "prepare", "--dataset", "digits"))
    assert sorted(p for p in (checkout.root / "outputs").rglob("*") if p.is_file()) == files
    assert hash_files(*files) == before


def test_a_full_disk_is_named(tmp_path):
    checkout = make_checkout(tmp_path / "checkout", TINY)
    small = checkout.root / "outputs"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(small)], capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here (not root)")
    try:
        message = message_of(stage(checkout, "tasks", "prepare", "--dataset", "digits"))
        assert "the disk is full" in message
        assert list(small.rglob("*.json")) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_command_that_takes_too_long_leaves_no_process_behind(bare_checkout):
    with pytest.raises(subprocess.TimeoutExpired):
        bare_checkout.run("sh", "-c", "sleep 300; true", timeout=1)  # the shell waits for a child of its own
    # A killed process needs a moment to be gone.
    assert wait_until(lambda: not [line for line in bare_checkout.processes() if "sleep 300" in line], 30)


@pytest.mark.parametrize(
    "text", ["[" * 300_000, "data: {digits: 3}\n", "train: {steps: !!int x}\n", "train: {steps: 0x" + "f" * 999 + "}\n"]
)
def test_monstrous_settings_end_the_program_in_one_line(bare_checkout, tmp_path, text):
    monster = tmp_path / "monster.yaml"
    monster.write_text(text)
    done = bare_checkout.levy("check", "--params", str(monster), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def own_server(tmp_path, monkeypatch):
    """Starts a run's own server, whose home is the test's folder."""
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return server.PrivateServer


def test_a_run_whose_own_server_cannot_start_says_how_it_ended_at_once(own_server, monkeypatch):
    monkeypatch.setenv("PREFECT_API_DATABASE_CONNECTION_URL", "sqlite+aiosqlite:////proc/no/such/prefect.db")
    refused = (
        r"(?s)Prefect server ended with status \d+ at its start: see .*server.log, which ends with: .*unable to open"
    )
    with pytest.raises(LevyError, match=refused):
        own_server().wait()
    assert "PREFECT_API_URL" not in os.environ


def test_a_server_that_is_killed_while_it_starts_is_noticed_and_named(own_server):
    started = own_server()
    started._process.kill()
    with pytest.raises(
        LevyError, match=r"Prefect server was killed by SIGKILL, .*memory .* at its start: see .*server.log"
    ):
        started.wait()


@pytest.mark.long
def test_a_server_that_does_nothing_any_more_is_given_up_and_one_that_works_is_waited_for(own_server, monkeypatch):
    monkeypatch.setattr(server, "IDLE_SECONDS", 2.0)  # less than it takes to start
    stuck = own_server()
    stuck._process.send_signal(signal.SIGSTOP)
    with pytest.raises(LevyError, match=r"did not answer within \d+ s \(\d+ s of them without any work\)"):
        stuck.wait()
    patient = own_server()
    patient.wait()
    patient.stop()
