"""Processes that share a grid give the bytes of one, go on after a kill, leave nobody behind and fail with one message."""

import os
import shutil
import signal
import sys

import pytest
import yaml

from levy_core.base import philox
from levy_core.nets.unet import UNetConfig
from tasks.cells.store import INDEX, LABELS
from tasks.cells.tuned import write_tuned
from tasks.runtime import paths
from tasks.sample import sample
from tests.conftest import ROOT, save_untrained, wait_until
from tests.support.folder import Folder, workers

GRID = {
    "solvers": ["ode", "sde-e"],
    "discretisations": ["euler-maruyama"],
    "grids": ["uniform-t"],
    "steps": [2, 100],
    "etas": [0.2],
}
COMMAND = (sys.executable, "-m", "tasks", "sample", "--dataset", "digits", "--design", "lim")
STAGE = (sample, "digits", "lim")
SAMPLES = paths.samples("digits", "lim")


class Grid(Folder):
    def files(self):
        return {path.name: path.read_bytes() for path in (self.root / SAMPLES).iterdir()}

    def cells(self):
        return [path for path in (self.root / SAMPLES).glob("*.npy") if not path.name.startswith(".")]


@pytest.fixture(scope="module")
def by_one(tmp_path_factory):
    """A folder in which one process has drawn the grid, and the files that it left."""
    folder, net = Grid(tmp_path_factory.mktemp("grid")), UNetConfig((1, 8, 8), 2, (8,))
    shutil.copy(ROOT / "params.yaml", folder.root)
    params = yaml.safe_load((folder.root / "params.yaml").read_text())
    params["sample"] = {"grid": {"tiny": GRID}, "seeds": [0, 1], "n": 32, "batch": 16}
    (folder.root / "params.yaml").write_text(yaml.safe_dump(params))
    model = folder.root / paths.model("digits", "lim")
    model.mkdir(parents=True)
    save_untrained(model, net, ("a", "b"))
    write_tuned(folder.root / paths.tuned("digits", "lim"), {})
    assert folder.finish(*STAGE) == 0
    folder.set_params({"compute": {"processes": 2}})
    return folder, folder.files()


def test_two_processes_draw_the_missing_cells_with_the_bytes_of_one(by_one):
    folder, expected = by_one
    kept, *lost = folder.cells()
    for path in lost:
        path.unlink()
    before = kept.stat().st_mtime_ns
    done = folder.run(*COMMAND)
    assert f"8 cells, {len(lost)} to draw" in done.stdout
    assert done.stdout.count("to draw") == 1
    assert kept.stat().st_mtime_ns == before
    assert folder.files() == expected
    assert {INDEX, LABELS} < set(expected)
    assert len(expected) == 10


def test_cells_with_the_noise_that_gpus_draw_are_the_same_for_any_number_of_processes(by_one, monkeypatch):
    """One process per GPU; here the same code on the CPU."""
    folder, expected = by_one
    monkeypatch.setattr(philox, "OWN_NOISE", {"cpu"})
    found = []
    for count in (1, 2, 3):
        shutil.rmtree(folder.root / SAMPLES)
        folder.set_params({"compute": {"processes": count}})
        assert folder.finish(*STAGE) == 0
        found.append(folder.files())
    folder.set_params({"compute": {"processes": 2}})
    assert found[0] == found[1] == found[2]
    cells = [name for name in expected if name.endswith(".npy") and name != LABELS]
    assert not any(found[0][name] == expected[name] for name in cells)
    shutil.rmtree(folder.root / SAMPLES)
    monkeypatch.undo()
    assert folder.finish(*STAGE) == 0
    assert folder.files() == expected


def test_a_killed_stage_leaves_no_process_and_a_rerun_completes_it(by_one):
    folder, expected = by_one
    for _ in range(5):  # on a busy machine all cells may be there before the kill
        shutil.rmtree(folder.root / SAMPLES)
        process = folder.start(*STAGE)
        assert wait_until(folder.cells, every=0.02)
        started = len(workers(process))
        process.kill()
        process.join()
        assert wait_until(lambda: not folder.processes(), 5)
        if len(folder.cells()) < 8:
            break
    assert started == 2
    assert 0 < len(folder.cells()) < 8
    assert folder.finish(*STAGE) == 0
    assert folder.files() == expected


def test_a_killed_worker_stops_the_others_and_finished_cells_stay(by_one):
    folder, _ = by_one
    shutil.rmtree(folder.root / SAMPLES)
    process = folder.start(*STAGE)
    assert wait_until(folder.cells, every=0.02)
    os.kill(workers(process)[1], signal.SIGKILL)
    process.join()
    assert process.exitcode == 1
    assert folder.log().splitlines()[-1].startswith("error: one of 2 processes ended with status -9")
    assert not folder.processes()
    assert folder.cells()


def test_a_mistake_that_all_processes_meet_is_said_once(by_one):
    folder, _ = by_one
    tuned = folder.root / paths.tuned("digits", "lim")
    tuned.rename(tuned.with_suffix(".away"))
    status = folder.finish(*STAGE)
    tuned.with_suffix(".away").rename(tuned)
    assert status == 1
    assert folder.log().count("error: ") == folder.log().count("run the tune stage again") == 1
    assert "Traceback" not in folder.log()
