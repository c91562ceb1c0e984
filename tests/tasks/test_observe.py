"""The stage observe on the starter digits, with a network of random weights."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from levy_core.base import code
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.manifest import write_manifest
from levy_core.base.pixels import to_unit
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets import starter
from levy_core.datasets.images.store import read_group
from levy_core.nets.unet import UNetConfig
from levy_core.observations.kept import keep_covariance
from levy_core.sampling.solver import Solver
from tasks.cells.observed import CASES, EXTREME, SCORES, TENSORS, read_scores, read_shown
from tasks.cells.tuned import write_tuned
from tasks.observe import USUAL, _levels_of, observe
from tasks.params import loading as settings
from tasks.prepare import prepare
from tasks.runtime import paths
from tests.conftest import ROOT, merged, save_untrained

NET = UNetConfig((1, 8, 8), 10, (8,))
SMALL = {"cases": 4, "members": 3}
EXPERIMENTS = {
    "half": {"see": "half", "steps": [2, 3], "guides": ["interpolation", "projection"], **SMALL},
    "coarse": {"see": "means", "block": 2, "steps": [2], **SMALL},
    "dim": {"see": "cells", "share": 0.3, "std": 20, "steps": [2], **SMALL},
    "blurred": {"see": "blur", "width": 1.0, "std": 5, "steps": [2], **SMALL},
    "framed": {"see": "box", "share": 0.25, "steps": [2], **SMALL},
}
WAYS = {"half": 4, "coarse": 1, "dim": 1, "blurred": 1, "framed": 1}
OUT = paths.observed("digits", "lim")


def change(experiments):
    values = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), {"designs": ["lim"]})
    values["observe"] = {"images": experiments}
    paths.PARAMS.write_text(yaml.safe_dump(values))
    return settings.load()


@pytest.fixture(scope="module")
def ready(tmp_path_factory):
    """A folder with prepared digits and an untrained model, in which every experiment was done."""
    folder = tmp_path_factory.mktemp("observe")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        starter.write_digits(paths.raw("digits") / "digits.zip")
        read = change(EXPERIMENTS)
        prepare(read, "digits")
        model = save_untrained(paths.model("digits", "lim"), NET, tuple("0123456789"))
        train = read_group(paths.prepared("digits") / "images.zarr", "train").image
        keep_covariance(torch.from_numpy(to_unit(train)), 64, model)
        write_manifest(model)
        write_tuned(paths.tuned("digits", "lim"), {})
        observe(read, "digits", "lim")
    return folder


@pytest.fixture
def here(ready, tmp_path, monkeypatch):
    """A copy of it as working directory."""
    monkeypatch.chdir(shutil.copytree(ready, tmp_path / "work"))
    yield settings.load()
    torch.use_deterministic_algorithms(False)  # the stages ask for it


def contents():
    return {path.name: path.read_bytes() for path in OUT.iterdir()}


def test_there_is_a_row_for_each_way_with_all_scores(here):
    table = read_scores(OUT)
    assert set(contents()) == {SCORES, CASES, TENSORS}
    for name, own in table.groupby("experiment"):
        rivals = ["kriging", "analogues", *["bilinear"] * (name in ("coarse", "dim", "framed"))]
        assert own.rival.dropna().tolist() == rivals
        assert own.rival.isna().sum() == WAYS[str(name)]
    half = table[(table.experiment == "half") & table.rival.isna()]
    pairs = list(zip(half.guide, half.steps, half.nfe, strict=True))
    assert pairs == [(guide, steps, steps) for guide in ("interpolation", "projection") for steps in (2, 3)]
    drawn = table[table.rival.isna()]
    for score in (
        "crps",
        "skill",
        "skill_error",
        "verdict",
        "spread_error",
        "rank_width",
        "rank_p",
        "misfit",
        "psnr",
        "psnr_mean",
    ):
        assert drawn[score].notna().all()
        assert drawn[EXTREME + score].notna().all()
    assert table[table.rival == "kriging"].skill.isna().all()
    assert set(drawn.verdict) <= {"ahead", "behind", "not decidable"}
    assert (table.cases == 4).all()
    assert ((table.extreme_cases == 4) & (table.extreme_share < 0.05)).all()
    assert table.failed.isna().all()


def test_exact_pixels_are_met_and_shown_and_the_rest_is_shown_as_unseen(here):
    shown, test = read_shown(OUT), read_group(paths.prepared("digits") / "images.zarr", "test")
    assert set(shown) == set(EXPERIMENTS)
    for case in shown["half"]:
        assert case.members.shape == (3, 1, 8, 8)
        assert np.isnan(case.observed[..., 4:]).all()
        assert (case.observed[..., :4] == case.truth[..., :4]).all()
        assert (case.members[..., :4] == case.truth[..., :4]).all()
        assert (case.truth == test.image).all((1, 2, 3)).any()
        np.testing.assert_allclose(case.mean, case.members.mean(0), rtol=1e-6)
        np.testing.assert_allclose(case.spread, case.members.std(0, ddof=1), rtol=1e-5, atol=1e-4)
    assert [case.extreme for case in shown["half"]] == [False, False, False, True]
    blocks = shown["coarse"][0]
    np.testing.assert_allclose(blocks.observed[0, :2, :2], blocks.truth[0, :2, :2].mean(), rtol=1e-6)
    table = read_scores(OUT).set_index("experiment")
    for rival in ("kriging", None):
        of = table[table.rival == rival] if rival else table[table.rival.isna()]
        assert of.misfit["half"].max() == 0
    assert table[table.rival == "kriging"].misfit["dim"] == pytest.approx(1, abs=0.35)  # 4 cases of 19 pixels


def test_a_rerun_keeps_what_nothing_changed_and_makes_the_same_bytes_where_it_is_gone(here, capsys):
    before = contents()
    observe(here, "digits", "lim")
    assert "the experiments are kept" in capsys.readouterr().out
    shutil.rmtree(OUT)
    observe(here, "digits", "lim")
    assert "the experiments are kept" not in capsys.readouterr().out
    assert contents() == before
    for changes in ({"seed": 1}, {"members": 4}, {"steps": [3, 2]}, {"std": 3}):
        observe(change({"half": EXPERIMENTS["half"] | changes}), "digits", "lim")
        assert "1 experiments" in capsys.readouterr().out
    write_tuned(paths.tuned("digits", "lim"), {3: {"sampler": {"family": "ode", "discretisation": "ei-noise", "grid": "karras", "steps": 3}}})  # fmt: skip
    observe(settings.load(), "digits", "lim")
    assert "1 experiments" in capsys.readouterr().out


@pytest.mark.parametrize("module", ["tasks.observe", "levy_core.serving.reading"])
def test_experiments_are_done_again_where_the_sampler_or_the_stage_has_changed(
    here, tmp_path, monkeypatch, capsys, module
):
    changed, source_of = tmp_path / "changed.py", code.source_of
    changed.write_text(source_of(module).read_text() + "\n# another line\n")
    observe(change({"coarse": EXPERIMENTS["coarse"]}), "digits", "lim")
    monkeypatch.setattr(code, "source_of", lambda name: changed if name == module else source_of(name))
    observe(settings.load(), "digits", "lim")
    assert capsys.readouterr().out.count("1 experiments") == 2


def test_an_experiment_says_the_same_beside_others(here):
    before = read_scores(OUT)
    observe(change({"dim": EXPERIMENTS["dim"]}), "digits", "lim")
    alone, beside = read_scores(OUT), before[before.experiment == "dim"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, beside[alone.columns])


def test_an_empty_section_needs_no_model_and_leaves_an_empty_table(here):
    shutil.rmtree(paths.model("digits", "lim"))
    for empty in ({}, None):
        observe(change(empty), "digits", "lim")
        assert read_scores(OUT).empty
        assert read_shown(OUT) == {}


def test_levels_are_those_that_were_found_for_the_nearest_number_of_steps():
    tuned = {
        3: Solver("sde-e", "ei-noise", "karras", 3, 0.2, rho_max=9.0),
        10: Solver("ode", "2m-data", "uniform-t", 10),
    }
    assert [_levels_of(tuned)(steps).grid for steps in (2, 5, 7, 20)] == ["karras", "karras", "uniform-t", "uniform-t"]
    assert (_levels_of(tuned)(5).rho_max, _levels_of(tuned)(5).steps, _levels_of(tuned)(5).family) == (9.0, 5, "ode")
    assert _levels_of({})(10) == USUAL


def test_a_way_that_leaves_the_finite_numbers_has_a_row_that_says_so(here):
    model = paths.model("digits", "lim")
    weights = read_tensors(model / "model.safetensors")
    write_tensors(model / "model.safetensors", {name: w * 1e30 for name, w in weights.items()})
    write_manifest(model)
    observe(change({"half": EXPERIMENTS["half"]}), "digits", "lim")
    table = read_scores(OUT)
    assert table.failed[table.rival.isna()].str.contains("NaN or infinity").all()
    assert table.crps[table.rival.notna()].notna().all()
    assert read_shown(OUT) == {"half": []}


def test_members_that_memory_does_not_hold_are_refused_before_any_is_drawn(here, monkeypatch):
    monkeypatch.setattr("tasks.observe.free_memory", lambda: 2**28)
    many = change({"half": {"see": "half", "cases": 100_000, "members": 100_000}})
    with pytest.raises(
        LevyError,
        match=r"observe.images.half on digits has 3\d\d cases of 100000 members, which take about .* are free: lower",
    ):
        observe(many, "digits", "lim")


def test_what_is_missing_is_told_with_its_remedy(here):
    (OUT / CASES).write_text(json.dumps({"half": [{"name": "x"}]}))
    with pytest.raises(LevyError, match=r"observed/lim holds no complete experiments .*: run the observe stage again"):
        read_shown(OUT)
    (OUT / SCORES).write_text("a,b\n1,2\n")
    with pytest.raises(LevyError, match=r"no column experiment, guide, rival, steps\): run the observe stage again"):
        read_scores(OUT)
    (paths.model("digits", "lim") / "covariance.safetensors").unlink()
    write_manifest(paths.model("digits", "lim"))
    with pytest.raises(
        LevyError, match=r"observe.images.half on digits with lim: .* keeps no covariance of its training data"
    ):
        observe(change({"half": EXPERIMENTS["half"]}), "digits", "lim")
    shutil.rmtree(paths.prepared("digits") / "images.zarr" / "test")
    with pytest.raises(LevyError, match=r"has no readable group 'test'.*run the prepare stage again"):
        observe(settings.load(), "digits", "lim")


@pytest.mark.parametrize(
    ("target", "value", "says"),
    [
        ("tasks.observing.cases.FEWEST", 5000, r"because 3\d\d samples are held out, and at least 5000 are needed"),
        (
            "levy_core.observations.kept.ON_DISK",
            1000,
            r"because [\d,]+ training samples of 64 values give no covariance",
        ),
    ],
)
def test_data_that_experiments_do_not_suit_go_without_and_it_is_said(here, monkeypatch, capsys, target, value, says):
    monkeypatch.setattr(target, value)
    observe(here, "digits", "lim")
    assert re.search(says, capsys.readouterr().out)
    assert read_scores(OUT).empty
    assert read_shown(OUT) == {}


def test_an_experiment_that_observes_too_much_is_left_out_alone(here, monkeypatch, capsys):
    monkeypatch.setattr("tasks.observe.MOST", 20)
    observe(change({name: EXPERIMENTS[name] for name in ("half", "coarse")}), "digits", "lim")
    assert "half is left out: it observes 32 values, and at most 20 can be taken in at once" in capsys.readouterr().out
    assert set(read_scores(OUT).experiment) == {"coarse"}


def test_as_many_cases_as_there_are_do_where_more_are_asked_for_and_take_no_more_memory(here, monkeypatch):
    monkeypatch.setattr("tasks.observe.free_memory", lambda: 2**28)
    observe(change({"coarse": EXPERIMENTS["coarse"] | {"cases": 100_000, "members": 2}}), "digits", "lim")
    assert 300 < read_scores(OUT).cases.iloc[0] < 400


def test_nothing_has_a_skill_where_kriging_left_the_finite_numbers(here, monkeypatch):
    def krige(covariance, observation, seed, count):
        raise NotFiniteError("infinite")

    monkeypatch.setattr("tasks.observing.ways.krige", krige)
    observe(change({"coarse": EXPERIMENTS["coarse"]}), "digits", "lim")
    table = read_scores(OUT)
    assert table.failed.iloc[0] == "infinite"
    assert table.crps[1:].notna().all()
    assert "skill" not in table
