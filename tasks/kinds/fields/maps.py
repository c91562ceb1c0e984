"""Maps of fields with coasts, coordinates and colour bars in physical units."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from PIL import Image

from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from tasks.kinds.fields.layouts import Layout
from tasks.page.figures import STYLE

WIDTH, DPI = 3.3, 110  # inches of a map
TALLEST, FLATTEST = 4.0, 1.1
MISSING = "0.8"
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

    Fields of the whole globe in Mollweide's projection, where areas are true, smaller boxes in degrees, curved grids in Lambert's
    azimuthal projection, where areas are true, too, places as dots; tiles, which lie nowhere, as they are.
    """
    every = _find_step(codec)
    lie = Layout.of(_thin(codec, every))
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
                    values = np.ma.masked_invalid(panel.values[::every, ::every])
                    drawn = lie.draw(axis, values, panel.scale.colours, panel.scale.norm)
                    axes.append(axis)
                bar = figure.colorbar(drawn, ax=axes, extend="both", fraction=0.05, pad=0.02, aspect=16)
                bar.set_label(panel.scale.label)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())


def _find_step(codec: Codec) -> int:
    """Every how many rows and columns are drawn: at least one per pixel; round the globe equally many apart."""
    _, height, width = codec.shape
    most = min(height, int(width / (WIDTH * DPI)))
    return next((step for step in range(most, 1, -1) if not codec.wraps or width % step == 0), 1)


def _thin(codec: Codec, step: int) -> Codec:
    """The grid of every so many rows and columns."""
    if step == 1 or codec.latitude is None or codec.longitude is None:
        return codec
    cells = (slice(None, None, step),) * codec.latitude.ndim
    latitude, longitude = codec.latitude[cells], codec.longitude[cells]
    return replace(
        codec, latitude=latitude, longitude=longitude, valid=codec.valid[:, ::step, ::step], climatology=None
    )


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = map(float, np.quantile(finite, [(1 - WHOLE) / 2, (1 + WHOLE) / 2]))
    return (low, high) if high > low else (low, low + 1)
