"""Maps: coasts lie where they are, colours are those of the values, and every kind of grid has its map."""

from dataclasses import replace

import numpy as np
import pytest

from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.curved import on_sphere
from tasks.kinds.fields import sheets
from tasks.kinds.fields.cell_values import CellValues
from tasks.kinds.fields.coast import outlines
from tasks.kinds.fields.layouts import Layout, _on_plane
from tasks.kinds.fields.maps import Panel, draw_maps, scale_of, scale_of_difference, scale_of_spread
from tests.support.curved import unrotated

T2M, RAIN = Variable("t2m", "degC"), Variable("tp", "mm day-1", transform="log1p", minimum=0.0)
SHAPE = (2, 8, 16)


def codec(**where):
    ones = np.ones(2)
    return Codec((T2M, RAIN), ones, ones, np.ones(SHAPE, dtype=bool), **where)


def curved(rlat, rlon, *pole):
    return dict(zip(("latitude", "longitude"), unrotated(rlat, rlon, *pole), strict=True))


GRIDS = {
    "globe from 0": {"latitude": np.linspace(78.75, -78.75, 8), "longitude": np.arange(16) * 22.5},
    "globe from the date line": {"latitude": np.linspace(78.75, -78.75, 8), "longitude": np.arange(16) * 22.5 - 168.75},
    "box over the date line": {"latitude": np.linspace(-34, -48, 8), "longitude": np.linspace(170, 200, 16)},
    "poles": {"latitude": np.linspace(90, 60, 8), "longitude": np.linspace(-20, 20, 16)},
    "tiles": {},
    "rotated": curved(np.linspace(-20, 20, 8), np.linspace(-25, 20, 16), 39.25, -162),
    "over the date line": curved(np.linspace(-10, 10, 8), np.linspace(-15, 15, 16), 60, 0),
    "over the pole": curved(np.linspace(-20, 20, 8), np.linspace(-25, 25, 16), 6.55, 0),
    "ocean": curved(np.linspace(-70, 80, 8), np.linspace(-178, 172, 16), 60, 40),
}


def fields(n=5):
    values = np.random.default_rng(0).standard_normal((n, *SHAPE))
    values[:, 1] = np.abs(values[:, 1])
    values[0, 0, 0, 0] = np.nan
    return values


@pytest.mark.parametrize("name", GRIDS)
def test_every_grid_has_its_map(name):
    values = fields()[0]
    maps = [Panel(v.name, values[c], scale_of(v, values[c])) for c, v in enumerate((T2M, RAIN))]
    pixels = np.asarray(draw_maps(codec(**GRIDS[name]), [maps]))
    assert pixels.shape[1] > 700  # legible: 300 pixels of a map
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_cells_of_a_curved_grid_are_drawn_with_their_areas():
    for name in ("rotated", "over the date line", "over the pole"):
        x, y = np.moveaxis(Layout.of(it := codec(**GRIDS[name])).edges, -1, 0)
        diagonals = x[1:, 1:] - x[:-1, :-1], y[1:, :-1] - y[:-1, 1:], x[1:, :-1] - x[:-1, 1:], y[1:, 1:] - y[:-1, :-1]
        drawn = np.abs(diagonals[0] * diagonals[1] - diagonals[2] * diagonals[3]) / 2
        assert np.allclose(drawn, it.areas, rtol=0.01)


def test_north_is_up_in_the_middle_of_a_curved_grid_and_coasts_lie_on_its_cells():
    layout = Layout.of(codec(**GRIDS["rotated"]))
    middle = layout.edges[4, 8]
    north = _on_plane(on_sphere(np.array(60.0), np.rad2deg(np.arctan2(*layout.centre[[1, 0]]))), layout.centre)
    assert abs(north[0]) < 1e-9 < north[1]
    assert np.hypot(*middle) < 0.1
    cell = _on_plane(layout.points[2, 3], layout.centre)
    assert (layout.edges[2:4, 3:5].min((0, 1)) < cell).all()
    assert (cell < layout.edges[2:4, 3:5].max((0, 1))).all()


def test_sheets_show_each_variable_its_highest_field_and_each_statistic():
    it, real = codec(**GRIDS["box over the date line"]), fields()
    highest = sheets.Highest(list(real[0]), len(real))
    members = sheets.draw_members(it, real, ["2001-01-01"], highest, sheets.scales(it, real))
    cells = [CellValues.read(it, it.encode(share * real), np.arange(len(real)), None, 1) for share in (1, 2)]
    statistics = sheets.draw_statistics(*cells, 1, "edm", None)
    assert members.width > 700
    assert members.height > 1.2 * members.width / 2
    assert statistics.width > 1000
    assert statistics.height > 1.2 * statistics.width / 2


def test_the_map_of_a_return_level_is_of_the_longest_period_that_the_fields_hold():
    assert sheets.choose_period(99, 365.25) is sheets.choose_period(99, None) is None
    assert sheets.choose_period(100, 365.25) == (100.0, "100 fields")
    assert sheets.choose_period(800, 365.25) == (2 * 365.25, "2 years")
    assert sheets.choose_period(8000, 8766.0) == (1000.0, "1,000 fields")
    assert sheets.choose_period(8000, 365.25) == (3652.5, "10 years")
    assert sheets.choose_period(400, 12.0) == (120.0, "10 years")
    assert sheets.choose_period(100, 12.0) == (100.0, "100 fields")


def test_the_sheet_of_statistics_has_a_row_of_return_levels_where_fields_are_enough():
    it, heights = codec(**GRIDS["box over the date line"]), []
    for n in (60, 120):
        cells = CellValues.read(it, it.encode(np.abs(fields(n))), np.arange(n), None, 1)
        heights.append(sheets.draw_statistics(cells, cells, 1, "edm", 365.25).height)
    assert heights[1] == pytest.approx(heights[0] * 4 / 3, abs=2)


def test_places_are_dots_where_they_lie():
    it = replace(codec(), valid=np.ones((2, 1, 3), dtype=bool), places=("a", "b", "c"))
    it = replace(it, locations=np.array([[51.0, 50.0, 53.0], [0.0, 5.0, 10.0]]))
    panel = Panel("t2m", np.array([[-5.0, 0.0, 5.0]]), scale_of(T2M, np.array([-5.0, 5.0])))
    pixels = np.asarray(draw_maps(it, [[panel]]))
    red, blue = ((np.abs(pixels - np.array(colour)) < 40).all(2) for colour in ([165, 0, 38], [49, 54, 149]))
    red, blue = (
        np.argwhere(colour[:, : int(0.82 * pixels.shape[1])]) for colour in (red, blue)
    )  # left of the colour bar
    assert red[:, 1].mean() > blue[:, 1].mean() + 200  # ten degrees east of it
    assert red[:, 0].mean() < blue[:, 0].mean() - 50  # and two north


@pytest.mark.parametrize(
    ("box", "place", "degrees"),
    [
        ((-10, 5, 48, 60), (-5.716, 50.066), 0.1),  # Land's End
        ((170, 200, -48, -34), (172.68, -34.42), 0.15),  # Cape Reinga, in a box over the date line
        ((300, 400, -40, 0), (360 + 18.47, -34.35), 0.3),  # Cape of Good Hope, one turn on
        ((-180, 179.9, -90, 90), (18.47, -34.35), 0.8),  # the same on coarse outlines
    ],
)
def test_coasts_lie_where_they_are(box, place, degrees):
    points = np.concatenate(outlines(*box))
    assert np.hypot(*(points - place).T).min() < degrees


def test_the_edges_of_the_map_are_no_coast():
    for line in outlines(-180, 179.9, -90, 90):
        assert np.abs(line[:, 0]).max() < 180
        assert line[:, 1].min() > -90


def test_scales_hold_the_values_and_differences_are_white_where_there_is_none():
    values = np.linspace(-3, 12, 1001)
    assert scale_of(T2M, values).norm.vmin == pytest.approx(-3, abs=0.1)
    assert scale_of(RAIN, values).norm.vmin == 0
    assert scale_of_spread(np.abs(values), "K").norm.vmin == 0
    difference = scale_of_difference(values, "K")
    assert difference.norm(0.0) == 0.5
    for empty in (np.full(5, np.nan), np.zeros(5)):
        assert scale_of(RAIN, empty).norm.vmax > 0
        assert scale_of(T2M, empty).norm.vmax > scale_of(T2M, empty).norm.vmin
