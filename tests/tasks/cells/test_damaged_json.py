"""JSON that stages leave to each other, changed at random: what comes back is whole, or refused in one line."""

import json
import random
from copy import deepcopy

import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.training.checkpoint import load_model
from tasks.cells import store
from tasks.cells.selection import sampler_of
from tasks.cells.tuned import read_tuned, write_tuned
from tasks.kinds.images.metrics import read_counts
from tests.conftest import save_untrained

SOLVER = Solver("sde-e", "ei-noise", "karras", 4, eta=0.5)
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
    store.write_cell(cells, "key", samples)
    store.write_labels(cells, np.arange(3))
    store.write_index(cells, {"key": store.Cell(vars(SOLVER), "label", 0, 4)})
    model = save_untrained(tmp_path / "model", UNetConfig((1, 8, 8), 2, (8,), attention=(False,)), ("a", "b"))
    write_json(tmp_path / "counts.json", [30, 4])
    return {
        tmp_path / "counts.json": lambda: read_counts(tmp_path),
        tmp_path / "tuned.json": lambda: read_tuned(tmp_path / "tuned.json"),
        cells / store.INDEX: lambda: store.read_cells(cells),
        cells / store.LABELS: lambda: store.read_labels(cells),
        model / "design.json": lambda: load_model(model),
    }


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
