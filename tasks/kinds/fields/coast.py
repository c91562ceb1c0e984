"""Outlines of land for maps, from files that lie beside this module."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np

OUTLINES = Path(__file__).with_name("outlines")
COARSE = 90.0  # degrees of longitude or latitude from which coarse outlines do
EDGE = 1e-2  # degrees: lines along the date line and the south pole close polygons, and are no coast


def outlines(west: float, east: float, south: float, north: float) -> list[np.ndarray]:
    """Lines of (longitude, latitude) in degrees, each [points, 2], of all coasts that a box may show.

    Longitudes may be those of any turn round the globe, ``east`` at most 360 beyond ``west``; the lines have the same.
    """
    coarse = max(east - west, north - south) >= COARSE
    turns = range(int(np.floor((west + 180) / 360)), int(np.floor((east + 180) / 360)) + 1)
    lines = [
        line + np.array([360 * turn, 0])
        for turn in turns
        for line in _read("land-110m.json" if coarse else "land-50m.json")
    ]
    low, high = np.array([west, south]), np.array([east, north])
    return [line for line in lines if (line.min(0) <= high).all() and (line.max(0) >= low).all()]


@cache
def _read(name: str) -> list[np.ndarray]:
    """All arcs of a file of TopoJSON, without those that are no coast."""
    topology = json.loads((OUTLINES / name).read_text())
    scale, shift = (np.array(topology["transform"][key]) for key in ("scale", "translate"))
    arcs = [np.cumsum(np.array(arc), axis=0) * scale + shift for arc in topology["arcs"]]
    return [piece for arc in arcs for piece in _coasts(arc) if len(piece) > 1]


def _coasts(arc: np.ndarray) -> list[np.ndarray]:
    """The pieces of a line [N, 2] between its points on the edge of the map."""
    closing = (np.abs(arc[:, 0]) > 180 - EDGE) | (arc[:, 1] < -90 + EDGE)
    cuts = [0, *(np.flatnonzero(np.diff(closing)) + 1), len(arc)]
    return [arc[a:b] for a, b in pairwise(cuts) if not closing[a]]
