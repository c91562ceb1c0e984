"""New data are taken over whole, compared with what was there, and become a version, also where they lie elsewhere."""

import os
import threading
import time

import pytest
import yaml
from PIL import Image

from flows.pipeline.workspace import Workspace
from flows.retrain import arrivals
from levy_core.base.errors import LevyError
from tests.conftest import make_checkout, weather_params
from tests.support.fields import temperature

FIELDS = {"kind": "fields", "variables": [{"name": "t2m", "units": "degC"}], "climatology": "none", "gap": "1h"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A data set of fields whose hours grow in a store elsewhere."""
    checkout = make_checkout(tmp_path_factory.mktemp("arrivals"), {})
    settings = weather_params()
    (checkout.root / "params.yaml").write_text(yaml.safe_dump({**settings, "data": {"weather": FIELDS}}))
    for path in (checkout.root / "data").rglob("*.*"):
        path.unlink()
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "hours.nc"
    temperature(48).to_netcdf(elsewhere)
    (checkout.root / "data/weather/sources.txt").write_text(f"{elsewhere}\n")
    checkout.run("dvc", "add", "-q", "data")
    checkout.run("git", "add", "-A")
    checkout.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-q", "-m", "fields")
    return checkout, elsewhere


@pytest.fixture
def take(checkout, monkeypatch):
    """What a retraining takes over of them."""
    home, _ = checkout
    monkeypatch.chdir(home.root)
    monkeypatch.setenv("PATH", home.environment["PATH"])
    workspace = Workspace.at("arrivals", "HEAD")
    return lambda: arrivals.take(workspace, "weather", home.root / "data/weather", True, 0.0, 0.1)


@pytest.mark.long
def test_hours_that_grow_elsewhere_are_a_new_version_no_change_is_none_and_fewer_are_refused(take, checkout):
    _, elsewhere = checkout
    first, again = take(), take()
    assert (first.after["counts"], first.after["last"][:13]) == ({"fields": 48}, "2001-01-02T23")
    assert first.new != first.old
    assert (again.old, again.new, again.text) == (first.new, first.new, "no new data")
    elsewhere.unlink()
    temperature(72).to_netcdf(elsewhere)
    grown = take()
    assert grown.new != grown.old
    assert grown.text.startswith("48 -> 72 samples up to 2001-01-03T23")
    elsewhere.unlink()
    temperature(40).to_netcdf(elsewhere)
    with pytest.raises(
        LevyError, match=r"'fields' had 72, has 40; the last sample was 2001-01-03T23.*is 2001-01-02T15"
    ):
        take()


@pytest.mark.long
def test_class_folders_beside_the_zip_of_the_last_version_are_refused_with_what_helps(tmp_path, monkeypatch):
    """The workspace, which the reader of the zip names, is not where a person could mend it."""
    home = make_checkout(tmp_path / "home", {})
    monkeypatch.chdir(home.root)
    monkeypatch.setenv("PATH", home.environment["PATH"])
    source = tmp_path / "new"
    (source / "0").mkdir(parents=True)
    Image.new("L", (8, 8)).save(source / "0" / "new.png")
    workspace = Workspace.at("zip", "HEAD")
    before = (workspace.root / "data.dvc").read_text()
    with pytest.raises(
        LevyError, match=r"holds digits\.zip and images in folders.*bring data/digits of this checkout into"
    ):
        arrivals.take(workspace, "digits", source, False, 0.0, 0.1)
    assert (workspace.root / "data.dvc").read_text() == before


def test_files_are_added_replaced_and_removed_as_they_are_and_hidden_ones_left_out(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    for name in ("a/1.png", "a/2.png", "b/1.png", "a/.3.png.part"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(name)
    assert arrivals._copy(source, target, mirror=False, quiet=0)
    assert sorted(p.relative_to(target).as_posix() for p in target.rglob("*.*")) == ["a/1.png", "a/2.png", "b/1.png"]
    assert not arrivals._copy(source, target, mirror=True, quiet=0)
    (source / "a/1.png").write_text("changed")
    (source / "b/1.png").unlink()
    assert arrivals._copy(source, target, mirror=False, quiet=0)
    assert (target / "a/1.png").read_text() == "changed"
    assert (target / "b/1.png").exists()  # files are only added
    assert arrivals._copy(source, target, mirror=True, quiet=0)
    assert not (target / "b").exists()  # an empty folder would be a class without images


def test_a_file_that_is_still_being_written_is_waited_for(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    path = source / "hours.nc"

    def write():
        for _ in range(10):
            with path.open("a") as stream:
                stream.write("x" * 1000)
            time.sleep(0.1)

    writer = threading.Thread(target=write)
    writer.start()
    time.sleep(0.05)
    arrivals._copy(source, target, mirror=True, quiet=0.5)
    writer.join()
    assert (target / "hours.nc").stat().st_size == 10_000


def test_data_that_are_written_all_the_time_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(arrivals, "PATIENCE", 0.0)
    path = tmp_path / "source" / "hours.nc"
    path.parent.mkdir()
    path.write_text("x")
    os.utime(path, (time.time() + 60, time.time() + 60))
    with pytest.raises(LevyError, match="has been written to for"):
        arrivals._copy(path.parent, tmp_path / "target", mirror=True, quiet=1.0)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({"counts": {"a": 100}}, {"counts": {"a": 89}}, "'a' had 100, has 89"),
        ({"counts": {"a": 5, "b": 5}}, {"counts": {"a": 5}}, "'b' had 5, has 0"),
        (
            {"counts": {"a": 5}, "shape": [1, 8, 8]},
            {"counts": {"a": 5}, "shape": [3, 8, 8]},
            r"a sample had the shape \[1, 8, 8\], has \[3, 8, 8\]",
        ),
        (
            {"counts": {"fields": 9}, "last": "2001-02"},
            {"counts": {"fields": 9}, "last": "2001-01"},
            "the last sample was 2001-02, is 2001-01",
        ),
    ],
)
def test_losses_are_named_and_can_be_accepted(before, after, message):
    with pytest.raises(LevyError, match=f"the new data of digits are less than the last version: {message}"):
        arrivals._refuse_losses("digits", before, after, 0.1)


def test_a_tenth_less_new_classes_and_first_data_pass():
    arrivals._refuse_losses("digits", {"counts": {"a": 100}}, {"counts": {"a": 90, "b": 1}}, 0.1)
    arrivals._refuse_losses("digits", {"counts": {}}, {"counts": {"a": 1}, "shape": [1, 8, 8]}, 0.1)
    arrivals._refuse_losses("digits", {"counts": {"a": 100}}, {"counts": {"b": 1}}, 1.0)
