"""Maps of fields with coasts, coordinates and colour bars in physical units."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from tasks.kinds.fields.coast import outlines
from tasks.page.figures import STYLE

WIDTH, DPI = 3.3, 110  # inches of a map
TALLEST, FLATTEST = 4.0, 1.1
MISSING, COAST = "0.8", "0.15"
WHOLE = 0.998  # share of values within the ends of a scale


@dataclass(frozen=True)
class Scale:
    """Colours of values: those beyond its ends have the ends' colours, which the bar's arrows say."""

    colours: str
    norm: Normalize
    label: str


@dataclass(frozen=True)
class Panel:
    """One map: values [H, W] in the units of its scale, NaN where missing."""

    title: str
    values: np.ndarray
    scale: Scale


def scale_of(variable: Variable, values: np.ndarray) -> Scale:
    """Colours of a variable, from values of any shape: of one-sided ones like rain by their square roots, so that storms do not hide the rest."""
    low, high = _ends(values)
    if variable.minimum is not None:
        return Scale("YlGnBu", PowerNorm(0.5, variable.minimum, max(high, variable.minimum + 1e-9)), variable.units)
    return Scale("RdYlBu_r", Normalize(low, high), variable.units)


def scale_of_spread(values: np.ndarray, label: str) -> Scale:
    """Colours of values that are not negative."""
    return Scale("viridis", Normalize(0, _ends(values)[1]), label)


def scale_of_difference(values: np.ndarray, label: str) -> Scale:
    """Colours of differences: white where there is none."""
    most = max(map(abs, _ends(values)))
    return Scale("RdBu_r", Normalize(-most, most), label)


def draw_maps(codec: Codec, rows: Sequence[Sequence[Panel]]) -> Image.Image:
    """One row of maps per sequence, neighbours of the same scale with one colour bar.

    Fields of the whole globe in Mollweide's projection, where areas are true, smaller boxes in degrees, places as dots; tiles, which
    lie nowhere, as they are.
    """
    lie = _Grid.of(codec)
    height = float(np.clip(WIDTH * lie.height_over_width, FLATTEST, TALLEST))
    columns = max(map(len, rows))
    with mpl.rc_context({**STYLE, "axes.grid": False, "axes.titlesize": 10, "font.size": 9}):
        figure = Figure(
            (WIDTH * columns + 0.9, (height + 0.5) * len(rows)), dpi=DPI, layout="constrained", facecolor="white"
        )
        canvas = FigureCanvasAgg(figure)
        for r, row in enumerate(rows):
            for _, same in groupby(enumerate(row), key=lambda entry: id(entry[1].scale)):
                axes = []
                for k, panel in same:
                    axis = figure.add_subplot(len(rows), columns, r * columns + k + 1, projection=lie.projection)
                    axis.set(title=panel.title, facecolor=MISSING)
                    drawn = lie.draw(axis, np.ma.masked_invalid(panel.values), panel.scale)
                    axes.append(axis)
                bar = figure.colorbar(drawn, ax=axes, extend="both", fraction=0.05, pad=0.02, aspect=16)
                bar.set_label(panel.scale.label)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


@dataclass(frozen=True)
class _Grid:
    """Where the cells of a map lie; this one is of tiles, which lie nowhere."""

    height_over_width: float
    projection: str | None = None

    @staticmethod
    def of(codec: Codec) -> "_Grid":
        if codec.longitude is not None and codec.latitude is not None:
            kind = _Globe if codec.wraps else _Box
            return kind.of_cells(codec.longitude, codec.latitude)
        if codec.locations is not None:
            return _Places.of_places(*codec.locations)
        return _Grid(codec.shape[1] / codec.shape[2])

    def draw(self, axis: Axes, values: np.ndarray, scale: Scale) -> ScalarMappable:
        axis.set(xticks=[], yticks=[])
        return axis.imshow(values, aspect="auto", interpolation="nearest", cmap=scale.colours, norm=scale.norm)


@dataclass(frozen=True)
class _Globe(_Grid):
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

    def draw(self, axis: Axes, values: np.ndarray, scale: Scale) -> ScalarMappable:
        edges = np.deg2rad(self.across), np.deg2rad(self.up)
        drawn = axis.pcolormesh(*edges, values[:, self.order], cmap=scale.colours, norm=scale.norm)
        coasts = [np.deg2rad(line) for line in outlines(-180, 179.9, -90, 90)]
        axis.add_collection(LineCollection(coasts, colors=COAST, linewidths=0.6), autolim=False)
        axis.set(xticks=[], yticks=[])
        return drawn


@dataclass(frozen=True)
class _Box(_Globe):
    """Cells of a part of the globe, in degrees."""

    @staticmethod
    def of_cells(longitude: np.ndarray, latitude: np.ndarray) -> "_Box":
        across, up = _edges(longitude), _edges(latitude).clip(-90, 90)
        return _Box(_height_over_width(across, up), None, across, up)

    def draw(self, axis: Axes, values: np.ndarray, scale: Scale) -> ScalarMappable:
        drawn = axis.pcolormesh(self.across, self.up, values, cmap=scale.colours, norm=scale.norm)
        _frame(axis, self.across, self.up)
        return drawn


@dataclass(frozen=True)
class _Places(_Grid):
    """Places: their latitudes and longitudes in degrees, [W]."""

    latitude: np.ndarray = field(default_factory=lambda: np.empty(0))
    longitude: np.ndarray = field(default_factory=lambda: np.empty(0))

    @staticmethod
    def of_places(latitude: np.ndarray, longitude: np.ndarray) -> "_Places":
        return _Places(_height_over_width(*_around(latitude, longitude)), None, latitude, longitude)

    def draw(self, axis: Axes, values: np.ndarray, scale: Scale) -> ScalarMappable:
        drawn = axis.scatter(
            self.longitude,
            self.latitude,
            c=values[0],
            s=40,
            edgecolors="0.3",
            cmap=scale.colours,
            norm=scale.norm,
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


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = map(float, np.quantile(finite, [(1 - WHOLE) / 2, (1 + WHOLE) / 2]))
    return (low, high) if high > low else (low, low + 1)
