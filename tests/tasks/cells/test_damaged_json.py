"""JSON that stages leave to each other, changed at random: what comes back is whole, or refused in one line."""

import json
import random
from copy import deepcopy

import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.metrics.images.classifier import Classifier, load_classifier, save_classifier
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.training.checkpoint import load_model
from tasks.cells import store
from tasks.cells.comparison import read_eta, read_winner
from tasks.cells.selection import cell_label, sampler_of
from tasks.cells.tuned import read_tuned, write_tuned
from tasks.kinds.fields.statistics import read_field_statistics
from tasks.kinds.images.metrics import read_counts
from tasks.kinds.images.statistics import ImageStatistics
from tasks.kinds.statistics import STATISTICS, read_statistics
from tasks.page import tables
from tasks.registry.environment import MACHINE, PACKAGES, Environment
from tests.conftest import save_untrained

SOLVER = Solver("sde-e", "ei-noise", "karras", 4, eta=0.5)
METRIC = "fid/longtail"
PUBLISHED = {"sampler": sampler_of(vars(SOLVER)), "mean": 2.0, "std": 0.5}
BUDGET = {"sampler": sampler_of(vars(SOLVER)), "tuned": True, "mean": 1.5, "std": None, "seeds": 1, "samples": 9}
COMPARED = {**BUDGET, "published": PUBLISHED, "difference": -0.5, "error": 0.1}
ETA = {"metric": METRIC, "default": 4, "budgets": {"4": BUDGET, "20": COMPARED}}
ODD = (
    None,
    True,
    -1,
    0,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\ud800",
    "4",
    [],
    {},
    [[]],
    {"a": 1},
    [1, "a"],
    [10**30],
)


@pytest.fixture
def artifacts(tmp_path):
    """Every file, and what reads it."""
    write_tuned(tmp_path / "tuned.json", {4: {"sampler": sampler_of(vars(SOLVER)), "score": 1.0}})
    cells, samples = tmp_path / "cells", np.zeros((3, 8, 8, 1), np.uint8)
    store.write_cell(cells, "key", samples.shape, samples.dtype, [samples])
    store.write_labels(cells, np.arange(3), 2)
    store.write_index(cells, {"key": store.Cell(vars(SOLVER), "label", 0, 4)})
    model = save_untrained(tmp_path / "model", UNetConfig((1, 8, 8), 2, (8,), attention=(False,)), ("a", "b"))
    write_json(tmp_path / "counts.json", [30, 4])
    save_classifier(tmp_path, Classifier(1, 2, 2, 2), {"held_out_accuracy": 0.9, "held_out_images": 30})
    Environment({"torch": "2.13.0", "instructions": "AVX2", "threads": "1"}, {"numpy": "2.0"}).write(tmp_path)
    winner = {
        "design": "lim",
        "metric": METRIC,
        "nfe": 4,
        "seeds": 2,
        METRIC: 1.5,
        f"{METRIC}_std": None,
        "failed": None,
    }
    winner |= sampler_of(vars(SOLVER))
    write_json(tmp_path / "winner.json", winner)
    write_json(tmp_path / "eta.json", {"lim": ETA, "ddpm": ETA})
    images, fields = tmp_path / "images", tmp_path / "fields"
    group = {"classes": ["a", "b"], "counts": [30, 4]}
    write_json(images / STATISTICS, {"shape": [1, 8, 8], "flip": False, "crop": 1, "train": group, "balanced": group})
    period = {"samples": 40, "first": "2001-01-01", "last": "2002-01-01"}
    index = {"t2m": {"nu": None, "low": 3.0, "high": None}, "tp": {"nu": 2.5, "low": 2.0, "high": 3.0}}
    found = {"shape": [2, 8, 8], "variables": {name: {"tail_index": nu} for name, nu in index.items()}}
    write_json(fields / STATISTICS, found | {"train": period, "test": period})
    return {
        tmp_path / "counts.json": lambda: read_counts(tmp_path),
        tmp_path / "tuned.json": lambda: read_tuned(tmp_path / "tuned.json"),
        cells / store.INDEX: lambda: store.read_cells(cells),
        cells / store.LABELS: lambda: store.read_labels(cells, store.read_cells(cells)),
        tmp_path / "winner.json": lambda: cell_label(read_winner(tmp_path / "winner.json", METRIC)),
        tmp_path / "eta.json": lambda: tables.list_budgets(read_eta(tmp_path / "eta.json", winner, ["lim", "ddpm"])),
        images / STATISTICS: lambda: read_statistics(images, ImageStatistics),
        fields / STATISTICS: lambda: read_field_statistics(fields, list(index)),
        model / "design.json": lambda: load_model(model),
        tmp_path / "classifier.json": lambda: load_classifier(tmp_path),
        tmp_path / MACHINE: lambda: read_environment(tmp_path),
    }


def read_environment(folder):
    """As ``Lineage.read`` does, which names the folder."""
    try:
        return str(Environment.read(folder))
    except (OSError, ValueError) as error:
        raise LevyError(str(error)) from error


def places(value, way=()):
    """The way to every value below a mapping or a list."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in below for place in [(*way, key), *places(inner, (*way, key))]]


def is_taken(read):
    try:
        read()
    except LevyError as refused:
        message = str(refused)
    else:
        return True
    assert len(message.splitlines()) == 1, message
    return False


@pytest.mark.parametrize("count", [40, pytest.param(1_000, marks=pytest.mark.long)])
def test_what_is_not_whole_is_refused_in_a_line(artifacts, count):
    draw = random.Random(0)
    for path, read in artifacts.items():
        assert is_taken(read)
        whole = path.read_bytes()
        taken = []
        for odd in (b"", b"[" * 100_000, b"null", b"3", b"[]", b"{}", b'"x"', b"\xff\xfe"):
            path.write_bytes(odd)
            taken.append(is_taken(read))
        for _ in range(count):
            values = deepcopy(json.loads(whole))
            *way, last = draw.choice(places(values))
            holder = values
            for key in way:
                holder = holder[key]
            if draw.random() < 0.2:
                del holder[last]
            else:
                holder[last] = draw.choice(ODD)
            path.write_text(json.dumps(values))
            taken.append(is_taken(read))
        for _ in range(count):
            text = bytearray(whole)
            place = draw.randrange(len(text))
            text[place : place + draw.choice([0, 1, 20])] = bytes(
                draw.choices(b'[]{}:,-"0129.eEnt\x00\xff', k=draw.randint(0, 3))
            )
            path.write_bytes(text)
            taken.append(is_taken(read))
        assert not all(taken)
        path.write_bytes(whole)
        assert is_taken(read)


def refusal(read):
    with pytest.raises(LevyError) as refused:
        read()
    return str(refused.value)


def test_a_refusal_says_what_was_found_where_and_which_stage_to_run_again(artifacts, tmp_path):
    def damaged(path, change):
        values = json.loads(path.read_text())
        change(values)
        write_json(path, values)
        return refusal(artifacts[path])

    folder = tmp_path / "cells"
    assert damaged(folder / store.LABELS, lambda of: of["labels"].__setitem__(1, 3)) == (
        f"{folder / store.LABELS} cannot be read (label 1 is 3, but of 2 classes 0 to 2 were expected): run the sample stage again"
    )
    assert damaged(folder / store.LABELS, lambda of: of.update(labels=[0, 1])) == (
        f"{folder / store.LABELS} has 2 labels, but the cell key has 3 samples: run the sample stage again"
    )
    eta = tmp_path / "eta.json"
    assert damaged(eta, lambda of: of["lim"]["budgets"]["20"].update(mean="low")) == (
        f"{eta} cannot be read (lim.budgets.20.mean is 'low': Input should be a valid number): run the compare stage again"
    )
    winner = tmp_path / "winner.json"
    assert damaged(winner, lambda of: of.update({"metric": "kid", "kid": 1.0, "kid_std": 0.1})) == (
        f"{winner} was chosen by kid, but {METRIC} was expected: run the compare stage again"
    )
    statistics = tmp_path / "images" / STATISTICS
    assert damaged(statistics, lambda of: of["train"].pop("counts")).endswith(
        ": Field required): run the prepare stage again"
    )


def test_weights_of_another_classifier_and_damaged_lists_of_packages_are_refused(artifacts, tmp_path):
    (tmp_path / "classifier.safetensors").write_bytes(b"x" * 20)
    assert refusal(artifacts[tmp_path / "classifier.json"]).endswith("run the reference stage again")
    save_classifier(tmp_path / "wide", Classifier(1, 2, 4, 2), {})
    (tmp_path / "wide/classifier.safetensors").replace(tmp_path / "classifier.safetensors")
    assert "size mismatch" in refusal(artifacts[tmp_path / "classifier.json"])
    (tmp_path / PACKAGES).write_text("numpy==2.0\ntorch 2\n")
    assert (
        refusal(artifacts[tmp_path / MACHINE])
        == "requirements.txt has the line 'torch 2', but NAME==VERSION was expected"
    )


def test_what_is_not_of_the_winners_comparison_is_refused(artifacts, tmp_path):
    path, winner = tmp_path / "eta.json", json.loads((tmp_path / "winner.json").read_text())
    read = lambda **other: lambda: read_eta(path, winner | other, ["lim", "ddpm"])
    assert is_taken(read(design="ddpm"))
    assert "is of ddpm, lim by fid/longtail, but of lim, ddpm edm has won by" in refusal(read(design="edm"))
    assert "lim has won by kid: run the compare stage again" in refusal(read(metric="kid"))
    assert "run the compare stage again" in refusal(lambda: read_eta(path, winner, ["lim"]))
