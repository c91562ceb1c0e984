"""A training is a run of MLflow while it goes on: with its points, its end, and no harm from a server that is lost."""

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from threading import Barrier

import pytest
from PIL import Image

from tasks.registry import lineage, live, tracking
from tasks.registry.live import Forwarder, find_run
from tasks.runtime.live import LiveLog
from tests.conftest import wait_until
from tests.support.databases import put_database


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder as checkout, with a record of its own, that is looked at often."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", put_database(tmp_path))
    monkeypatch.setattr(live, "POLL", 0.05)
    return tmp_path


def runs():
    """All runs of the data set, the newest first."""
    client = tracking.connect().MlflowClient()
    experiment = client.get_experiment_by_name("levy-digits")
    return client.search_runs([experiment.experiment_id]) if experiment else []


def points(run, name):
    return [(m.step, m.value) for m in tracking.connect().MlflowClient().get_metric_history(run.info.run_id, name)]


def train(path, training="abc", steps=range(1, 101), first=0):
    log = LiveLog(path, training, 200, first, 50)
    for step in steps:
        log.add(step, {"train_loss": float(step), "lr": 0.1})
    return log


def found(training="abc"):
    client = tracking.connect().MlflowClient()
    return find_run(client, client.get_experiment_by_name("levy-digits").experiment_id, training)


def test_a_run_has_the_points_while_the_training_goes_on_and_its_end(here):
    warnings = []
    path = here / "live.jsonl"
    path.write_text("what an older training left")
    with Forwarder("digits", "lim", path, warnings.append):
        log = train(path)
        assert wait_until(lambda: runs() and len(points(runs()[0], "train_loss")) == 2, 60)
        (run,) = runs()
        assert run.info.status == "RUNNING"
        assert (run.info.run_name, run.data.params["train.steps"]) == ("digits lim", "200")
        assert run.data.tags[lineage.DESIGN] == "lim"
        assert points(run, "train_loss") == [(50, 25.5), (100, 75.5)]
        assert {"lr", "steps_per_second", "seconds_left"} <= run.data.metrics.keys()
        assert found() == run.info.run_id  # as one that a kill of the flow leaves
        for step in range(101, 201):
            log.add(step, {"train_loss": 1.0, "lr": 0.1})
    (run,) = runs()
    assert run.info.status == "FINISHED"
    assert points(run, "train_loss")[2:] == [(150, 1.0), (200, 1.0)]
    assert found() == run.info.run_id
    assert found("another") is found(None) is None
    assert warnings == []
    client = tracking.connect().MlflowClient()
    client.set_tag(run.info.run_id, lineage.RECORDED, "lock")
    assert found() is None  # another record has made it its own


@pytest.mark.parametrize(("error", "status"), [(ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")])
def test_a_training_that_is_cut_off_says_so_and_goes_on_in_the_same_run(here, error, status):
    path = here / "live.jsonl"
    with suppress(error), Forwarder("digits", "lim", path, print):
        train(path)
        raise error
    (run,) = runs()
    assert run.info.status == status
    with Forwarder("digits", "lim", path, print):
        train(path, steps=range(101, 201), first=100)
    (again,) = runs()
    assert (again.info.run_id, again.info.status) == (run.info.run_id, "FINISHED")
    assert [step for step, _ in points(again, "train_loss")] == [50, 100, 150, 200]


def test_a_training_that_begins_anew_has_a_run_of_its_own_and_ends_what_a_kill_left(here):
    path = here / "live.jsonl"
    with Forwarder("digits", "lim", path, print):
        train(path)
    killed = runs()[0].info.run_id
    tracking.connect().MlflowClient().update_run(killed, status="RUNNING")
    with Forwarder("digits", "lim", path, print):
        train(path)
    statuses = {run.info.run_id: run.info.status for run in runs()}
    assert statuses.pop(killed) == "KILLED"
    assert list(statuses.values()) == ["FINISHED"]


def test_a_stage_that_trains_nothing_leaves_no_run(here):
    with Forwarder("digits", "lim", here / "live.jsonl", print):
        pass
    assert runs() == []


def test_a_server_that_is_lost_costs_one_warning_and_no_time(here, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    warnings = []
    with Forwarder("digits", "lim", here / "live.jsonl", warnings.append):
        train(here / "live.jsonl")
        assert wait_until(lambda: warnings, 60)
    assert len(warnings) == 1
    assert "lim on digits: its points do not reach http://127.0.0.1:9" in warnings[0]


def shade(path, grey):
    path.parent.mkdir(exist_ok=True)
    Image.new("L", (16, 16), grey).save(path)
    return path


def test_pictures_are_images_of_the_run_while_the_training_goes_on(here):
    path, warnings = here / "live.jsonl", []
    with Forwarder("digits", "lim", path, warnings.append):
        log = LiveLog(path, "abc", 200, 0, 50)  # no point yet
        log.add_picture(20, shade(here / "lim.pictures/20.png", 20))
        assert wait_until(lambda: images(), 60)
        log.add_picture(30, here / "lim.pictures/30.png")  # which somebody has removed
        log.add_picture(40, shade(here / "lim.pictures/40.png", 40))
        for step in range(1, 101):
            log.add(step, {"train_loss": float(step)})
    assert warnings == []
    assert images() == [(20, 20), (40, 40)]
    assert [step for step, _ in points(runs()[0], "train_loss")] == [50, 100]


def images():
    """(step, grey) of the images of the newest run, as MLflow keeps them."""
    client = tracking.connect().MlflowClient()
    if not runs():
        return []
    (run,) = runs()
    kept = [file.path for file in client.list_artifacts(run.info.run_id, "images") if file.path.endswith(".png")]
    found = []
    for name in kept:
        with Image.open(client.download_artifacts(run.info.run_id, name)) as image:
            found.append((int(re.search(r"samples\Wstep\W(\d+)", name)[1]), image.getpixel((0, 0))))
    return sorted(found)


def test_pictures_wait_for_a_server_that_is_lost(here, monkeypatch):
    monkeypatch.setattr(live, "PATIENCE", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    address, warnings, path = tracking.address(), [], here / "live.jsonl"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with Forwarder("digits", "lim", path, warnings.append):
        LiveLog(path, "abc", 200, 0, 50).add_picture(20, shade(here / "lim.pictures/20.png", 20))
        assert wait_until(lambda: warnings, 60)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert wait_until(lambda: images(), 60)
    assert images() == [(20, 20)]
    assert len(warnings) == 1


def test_an_experiment_opens_on_its_runs(here):
    mlflow = tracking.connect()
    old = mlflow.create_experiment("levy-old")
    for name in ("levy-new", "levy-old"):
        experiment = mlflow.get_experiment(tracking.get_experiment(mlflow, name))
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert tracking.get_experiment(mlflow, "levy-old") == old


def test_trainings_that_begin_at_once_share_an_experiment(here):
    mlflow, begin = tracking.connect(), Barrier(4)

    def get(name):
        begin.wait()
        return tracking.get_experiment(mlflow, name)

    with ThreadPoolExecutor(4) as pool:
        for k in range(10):  # each of which two met in 8 of 10 times
            assert len(set(pool.map(get, [f"levy-{k}"] * 4))) == 1
