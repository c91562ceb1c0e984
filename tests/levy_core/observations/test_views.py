"""What experiments observe: how much of a sample, of which cells, and what is withheld then."""

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.operators import block_mean, mask
from levy_core.observations.rivals import interpolate
from levy_core.observations.views import VIEWS, Scene, show, withheld

SHAPE = (2, 8, 12)
ALL = torch.ones(SHAPE, dtype=torch.bool)
X = torch.arange(2 * 8 * 12, dtype=torch.float64).view(1, *SHAPE)
NUMBERS = {"half": 0.0, "cells": 0.25, "means": 4, "box": 0.25, "blur": 1.0}


def see(name, number=None, **scene):
    return VIEWS[name].make(Scene(**{"valid": ALL, **scene}), NUMBERS[name] if number is None else number)


def test_every_view_sees_what_it_says():
    assert set(NUMBERS) == set(VIEWS)
    half = see("half")
    assert torch.equal(half.apply(X)[0], X[0, :, :, :6].flatten())
    assert torch.equal(see("means").apply(X), block_mean(SHAPE, (4, 4)).apply(X))
    cells = see("cells")
    assert cells.rows == 2 * 24
    assert torch.equal(cells.cells[:24, 0] + 96, cells.cells[24:, 0])  # the same of both channels
    hidden = withheld(see("box"), ALL)
    assert hidden.sum() == 2 * 4 * 6  # a quarter
    assert hidden[:, 2:6, 3:9].all()
    assert see("blur").rows == X.numel()


def test_random_cells_are_those_of_the_seed():
    first, again, other = (see("cells", seed=seed).cells for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_cells_that_were_seen_are_not_withheld_and_those_of_a_mean_are():
    for name in ("half", "cells", "box"):
        operator = see(name)
        assert int(withheld(operator, ALL).sum()) == X.numel() - operator.rows
    for name in ("means", "blur"):
        assert withheld(see(name), ALL).all()


def test_observed_values_are_shown_where_they_were_observed():
    for name in ("half", "cells", "box"):
        operator = see(name)
        shown = show(operator, operator.apply(X))
        assert torch.equal(shown.isnan()[0], withheld(operator, ALL))
        assert torch.equal(shown[~shown.isnan()], X[~shown.isnan()])
    means = show(see("means"), see("means").apply(X))
    assert torch.equal(means, torch.nn.functional.avg_pool2d(X, 4).repeat_interleave(4, -1).repeat_interleave(4, -2))
    assert show(see("blur"), see("blur").apply(X)).shape == X.shape


def test_cells_without_values_are_neither_observed_nor_withheld():
    valid = ALL.clone()
    valid[1, :, :5] = False
    for name in ("half", "cells", "means", "box"):
        operator = see(name, valid=valid)
        hostile = torch.where(valid, X, 1e9)
        assert torch.equal(operator.apply(hostile), operator.apply(torch.where(valid, X, 0.0)))
        assert operator.apply(torch.ones(1, *SHAPE).double()).allclose(torch.ones(1).double())  # still means
        assert not withheld(operator, valid)[~valid].any()
    with pytest.raises(LevyError, match="no observed cell has a value"):
        see("half", valid=~ALL)


@pytest.mark.parametrize(
    ("name", "number", "message"),
    [
        ("means", 5, "blocks of 5 x 5 cells do not divide fields of 8 x 12"),
        ("cells", 0.001, "0 of 96 cells would be observed"),
        ("cells", 0.9999, "96 of 96 cells would be observed"),
        ("blur", 99.0, "the blur is 99.0 cells wide"),
    ],
)
def test_views_that_do_not_suit_are_refused(name, number, message):
    with pytest.raises(LevyError, match=message):
        see(name, number)


def test_a_plane_is_interpolated_as_it_is_between_stations_and_between_blocks():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
    plane = (3 * rows - 2 * columns + 1).expand(1, *SHAPE).double() * torch.tensor([1.0, -1.0]).view(1, 2, 1, 1)
    corners = torch.zeros(SHAPE, dtype=torch.bool)
    corners[:, ::7, ::11] = True
    corners[:, 3, 4] = True
    assert interpolate(mask(corners), mask(corners).apply(plane), False).allclose(plane)
    means = block_mean(SHAPE, (2, 2))
    found = interpolate(means, means.apply(plane), False)
    assert found[..., 1:-1, 1:-1].allclose(plane[..., 1:-1, 1:-1])  # the nearest beyond the centres


def test_interpolation_goes_round_the_globe_and_takes_the_nearest_of_values_in_one_line():
    ring = torch.zeros(SHAPE, dtype=torch.bool)
    ring[:, :, [1, 6]] = True
    wave = torch.cos(torch.arange(12) / 12 * 2 * np.pi).expand(1, *SHAPE).double()
    seen = mask(ring).apply(wave)
    one, other = wave[0, 0, 0, 1], wave[0, 0, 0, 6]
    round_it = interpolate(mask(ring), seen, True)[0, 0, 0]
    assert round_it[9].allclose((3 * one + 4 * other) / 7 + 0 * one) or round_it[9].allclose((4 * other + 3 * one) / 7)
    assert interpolate(mask(ring), seen, False)[0, 0, 0, 9] == other
    line = torch.zeros(SHAPE, dtype=torch.bool)
    line[:, 0, [0, 11]] = True
    assert interpolate(mask(line), mask(line).apply(X), False)[0, 0, 5, 1] == X[0, 0, 0, 0]
