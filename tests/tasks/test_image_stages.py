"""From a model to the table of its grid, stage by stage in one process: what is kept, what is drawn again, what fails."""

import json
import multiprocessing
import os
import shutil
import signal
from dataclasses import asdict, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import levy_core.serving.draw
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json
from levy_core.base.manifest import write_manifest
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.seeds import seed_of
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets import starter
from levy_core.metrics.images.classifier import classify, load_classifier
from levy_core.metrics.images.measures import Generated, floors, measure_images
from levy_core.nets.unet import UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver, format_rows
from levy_core.serving.draw import cost, draw_samples, hash_weights
from levy_core.serving.memory import Footprint
from levy_core.training.checkpoint import load_model
from tasks.cells.selection import SETTINGS, solver_of
from tasks.cells.store import (
    INDEX,
    LABELS,
    Cell,
    has_failed,
    is_done,
    read_cells,
    read_labels,
    write_cell,
    write_failure,
    write_index,
)
from tasks.cells.tuned import read_spent, read_tuned, write_tuned
from tasks.evaluate import evaluate
from tasks.kinds.images.metrics import classifier_folder, fidelity_config
from tasks.kinds.opening import open_metrics
from tasks.params import loading as settings
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.runtime import paths
from tasks.sample import sample
from tasks.tune import _fingerprint, filter_by_cost, filter_guides, tune, warn_of_copies
from tasks.tuning.scores import Memo, Scorer
from tests.conftest import ROOT, merged, save_untrained
from tests.support import addresses

SOLVERS = [
    Solver("sde-e", "2m-data", "karras", 20, 1 / 3, "quiet-end", rho_max=1e2 / 3, denoise=True, limit="clamp"),
    Solver("ode", "ei-noise", "uniform-t", 5),
    Solver("posterior", "ei-noise", "uniform-log-rho", 2),
]


def image_of(seed):
    return np.random.default_rng(seed).integers(0, 256, (8, 1, 4, 4), dtype=np.uint8)


def cell_of(solver, seed):
    """A cell as the sample stage makes it."""
    return Cell(asdict(solver), solver.label, seed, solver.steps)


def fill(folder, failed=()):
    """Every solver at two seeds; those at the places ``failed`` with a reason in place of samples."""
    cells = [cell_of(solver, seed) for solver in SOLVERS for seed in (1, 0)]
    named = {cell.key("model", np.zeros(8)): cell for cell in cells}
    folder.mkdir(exist_ok=True)
    for k, key in enumerate(named):
        if k in failed:
            write_failure(folder, key, f"NaN at step {k}")
        else:
            write_cell(folder, key, image_of(k).shape, image_of(k).dtype, [image_of(k)])
    write_index(folder, named)
    return named


def test_samples_and_failures_come_back_as_they_were_in_the_order_of_steps_solver_and_seed(tmp_path):
    named = fill(tmp_path, failed=(2,))
    found = read_cells(tmp_path)
    assert {drawn.key: drawn.cell for drawn in found} == named
    assert [(drawn.cell.settings, drawn.cell.label, drawn.cell.seed) for drawn in found] == [
        (asdict(solver), solver.label, seed) for solver in (SOLVERS[2], SOLVERS[1], SOLVERS[0]) for seed in (0, 1)
    ]
    for k, key in enumerate(named):
        drawn = next(drawn for drawn in found if drawn.key == key)
        assert is_done(tmp_path, key)
        assert has_failed(tmp_path, key) == (k == 2)
        if k == 2:
            assert (drawn.samples, drawn.failed) == (None, "NaN at step 2")
        else:
            assert drawn.failed is None
            assert drawn.samples.dtype == np.uint8
            assert np.array_equal(drawn.samples, image_of(k))
    assert not is_done(tmp_path, "0" * 16)


def test_a_cell_is_named_by_everything_that_determines_its_samples():
    base = cell_of(SOLVERS[1], 0)
    others = [
        replace(base, settings={**base.settings, name: value}) for name, value in (("steps", 6), ("rho_max", 9.0))
    ]
    labels = np.arange(3)
    keys = [cell.key("m", labels) for cell in (base, *others, replace(base, seed=1))]
    keys += [base.key("n", labels), base.key("m", np.arange(4)), base.key("m", labels[::-1])]
    assert len(set(keys)) == len(keys)
    assert (
        replace(base, nfe=99, label="another").key("m", labels) == keys[0]
    )  # what it costs and is called changes no sample
    determined_by = {**asdict(SOLVERS[1]), "seed": 0, "model": "m", "labels": [0, 1, 2]}
    assert keys[0] == hash_json(determined_by)[:16]


def test_the_index_prunes_files_that_it_does_not_name(tmp_path):
    named = fill(tmp_path, failed=(0,))
    stale = [
        tmp_path / name for name in ("0123456789abcdef.npy", "0123456789abcdef.txt", f".{next(iter(named))}.npy.x1")
    ]
    for path in stale:
        path.write_text("left by an earlier grid, or by a kill")
    kept = {key: named[key] for key in list(named)[:3]}
    write_index(tmp_path, kept)
    endings = [".txt", ".npy", ".npy"]
    assert {path.name for path in tmp_path.iterdir()} == {INDEX, *(k + e for k, e in zip(kept, endings, strict=True))}
    assert [drawn.key for drawn in read_cells(tmp_path)] == sorted(
        kept, key=lambda key: (kept[key].settings["steps"], kept[key].seed)
    )


@pytest.mark.parametrize(
    "damage", [lambda p: p.unlink(), lambda p: p.write_bytes(b""), lambda p: p.write_bytes(p.read_bytes()[:90])]
)
def test_an_array_that_is_missing_or_cut_off_is_told_with_its_folder_and_the_remedy(tmp_path, damage):
    folder = tmp_path / "lim"
    key = next(iter(fill(folder)))
    damage(folder / f"{key}.npy")
    with pytest.raises(LevyError, match=rf"{folder} holds no complete grid \(.+\): run the sample stage again"):
        read_cells(folder)


def test_a_missing_array_is_named(tmp_path):
    key = next(iter(fill(tmp_path)))
    (tmp_path / f"{key}.npy").unlink()
    with pytest.raises(LevyError, match=rf"{key}\.npy"):
        read_cells(tmp_path)
    with pytest.raises(LevyError, match=rf"{INDEX}.*run the sample stage again"):
        read_cells(tmp_path / "none")


def test_tuned_samplers_come_back_by_their_steps_and_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "lim.json"
    rows = format_rows([[20.0, 0.1, 0.9], [1.0, 0.05, 1.4, -0.5], [0.3, 0.0, 1.2, -0.3, 0.1]])
    fitted = Solver("ode", "fitted", "fitted", 3, rows=rows, fitted_to="1e10")
    found = {
        s.steps: {"sampler": asdict(s), "score": 1.5, "samples": 9, "evaluations": 50 * s.steps, "trials": 2}
        for s in (*SOLVERS[:2], fitted)
    }
    write_tuned(path, found)
    assert read_tuned(path) == {20: SOLVERS[0], 5: SOLVERS[1], 3: fitted}
    assert read_spent(path) == {20: 1000, 5: 250, 3: 150}
    for text in ("", '{"5": {}}', '{"5": {"sampler": {"family": "ode"}}}', "[]", '{"five": {"sampler": {}}}'):
        path.write_text(text)
        with pytest.raises(LevyError, match=r"lim.json cannot be read .*: run the tune stage again"):
            read_tuned(path)


# The stages, on the starter digits and a network of random weights.

TINY = {
    "designs": ["lim"],
    "data": {"digits": {"reference_per_class": 40}},
    "tune": {"steps": [2, 3], "samples": 120, "first": 8, "last": 16},
    "evaluate": {
        "images": {
            "kid_subsets": 3,
            "kid_subset_size": 8,
            "classifier": {"steps": 40, "batch": 64, "width": 8, "features": 8},
        }
    },
}
GRID = {
    "solvers": ["ode", "sde-e"],
    "discretisations": ["ei-noise"],
    "grids": ["uniform-t"],
    "steps": [2, 3],
    "etas": [0.2],
}
SAMPLE = {"grid": {"tiny": GRID}, "seeds": [0, 1], "n": 16, "batch": 16, "hours": None}
NET = UNetConfig((1, 8, 8), 10, (8,))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with prepared digits, a classifier, references and an untrained model."""
    folder = tmp_path_factory.mktemp("stages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        starter.write_digits(paths.raw("digits") / "digits.zip")
        change({}, folder)
        read = settings.load()
        prepare(read, "digits")
        reference(read, "digits")
        save_untrained(paths.model("digits", "lim"), NET, tuple("0123456789"))
        write_tuned(paths.tuned("digits", "lim"), {})
    return folder


def change(changes, folder=None):
    """Writes params.yaml: the shipped one, small, with changes."""
    values = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), TINY)
    path = (folder or paths.Path()) / "params.yaml"
    path.write_text(yaml.safe_dump(merged({**values, "sample": SAMPLE}, changes)))
    return settings.load(path)


@pytest.fixture
def small(prepared, tmp_path, monkeypatch):
    """A copy of ``prepared`` to work in, and its settings."""
    folder = tmp_path / "work"
    shutil.copytree(prepared, folder)
    monkeypatch.chdir(folder)
    yield settings.load()
    torch.use_deterministic_algorithms(False)  # the stages ask for it


FOLDER = paths.samples("digits", "lim")
TABLE = paths.evaluation("digits", "lim")


def times():
    return {path.name: path.stat().st_mtime_ns for path in FOLDER.iterdir() if path.name not in (INDEX, LABELS)}


def test_only_missing_cells_are_drawn_and_a_wider_grid_keeps_those_it_has(small, capsys):
    sample(small, "digits", "lim")
    assert "4 cells" not in capsys.readouterr().out  # eight: two solvers, two numbers of steps, two seeds
    before = times()
    assert len(before) == 8
    sample(small, "digits", "lim")
    assert "8 cells, 0 to draw, 0 network evaluations" in capsys.readouterr().out
    assert times() == before
    wider = change({"sample": {"grid": {"tiny": {"etas": [0.2, 0.4]}}}})
    write_tuned(paths.tuned("digits", "lim"), {3: {"sampler": asdict(Solver("ode", "ei-noise", "uniform-t", 3))}})
    sample(wider, "digits", "lim")  # the tuned sampler is one of the grid
    assert f"12 cells, 4 to draw, {16 * 2 * (2 + 3)} network evaluations" in capsys.readouterr().out
    assert before.items() < times().items()
    tuned = Solver("ode", "2m-data", "karras", 4)
    write_tuned(paths.tuned("digits", "lim"), {4: {"sampler": asdict(tuned)}})
    sample(small, "digits", "lim")
    assert "10 cells, 2 to draw" in capsys.readouterr().out
    assert {solver_of(drawn.cell.settings) for drawn in read_cells(FOLDER)} == {*small.sample.cells(), tuned}
    assert len(times()) == 10  # the cells of eta 0.4 are gone


def header_changed(path):
    path.write_bytes(path.read_bytes().replace(b"|u1", b"|i1"))


def of_another_size(path):
    np.save(path, np.load(path)[:, :, :4])


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "without its last byte": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "with one byte more": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "of zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "of another type": header_changed,
    "of another size": of_another_size,
    "with an empty reason": lambda path: path.with_suffix(".txt").touch(),
}


def test_a_rerun_draws_cells_again_whose_files_are_damaged_and_no_others(small, capsys):
    sample(small, "digits", "lim")
    assert "damaged" not in capsys.readouterr().out
    expected = {path.name: path.read_bytes() for path in FOLDER.iterdir()}
    (whole, before), *others = [(name, time) for name, time in times().items()]
    for damage, (name, _) in zip(DAMAGES.values(), others, strict=True):
        damage(FOLDER / name)
    sample(small, "digits", "lim")
    said = capsys.readouterr().out
    assert "outputs/digits/samples/lim: 7 of 8 cells are cut off or damaged and drawn again, the first is " in said
    assert "8 cells, 7 to draw" in said
    assert {path.name: path.read_bytes() for path in FOLDER.iterdir()} == expected
    assert times()[whole] == before
    evaluate(small, "digits", "lim")


def test_samples_on_disk_are_those_of_the_solver_and_seed(small):
    sample(small, "digits", "lim")
    model = load_model(paths.model("digits", "lim"))
    for drawn in read_cells(FOLDER)[::3]:
        again = draw_samples(
            model,
            solver_of(drawn.cell.settings),
            drawn.cell.seed,
            model.samples.usual_labels(0, 16),
            5,
            torch.device("cpu"),
        )
        # batches of another size may round otherwise in the network: a grey level at most
        assert np.abs(again.astype(int) - drawn.samples).max() <= 1
        assert drawn.cell.nfe == drawn.cell.settings["steps"]


# The squares of what its first step adds are beyond float32, so that the network's second output is NaN.
WILD = {**GRID, "solvers": ["sde-e"], "steps": [3], "etas": [1e30]}


def test_a_cell_that_leaves_the_finite_numbers_is_recorded_with_its_reason_and_the_grid_goes_on(small, capsys):
    grid = change({"sample": {"grid": {"wild": {**WILD, "etas": [1e30, 1e38]}}}})
    sample(grid, "digits", "lim")
    assert "4 of 12 cells failed" in capsys.readouterr().out
    found = read_cells(FOLDER)
    reasons = {drawn.cell.settings["eta"]: drawn.failed for drawn in found if drawn.failed}
    assert sorted(reasons) == [1e30, 1e38]
    assert "network returned NaN or infinity at step 2 of 3" in reasons[1e30]
    assert "for 16 of 16 samples, the first with index 0" in reasons[1e30]
    assert "a step multiplies by 1.17e+40, and torch.float32 holds 3.4e+38 at most: lower eta" in reasons[1e38]
    assert [len(drawn.samples) for drawn in found if not drawn.failed] == [16] * 8
    before = times()
    sample(grid, "digits", "lim")
    assert "12 cells, 0 to draw" in capsys.readouterr().out  # a failure is not tried again
    assert times() == before
    evaluate(grid, "digits", "lim")
    table = pd.read_csv(TABLE)
    assert (table.failed.isna() == (table.eta < 1)).all()
    assert (table["fid/longtail"].isna() == (table.eta > 1)).all()
    assert set(table.failed.dropna()) == set(reasons.values())


def break_model(value=float("inf")):
    """One weight of the saved model becomes infinite."""
    path = paths.model("digits", "lim") / "model.safetensors"
    weights = read_tensors(path)
    weights["unet.conv_out.bias"][0] = value
    write_tensors(path, weights)
    write_manifest(path.parent)


def test_a_broken_model_fails_in_every_cell_and_leaves_a_table_of_reasons(small):
    break_model()
    sample(small, "digits", "lim")
    evaluate(small, "digits", "lim")
    table = pd.read_csv(TABLE)
    assert len(table) == 8
    assert table.failed.str.contains(r"NaN or infinity at step 1 of \d \(rho = 118.8\) for 16 of 16 samples").all()
    assert "fid/longtail" not in table


@pytest.mark.parametrize("processes", [1, 2])
def test_a_grid_that_would_take_longer_than_allowed_is_refused_with_the_estimate_before_anything_is_drawn(
    small, processes
):
    grid = change({"sample": {"hours": 1e-9}, "compute": {"processes": processes}})
    with pytest.raises(
        LevyError,
        match=r"would take about \d.*hours \(320 evaluations, \d+ ms for 16\), but sample.hours allows 1e-09: raise it",
    ):
        sample(grid, "digits", "lim")
    assert list(FOLDER.iterdir()) == []
    sample(change({"sample": {"hours": 1}}), "digits", "lim")
    assert len(times()) == 8
    sample(grid, "digits", "lim")  # nothing is left to draw, so that it takes no time


def count_measured(params, capsys):
    """How many rows the evaluate stage measured anew."""
    capsys.readouterr()
    evaluate(params, "digits", "lim")
    return int(capsys.readouterr().out.split("cells, ")[1].split()[0])


def test_rows_of_the_table_are_kept_with_the_bytes_of_a_full_evaluation(small, capsys):
    grid = change({"sample": {"grid": {"wild": WILD}}})
    sample(grid, "digits", "lim")
    assert count_measured(grid, capsys) == 10
    whole = TABLE.read_bytes()
    assert count_measured(grid, capsys) == 2  # failed cells have nothing to keep
    assert TABLE.read_bytes() == whole
    lines = whole.decode().splitlines(keepends=True)
    for kept in (slice(0, 4), slice(1, None, 2), slice(9, 10), slice(0, 0)):
        TABLE.write_text("".join([lines[0], *lines[1:][kept]]))
        count_measured(grid, capsys)
        assert TABLE.read_bytes() == whole
    for damaged in (b"", b"\x00\xff", b"design,seed\nlim,0\n"):
        TABLE.write_bytes(damaged)
        count_measured(grid, capsys)
        assert TABLE.read_bytes() == whole


def marked(value):
    """The table with a mark in each row: what is not measured again keeps it."""
    table = pd.read_csv(TABLE)
    table["near_train"] = value
    table.to_csv(TABLE, index=False)


def test_rows_are_judged_again_where_the_ruler_or_the_samples_changed_and_only_there(small, capsys):
    sample(small, "digits", "lim")
    evaluate(small, "digits", "lim")
    marked(123.0)
    assert count_measured(small, capsys) == 0
    assert (pd.read_csv(TABLE).near_train == 123).all()
    wider = change({"sample": {"grid": {"tiny": {"etas": [0.2, 0.4]}}}})
    sample(wider, "digits", "lim")
    assert count_measured(wider, capsys) == 4  # the new cells
    table = pd.read_csv(TABLE)
    assert ((table.near_train == 123) == (table.eta != 0.4)).all()
    sample(small, "digits", "lim")
    evaluate(small, "digits", "lim")
    for changed in ({"neighborhood": 2}, {"kid_subsets": 4}):
        marked(123.0)
        assert count_measured(change({"evaluate": {"images": changed}}), capsys) == 8
        assert (pd.read_csv(TABLE).near_train != 123).all()
    moved = classifier_folder(paths.reference("digits")) / "classifier.safetensors"
    weights = read_tensors(moved)
    weights["score.bias"] += 1e-3
    write_tensors(moved, weights)
    assert count_measured(change({"evaluate": {"images": changed}}), capsys) == 8
    break_model(0.5)
    sample(small, "digits", "lim")
    assert count_measured(small, capsys) == 8


def test_rows_are_judged_again_where_the_reference_is_of_other_images(small, capsys):
    sample(small, "digits", "lim")
    evaluate(small, "digits", "lim")
    other = change({"data": {"digits": {"imbalance": 5}}})
    prepare(other, "digits")
    reference(other, "digits")
    assert count_measured(other, capsys) == 8


def test_rows_say_what_evaluating_the_cell_alone_says_and_the_bias_of_few_samples_is_told(small, capsys):

    sample(small, "digits", "lim")
    evaluate(small, "digits", "lim")
    assert "warning: scores of 16 samples are biased: as many perfect samples would score" in capsys.readouterr().err
    measured_with = open_metrics(small, "digits")
    references, counts = measured_with.references, json.loads((paths.reference("digits") / "counts.json").read_text())
    assert counts == np.bincount(references["longtail"].labels).tolist()
    table = pd.read_csv(TABLE)
    first = ["design", *SETTINGS, "seed", "nfe", "cell", "ruler", "failed"]
    assert list(table)[: len(first)] == first
    for drawn, (_, row) in zip(read_cells(FOLDER), table.iterrows(), strict=True):
        assert (solver_of(row), row["seed"], row["cell"]) == (
            solver_of(drawn.cell.settings),
            drawn.cell.seed,
            drawn.key,
        )
    image = np.array(drawn.samples)
    verdicts = classify(load_classifier(classifier_folder(paths.reference("digits"))), image)
    labels = read_labels(FOLDER, read_cells(FOLDER))
    assert labels.tolist() == load_model(paths.model("digits", "lim")).samples.labels("balanced", 0, 16).tolist()
    generated = Generated(measured_with.features(image), labels, verdicts)
    alone = measure_images(generated, references, counts, fidelity_config(small.evaluation("digits")))
    for name, value in alone.items():
        assert row[name] == pytest.approx(value, rel=1e-6, nan_ok=True), name
    for name, floor in floors(labels, references, 10).items():
        assert row[name] == pytest.approx(floor, rel=1e-6)


LARGE = {"sample": {"n": 2000, "batch": 2000}, "tune": {"samples": 8000, "first": 2000, "last": 4000}}


@pytest.mark.parametrize("stage", [sample, tune])
def test_a_batch_that_does_not_fit_into_memory_is_refused_with_one_that_does(small, stage):
    large = change(LARGE)
    message = r"sample.batch is 2,000, which takes about \d{3} MiB with the network's activations \(.*\), but \d+ MiB of memory are free: lower it to \d+$"
    with addresses.left(60 * 2**20), pytest.raises(LevyError, match=message):
        stage(large, "digits", "lim")
    assert not list(paths.samples("digits", "lim").glob("*.npy"))


# The tune stage

TUNED, TRIALS, MEMO = (path("digits", "lim") for path in (paths.tuned, paths.trials, paths.scores))


class Counted:
    """The real drawing, counted, that ends as a person or the machine ends it after so many calls."""

    def __init__(self, monkeypatch, calls=None, end=None):
        self.calls, self.limit, self.end, self.images = 0, calls, end, 0
        monkeypatch.setattr(levy_core.serving.draw, "draw_samples", self)

    def __call__(self, *arguments, **options):
        if self.calls == self.limit:
            self.end()
        self.calls += 1
        images = draw_samples(*arguments, **options)
        self.images += len(images)
        return images


def interrupt():
    raise KeyboardInterrupt


def test_the_search_spends_its_budget_and_leaves_the_tuned_samplers_and_every_trial(small, monkeypatch):
    drawing = Counted(monkeypatch)
    tune(small, "digits", "lim")
    found = json.loads(TUNED.read_text())
    assert list(found) == ["2", "3"]
    extra = 2 * 2 * 2 * 16 + 2 * 16  # of two searches tables for two guides and two ends, and what the longer one found
    assert drawing.images == sum(entry["samples"] for entry in found.values()) <= 2 * 120 + extra
    trials, model = pd.read_csv(TRIALS), load_model(paths.model("digits", "lim"))
    assert len(trials) == sum(entry["trials"] for entry in found.values())
    assert trials.n.sum() == drawing.images
    trials["cost"] = [cost(model, solver_of(row)) for _, row in trials.iterrows()]
    assert set(trials.guide) == {"none", "classifier-free"}
    assert set(trials.cost) == {2, 3}  # the guides' evaluations counted
    for steps, solver in read_tuned(TUNED).items():
        assert cost(model, solver) == steps
        mine = trials[(trials.cost == steps) & (trials.n == 16)]
        best = mine.loc[mine.score.idxmin()]
        assert solver_of(best) == solver
        assert found[str(steps)]["score"] == best.score
        watched = found[str(steps)]["watched"]
        assert set(watched) == {"near_train", "coverage/longtail", "floor/near_train"}
        assert watched == {name: best[name] for name in watched}
    counts = [json.loads(json.loads(line)["of"])[1] for line in MEMO.read_text().splitlines()]
    assert counts.count(16) == (trials.n == 16).sum()
    tables = trials[trials.discretisation == "fitted"]
    assert (
        len(trials) - len(tables) - 2 <= counts.count(8) <= len(trials) - len(tables)
    )  # tables, and what was shortened, begin at 16
    assert len(tables) >= 4
    assert set(tables.fitted_to) == {hash_weights(paths.model("digits", "lim"))}
    assert all(solver_of(row).fitted_rows for _, row in tables.iterrows())


def test_one_evaluation_is_fitted_to_the_flow_below_its_start(small):
    tune(change({"tune": {"steps": [1], "guides": ["none"], "solvers": ["ode"]}}), "digits", "lim")
    trials = pd.read_csv(TRIALS)
    tables = trials[trials.discretisation == "fitted"]
    own = trials[trials.discretisation != "fitted"].rho_min
    assert len(tables) == 2
    assert any(
        tables.rho_min.max() == pytest.approx(end) for end in own
    )  # that of what was found, and one five times lower
    assert tables.rho_min.min() == pytest.approx(max(tables.rho_min.max() / 5, 0.005))


def test_a_search_of_heun_alone_fits_nothing(small):
    space = {"solvers": ["ode"], "discretisations": ["heun", "fitted"], "guides": ["none"], "steps": [3]}
    tune(change({"tune": space}), "digits", "lim")
    assert set(pd.read_csv(TRIALS).discretisation) == {"heun"}


def test_a_sampler_that_was_fitted_to_another_model_is_not_drawn_with(small):
    tune(small, "digits", "lim")
    solver = Solver("ode", "fitted", "fitted", 1, rows=format_rows([[20.0, 0.1, 0.9]]), fitted_to="0" * 64)
    write_tuned(TUNED, {1: {"sampler": asdict(solver)}})
    with pytest.raises(
        LevyError, match=r"belongs to the model with weights 000000000000, but .*lim has weights .*run tune again"
    ):
        sample(small, "digits", "lim")


def test_a_search_with_nothing_changed_draws_nothing_and_scores_of_another_one_are_forgotten(small, monkeypatch):
    with MEMO.open("a") as stream:
        stream.write('{"made_by": "another", "of": "[]", "score": 1.0}\n')
    tune(small, "digits", "lim")
    assert "another" not in MEMO.read_text()
    before = [path.read_bytes() for path in (TUNED, TRIALS, MEMO)]
    drawing = Counted(monkeypatch)
    tune(small, "digits", "lim")
    assert drawing.calls == 0
    assert [path.read_bytes() for path in (TUNED, TRIALS, MEMO)] == before
    tune(change({"tune": {"seed": 1}}), "digits", "lim")
    assert drawing.calls > 0
    assert MEMO.read_bytes() != before[2]


def test_an_interrupted_search_goes_on_to_the_same_result_and_draws_less(small, monkeypatch):
    whole = Counted(monkeypatch)
    tune(small, "digits", "lim")
    expected = TUNED.read_bytes(), TRIALS.read_bytes()
    TUNED.unlink()
    MEMO.unlink()
    half = whole.calls // 2
    Counted(monkeypatch, half, interrupt)
    with pytest.raises(KeyboardInterrupt):
        tune(small, "digits", "lim")
    assert not TUNED.exists()
    assert len(MEMO.read_text().splitlines()) == half
    rest = Counted(monkeypatch)
    tune(small, "digits", "lim")
    assert (TUNED.read_bytes(), TRIALS.read_bytes()) == expected
    # A rung above a remembered one draws its solver's first samples again: once at most, where the search was cut off.
    assert whole.calls - half == rest.calls
    assert whole.images - rest.images >= 8 * half - 16


def test_a_killed_search_goes_on_to_the_same_result(small, monkeypatch):
    tune(small, "digits", "lim")
    expected = TUNED.read_bytes(), TRIALS.read_bytes()
    for path in (TUNED, TRIALS, MEMO):
        path.unlink()
    Counted(monkeypatch, 9, lambda: os.kill(os.getpid(), signal.SIGKILL))
    process = multiprocessing.get_context("fork").Process(target=tune, args=(small, "digits", "lim"))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with MEMO.open("a") as stream:
        stream.write('{"made_by": "half a li')
    rest = Counted(monkeypatch)
    tune(small, "digits", "lim")
    assert rest.calls > 0
    assert (TUNED.read_bytes(), TRIALS.read_bytes()) == expected
    assert "half a li" not in MEMO.read_text()


def test_samplers_that_leave_the_finite_numbers_are_trials_without_a_score(small):
    tune(
        change({"tune": {"eta": [1e37, 1e38], "solvers": ["sde-e", "ode"], "guides": ["none"], "limits": ["none"]}}),
        "digits",
        "lim",
    )
    trials = pd.read_csv(TRIALS)
    assert (trials.score.isna() == (trials.family == "sde-e")).all()
    assert trials.score.isna().any()
    assert {solver.family for solver in read_tuned(TUNED).values()} == {"ode"}


def test_a_search_on_a_broken_model_says_so(small):
    break_model()
    with pytest.raises(
        LevyError, match=r"none of \d+ samplers gave a finite score at 3 steps: look at the training loss"
    ):
        tune(small, "digits", "lim")


@pytest.mark.parametrize("metric", ["fid/balanced", "fid_classes/longtail", "kid/balanced"])
def test_the_search_minimises_the_metric_of_compare(small, metric):
    params = change({"compare": {"images": metric}, "tune": {"steps": [2], "first": 16}})  # KID needs each class
    tune(params, "digits", "lim")
    best = json.loads(TUNED.read_text())["2"]
    model, measured_with = load_model(paths.model("digits", "lim")), open_metrics(params, "digits")
    solver, labels = Solver(**best["sampler"]), model.samples.labels("balanced", 0, 16)
    drawn = draw_samples(model, solver, seed_of_search(params), labels, 200, torch.device("cpu"))
    assert best["score"] == pytest.approx(
        measured_with.measure(drawn, labels)[metric], rel=0.01
    )  # batches of another size


def seed_of_search(params):
    seed = seed_of("tune", params.tune.seed) % 2**31
    assert seed not in params.sample.seeds
    return seed


def test_a_judge_gives_every_sampler_the_same_noise_and_adds_to_the_samples_it_has(small, tmp_path, monkeypatch):
    model, seen, asked = load_model(paths.model("digits", "lim")), [], []
    embed = open_metrics(small, "digits").embed
    listening = SimpleNamespace(
        embed=embed,
        score=lambda f, labels, metric: seen.append(torch.cat(f)) or asked.append(metric) or 0.0,
        watch=lambda f, labels: {"rows": sum(map(len, f)), "unknown": float("nan")},
    )
    cpu, drawing = torch.device("cpu"), Counted(monkeypatch)
    footprint = Footprint(model, cpu)
    one, other = (
        Scorer(model, listening, "kid/balanced", "balanced", 7, 200, cpu, Memo(tmp_path / name, ""), footprint)
        for name in ("one", "other")
    )
    a, b = small.sample.cells()[:2]
    for scorer, solver, n in ((one, a, 8), (one, a, 16), (one, b, 16), (one, a, 16), (other, a, 16)):
        scorer(solver, n)  # the fourth is known
    assert [len(f) for f in seen] == [8, 16, 16, 16]
    assert set(asked) == {"kid/balanced"}
    assert drawing.images == 16 + 16 + 16
    assert Memo(tmp_path / "one", "").watched(a, 16, 7) == {"rows": 16.0}
    assert torch.equal(seen[1][:8], seen[0])
    assert torch.allclose(seen[1], seen[3], atol=1e-4)  # in one piece
    images = draw_samples(model, b, 7, model.samples.labels("balanced", 0, 16), 200, torch.device("cpu"))
    assert torch.equal(seen[2], embed(images))


def test_the_memo_returns_scores_exactly_and_survives_the_end_of_a_line_that_a_kill_cut_off(tmp_path):
    path = tmp_path / "deep" / "memo.jsonl"
    memo = Memo(path, "mine")
    scores = {(SOLVERS[0], 8): 1 / 3, (SOLVERS[0], 16): float("nan"), (SOLVERS[2], 8): 1e-300}
    for (solver, n), score in scores.items():
        memo.put(solver, n, 3, score, {})
    Memo(path, "another's").put(SOLVERS[1], 8, 3, 5.0, {})
    with path.open("a") as stream:
        stream.write('{"made_by": "mine", "of": "[{')
    again = Memo(path, "mine")
    again.put(SOLVERS[1], 16, 3, 2.0, {"near_train": 1 / 3})
    for found in (again, Memo(path, "mine")):
        for (solver, n), score in scores.items():
            assert found.get(solver, n, 3) == pytest.approx(score, rel=0, abs=0, nan_ok=True)
        assert found.get(SOLVERS[1], 8, 3) is None
        assert found.get(SOLVERS[0], 8, 4) is None  # of another seed
    assert Memo(path, "mine").get(SOLVERS[1], 16, 3) == 2.0
    again.forget_stale()
    assert len(path.read_text().splitlines()) == 4
    assert Memo(path, "mine").get(SOLVERS[0], 8, 3) == 1 / 3
    assert Memo(path, "mine").watched(SOLVERS[1], 16, 3) == {"near_train": 0.333333}
    assert Memo(path, "another's").get(SOLVERS[1], 8, 3) is None


def test_scores_belong_to_model_metric_references_and_settings_of_the_metric(small):
    folder = paths.model("digits", "lim")

    def fingerprint(changes):
        params = change(changes)
        return _fingerprint(params, "digits", folder, open_metrics(params, "digits"), {})

    base = fingerprint({})
    assert (
        fingerprint({"tune": {"seed": 1, "samples": 99, "solvers": ["ode"]}, "train": {"steps": 5}}) == base
    )  # decide no score
    changed = [
        fingerprint({"compare": {"images": "kid/balanced"}}),
        fingerprint({"evaluate": {"images": {"kid_subsets": 4}}}),
    ]
    break_model(0.5)
    changed.append(fingerprint({}))
    prepare(change({"data": {"digits": {"imbalance": 5}}}), "digits")
    reference(change({}), "digits")
    changed.append(fingerprint({}))
    assert len({base, *changed}) == 5


def test_solvers_that_would_evaluate_twice_a_step_are_not_searched():
    space = change_space(("ode", "sde-e", "split-ddim"))
    for preset, kept in (("lim", space.solvers), ("ddpm", space.solvers), ("tedm", ("ode",)), ("tflow", ("ode",))):
        model = SimpleNamespace(design=Design.from_mapping({"preset": preset}))
        assert filter_by_cost(space, model).solvers == kept
    with pytest.raises(
        LevyError, match=r"of tune.solvers, sde-e, split-ddim, each evaluates the network twice .*: add ode"
    ):
        filter_by_cost(replace(space, solvers=("sde-e", "split-ddim"), discretisations=("ei-noise",)), model)


def test_guides_towards_a_class_are_not_searched_where_samples_have_none_and_refused_where_nothing_else_was_learned():
    space = replace(change_space(("ode",)), guides=("none", "classifier-free"))
    classes = Samples("images", ("a", "b"), **RECORDED["images"])
    model = SimpleNamespace(samples=classes)
    assert filter_guides(space, model, np.array([0, 2])) == space
    assert filter_guides(space, model, np.array([2, 2])).guides == ("none",)
    with pytest.raises(LevyError, match="these are drawn without one: ask for a class, or choose the guide none"):
        filter_guides(replace(space, guides=("classifier-free",)), model, np.array([2]))
    told = SimpleNamespace(samples=replace(classes, label_dropout=0.0))
    with pytest.raises(
        LevyError, match=r"told the class of every training sample: train it with train.label_dropout above 0"
    ):
        filter_guides(space, told, np.array([0, 1]))


def test_a_guide_whose_best_lies_much_nearer_to_training_images_than_real_ones_is_said_to_copy():
    plain = Solver("ode", "3m-data", "karras", 5)
    guided = replace(plain, guide="classifier-free", strength=2.0)
    near = {"near_train": 0.7, "floor/near_train": 1.0}
    assert "may copy: its distance to training samples is 0.70, that of new real ones 1.00" in warn_of_copies(
        guided, near
    )
    for solver, watched in (
        (plain, near),
        (guided, near | {"near_train": 0.9}),
        (guided, {}),
        (guided, {"near_train": 0.1}),
    ):
        assert warn_of_copies(solver, watched) == ""


def change_space(solvers):
    return replace(settings.load(ROOT / "params.yaml").tune.space(), solvers=solvers)
