"""A registered version whose files are damaged or lost is named by `levy doctor` and `levy run`, and `levy restore` brings it back."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flows.doctor import models, registry
from flows.pipeline import recovery
from flows.pipeline.dvc import Dvc
from flows.pipeline.recovery import find_store
from flows.reproduce.restore import restore
from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST
from levy_core.training.checkpoint import load_model
from tasks.params import loading
from tasks.registry import integrity, tracking
from tasks.registry.record import model_name, record
from tasks.runtime import paths
from tasks.runtime.checksums import hash_of
from tests.support.outputs import finished_checkout, flip

pytestmark = pytest.mark.pipeline
NAME = model_name("digits")
URI = f"models:/{NAME}/1"
MODEL = paths.model("digits", "ddpm")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A finished checkout whose run is recorded, and the folder of its champion's artifact."""
    checkout = finished_checkout(tmp_path_factory, "restored")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(checkout.root)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout.root}/mlflow.db")
        record(loading.load(), "digits")
        version = tracking.connect().MlflowClient().get_model_version(NAME, "1")
        return checkout, Path(integrity.open_store(version).artifact_dir)


@pytest.fixture
def artifact(checkout, monkeypatch):
    """The folder of the artifact, in a checkout that is as before afterwards."""
    made, artifact = checkout
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made.root}/mlflow.db")
    monkeypatch.setenv("PATH", made.environment["PATH"])
    kept = contents(artifact), contents(MODEL)
    yield artifact
    assert contents(artifact) == kept[0]
    for path, content in kept[1].items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def examine():
    """The finding of `levy doctor` on the one champion, and the command that it names first."""
    (finding,) = registry.registry(deep=False)
    return finding.state, finding.found, finding.advice.split(",")[0]


def test_the_command_that_doctor_names_mends_every_file_at_once(artifact):
    assert examine()[0] == "ok"
    before = contents(artifact)
    for path in before:
        flip(path)
    shutil.rmtree(artifact / integrity.INNER / "lineage")
    (artifact / "stray").touch()
    state, found, command = examine()
    assert (state, command) == ("wrong", f"levy restore {URI}")
    assert "MLmodel is damaged" in found
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{URI} is as it was registered"
    assert contents(artifact) == before
    assert examine()[0] == "ok"


def test_all_of_an_artifact_comes_back(artifact):
    shutil.rmtree(artifact)
    assert examine()[0] == "wrong"
    restore(URI, 1)
    assert examine()[0] == "ok"


def test_weights_come_from_outputs_dvcs_cache_or_a_remote_and_damaged_ones_from_nowhere(artifact, tmp_path, capsys):
    weights, dvc = artifact / integrity.INNER / "model.safetensors", Dvc()
    dvc.output("remote", "add", "--local", "--default", "second", str(tmp_path))
    dvc.output("push", "--remote", "second", str(MODEL))
    whole = weights.read_bytes()
    flip(weights)
    restore(URI, 1)
    assert "restored data/model/model.safetensors from outputs/" in capsys.readouterr().out
    flip(weights)
    flip(MODEL / "model.safetensors")
    restore(URI, 1)
    assert "from DVC's cache" in capsys.readouterr().out
    flip(weights)
    for entry in find_store(dvc).rglob("*"):  # of the cache of this checkout
        if entry.is_file() and entry.read_bytes() == whole:
            flip(entry)
    restore(URI, 1)
    assert "from the remote second" in capsys.readouterr().out


@pytest.mark.long
def test_levy_run_and_levy_reproduce_name_a_damaged_registered_model(artifact, checkout):
    for name, command in (("model.safetensors", ["run"]), ("lineage/params.yaml", ["reproduce", URI])):
        flip(artifact / integrity.INNER / name)
        done = checkout[0].levy(*command, check=False)
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1].startswith(f"error: {URI} is not as it was registered: data/model/{name}")
        assert f"`levy restore {URI}` brings it back" in done.stderr
        restore(URI, 1)


def test_a_damaged_model_in_outputs_is_refused_where_it_is_loaded_named_by_doctor_and_mended(artifact):
    for path in (MODEL / "model.safetensors", MODEL / "design.json", MODEL / MANIFEST):
        flip(path)
        with pytest.raises(LevyError, match=f"{MODEL}.*(`levy doctor` names the command that restores it)"):
            load_model(MODEL)
        (finding,) = models.trained_models(deep=False)
        assert (finding.state, finding.advice) == ("wrong", "levy doctor --mend")
        assert list(recovery.repair_checkout(Dvc()))  # what that does first
        load_model(MODEL)
        assert [finding.state for finding in models.trained_models(deep=False)] == ["ok"]


def test_a_stage_that_starts_from_a_damaged_model_ends_with_one_line(artifact, checkout):
    flip(MODEL / "model.safetensors")
    done = checkout[0].run(
        sys.executable, "-m", "tasks", "sample", "--dataset", "digits", "--design", "ddpm", check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "model.safetensors is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_nobody_recorded_or_has_is_refused_with_what_to_do(artifact):
    client = tracking.connect().MlflowClient()
    tags = client.get_model_version(NAME, "1").tags
    copy = artifact / integrity.INNER / "sampler.json"
    whole = copy.read_bytes()
    flip(copy)
    try:
        client.set_model_version_tag(NAME, "1", "levy.run", "0" * 32)
        with pytest.raises(LevyError, match=r"^data/model/sampler.json of models:/levy-digits/1 cannot be restored"):
            restore(URI, 1, lambda line: None)
        client.delete_model_version_tag(NAME, "1", integrity.TAG)
        with pytest.raises(LevyError, match="was registered by an earlier levy"):
            restore(URI, 1)
        client.set_model_version_tag(NAME, "1", integrity.TAG, "0")
        with pytest.raises(LevyError, match=f"the tag {integrity.TAG} of {URI} is damaged"):
            restore(URI, 1)
    finally:
        copy.write_bytes(whole)
        for tag in ("levy.run", integrity.TAG):
            client.set_model_version_tag(NAME, "1", tag, tags[tag])


@pytest.mark.long
def test_weights_that_are_nowhere_are_made_again(artifact, capsys):
    weights = artifact / integrity.INNER / "model.safetensors"
    content = hash_of(weights)
    entry = find_store(Dvc()) / content[:2] / content[2:]
    kept = entry.read_bytes()
    entry.unlink()
    shutil.rmtree(MODEL)
    flip(weights)
    restore(URI, 2)
    assert "restored data/model/model.safetensors from what was made again" in capsys.readouterr().out
    flip(weights)
    restore(URI, 2)
    assert "restored data/model/model.safetensors from an earlier `levy reproduce`" in capsys.readouterr().out
    entry.write_bytes(kept)
