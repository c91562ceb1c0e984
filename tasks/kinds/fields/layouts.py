"""Where the cells of a map lie: all round the globe, in a box, on a curved grid, at places, or nowhere."""

from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.curved import corners, on_sphere
from tasks.kinds.fields.coast import outlines

COAST = "0.15"
FARTHEST = 100.0  # degrees from the middle to the farthest cell on a plane


@dataclass(frozen=True)
class Layout:
    """Where the cells of a map lie; this one is of tiles, which lie nowhere."""

    height_over_width: float
    projection: str | None = None

    @staticmethod
    def of(codec: Codec) -> "Layout":
        if codec.latitude is not None and codec.longitude is not None and codec.latitude.ndim == 2:
            points = on_sphere(codec.latitude, codec.longitude)
            return _Curved.of_cells(points) if _reach(points) < FARTHEST else _CurvedGlobe.of_cells(points)
        if codec.longitude is not None and codec.latitude is not None:
            kind = _Globe if codec.wraps else _Box
            return kind.of_cells(codec.longitude, codec.latitude)
        if codec.locations is not None:
            return _Places.of_places(*codec.locations)
        return Layout(codec.shape[1] / codec.shape[2])

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        axis.set(xticks=[], yticks=[])
        return axis.imshow(values, aspect="auto", interpolation="nearest", cmap=colours, norm=norm)


@dataclass(frozen=True)
class _Globe(Layout):
    """Cells all round the globe: their edges in degrees, [W + 1] and [H + 1], and the order of columns from the date line."""

    across: np.ndarray = field(default_factory=lambda: np.empty(0))
    up: np.ndarray = field(default_factory=lambda: np.empty(0))
    order: np.ndarray = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def of_cells(longitude: np.ndarray, latitude: np.ndarray) -> "_Globe":
        turned = (longitude + 180) % 360 - 180
        order = np.argsort(turned)
        across, up = _edges(turned[order]).clip(-180, 180), _edges(latitude).clip(-90, 90)
        if across[-1] < 180:  # the first column lies on both sides of the date line
            across, order = np.append(across, 180), np.append(order, order[0])
        return _Globe(0.5, "mollweide", across, up, order)

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        edges = np.deg2rad(self.across), np.deg2rad(self.up)
        drawn = axis.pcolormesh(*edges, values[:, self.order], cmap=colours, norm=norm)
        _draw_world(axis)
        return drawn


@dataclass(frozen=True)
class _Box(_Globe):
    """Cells of a part of the globe, in degrees."""

    @staticmethod
    def of_cells(longitude: np.ndarray, latitude: np.ndarray) -> "_Box":
        across, up = _edges(longitude), _edges(latitude).clip(-90, 90)
        return _Box(_height_over_width(across, up), None, across, up)

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        drawn = axis.pcolormesh(self.across, self.up, values, cmap=colours, norm=norm)
        _frame(axis, self.across, self.up)
        return drawn


@dataclass(frozen=True)
class _Curved(Layout):
    """Cells of a curved grid on Lambert's azimuthal plane around ``centre``: their corners on it [H + 1, W + 1, 2], and their middles on
    the sphere [H, W, 3].
    """

    centre: np.ndarray = field(default_factory=lambda: np.empty(0))
    edges: np.ndarray = field(default_factory=lambda: np.empty(0))
    points: np.ndarray = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def of_cells(points: np.ndarray) -> "_Curved":
        centre = _middle(points)
        edges = _on_plane(corners(points), centre)
        width, height = np.ptp(edges.reshape(-1, 2), axis=0)
        return _Curved(float(height / width), None, centre, edges, points)

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        drawn = axis.pcolormesh(self.edges[..., 0], self.edges[..., 1], values, cmap=colours, norm=norm)
        latitude, longitude = self._degrees()
        west, east, south, north = longitude.min(), longitude.max(), latitude.min(), latitude.max()
        lines = (on_sphere(line[:, 1], line[:, 0]) for line in outlines(west, east, south, north))
        coasts = [_on_plane(line, self.centre) for line in lines]
        axis.add_collection(LineCollection(coasts, colors=COAST, linewidths=0.6), autolim=False)
        plane = _on_plane(self.points, self.centre)
        for degrees, sides in ((latitude, "NS"), (longitude, "EW")):
            if (
                max(np.abs(np.diff(degrees, axis=k)).max() for k in (0, 1)) < 180
            ):  # meridians do not end at a pole among the cells
                levels = MaxNLocator(4).tick_values(degrees.min(), degrees.max())
                drawn_lines = axis.contour(plane[..., 0], plane[..., 1], degrees, levels, colors=COAST, linewidths=0.3)
                axis.clabel(drawn_lines, fontsize=6, fmt=lambda x, sides=sides: _name((x + 180) % 360 - 180, sides))
        (left, low), (right, high) = self.edges.min((0, 1)), self.edges.max((0, 1))
        axis.set(xlim=(left, right), ylim=(low, high), aspect=1, xticks=[], yticks=[])
        return drawn

    def _degrees(self) -> tuple[np.ndarray, np.ndarray]:
        """Latitudes and longitudes [H, W], these within half a turn of the centre's."""
        x, y, z = np.moveaxis(self.points, -1, 0)
        turn = np.exp(-1j * np.arctan2(self.centre[1], self.centre[0]))
        east = np.rad2deg(np.angle((x + 1j * y) * turn) - np.angle(turn))
        return np.rad2deg(np.arcsin(z.clip(-1, 1))), east


@dataclass(frozen=True)
class _CurvedGlobe(Layout):
    """Cells of a curved grid that covers more than a hemisphere, in Mollweide's projection: corners [H + 1, W + 1, 2] in radians."""

    edges: np.ndarray = field(default_factory=lambda: np.empty(0))
    torn: np.ndarray = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def of_cells(points: np.ndarray) -> "_CurvedGlobe":
        x, y, z = np.moveaxis(corners(points), -1, 0)
        across = np.arctan2(y, x)
        around = np.stack([across[:-1, :-1], across[:-1, 1:], across[1:, :-1], across[1:, 1:]])
        edges = np.stack([across, np.arcsin(z.clip(-1, 1))], axis=-1)
        return _CurvedGlobe(0.5, "mollweide", edges, np.ptp(around, axis=0) > np.pi)

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        shown = np.ma.masked_where(self.torn, values)  # cells on the date line would be drawn all across the map
        drawn = axis.pcolormesh(self.edges[..., 0], self.edges[..., 1], shown, cmap=colours, norm=norm)
        _draw_world(axis)
        return drawn


@dataclass(frozen=True)
class _Places(Layout):
    """Places: their latitudes and longitudes in degrees, [W]."""

    latitude: np.ndarray = field(default_factory=lambda: np.empty(0))
    longitude: np.ndarray = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def of_places(latitude: np.ndarray, longitude: np.ndarray) -> "_Places":
        return _Places(_height_over_width(*_around(latitude, longitude)), None, latitude, longitude)

    def draw(self, axis: Axes, values: np.ndarray, colours: str, norm: Normalize) -> ScalarMappable:
        drawn = axis.scatter(
            self.longitude,
            self.latitude,
            c=values[0],
            s=40,
            edgecolors="0.3",
            cmap=colours,
            norm=norm,
            zorder=3,
        )
        _frame(axis, *_around(self.latitude, self.longitude))
        return drawn


def _around(latitude: np.ndarray, longitude: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ends of a box around places, (longitudes, latitudes)."""
    margin = max(1.0, 0.1 * max(np.ptp(longitude), np.ptp(latitude)))
    ends = np.array([-margin, margin])
    across, up = (ends + np.array([values.min(), values.max()]) for values in (longitude, latitude))
    return across, up.clip(-90, 90)


def _frame(axis: Axes, across: np.ndarray, up: np.ndarray) -> None:
    """Coasts, degrees and true proportions in the middle of a box."""
    west, east, south, north = across.min(), across.max(), up.min(), up.max()
    axis.add_collection(LineCollection(outlines(west, east, south, north), colors=COAST, linewidths=0.6), autolim=False)
    axis.set(xlim=(west, east), ylim=(south, north), aspect=1 / _shrink(up))
    axis.xaxis.set(
        major_locator=MaxNLocator(4), major_formatter=lambda degrees, _: _name((degrees + 180) % 360 - 180, "EW")
    )
    axis.yaxis.set(major_locator=MaxNLocator(4), major_formatter=lambda degrees, _: _name(degrees, "NS"))
    axis.tick_params(labelsize=7)


def _name(degrees: float, sides: str) -> str:
    return f"{abs(degrees):g}°{sides[int(degrees < 0)] if degrees else ''}"


def _height_over_width(across: np.ndarray, up: np.ndarray) -> float:
    return float(np.ptp(up) / (np.ptp(across) * _shrink(up)))


def _shrink(up: np.ndarray) -> float:
    """A degree of longitude over one of latitude, in the middle of a box."""
    return max(0.2, float(np.cos(np.deg2rad((up.min() + up.max()) / 2))))


def _edges(centres: np.ndarray) -> np.ndarray:
    """Edges [N + 1] of cells around centres [N]; a single one is a degree wide."""
    if len(centres) == 1:
        return np.array([centres[0] - 0.5, centres[0] + 0.5])
    between = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - between[0]], between, [2 * centres[-1] - between[-1]]])


def _draw_world(axis: Axes) -> None:
    """Coasts of the whole globe."""
    coasts = [np.deg2rad(line) for line in outlines(-180, 179.9, -90, 90)]
    axis.add_collection(LineCollection(coasts, colors=COAST, linewidths=0.6), autolim=False)
    axis.set(xticks=[], yticks=[])


def _middle(points: np.ndarray) -> np.ndarray:
    mean = points.mean((0, 1))
    return mean / np.linalg.norm(mean)


def _reach(points: np.ndarray) -> float:
    """Degrees from the middle of points of the sphere to the farthest."""
    return float(np.rad2deg(np.arccos((points @ _middle(points)).min().clip(-1, 1))))


def _on_plane(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Lambert's azimuthal equal-area projection of points of the sphere [..., 3], [..., 2]; NaN far from the centre."""
    east = np.array([-centre[1], centre[0], 0.0]) if np.hypot(*centre[:2]) > 1e-6 else np.array([0.0, 1.0, 0.0])
    east = east / np.linalg.norm(east)
    axes = np.stack([east, np.cross(centre, east)], axis=-1)
    near = points @ centre
    near = np.where(near > np.cos(np.deg2rad(FARTHEST + 20)), near, np.nan)
    return points @ axes * np.sqrt(2 / (1 + near))[..., None]
