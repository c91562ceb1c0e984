"""Fields from the files that people have to report, registry and a file of samples, stage by stage in this process."""

import json
import re
import shutil
import subprocess
import sys

import mlflow
import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.split import say_runs
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import times_of
from levy_core.metrics.fields.decidable import FEWEST
from levy_core.metrics.fields.spatial import even_cells
from levy_core.process.noise import StudentT
from levy_core.training.checkpoint import load_model
from tasks.cells.observed import read_scores, read_shown
from tasks.cells.store import read_cells, read_labels
from tasks.compare import compare
from tasks.evaluate import evaluate
from tasks.kinds.fields.metrics import make_reference
from tasks.kinds.opening import open_metrics
from tasks.observe import observe
from tasks.observing.cases import observe_cases
from tasks.params import loading as settings
from tasks.params.experiments import Experiment
from tasks.params.resolution import check_tail_index
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.registry.record import record
from tasks.report import report
from tasks.runtime import paths
from tasks.runtime.checksums import hash_of_output, hashes_of
from tasks.sample import sample
from tasks.train import train
from tasks.tune import tune
from tests.conftest import ROOT, SHARED, merged, weather_params
from tests.support.curved import cordex
from tests.support.databases import put_database

WEATHER = SHARED / "weather"
T2M = {"name": "t2m", "units": "degC"}
RAIN = {"name": "tp", "units": "mm day-1", "transform": "log1p", "scale": 1.0, "minimum": 0, "accumulated": "1D"}
SMALL = {
    "net": {"channels": [8, 16], "layers": 1, "attention": [False, False]},
    "train": {"steps": 6, "batch": 8, "warmup": 2, "save_every": 3, "precision": "float32"},
    "tune": {"steps": [2], "samples": 200, "first": 50, "last": 100},
    "sample": {"grid": {"usual": {"steps": [2], "etas": [0.2]}}, "seeds": [0, 1], "n": 40, "batch": 40},
    "evaluate": {"fields": {"resamples": 20, "most": 200}},
}
OBSERVE = {"fields": {"stations": {"see": "cells", "share": 0.3, "steps": [2], "cases": 4, "members": 3}}}
REAL = {
    "era5-2mt-2019-03-uk.grib": {"variables": [{"name": "t2m", "units": "degC"}], "climatology": "hour", "gap": "1D"},
    "pr_day_CanESM2_rcp85_2095.nc": {
        "variables": [{"name": "pr", "units": "mm day-1", "transform": "log1p", "minimum": 0}],
        "season": "season",
        "test_share": 0.3,
        "gap": "5D",
        "climatology": "none",
        "coordinates": True,
    },
    "era5_daily_surface_cancities_1990-1993.nc": {
        "variables": [
            {"name": "tas", "units": "degC"},
            {"name": "pr", "units": "mm day-1", "transform": "asinh", "scale": 1.0},
            {"name": "sfcWindmax", "units": "m s-1"},
        ],
        "climatology": "day",
        "test_years": [1992],
        "gap": "10D",
    },
}


def begin(folder, patch, data, source, **changes):
    """A checkout's folder with one data set called weather, and its settings."""
    patch.chdir(folder)
    patch.setenv("MLFLOW_TRACKING_URI", put_database(folder))
    paths.raw("weather").mkdir(parents=True)
    shutil.copy(source, paths.raw("weather"))
    values = weather_params()
    values = merged(merged({**values, "observe": OBSERVE}, SMALL), changes)
    starter = values["data"]["weather"] | {"variables": [T2M, RAIN]}
    values["data"]["weather"] = {"kind": "fields", **data} if data else starter
    (folder / "params.yaml").write_text(yaml.safe_dump(values))
    (folder / "data.dvc").write_text("outs:\n- md5: '0'\n  path: data\n")
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    return settings.load(folder / "params.yaml")


def run(read, designs):
    prepare(read, "weather")
    reference(read, "weather")
    for design in designs:
        train(read, "weather", design)
        tune(read, "weather", design)
        sample(read, "weather", design)
        observe(read, "weather", design)
        evaluate(read, "weather", design)
    compare(read, "weather")
    report(read, "weather")


def commit_models(folder, designs):
    """Writes the models into dvc.lock, as `dvc repro` does."""
    shutil.copy(ROOT / "dvc.yaml", folder)
    models = {design: paths.model("weather", design) for design in designs}
    stages = {
        f"train@weather-{design}": {
            "cmd": f"exec python -m tasks train --dataset weather --design {design}",
            "outs": [{"path": str(model), "hash": "md5", "md5": hash_of_output(model, hashes_of(model))}],
        }
        for design, model in models.items()
    }
    (folder / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


@pytest.fixture(scope="module")
def starter(tmp_path_factory):
    """The starter fields through all stages with two designs."""
    folder = tmp_path_factory.mktemp("weather")
    with pytest.MonkeyPatch.context() as patch:
        read = begin(folder, patch, {}, ROOT / "data/weather/era5-style.nc", designs=["tedm", "lim"])
        run(read, read.designs)
        commit_models(folder, read.designs)
    return folder, read


@pytest.fixture
def done(starter, monkeypatch):
    folder, read = starter
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    return read


def test_fields_go_from_file_to_report(done):
    page = (paths.report("weather") / "index.html").read_text()
    assert "Maps, real beside generated" in page
    assert "Return levels" in page
    assert not re.search(r"(src|href)=\"http", page)
    first = page[: page.index("The best sampler at each cost")]
    winner = re.search(
        r"<li>This is (lim|tedm) with (SDE-A|SDE-E\([^)]*\)|ODE|SPLIT|POSTERIOR)[^,]*, \d+ evaluations, the winner.</li>",
        first,
    )
    assert winner  # and no levels
    assert re.search(
        rf"<h2 class=\"part\">{winner[1]} wins with .* evaluations: distance from the training period \d", first
    )
    assert "lim: distance from the training period" in first  # its card
    assert "<th>distance from the training period</th>" in page
    assert "by the distance from the training period; every other measure is against the held-out period" in page
    assert "× the real distance from the median, 99.9 % quantile" in first
    assert "<td>t2m: means of single cells: bias in units, root mean square</td>" in page
    metrics = json.loads(paths.metrics("weather").read_text())
    for design in done.designs:
        assert metrics[design]["distance_train"] > 0
        assert metrics[design]["ks_test_t2m"] > 0
    grid = pd.read_csv(paths.grid("weather"))
    assert grid.failed.isna().all()
    assert (grid["floor/distance/test"] > 0).all()


def test_what_was_observed_of_held_out_fields_is_judged_in_physical_units_and_shown_on_maps(done):
    page = (paths.report("weather") / "index.html").read_text()
    section = re.search(r"<h2>What was observed</h2>(.*?)</section>", page, re.DOTALL)[1]
    assert "stations: a share of 0.3 of the cells, at random, without error; 4 held-out cases" in section
    for named in ("<td>t2m [degC]</td>", "<td>tp [mm day-1]</td>", "bilinear", "tedm", "lim"):
        assert named in section
    with Image.open(paths.report("weather") / "observed-stations.png") as sheet:
        assert sheet.width > 1000
    codec, store = (
        Codec.load(paths.prepared("weather")),
        FieldStore.open(paths.prepared("weather") / "fields.zarr", "test"),
    )
    real = codec.decode(store[:], store.times)
    for design in done.designs:
        table = read_scores(paths.observed("weather", design))
        assert table.rival.dropna().tolist() == ["kriging", "analogues", "bilinear"]
        for v in codec.names:
            assert table[f"verdict/{v}"].isin(["ahead", "behind", "not decidable"]).sum() == 3  # all but kriging
            assert (
                table[f"misfit/{v}"][table.rival != "analogues"].max() < 2e-3
            )  # float32 of values up to 100, and a transform
        assert table["crps/t2m"][0] < 5  # kriging's; a network of six steps may be anywhere
        for case in read_shown(paths.observed("weather", design))["stations"]:
            seen = ~np.isnan(case.observed)
            assert seen.sum() == 2 * round(0.3 * 16 * 32)
            np.testing.assert_allclose(case.observed[seen], case.truth[seen], rtol=1e-5, atol=1e-5)
            assert np.abs(case.members - case.observed)[:, seen].max() < 2e-3
            assert case.members[:, 1].min() >= 0  # rain
            assert np.isclose(real, case.truth, rtol=1e-5, atol=1e-5).all((1, 2, 3)).any()
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d", case.name)


def test_errors_of_stations_go_through_the_transform_of_each_case(done):
    held_out = done.kind("weather").observing.open(paths.prepared("weather"), done.data["weather"])
    experiment = Experiment(see="cells", share=0.1, std={"t2m": 1.0, "tp": 2.0}, cases=6, members=2)
    cases = observe_cases(held_out, "noisy", experiment).take(np.arange(6))
    rain = cases.error == 2.0
    assert rain.sum() == (~rain).sum() == round(0.1 * 16 * 32)
    assert (cases.seen[:, rain] >= 0).all()
    assert len(np.unique(cases.std[:, ~rain].round(12))) == 1  # in units of one standard deviation
    assert len(np.unique(cases.std[:, rain].round(12))) > 10
    assert [part.indices(6)[:2] for part, _ in cases.parts(2)] == [(i, i + 1) for i in range(6)]
    codec = Codec.load(paths.prepared("weather"))
    through = np.log1p(cases.seen[:, rain] + 2) - np.log1p(np.maximum(cases.seen[:, rain] - 2, 0))
    reach = cases.seen[:, rain] + 2 - np.maximum(cases.seen[:, rain] - 2, 0)
    np.testing.assert_allclose(cases.std[:, rain], 2 * through / reach / codec.std[1])


def test_a_design_takes_nu_and_alpha_from_the_heaviest_tail_of_the_training_period(done):
    statistics = json.loads((paths.prepared("weather") / "statistics.json").read_text())
    index = min(v["tail_index"]["nu"] or np.inf for v in statistics["variables"].values())
    noise = load_model(paths.model("weather", "tedm")).design.noise
    assert noise == StudentT(float(f"{index:.3g}"))
    assert load_model(paths.model("weather", "lim")).design.noise.alpha == min(2.0, float(f"{index:.3g}"))
    assert load_model(paths.model("weather", "tedm")).design.sigma_data == 1.0
    taken = done.models["tedm"]
    with pytest.raises(LevyError, match=r"models.tedm is .*: these data have no tail index to take; give the number"):
        check_tail_index("tedm", taken, None)
    check_tail_index("tedm", taken, index)
    check_tail_index("ddpm", {"preset": "ddpm"}, None)


def test_samples_are_kept_as_they_were_drawn_and_measured_in_physical_units(done):
    drawn = read_cells(paths.samples("weather", "tedm"))[0]
    assert drawn.samples.dtype == np.float32
    codec = Codec.load(paths.model("weather", "tedm"))
    measured_with = open_metrics(done, "weather")
    samples, labels = np.array(drawn.samples), read_labels(paths.samples("weather", "tedm"), [drawn])
    embedded = measured_with.embed(samples)
    table = pd.read_csv(paths.evaluation("weather", "tedm"))
    row = table[table.cell == drawn.key].iloc[0]
    assert measured_with.score([embedded], labels, "distance/train") == pytest.approx(row["distance/train"], rel=1e-4)
    fields = codec.decode(samples, times_of(codec, measured_with.samples, labels))
    real = measured_with.references["test"]
    cells = even_cells(codec.areas, codec.shape[1:])
    for c, name in enumerate(codec.names):
        assert row[f"q999/test/{name}"] == pytest.approx(np.quantile(fields[:, c][:, cells], 0.999), rel=1e-6)
    assert (
        np.ptp(np.median(real.summary.values[:, 0], axis=0)) > 20
    )  # degC from the equator to the poles, and no anomaly
    assert abs(np.median(measured_with.references["test-anomalies"].summary.values[:, 0])) < 1


def test_weaker_anomalies_are_weaker_by_what_they_lose_in_physical_units(done):
    """Held-out fields whose anomalies, of a logarithm, are 0.87 of what they were: rain loses more than that."""
    measured_with = open_metrics(done, "weather")
    codec, store = measured_with.codec, FieldStore.open(paths.prepared("weather") / "fields.zarr", "test")
    whole, weak = (measured_with.measure(share * store[:], store.labels) for share in (1, 0.87))
    lost = {name: weak[f"q999_ratio/{name}/tp"] / whole[f"q999_ratio/{name}/tp"] for name in ("test", "test-anomalies")}
    assert lost["test-anomalies"] == pytest.approx(0.87, abs=0.02)  # of the reach from a median that is not quite 0
    cells, times = even_cells(codec.areas, codec.shape[1:]), times_of(codec, measured_with.samples, store.labels)
    centre = np.median(measured_with.references["test"].summary.values[:, 1])
    before, after = (
        np.quantile(np.abs(codec.decode(share * store[:], times)[:, 1][:, cells] - centre), 0.999)
        for share in (1, 0.87)
    )
    assert lost["test"] == pytest.approx(after / before, rel=1e-3)
    assert lost["test"] < 0.8


def test_what_the_held_out_period_cannot_decide_is_said(done, tmp_path, capsys):
    measured_with = open_metrics(done, "weather")
    counts = measured_with.references["test"].estimates["tp"]["exceedances"]
    assert list(counts) == ["0.95", "0.98", "0.99", "0.995", "0.998", "0.999"]
    assert counts["0.95"] > counts["0.999"] > 0
    undecidable = measured_with.undecidable
    assert ("q999_ratio/test/tp" in undecidable) == (counts["0.999"] < FEWEST)
    assert "return_error/test/tp" in undecidable  # of 200 fields that are kept two exceed such a level
    page = (paths.report("weather") / "index.html").read_text()
    assert "What these data can decide" in page
    assert "not decidable with these data" in page
    assert 0.7 < measured_with.ceiling["q999_ratio/test/t2m"] < 1.4
    make_reference(
        paths.prepared("weather"), tmp_path, done.evaluation("weather").model_copy(update={"resamples": 20}), "weather"
    )
    assert "weather: tp: not decidable with these data: " in capsys.readouterr().out


def test_real_fields_are_as_near_as_so_many_fields_can_be(done):
    measured_with = open_metrics(done, "weather")
    store = FieldStore.open(paths.prepared("weather") / "fields.zarr", "train")
    rows = np.sort(np.random.default_rng(0).choice(len(store), 200, replace=False))
    own = measured_with.score([measured_with.embed(store[rows])], store.labels[rows], "distance/train")
    noise = np.random.default_rng(0).standard_normal((200, *store.shape)).astype(np.float32)
    assert own < 0.5 * measured_with.score([measured_with.embed(noise)], store.labels[rows], "distance/train")
    assert own < 3 * measured_with.floors(store.labels[rows])["floor/distance/train"]


def test_the_registered_model_gives_physical_fields_and_writes_a_cf_file(done, tmp_path):
    recorded = record(done, "weather")
    model = mlflow.pyfunc.load_model(f"models:/{recorded.name}@champion")
    fields = model.predict({"n": 5, "seed": 3})
    assert fields.shape == (5, 2, 16, 32)
    said = model.get_raw_model().write({"n": 5, "seed": 3}, tmp_path / "out")
    assert said == f"5 fields (samples.nc) in {tmp_path / 'out'}"
    with xr.open_dataset(tmp_path / "out" / "samples.nc") as written:
        assert written.t2m.attrs["units"] == "degC"
        assert np.allclose(written.t2m, fields[:, 0], rtol=1e-4, atol=1e-3)
        assert float(written.tp.min()) >= 0
        about = written.attrs
        assert about["levy_seed"] == "3"
        assert json.loads(about["levy_sampler"])["steps"] >= 1
        assert about["levy_guidance"]
        assert "seed 3" in about["history"]
        assert about["Conventions"].startswith("CF-")
    with xr.open_dataset(paths.report("weather") / "samples-tedm.nc") as written:
        assert "tedm" in written.attrs["title"]


def test_a_registered_model_fills_gaps_and_agrees_with_what_was_observed(done, tmp_path):
    recorded = record(done, "weather")
    model = mlflow.pyfunc.load_model(f"models:/{recorded.name}@champion").get_raw_model()
    with xr.open_dataset(ROOT / "data/weather/era5-style.nc") as raw:
        day = raw.t2m.isel(valid_time=2400, latitude=slice(None, None, 2)).load() - 273.15
    day.attrs["units"] = "degC"
    day.to_dataset(name="t2m").to_netcdf(tmp_path / "seen.nc")
    said = model.infill({"n": 6, "seed": 1}, tmp_path / "seen.nc", tmp_path / "out", {"t2m": 0.0})
    assert said == f"6 fields (samples.nc) in {tmp_path / 'out'}, given 256 values of t2m at 2007-07-29 12:00:00"
    with xr.open_dataset(tmp_path / "out" / "samples.nc") as drawn:
        at = drawn.t2m.sel(latitude=day.latitude, longitude=day.longitude)
        assert float(abs(at - day).max()) < 2e-3  # float32 of values up to 70
        between = drawn.t2m.isel(latitude=slice(1, None, 2))
        assert float(between.std("realization").min()) > 0
        assert set(drawn.time.dt.strftime("%m-%d %H").values) == {"07-29 12"}
        assert "given 256 values of t2m" in drawn.attrs["comment"]
        assert drawn.attrs["levy_guidance"] == "interpolation"
    model.infill(
        {"n": 2, "steps": 3}, tmp_path / "seen.nc", tmp_path / "three", {"t2m": 0.0}
    )  # exact for any number of steps
    with xr.open_dataset(tmp_path / "three" / "samples.nc") as drawn:
        assert float(abs(drawn.t2m.sel(latitude=day.latitude, longitude=day.longitude) - day).max()) < 2e-3
        assert json.loads(drawn.attrs["levy_sampler"])["steps"] == 3
    with pytest.raises(
        LevyError, match="eta is given, but samples that agree with observations choose nothing but steps"
    ):
        model.infill({"n": 2, "eta": 0.5}, tmp_path / "seen.nc", tmp_path / "none", {"t2m": 0.0})
    assert not (tmp_path / "none").exists()
    for guide in ("projection", "jacobian"):
        assert "6 fields" in model.infill({"n": 6}, tmp_path / "seen.nc", tmp_path / guide, {"t2m": 0.5}, guide=guide)


def test_a_second_preparation_of_the_same_fields_writes_the_same_bytes(done):
    before = {p: p.read_bytes() for p in sorted(paths.prepared("weather").rglob("*")) if p.is_file()}
    prepare(done, "weather")
    assert {p: p.read_bytes() for p in sorted(paths.prepared("weather").rglob("*")) if p.is_file()} == before


@pytest.mark.long
def test_members_on_a_rotated_grid_go_from_file_to_report(tmp_path, monkeypatch):
    data = xr.concat([cordex(400), cordex(400, seed=1)], "realization", data_vars=["tas"]).assign_coords(
        realization=[1, 2]
    )
    (tmp_path / "own").mkdir()
    data.to_netcdf(tmp_path / "own" / "tas_EUR-11.nc")
    said = {"variables": [{"name": "tas", "units": "degC"}], "members": "realization", "select": {"height": 2}}
    said |= {"climatology": "day", "test_share": 0.08, "gap": "0h", "coordinates": True}
    read = begin(tmp_path, monkeypatch, said, tmp_path / "own" / "tas_EUR-11.nc", designs=["tedm"])
    run(read, ["tedm"])
    assert "Maps, real beside generated" in (paths.report("weather") / "index.html").read_text()
    measured_with = open_metrics(read, "weather")
    assert np.array_equal(measured_with.references["test"].areas, measured_with.codec.areas)
    assert measured_with.references["train"].config.block == 10  # at least 20 blocks of 200 fields
    assert json.loads((paths.prepared("weather") / "statistics.json").read_text())["test"]["samples"] == 64
    buffers = load_model(paths.model("weather", "tedm")).predictor.named_buffers()
    (coordinates,) = (buffer for name, buffer in buffers if name.endswith("coordinates"))
    assert np.allclose(coordinates[0], np.sin(np.deg2rad(data.lat)), atol=1e-6)
    with xr.open_dataset(paths.report("weather") / "samples-tedm.nc") as written:
        assert written.tas.dims == ("realization", "rlat", "rlon")
        assert np.array_equal(written.latitude, data.lat)
        assert written[written.tas.attrs["grid_mapping"]].attrs["grid_north_pole_latitude"] == 39.25


@pytest.mark.parametrize("name", REAL)
def test_real_files_go_from_file_to_report(name, tmp_path, monkeypatch):
    if not (WEATHER / name).exists():
        pytest.skip(f"{WEATHER / name} is not here")
    read = begin(tmp_path, monkeypatch, REAL[name], WEATHER / name, designs=["tedm"])
    run(read, ["tedm"])
    page = (paths.report("weather") / "index.html").read_text()
    assert ("<h2>Spectra</h2>" in page) == ("cancities" not in name)  # cities have no spectrum,
    assert "<h2>How wide storms are</h2>" in page  # but distances
    store, held_out = (FieldStore.open(paths.prepared("weather") / "fields.zarr", name) for name in ("train", "test"))
    for times, what in ((store.times, "training fields"), (held_out.times, "held out")):
        assert f"{len(times)} {what} ({say_runs(times)})" in page
    with xr.open_dataset(paths.report("weather") / "samples-tedm.nc") as written:
        assert written.sizes["realization"] == 80
        for variable in REAL[name]["variables"]:
            assert written[variable["name"]].attrs["units"] == variable["units"]
    if len(store.classes) > 1:
        with xr.open_dataset(paths.report("weather") / "samples-tedm.nc") as written:
            season = written.time.dt.season.values
        assert len(set(season)) > 1
        assert list(season[:40]) == list(season[40:])  # of two seeds, with the same labels
        row = pd.read_csv(paths.evaluation("weather", "tedm")).iloc[0]
        assert np.isfinite(row[[c for c in row.index if c.startswith("crps")]].astype(float)).all()


def test_settings_of_fields_are_checked_when_they_are_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values = weather_params()

    def load(**changes):
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump({**values, "data": {"weather": {**values["data"]["weather"], **changes}}}))
        return settings.load(path)

    for changes, message in (
        (
            {"train_until": pd.Timestamp("2004-05-06").date()},
            'train_until has 2004-05-06 without quotes: write "2004-05-06"',
        ),
        ({"climate": "day"}, "unknown settings climate of fields"),
        ({"gap": "soon"}, "a length of time such as"),
        ({"season": "week"}, "unknown season 'week': choose one of day, day-hour, month, none, season"),
        ({"patch": [8, 8], "climatology": "none", "coordinates": True}, "patches cannot have them"),
        ({"variables": []}, "at least one is needed"),
    ):
        with pytest.raises(LevyError, match=message):
            load(**changes)


def test_reading_grib_leaves_python_its_own_sqlite():
    both = (
        "import sqlite3; print(sqlite3.sqlite_version)",
        "import tasks.prepare, sqlite3; print(sqlite3.sqlite_version)",
    )
    own, after = (subprocess.check_output([sys.executable, "-c", line], cwd=ROOT, text=True) for line in both)
    assert after == own
