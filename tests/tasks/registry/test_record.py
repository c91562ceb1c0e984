"""A record ends the runs that it left half made itself, and no others of the same outputs."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from flows.pipeline.workspace import git
from levy_core.base.errors import LevyError
from levy_core.base.manifest import sha256_of
from tasks.cells.comparison import read_winner
from tasks.cells.observed import SCORES, read_scores
from tasks.params import loading
from tasks.registry import integrity, keys, lineage, live, provenance, tracking
from tasks.registry.record import model_name, record
from tasks.registry.tracking import HOST
from tasks.runtime import finished, paths
from tasks.runtime.live import LiveLog
from tests.conftest import wait_until
from tests.support import victims
from tests.support.databases import put_database
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.pipeline


@pytest.fixture
def here(tmp_path_factory, monkeypatch):
    """A finished checkout as working directory, recorded in its mlflow.db by nobody yet."""
    checkout = finished_checkout(tmp_path_factory, "recorded")
    monkeypatch.chdir(checkout.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", put_database(checkout.root))  # MLflow would set it for good
    return checkout.root


def kill_in_mid_record(root):
    """Kills a record when its first run has begun; returns that run's number."""
    tracking.connect()  # makes the database
    process = victims.start(root, "record")

    def begun():
        with closing(sqlite3.connect(root / "mlflow.db")) as database:
            return database.execute("select run_uuid from runs where status = 'RUNNING'").fetchall()

    assert wait_until(begun, 60)
    process.kill()
    process.join()
    return begun()[0][0]


def test_only_runs_that_this_checkout_left_running_are_marked_as_killed(here):
    settings = loading.load()
    interrupted = kill_in_mid_record(here)
    first = record(settings, "digits")
    client = tracking.connect().MlflowClient()
    assert (first.fresh, client.get_run(interrupted).info.status) == (True, "KILLED")
    ended = client.get_run(first.run_id)
    colleague = client.create_run(ended.info.experiment_id, tags={**ended.data.tags, HOST: "another 0"}).info.run_id
    client.delete_registered_model(model_name("digits"))
    second = record(settings, "digits")
    assert second.fresh
    runs = client.search_runs([ended.info.experiment_id])
    statuses = {run.info.run_id: run.info.status for run in runs}
    assert (statuses.pop(interrupted), statuses.pop(colleague)) == ("KILLED", "RUNNING")
    assert statuses.pop(first.run_id) == statuses.pop(second.run_id) == "FINISHED"
    designs = [status for run, status in statuses.items() if client.get_run(run).data.tags.get("levy.design")]
    assert designs.count("FINISHED") == 2
    assert "RUNNING" not in designs


def test_a_run_and_its_version_say_in_a_few_lines_what_won_with_a_picture_that_the_run_has(here):
    recorded = record(loading.load(), "digits")
    client = tracking.connect().MlflowClient()
    run = client.get_run(recorded.run_id)
    version = client.get_model_version(recorded.name, recorded.version)
    told = run.data.tags["mlflow.note.content"]
    assert version.description == told
    path, number = re.search(r"!\[Samples\]\(get-artifact\?path=(.*)&run_uuid=(.*)\)", told).groups()
    assert number == recorded.run_id
    assert path in [file.path for file in client.list_artifacts(recorded.run_id, "report")]
    won = read_winner(paths.winner("digits"))
    assert told.startswith(f"**{won['design']}** on **digits**")
    # The data set is an input of the run, by DVC's hash; what was measured is with the logged model, too.
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("digits", lineage.tags("digits")["levy.data_md5"])
    (model,) = client.search_logged_models([run.info.experiment_id])
    metrics = {metric.key: metric.value for metric in model.metrics}
    measured = client.get_run(model.source_run_id).data.metrics
    assert metrics["fid_classes/longtail"] == measured["fid_classes/longtail"]
    assert metrics.keys() <= measured.keys()


def test_the_run_of_a_design_has_the_scores_of_experiments_as_curves_over_steps(here):
    path = paths.observed("digits", "ddpm") / SCORES
    read_scores(path.parent).assign(psnr=float("inf")).to_csv(path, index=False)  # as of samples that are the truth
    recorded = record(loading.load(), "digits")
    client = tracking.connect().MlflowClient()
    experiment = client.get_run(recorded.run_id).info.experiment_id
    (run,) = client.search_runs([experiment], "tags.`levy.design` = 'ddpm'")
    table = read_scores(paths.observed("digits", "ddpm"))
    for way, row in (("kriging", table[table.rival == "kriging"]), ("interpolation", table[table.rival.isna()])):
        for score in ("crps", "extreme_crps", "spread_error"):
            (point,) = client.get_metric_history(run.info.run_id, f"observe/half/{way}/{score}")
            assert point.value == row[score].item()
            assert point.step == (2 if way == "interpolation" else 0)
    assert not any(name.endswith("/psnr") for name in run.data.metrics)
    assert "observed.json" in [artifact.path for artifact in client.list_artifacts(run.info.run_id)]


def test_a_record_adds_the_points_that_did_not_reach_the_run_of_a_training(here, monkeypatch):
    monkeypatch.setattr(live, "POLL", 0.05)
    paths.curve("digits", "ddpm").write_text("step,loss,grad_norm,held_out_loss\n5,3,1,2\n10,2,1,\n")
    training = finished.fingerprint_of(paths.finished_training("digits", "ddpm"))
    with live.Forwarder("digits", "ddpm", paths.live("digits", "ddpm"), print):  # nobody watched the first five steps
        log = LiveLog(paths.live("digits", "ddpm"), training, 10, 5, 5)
        for step in range(6, 11):
            log.add(step, {"train_loss": 2.0})
    recorded = record(loading.load(), "digits")
    client = tracking.connect().MlflowClient()
    experiment = client.get_run(recorded.run_id).info.experiment_id
    (run,) = client.search_runs([experiment], "tags.`levy.design` = 'ddpm'")
    points = lambda name: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, name))
    assert points("train_loss") == [(5, 3.0), (10, 2.0)]
    assert points("held_out_loss") == [(5, 2.0)]
    assert "seconds_left" in run.data.metrics  # it is the one that was watched


def test_a_record_signs_what_it_registers_and_the_next_one_completes_what_a_crash_left(here, monkeypatch, tmp_path):
    settings = loading.load()
    monkeypatch.setenv(keys.TRUSTED, str(keys.make(tmp_path / "key")))
    unsigned = record(settings, "digits")
    client = tracking.connect().MlflowClient()

    def version(recorded):
        return client.get_model_version(recorded.name, recorded.version)

    def statement_of(recorded):
        return provenance.verify(version(recorded), keys.read_trusted())[0]

    with pytest.raises(LevyError, match="carries no signed statement"):
        statement_of(unsigned)
    monkeypatch.setenv(keys.SIGNING, str(tmp_path / "key"))
    record(settings, "digits")
    with pytest.raises(LevyError, match="carries no signed statement"):  # nobody saw how its files came there
        statement_of(unsigned)
    client.delete_registered_model(model_name("digits"))
    signed = record(settings, "digits")
    made = statement_of(signed)
    parts = {part.name: part.digest for part in made.definition.resolved_dependencies}
    assert parts["git"] == {"gitCommit": git("rev-parse", "HEAD", at=here)}
    assert parts["requirements.lock"] == {"sha256": sha256_of(here / "requirements.lock")}
    stages = lineage.stages_of("digits")
    assert {"md5": next(d["md5"] for d in stages["prepare@digits"]["deps"] if d["path"] == "data/digits").removesuffix(".dir")} == parts["data/digits"]  # fmt: skip
    assert made.definition.external_parameters["stages"].keys() == stages.keys()
    assert made.definition.external_parameters["stages"]["train@digits-ddpm"]["params"]["params.yaml"]["train"]["steps"] == 10  # fmt: skip
    # As a crash between the registration and the second signature leaves it.
    file = Path(integrity.open_store(version(signed)).artifact_dir) / provenance.FILE
    content = file.read_bytes()
    file.unlink()
    assert not record(settings, "digits").fresh
    assert file.read_bytes() == content
    integrity.check_store(version(signed))
