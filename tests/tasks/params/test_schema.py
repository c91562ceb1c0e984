"""params.yaml: every fault is named with its key, its value and what is allowed; the graph is DVC's own."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import date

import pydot
import pytest
import yaml

from flows.pipeline.graph import Graph, parse_dot
from levy_core.base.errors import LevyError
from tasks.cells.selection import is_published
from tasks.kinds.kind import kind_of
from tasks.params import loading, plain_yaml, sections
from tasks.params.resolution import design_of, takes_tail_index
from tasks.params.samplers import cells_of, space_of
from tasks.registry import lineage
from tests.conftest import ROOT, merged
from tests.tasks.cells.test_rows import ODD_NAMES

SHIPPED = yaml.safe_load((ROOT / "params.yaml").read_text())


def load(tmp_path, changes):
    path = tmp_path / "params.yaml"
    path.write_text(plain_yaml.write(merged(SHIPPED, changes)))
    return loading.load(path)


def test_the_shipped_params_are_valid_and_give_the_grid_of_the_paper():
    shipped = loading.load(ROOT / "params.yaml")
    cells = shipped.sample.cells()
    # SDE-A and ODE once, SDE-E at three etas; three discretisations; two numbers of steps.
    assert len(cells) == (1 + 1 + 3) * 3 * 2
    assert len(set(cells)) == len(cells)
    assert all(map(is_published, cells))
    assert shipped.tune.counts() == [50, 100, 200]
    assert sorted({form.split()[0] for form in shipped.tune.space().pairs()}) == ["ode", "sde-e"]


def test_blocks_are_products_of_what_exists_and_their_union_has_no_repeats():
    one = {
        "solvers": ["ode", "sde-e", "posterior"],
        "discretisations": ["ei-noise", "heun"],
        "grids": ["karras"],
        "steps": [4],
    }
    block = sections.Block(**one, etas=[0.1, 0.2], rho_max=[None, 20.0], limits=["none", "clamp"], boosts=[1.0, 1.5])
    # ode in two forms, sde-e and posterior in one, sde-e at two etas; two ends, two limits, two boosts
    assert len(block.cells()) == (2 + 2 + 1) * 2 * 2 * 2
    assert {(s.family, s.discretisation) for s in block.cells()} == {
        ("ode", "ei-noise"),
        ("ode", "heun"),
        ("sde-e", "ei-noise"),
        ("posterior", "ei-noise"),
    }
    wider = sections.Block(**{**one, "steps": [4, 8]}, etas=[0.1], denoise=[False, True])
    grid = sections.SampleParams(grid={"a": block, "b": wider}, seeds=[0], n=8, batch=8)
    assert set(grid.cells()) == {*block.cells(), *wider.cells()}
    shared = set(block.cells()) & set(wider.cells())
    assert len(shared) == 4  # the four forms at eta 0.1, 4 steps, whole range, no limit
    assert len(grid.cells()) == len(block.cells()) + len(wider.cells()) - len(shared)


def block(**changes):
    return {"sample": {"grid": {"paper": changes}}}


def twins(first, second, *designs):
    """Settings of two data sets with the same designs."""
    return {
        "datasets": [first, second],
        "data": {first: {"imbalance": 1}, second: {"imbalance": 1}},
        "designs": list(designs),
        "models": {name: {"preset": "ddpm"} for name in designs},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": {"lim": {"alpha": 2.5}}}, r"models.lim is .*alpha is 2.5, but must lie in \(1, 2\]"),
        (
            {"train": {"steps": 10**30}},
            r"train.steps is 1000000000000000000000000000000: input should be less than or equal to 214",
        ),
        (
            block(steps=[10**9]),
            r"sample.grid.paper.steps\[0\] is 1000000000: input should be less than or equal to 100000",
        ),
        (
            {"tune": {"steps": [10**18]}},
            r"tune.steps\[0\] is 1000000000000000000: input should be less than or equal to 100000",
        ),
        ({"data": {"digits": 3}}, r"data.digits is 3: the settings of a data set are expected here"),
        ({"models": {"lim": {"alpha": 1.0}}}, r"alpha is 1.0, but must lie in \(1, 2\]"),
        (
            {"models": {"lim": {"preset": "gan"}}},
            r"unknown design preset 'gan': choose one of ddpm, dlim, dlpm, dlpm-published, edm, flow, lim, lim-published, tedm, tflow",
        ),
        (
            {"designs": ["lim", "edm9"]},
            r"designs names 'edm9', but `models` has no such section: it has lim, lim-gaussian, lim-published, ddpm",
        ),
        ({"datasets": ["faces"]}, r"datasets names 'faces', but `data` has no such section"),
        ({"datasets": ["a/b"]}, r"datasets\[0\] is 'a/b': a name is made of letters, digits, _ and -, and begins with"),
        ({"designs": ["-lim"]}, r"designs\[0\] is '-lim': a name is made of letters"),
        ({"designs": [".lim"]}, r"designs\[0\] is '.lim': a name is made of letters"),
        (
            {"models": {"lim1.8": {"preset": "lim"}}},
            r"models has the name 'lim1.8': a name has no dot, because DVC looks for a key inside a key there: call it lim1_8",
        ),
        ({"designs": ["lim1.8"]}, r"designs\[0\] is 'lim1.8': a name has no dot, .*: call it lim1_8"),
        ({"data": {"a.b": {"imbalance": 1}}}, r"data has the name 'a.b': a name has no dot, .*: call it a_b"),
        ({"sample": {"grid": {"v1.2": {}}}}, r"sample.grid has the name 'v1.2': a name has no dot, .*: call it v1_2"),
        (
            {"designs": [7, True, None, 1e5, date(2024, 1, 1)]},
            r"designs\[0\] is 7: a name is text, but YAML reads this as a number: put quotes around what is written there; "
            r"designs\[1\] is True: .* a truth value: .*\[2\] is None: .* nothing: .*\[3\] is 100000.0: .* a number: .* a date: put",
        ),
        ({"models": {8: {"preset": "lim"}}}, r"models has the name 8: a name is text, but YAML reads this as a number"),
        (
            {"designs": ["a" * 61], "models": {"a" * 61: {"preset": "lim"}}},
            r"is 'a{61}': a name of 61 characters, but it may have 60: choose a shorter one",
        ),
        ({"designs": ["lim", "lim"]}, r"designs names 'lim' more than once: name it once$"),
        (
            {"designs": ["lim", "LIM"], "models": {"LIM": {"preset": "lim"}}},
            r"designs names 'lim' and 'LIM', which differ only in case: rename one of them$",
        ),
        (
            {"designs": ["real"], "models": {"real": {"preset": "lim"}}},
            r"designs names 'real', as reports call the real data: choose another name$",
        ),
        (
            twins("a", "a-b", "c", "b-c"),
            r"params.yaml: the data set 'a' with the design 'b-c' and the data set 'a-b' with the design 'c' would both be the "
            r"stage 'a-b-c', of which DVC keeps one: rename the design 'b-c', for example to 'b_c'$",
        ),
        (
            block(solvers=["ode", "rk9"]),
            r"sample.grid.paper.solvers\[1\] is 'rk9': unknown solver 'rk9': choose one of ode, posterior, sde-a, sde-e, split-ddim, split-dlim",
        ),
        (
            block(discretisations=["x"]),
            r"sample.grid.paper.discretisations\[0\] is 'x': unknown discretisation 'x': choose",
        ),
        (
            block(grids=["log"]),
            r"sample.grid.paper.grids\[0\] is 'log': unknown grid 'log': choose one of karras, uniform-log-rho, uniform-t",
        ),
        (
            block(solvers=["posterior"], discretisations=["2m-data"]),
            r"params.yaml: sample.grid.paper: posterior has none of its forms in discretisations: ei-noise$",
        ),
        (
            block(solvers=["split-ddim"], etas=[1.5]),
            r"params.yaml: sample.grid.paper: eta is 1.5, but for split-ddim must be between 0 and 1$",
        ),
        (
            block(steps=[1], denoise=[True]),
            r"sample.grid.paper: steps is 1, but a sampler with denoise takes at least 2 step",
        ),
        (
            block(limits=["cut"]),
            r"sample.grid.paper.limits\[0\] is 'cut': unknown limit 'cut': choose one of clamp, dynamic",
        ),
        (block(etas=[0.1, -0.5]), r"sample.grid.paper.etas\[1\] is -0.5: input should be greater than or equal to 0"),
        (block(steps=[10, -1]), r"sample.grid.paper.steps\[1\] is -1: input should be greater than or equal to 1"),
        (block(etas=[float("nan")]), r"sample.grid.paper.etas\[0\] is nan: input should be a finite number"),
        (block(rho_max=[0.0]), r"sample.grid.paper.rho_max\[0\] is 0.0: input should be greater than 0"),
        (block(boosts=[1.5, 0.0]), r"sample.grid.paper.boosts\[1\] is 0.0: input should be greater than 0"),
        (block(solvers=[]), r"sample.grid.paper.solvers is \[\]: list should have at least 1 item"),
        (block(eta=[0.1]), r"unknown key sample.grid.paper.eta \(value \[0.1\]\): check its spelling"),
        ({"sample": {"grid": {"mine": {}}}}, r"the key sample.grid.mine.solvers is missing; the key"),
        ({"sample": {"steps": [10]}}, r"unknown key sample.steps \(value \[10\]\): check its spelling"),
        ({"sample": {"hours": 0}}, r"sample.hours is 0: input should be greater than 0"),
        ({"sample": {"hours": -2.5}}, r"sample.hours is -2.5: input should be greater than 0"),
        ({"data": {"digits": {"crop": -1}}}, r"data.digits.crop is -1: input should be greater than or equal to 0"),
        ({"train": {"balance": 1.1}}, r"train.balance is 1.1: input should be less than or equal to 1"),
        ({"train": {"balance": -0.1}}, r"train.balance is -0.1: input should be greater than or equal to 0"),
        ({"train": {"balance_phase": 0}}, r"train.balance_phase is 0: input should be greater than 0"),
        ({"train": {"balance_phase": 1.5}}, r"train.balance_phase is 1.5: input should be less than or equal to 1"),
        (
            {"train": {"class_balancing": -1}},
            r"train.class_balancing is -1: input should be greater than or equal to 0",
        ),
        (
            {"train": {"balance": 0.5, "label_dropout": 1}},
            r"params.yaml: train.balance is 0.5, but train.label_dropout 1 trains every sample without its class: "
            r"lower train.label_dropout, or set train.balance to 0$",
        ),
        (
            {"train": {"balance": 0, "class_balancing": 1, "label_dropout": 1}},
            r"train.class_balancing is 1, but train.label_dropout 1 trains every sample .* or set train.class_balancing to 0$",
        ),
        ({"tune": {"eta": [1.0, 0.1]}}, r"params.yaml: tune.eta is \[1, 0.1\]: give \[smallest, largest\]$"),
        ({"tune": {"rho_max": [5.0, 5.0]}}, r"tune.rho_max is \[5, 5\]: give \[smallest, largest\]"),
        ({"tune": {"rho_min": [0.0, 0.1]}}, r"tune.rho_min\[0\] is 0.0: input should be greater than 0"),
        (
            {"tune": {"samples": 199}},
            r"tune.samples is 199, but one trial takes up to 200: raise it, or lower tune.last",
        ),
        ({"tune": {"last": 49}}, r"tune.last is 49, but a trial begins with tune.first, 50: raise last"),
        ({"tune": {"factor": 1}}, r"tune.factor is 1: input should be greater than or equal to 2"),
        ({"tune": {"steps": [0]}}, r"tune.steps\[0\] is 0: input should be greater than or equal to 1"),
        ({"tune": {"guide_rho_max": [9.0, 2.0]}}, r"tune.guide_rho_max is \[9, 2\]: give \[smallest, largest\]"),
        ({"tune": {"guide_rho_min": [0.0, 2.0]}}, r"tune.guide_rho_min\[0\] is 0.0: input should be greater than 0"),
        (
            {"train": {"label_dropout": 0}},
            r"tune.guides has classifier-free, but train.label_dropout is 0, so that networks learn the class of every sample, and",
        ),
        (
            {
                "train": {"balance": 0, "label_dropout": 1},
                **block(guides=["classifier-free"]),
                "tune": {"guides": ["none"]},
            },
            r"sample.grid.paper.guides has classifier-free, but train.label_dropout is 1, so that networks learn no class: give",
        ),
        (
            {"train": {"label_dropout": 0}, "tune": {"guides": ["none"]}, "sample": {"classes": "none"}},
            r"sample.classes is none, but train.label_dropout is 0, so that no network is trained without a class: raise it",
        ),
        (
            block(guides=["classifier-free"], strengths=[2.0], guide_rho_max=[0.5], guide_rho_min=[0.5]),
            r"sample.grid.paper: the guide would act from guide_rho_max 0.5 to guide_rho_min 0.5: give",
        ),
        (
            {"tune": {"solvers": ["posterior"], "discretisations": ["2m-data", "heun"]}},
            r"params.yaml: tune: none of posterior has a form in 2m-data, heun$",
        ),
        ({"tune": {"solvers": ["rk9"]}}, r"tune.solvers\[0\] is 'rk9': unknown solver 'rk9'"),
        (
            {"compare": {"images": "fid"}},
            r"compare.images is 'fid': input should be 'fid_classes/longtail', 'fid_classes/balanced'",
        ),
        (
            {"retrain": {"gate": {"images": {"near_train": 0.1}}}},
            r"params.yaml: retrain.gate.images: 'near_train' is no measure of held-out data, on which models are judged: choose "
            r"one of class_agreement, .*, tail_q99$",
        ),
        (
            {"retrain": {"gate": {"images": {"distance/test": 0.1}}}},
            r"params.yaml: retrain.gate.images: unknown measure 'distance' in 'distance/test': choose one of class_agreement, ",
        ),
        (
            {"retrain": {"gate": {"fields": {"distance/test": 0.1}}}},
            r"retrain.gate.fields has no metric that must be better: equal models would be promoted$",
        ),
        (
            {"retrain": {"gate": {"images": {"fid/test": "best"}}}},
            r"retrain.gate.images.fid/test is 'best': give `better`, or a margin, which is a number above 0: how much larger",
        ),
        (
            {"retrain": {"gate": {"images": {"fid/test": "not worse"}}}},
            r"fid/test is 'not worse': give `better`, or a margin",
        ),
        ({"retrain": {"gate": {"images": {"fid/test": 1e308}}}}, r"fid/test is 1e\+308: give `better`, or a margin"),
        ({"retrain": {"gate": {"images": {"fid/test": 0}}}}, r"fid/test is 0: give `better`, or a margin"),
        ({"retrain": {"gate": {"images": {"fid/test": True}}}}, r"fid/test is True: give `better`, or a margin"),
        ({"retrain": {"drift": {"images": {"share": 1}}}}, r"retrain.drift.images.share is 1: .* greater than 1"),
        ({"retrain": {"drift": {"fields": {"t2m": 2}}}}, r"unknown key retrain.drift.fields.t2m \(value 2\)"),
        ({"retrain": {"drift": {"fields": {"shift": -1}}}}, r"retrain.drift.fields.shift is -1: .* greater than 0"),
        ({"retrain": {"drift": {"fields": {"shift": float("nan")}}}}, r"retrain.drift.fields.shift is nan"),
        (
            {"retrain": {"drift": {"fields": {"weeks": 0}}}},
            r"retrain.drift.fields.weeks is 0: .* greater than or equal",
        ),
        (
            {"retrain": {"drift": {"fields": {"quantiles": [0.5, 99]}}}},
            r"retrain.drift.fields.quantiles\[1\] is 99: .* less",
        ),
        (
            {"retrain": {"seeds": {"first": 5, "most": 4}}},
            r"retrain.seeds: first 5 and most 4: need 2 <= first <= most",
        ),
        (
            {"retrain": {"seeds": {"first": 5, "most": 10}}},
            r"retrain.seeds: most 10 is too few: equal models gain at all of 10 seeds once in 1,024; an error of 0.0001 needs 15 or more",
        ),
        ({"sample": {"seeds": [0, 1, 0]}}, "sample.seeds names 0 more than once: the same samples would count twice"),
        ({"retrain": {"seeds": [0, 1, 2]}}, r"retrain.seeds is \[0, 1, 2\]"),
        (
            {"retrain": {"false_promotion": 0}},
            r"retrain.false_promotion is 0: input should be greater than or equal to 0.000001",
        ),
        ({"data": {"digits": {"test_share": 1}}}, r"data.digits.test_share is 1: input should be less than 1"),
        ({"compute": {"processes": 0}}, r"compute.processes is 0: input should be greater than or equal to 1"),
        ({"train": {"steps": "many"}}, r"train.steps is 'many': input should be a valid integer"),
        ({"train": {"setps": 5}}, r"unknown key train.setps \(value 5\): check its spelling"),
        (
            {"data": {"digits": {"imbalance": 0.5}}},
            r"data.digits.imbalance is 0.5: input should be greater than or equal to 1",
        ),
        (
            {"data": {"digits": {"imbalance": 0.5, "flip": "perhaps"}}},
            r"params.yaml: data.digits.imbalance is 0.5: [^;]*; data.digits.flip is 'perhaps': input should be a valid boolean[^;]*$",
        ),
        (
            {"data": {"digits": {"kind": "sound"}}},
            r"params.yaml: data.digits: unknown kind of data 'sound': choose one of fields, images$",
        ),
        ({"data": {"digits": None}}, r"params.yaml: data.digits is None: the settings of a data set are expected here"),
        ({"data": {"digits": [5]}}, r"params.yaml: data.digits is \[5\]: the settings of a data set are expected here"),
        (
            {"data": {"wind": {"kind": "fields", "variables": [{"name": "u", "units": "m s-1"}], "test_share": 2}}},
            r"params.yaml: data.wind: test_share is 2: a share between 0 and 1 is expected$",
        ),
        (
            {"evaluate": {"images": {"classifier": {"steps": 0}}}},
            r"params.yaml: evaluate.images.classifier.steps is 0: input should be greater than or equal to 1$",
        ),
        (
            {"evaluate": {"fields": {"tail_share": 0.9}}},
            r"params.yaml: evaluate.fields.tail_share is 0.9: input should be less than 0.5$",
        ),
        (
            {"evaluate": {"kid_subsets": 3}},
            r"params.yaml: unknown key evaluate.kid_subsets \(value 3\): check its [^;]*$",
        ),
        ({"classifier": {"steps": 1}}, r"params.yaml: unknown key classifier \(value {'steps': 1}\): check its [^;]*$"),
        (
            {"evaluate": {"sound": {}}},
            r"params.yaml: unknown key evaluate.sound \(value {}\): check its spelling [^;]*$",
        ),
        (
            {"evaluate": {"images": None}},
            r"params.yaml: evaluate.images must have kid_subsets, kid_subset_size, neighborhood, classifier: "
            r"digits is of the kind images$",
        ),
        (
            {"compare": {"images": None}},
            r"params.yaml: compare.images is missing, which digits needs: it is of the kind images$",
        ),
        (
            {"retrain": {"gate": {"images": None}}},
            r"params.yaml: retrain.gate.images is missing, which digits needs: it is of the kind images$",
        ),
        (
            {"compare": {"fields": "fid/longtail"}},
            r"params.yaml: compare.fields is 'fid/longtail': input should be 'distance/train' or 'distance/test'$",
        ),
        (
            {"models": {"tedm": {"preset": "tedm", "nu": "data"}}, "designs": ["tedm"]},
            r"models.tedm is .*'nu': 'data'.*: digits is of the kind images, which has no tail index to take; give the number$",
        ),
        (
            {"models": {"edm": {"preset": "edm", "eofs": 0.9}}, "designs": ["edm"]},
            r"models.edm.eofs is 0.9: digits is of the kind images, whose values have a range that sums of EOFs leave; take eofs out",
        ),
        (
            {"models": {"edm": {"preset": "edm", "eofs": 1.5}}},
            r"models.edm is .*: eofs is 1.5, but must be a share of the",
        ),
        (
            {"models": {"edm": {"preset": "edm", "patches": {"side": [8, 8], "overlap": 2}}}, "designs": ["edm"]},
            r"models.edm.patches is .*: digits is of a kind whose networks are not told where on a sample they look; take patches out",
        ),
        (
            {"models": {"edm": {"preset": "edm", "patches": {"side": [8, 6], "overlap": 6}}}},
            r"models.edm is .*: patches.overlap is 6, but must lie between 0 and 5: neighbours of 8 x 6 cells",
        ),
        (
            {"models": {"edm": {"preset": "edm", "patches": [8, 8]}}},
            r"models.edm is .*: patches is \[8, 8\], but must say side, height and width in cells, and overlap, such as",
        ),
        (
            {"models": {"edm": {"preset": "edm", "eofs": 5, "patches": {"side": [8, 8], "overlap": 2}}}},
            r"models.edm is .*: eofs is 5, whose coefficients have no place, .*: take eofs or patches out",
        ),
        (
            {"models": {"edm": {"preset": "edm", "score_head": True, "patches": {"side": [8, 8], "overlap": 2}}}},
            r"models.edm is .*: score_head learns what is left of a score .*: take score_head or patches out",
        ),
        (
            {"observe": {"images": {"half": {"see": "left"}}}},
            r"params.yaml: observe.images.half: unknown view of images 'left': choose one of blur, ",
        ),
        (
            {"observe": {"fields": {"stations": {"see": "blur", "width": 1}}}},
            r"params.yaml: observe.fields.stations: unknown view of fields 'blur': choose one of box, cells, half, means$",
        ),
        (
            {"observe": {"images": {"x": {"see": "means"}}}},
            r"params.yaml: observe.images.x: means needs block, which is missing$",
        ),
        (
            {"observe": {"images": {"x": {"see": "cells", "share": 0.1, "block": 2}}}},
            r"params.yaml: observe.images.x: block is 2, but cells takes share: take it out$",
        ),
        (
            {"observe": {"images": {"x": {"see": "cells", "share": 1.5}}}},
            r"params.yaml: observe.images.x.share is 1.5: input should be less than 1$",
        ),
        (
            {"observe": {"images": {"half": {"guides": ["dps"]}}}},
            r"params.yaml: observe.images.half: unknown guide towards observations 'dps': choose one of interpolation, ",
        ),
        (
            {
                "observe": {"images": {"half": {"guides": ["jacobian"]}}},
                "models": {"lim": {"isotropic": False}},
            },
            r"params.yaml: observe.images.half on digits: the guide jacobian needs one A for all coordinates, which .* of the design lim ",
        ),
        (
            {"observe": {"images": {"half": {"steps": [5, 5]}}}},
            r"params.yaml: observe.images.half: steps is \[5, 5\]: name each once$",
        ),
        (
            {"observe": {"images": {"half": {"cases": 3}}}},
            r"params.yaml: observe.images.half.cases is 3: input should be greater than or equal to 4$",
        ),
        (
            {"observe": {"images": {"half": {"std": -1}}}},
            r"params.yaml: observe.images.half.std is -1: a number of at least 0 is expected, or one for each variable",
        ),
        (
            {"observe": {"images": {"half": {"std": {"red": 1}}}}},
            r"params.yaml: observe.images.half on digits: std is {'red': 1.0}, but images have no variables: give one number, in grey levels",
        ),
        ({"observe": {"sound": {}}}, r"params.yaml: unknown key observe.sound \(value {}\): check its spelling [^;]*$"),
        ({"net": {"width": 0}}, r"net.width is 0: input should be greater than or equal to 1"),
        ({"compute": {"compile": "always"}}, r"compute.compile is 'always': input should be 'auto', True or False"),
        ({"train": {"balance": True}}, r"params.yaml: train.balance is True: true stands where a number is expected$"),
        (
            {"net": {"channels": [16, False]}},
            r"params.yaml: net.channels is \[16, False\]: false stands where a number is expected$",
        ),
        (
            {"data": {"digits": {"colour": True}}},
            r"params.yaml: data.digits.colour is True: true stands where a number is expected$",
        ),
        ({"compute": {"device": "tpu"}}, r"compute.device is 'tpu': input should be 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(LevyError, match=message):
        load(tmp_path, changes)


RAIN = {"name": "tp", "units": "mm day-1", "transform": "log1p", "minimum": 0}


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        (
            {"see": "means", "block": 4, "guides": ["interpolation", "jacobian"]},
            r"observe.fields.x on wind: means of tp are no means of what the network sees, its log1p, which the guide jacobian needs: take",
        ),
        (
            {"see": "half", "std": {"u": 0.5}},
            r"observe.fields.x on wind: std is {'u': 0.5}, without tp: give one number for all variables, or",
        ),
    ],
)
def test_experiments_that_do_not_suit_the_variables_are_refused(tmp_path, experiment, message):
    wind = {"kind": "fields", "variables": [{"name": "u", "units": "m s-1"}, RAIN]}
    changes = {"data": {"wind": wind}, "datasets": ["wind"], "observe": {"fields": {"x": experiment}}}
    with pytest.raises(LevyError, match=message):
        load(tmp_path, changes)


def test_experiments_are_those_of_the_kind_of_a_data_set_and_none_where_the_section_is_empty(tmp_path):
    read = load(tmp_path, {})
    assert list(read.experiments("digits")) == ["half"]
    for empty in ({}, {"images": None}, {"images": {}}, {"fields": {"x": {"see": "half"}}}):
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump({**SHIPPED, "observe": empty}))
        assert loading.load(path).experiments("digits") == {}


def test_a_weight_called_data_is_not_taken_from_the_data(tmp_path):
    read = load(tmp_path, {"models": {"ddpm": {"preset": "ddpm", "weight": "data"}}, "designs": ["ddpm"]})
    assert not takes_tail_index(read.models["ddpm"])
    assert design_of(read.models["ddpm"]).loss.weight == "data"


def test_fields_need_no_section_of_evaluate_and_get_no_limits(tmp_path):
    wind = {"kind": "fields", "variables": [{"name": "u", "units": "m s-1"}]}
    changes = {"data": {"wind": wind}, "datasets": ["digits", "wind"], "evaluate": {"fields": None}}
    read = load(tmp_path, merged(changes, block(limits=["none", "clamp"])))
    assert read.evaluation("wind") == kind_of("fields").evaluation()
    assert (read.metric("digits"), read.metric("wind")) == ("fid_classes/longtail", "distance/train")
    assert set(read.gate("wind").values()) == {"better", 0.01, 0.05, 0.1}
    images, fields = (cells_of(read.sample, read.kind(name)) for name in read.datasets)
    assert images == read.sample.cells()
    assert {cell.limit for cell in images} == {"none", "clamp"}
    assert fields == [cell for cell in images if cell.limit == "none"]
    assert space_of(read.tune, read.kind("digits")) == read.tune.space()
    assert space_of(read.tune, read.kind("wind")) == replace(read.tune.space(), limits=("none",))


def test_a_grid_without_blocks_is_drawn_with_what_tune_finds_and_with_nothing_at_all_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    values = {**SHIPPED, "sample": {**SHIPPED["sample"], "grid": {}}}
    path.write_text(yaml.safe_dump(values))
    assert loading.load(path).sample.cells() == []
    path.write_text(yaml.safe_dump(merged(values, {"tune": {"steps": []}})))
    with pytest.raises(LevyError, match=r"sample.grid has no block and tune.steps no number: nothing would be sampled"):
        loading.load(path)
    assert load(tmp_path, {"tune": {"steps": []}}).sample.cells()  # the search is optional


def test_files_that_are_missing_or_no_yaml_are_named(tmp_path):
    with pytest.raises(LevyError, match="cannot be read"):
        loading.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(LevyError, match="not valid YAML"):
        loading.load(tmp_path / "params.yaml")


def test_the_dot_graph_is_read_with_its_edges():
    graph = parse_dot(
        'strict digraph {\n"data.dvc";\n"a@x";\n"b@x-1";\n"c";\n"data.dvc" -> "a@x";\n"a@x" -> "b@x-1";\n"a@x" -> "c";\n}'
    )
    assert graph == Graph({"a@x": frozenset(), "b@x-1": frozenset({"a@x"}), "c": frozenset({"a@x"})})
    assert graph.order == ["a@x", "b@x-1", "c"]
    assert graph.affected_by({"a@x"}) == {"a@x", "b@x-1", "c"}
    assert graph.affected_by({"c"}) == {"c"}
    assert graph.up_to(["c"]).order == ["a@x", "c"]
    with pytest.raises(LevyError, match=r"printed 'subgraph x \{', which"):
        parse_dot("strict digraph {\nsubgraph x {\n}\n}")


def test_the_dot_graph_of_this_project_is_read_as_pydot_reads_it():
    shown = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    (dot,) = pydot.graph_from_dot_data(shown.stdout)
    edges = {(edge.get_source().strip('"'), edge.get_destination().strip('"')) for edge in dot.get_edges()}
    names = {node.get_name().strip('"') for node in dot.get_nodes()} - {"data.dvc", "\\n"}
    graph = parse_dot(shown.stdout)
    assert set(graph.needs) == names
    assert {(before, after) for after, needs in graph.needs.items() for before in needs} == {
        edge for edge in edges if edge[0] != "data.dvc"
    }


def test_a_params_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes("datasets: [Wälder]".encode("latin-1"))
    with pytest.raises(LevyError, match=r"params\.yaml is not valid YAML: .*can't decode byte"):
        loading.load(path)


def test_one_of_several_data_sets_is_chosen_by_its_name(tmp_path):
    read = load(tmp_path, {"datasets": ["digits", "cifar10-lt"]})
    assert read.only(["cifar10-lt"]).datasets == ["cifar10-lt"]
    assert read.only([]) is read
    with pytest.raises(LevyError, match="unknown data set 'mnist': choose one of cifar10-lt, digits"):
        read.only(["mnist"])


@pytest.fixture
def dvc(tmp_path, monkeypatch):
    """A repository of DVC with the dvc.yaml of this project, and what a command of DVC comes to there with some settings."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    subprocess.run([sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], check=True)

    def run(settings, *command, check=True):
        (tmp_path / "params.yaml").write_text(plain_yaml.write(settings))
        return subprocess.run([sys.executable, "-m", "dvc", *command], capture_output=True, text=True, check=check)

    return run


def test_dvc_drops_one_of_two_pairs_with_one_name_and_has_a_stage_for_every_pair_that_is_accepted(dvc, tmp_path):
    counts = []
    for designs in (("c", "b-c"), ("c", "b_c")):
        listed = dvc(merged(SHIPPED, twins("a", "a-b", *designs)), "stage", "list", "--name-only", "dvc.yaml").stdout
        counts.append(sum(name.startswith("train@") for name in listed.split()))
    assert counts == [3, 4]
    assert loading.load(tmp_path / "params.yaml").designs == ["c", "b_c"]


def test_dvc_runs_and_records_the_stages_of_every_name_that_is_accepted_but_not_of_one_with_a_dot(dvc, tmp_path):
    graph = plain_yaml.read((ROOT / "dvc.yaml").read_text())["stages"]["train"]
    stage = {**graph, "cmd": f"true {graph['cmd']}", "deps": [], "outs": [], "plots": []}
    (tmp_path / "dvc.yaml").write_text(plain_yaml.write({"stages": {"train": stage}}))
    odd = [*ODD_NAMES, "a" * 60]
    settings = merged(merged(SHIPPED, twins("0", "null", *odd)), {"datasets": ["null"]})
    assert dvc(settings, "repro", "-q").returncode == 0
    assert loading.load(tmp_path / "params.yaml").designs == odd
    assert json.loads(dvc(settings, "status", "--json").stdout) == {}
    found = lineage.read_stages(tmp_path / "dvc.lock")
    commands = {tuple(entry["cmd"].split()[-4:]) for entry in found.values()}
    assert commands == {("--dataset", "null", "--design", name) for name in odd}
    assert set(found["train@null-007"]["params"]["params.yaml"]) >= {"models.007", "train", "net"}
    dotted = dvc(merged(SHIPPED, twins("a", "b", "lim1.8")), "repro", check=False)
    assert re.search(r"Parameters 'models\.lim1\.8' are missing", dotted.stderr)
