"""What can be said of raw data before anything runs."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from flows.pipeline.preflight import check_sources
from flows.pipeline.sizes import describe_sizes
from levy_core.base.errors import LevyError
from levy_core.datasets.images import sources
from levy_core.training import encoding
from tasks.kinds.kind import Contents
from tasks.params import loading
from tasks.runtime import paths
from tests.conftest import ROOT, merged, weather_params

TRAIN = {
    "steps": 1000,
    "batch": 10,
    "label_dropout": 0.5,
    "balance": 0,
    "balance_phase": 0.2,
}  # 1,000 rows with their class in the phase


@pytest.fixture
def warned_of(tmp_path, monkeypatch, capsys):
    """Lines on stderr about 8 images of the class `common` and 2 of `rare`, with settings of the data set and of train, by who says them."""
    for name, number in (("common", 8), ("rare", 2)):
        folder = tmp_path / "data" / "pets" / name
        folder.mkdir(parents=True)
        for i in range(number):
            Image.fromarray(np.full((8, 8), 20 * i, np.uint8)).save(folder / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    shipped = yaml.safe_load((ROOT / "params.yaml").read_text())

    def run(data, train, by="warning: pets: "):
        settings = {"datasets": ["pets"], "data": {"pets": {"test_share": 0, **data}}, "train": {**TRAIN, **train}}
        settings |= {"observe": {"images": None}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(merged(shipped, settings)))
        check_sources(loading.load())
        return [line for line in capsys.readouterr().err.splitlines() if line.startswith(by)]

    return run


def test_classes_of_too_few_images_to_check_a_classifier_are_warned_of(warned_of):
    assert warned_of({}, {}, "warning: data/pets: ") == [
        "warning: data/pets: whether rare classes come back will not be decidable: about 0 images of 'rare' check the classifier that tells "
        "classes apart (those held out, and a fifth of the balanced reference), and 10 are needed: bring more images of them"
    ]
    for i in range(2, 50):
        shutil.copy(paths.raw("pets") / "rare" / "1.png", paths.raw("pets") / "rare" / f"{i}.png")
        shutil.copy(paths.raw("pets") / "rare" / "1.png", paths.raw("pets") / "common" / f"1{i}.png")
    assert warned_of({}, {}, "warning: data/pets: ") == []  # a fifth of 50


def test_a_data_set_is_opened_once(warned_of, monkeypatch):
    warned_of({}, {})  # writes params.yaml
    opened, open_source = [], sources.open_source
    monkeypatch.setattr(sources, "open_source", lambda folder: opened.append(folder) or open_source(folder))
    found = check_sources(settings := loading.load())
    assert any("parameters, which take" in line for line in describe_sizes(settings, found))
    assert opened == [paths.raw("pets")]
    assert found == {"pets": Contents({"common": 8, "rare": 2}, (1, 8, 8), 0)}


def test_a_shift_as_large_as_an_image_is_refused(warned_of):
    assert warned_of({"imbalance": 1, "crop": 7}, {}) == []
    with pytest.raises(
        LevyError, match=r"pets: crop is 8, but the smallest side of an image is 8: a shift must be smaller"
    ):
        warned_of({"imbalance": 1, "crop": 8}, {})


@pytest.fixture
def with_design(tmp_path, monkeypatch):
    """Checks the starter fields with these settings of a design."""
    (tmp_path / "data" / "weather").mkdir(parents=True)
    shutil.copy(ROOT / "data/weather/era5-style.nc", tmp_path / "data" / "weather")
    monkeypatch.chdir(tmp_path)

    def run(data=(), **settings):
        models = {"models": {"edm": {"preset": "edm", **settings}}, "designs": ["edm"], "data": {"weather": dict(data)}}
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(merged(weather_params(), models)))
        check_sources(loading.load())

    return run


def test_more_samples_than_the_disk_holds_are_refused_but_for_those_that_are_there(with_design, tmp_path, monkeypatch):
    with_design()
    shipped = yaml.safe_load((tmp_path / "params.yaml").read_text())
    shipped["sample"] |= {"n": 10**6, "seeds": [0, 1]}
    shipped["sample"]["grid"] = {
        "one": {"solvers": ["ode"], "discretisations": ["ei-data"], "grids": ["uniform-t"], "steps": [5]}
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(shipped))
    needed = 2 * 10**6 * 2 * 16 * 32 * 4  # two seeds of two variables on 16 x 32 cells, float32: 7.6 GiB
    free = lambda of: monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=of))
    free(needed)
    check_sources(loading.load())
    free(needed - 1)
    with pytest.raises(
        LevyError, match=r"sample.n is 1,000,000, whose samples take 8 GiB or more .*, but 8 GiB are free"
    ):
        check_sources(loading.load())
    (kept := paths.samples("weather", "edm")).mkdir(parents=True)
    (kept / "0.npy").write_bytes(b"1")
    check_sources(loading.load())


def test_patches_larger_than_the_fields_are_refused(with_design):
    told = {"coordinates": True}
    with_design(told, patches={"side": [16, 32], "overlap": 8})
    message = r"models.edm on weather: patches.side is \[17, 32\], but a field has 16 x 32 cells: take smaller patches, or take patches out"
    with pytest.raises(LevyError, match=message):
        with_design(told, patches={"side": [17, 32], "overlap": 8})


def test_more_eofs_than_fitted_fields_have_are_refused(with_design, monkeypatch):
    values = 2 * 16 * 32
    for eofs in (values, 0.5, None):
        with_design(eofs=eofs)
    message = "models.edm.eofs is 1025, but the 2000 training samples of weather that EOFs are fitted to have at most 1024 EOFs"
    with pytest.raises(LevyError, match=message):
        with_design(eofs=values + 1)
    monkeypatch.setattr(encoding, "VALUES", 300 * values)
    with_design(eofs=299)
    with pytest.raises(LevyError, match=r"but the 300 training samples of weather .* at most 299 EOFs"):
        with_design(eofs=300)


def test_fields_too_large_for_eofs_are_refused(with_design, monkeypatch):
    monkeypatch.setattr(encoding, "VALUES", 19 * 1024)
    message = (
        "models.edm.eofs on weather: a sample has 1,024 values, so that EOFs would be fitted to 19 of 2,191 samples"
    )
    with pytest.raises(LevyError, match=message):
        with_design(eofs=0.9)
    with_design(eofs=None)


def test_a_class_that_balance_would_show_from_one_image_is_warned_of_with_how_often(warned_of):
    of_one = {"imbalance": 8}  # 8 and 1 image
    assert warned_of(of_one, {"balance": 1}) == [
        "warning: pets: class 'rare' has one training sample, which train.balance 1 would show about 500 times: "
        "lower train.balance, or bring more samples of that class"
    ]
    (line,) = warned_of(of_one, {"balance": 0.5})  # 1 of 1 + 8 ** 0.5
    assert "about 261 times" in line
    assert warned_of(of_one, {"balance": 0}) == []
    assert warned_of({"imbalance": 4}, {"balance": 1}) == []  # 8 and 2


@pytest.fixture
def with_experiment(tmp_path, monkeypatch):
    """Checks the starter data with one experiment."""
    for name in ("digits", "weather"):
        shutil.copytree(ROOT / "data" / name, tmp_path / "data" / name)
    monkeypatch.chdir(tmp_path)

    def run(kind, **experiment):
        values = weather_params() if kind == "fields" else yaml.safe_load((ROOT / "params.yaml").read_text())
        (tmp_path / "params.yaml").write_text(yaml.safe_dump({**values, "observe": {kind: {"mine": experiment}}}))
        check_sources(loading.load())

    return run


def test_experiments_that_the_held_out_samples_do_not_suit_are_refused_in_a_line(with_experiment):
    with_experiment("images", see="means", block=4)
    with_experiment("fields", see="means", block=8)
    for kind, experiment, message in (
        (
            "images",
            {"see": "means", "block": 3},
            "observe.images.mine on digits: blocks of 3 x 3 cells do not divide fields of 8 x 8: choose",
        ),
        (
            "fields",
            {"see": "means", "block": 5},
            "observe.fields.mine on weather: blocks of 5 x 5 cells do not divide fields of 16 x 32",
        ),
        (
            "images",
            {"see": "cells", "share": 0.001},
            "observe.images.mine on digits: 0 of 64 cells would be observed, but some have to be",
        ),
        (
            "images",
            {"see": "blur", "width": 9},
            "observe.images.mine on digits: the blur is 9.0 cells wide, but must be above 0 and below",
        ),
    ):
        with pytest.raises(LevyError, match=message):
            with_experiment(kind, **experiment)
