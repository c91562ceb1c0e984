"""Fields whose rain is mapped to the quantiles of the training period's seasons, each cell by its own deviation, through all stages and out of the
registry."""

import json

import numpy as np
import pytest
import torch
import xarray as xr

from flows.doctor.registry import _hashes
from levy_core.base.samples import CORRECTION
from levy_core.datasets.fields.codec import Codec
from levy_core.serving import draw
from levy_core.serving.memory import Footprint
from levy_core.serving.registered import RegisteredModel
from levy_core.training.checkpoint import load_model
from tasks.cells.store import read_cells, read_labels
from tasks.cells.tuned import read_correction
from tasks.kinds.kind import Kind
from tasks.kinds.opening import open_correction, open_metrics
from tasks.observe import observe
from tasks.registry.record import record
from tasks.runtime import paths
from tasks.runtime.checksums import hash_of_output, hashes_of
from tasks.sample import sample
from tasks.tune import _fingerprint, tune
from tasks.tuning.scores import Memo, Scorer
from tests.conftest import ROOT
from tests.tasks.test_field_stages import T2M, begin, commit_models, run

STARTER = ROOT / "data/weather/era5-style.nc"
RAIN = {
    "name": "tp", "units": "mm day-1", "minimum": 0, "accumulated": "1D", "wet": 1, "quantile_mapping": "season"
}  # fmt: skip
DATA = {
    "variables": [T2M, RAIN],
    "climatology": "day",
    "standardise": "cell",
    "train_until": "2006-12-31",
    "gap": "10D",
}
OBSERVE = {"fields": {"coarse": {"see": "means", "block": 4, "steps": [5], "cases": 4, "members": 3}}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corrected")
    with pytest.MonkeyPatch.context() as patch:
        models = {"edm-eofs": {"preset": "edm", "eofs": 0.9}}
        train = {"steps": 300, "batch": 64, "warmup": 10}
        changes = {"designs": ["edm-eofs"], "models": models, "train": train, "observe": OBSERVE}
        read = begin(folder, patch, DATA, STARTER, **changes)
        run(read, read.designs)
        commit_models(folder, read.designs)
        yield read


def test_samples_are_as_often_wet_as_the_training_period(done):
    """80 samples of the sampler that was found in two evaluations, beside the 2,000 that the mapping was fitted to."""
    metrics, folder = open_metrics(done, "weather"), paths.samples("weather", "edm-eofs")
    cells = [cell for cell in read_cells(folder) if cell.samples is not None]
    labels, (train, same) = read_labels(folder, cells), real_rain(metrics)
    found = [cell for cell in cells if cell.cell.settings["discretisation"] == "fitted"]
    rain = np.concatenate([metrics.physical(cell.samples, labels)[np.arange(len(labels))] for cell in found])
    rain = rain[:, 1].reshape(len(rain), -1)[:, same]
    assert (rain > 1).mean() == pytest.approx((train > 1).mean(), rel=0.25)
    assert (rain < 1e-3).mean() == pytest.approx((train < 1e-3).mean(), rel=0.1)


def test_large_samples_are_drawn_kept_and_scored_in_slices(done, tmp_path, monkeypatch):
    """The same score and the same cell, but for the last bits, where five samples are drawn at a time and lie on disk."""
    model = load_model(paths.model("weather", "edm-eofs"))
    metrics, correction = open_metrics(done, "weather"), read_correction(paths.tuned("weather", "edm-eofs"))
    correct = open_correction(done.kind("weather"), paths.model("weather", "edm-eofs"), correction, model.samples)
    cpu, solver = torch.device("cpu"), done.sample.cells()[0]
    scores, footprint = [], Footprint(model, cpu)
    for name, size in (("whole", 2**28), ("slices", 1)):
        monkeypatch.setattr(draw, "SLICE", size)
        memo = Memo(tmp_path / name / "memo.jsonl", "")
        scorer = Scorer(model, metrics, "distance/train", "training", 7, 5, cpu, memo, footprint, correct)
        scores.append([scorer(solver, n) for n in (23, 40)])
        assert [path.name for path in (tmp_path / name).iterdir()] == ["memo.jsonl"]
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)
    labels = model.samples.labels("training", 0, 40)
    slices = list(draw.draw_slices(model, solver, 7, labels, 5, cpu))
    assert [len(part) for part in slices] == [5] * 8
    whole = draw.draw_samples(model, solver, 7, labels, 5, cpu)
    assert np.array_equal(np.concatenate(slices), whole)
    rows = np.arange(15, 22)
    assert np.array_equal(correct(whole[rows], labels, rows), correct(whole, labels, np.arange(40))[rows])


def test_it_is_fitted_once_and_the_next_search_knows_it(done):
    path = paths.tuned("weather", "edm-eofs")
    before, written = read_correction(path), path.read_bytes()
    assert list(before) == ["tp"]
    tune(done, "weather", "edm-eofs")
    assert path.read_bytes() == written
    cells = paths.samples("weather", "edm-eofs") / "cells.json"
    drawn = cells.read_bytes()
    sample(done, "weather", "edm-eofs")
    assert cells.read_bytes() == drawn


def test_a_registered_model_gives_what_was_measured_and_is_whole(done, tmp_path):
    import mlflow

    run = record(done, "weather")
    model = mlflow.artifacts.download_artifacts(f"models:/{run.name}/{run.version}", dst_path=str(tmp_path))
    folder = next(path.parent for path in tmp_path.rglob("design.json"))
    assert json.loads((folder / CORRECTION).read_text()) == read_correction(paths.tuned("weather", "edm-eofs"))
    assert Codec.load(folder).variables[1].mapping is not None
    assert model
    registered = RegisteredModel(folder)
    train, same = real_rain(open_metrics(done, "weather"))
    rain = registered.predict({"n": 300, "seed": 3})[:, 1].reshape(300, -1)[:, same]
    assert (rain > 1).mean() == pytest.approx((train > 1).mean(), rel=0.25)
    trained = paths.model("weather", "edm-eofs")
    assert hash_of_output(trained, hashes_of(trained)) in _hashes(folder)
    seen = {"stations": [{"variable": "tp", "latitude": 52.3, "longitude": 1.1, "value": 7.5}], "std": 0}
    registered.infill({"n": 4}, write_stations(tmp_path, seen), tmp_path / "out", {"": 0.0}, time="2007-07-29T12")
    with xr.open_dataset(tmp_path / "out" / "samples.nc") as drawn:
        here = drawn.tp.interp(latitude=52.3, longitude=1.1)
        np.testing.assert_allclose(here, 7.5, rtol=0.02)


def real_rain(metrics):
    """Of the training period, and which cells it is of."""
    train = metrics.references["train"]
    return train.summary.values[:, 1], train.frame.pooled


def write_stations(folder, seen):
    """As a table."""
    station = seen["stations"][0]
    path = folder / "seen.csv"
    path.write_text(",".join(station) + "\n" + ",".join(map(str, station.values())) + "\n")
    return path


def test_experiments_meet_means_of_what_is_mapped(done):
    from tasks.cells.observed import read_scores

    table = read_scores(paths.observed("weather", "edm-eofs"))
    own = table[table.rival.isna()]
    assert own.failed.isna().all()
    assert (own["misfit/t2m"] < 1e-4).all()
    assert (own["misfit/tp"] < 0.3).all()  # mm per day: where most blocks are dry some samples are nearly met only
    kriged = table[table.rival == "kriging"].set_index("experiment")["misfit/tp"]
    assert kriged["coarse"] > 0.5  # its members are cut at 0 afterwards


def test_scores_of_corrected_samples_are_those_of_the_code_that_corrects(done, monkeypatch):
    folder, metrics = paths.model("weather", "edm-eofs"), open_metrics(done, "weather")
    correction = read_correction(paths.tuned("weather", "edm-eofs"))
    fingerprint = lambda found: _fingerprint(done, "weather", folder, metrics, found)
    corrected, plain = fingerprint(correction), fingerprint({})
    monkeypatch.setattr(Kind, "hash_code", lambda kind, part: f"other code of {part}")
    assert fingerprint(correction) != corrected
    assert fingerprint({}) == plain


def test_means_of_what_is_mapped_are_as_many_as_each_member_can_solve_for(done, monkeypatch, capsys):
    """The last test here: the stage writes that nothing was observed."""
    monkeypatch.setattr("tasks.observe.MOST_BEHIND", 3)
    observe(done, "weather", "edm-eofs")
    assert (
        "and at most 3 can be taken in at once, where some are means of a variable with a transform or a quantile mapping"
        in capsys.readouterr().out
    )
