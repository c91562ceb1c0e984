"""The axes of figures by scale and by distance: in km where cells have a size or places a distance."""

import numpy as np

from levy_core.base.sphere import EARTH_KM
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.curved import cell_areas
from levy_core.metrics.fields.geometry import Globe, Places
from levy_core.metrics.fields.summary import Frame

DEGREE_KM = 111.2  # of latitude


def axis_of_power(codec: Codec, frame: Frame) -> tuple[np.ndarray, str]:
    """What the power of fields is by, [K], and its name: a wavelength in km, or where cells have no one size the wavenumber."""
    wavenumber, side = frame.wavenumbers, min((s for s in frame.space if s > 1), default=1)
    if isinstance(frame.geometry, Globe):
        around = 2 * np.pi * EARTH_KM
        what = f"zonal wavenumber (k is {around:,.0f} km / k at the equator)"
        return np.where(wavenumber > 0, wavenumber, np.nan), what
    size = cell_km(codec)
    return (side * size / wavenumber, "wavelength, km") if size else (wavenumber, "wavenumber")


def axis_of_distance(codec: Codec, frame: Frame) -> tuple[list[np.ndarray], str]:
    """By variable the distance that stands for each class of pairs, [classes], and its name."""
    geometry = frame.geometry
    if isinstance(geometry, Places):
        ends = [[(its[a], its[b]) for a, b in pairs] for its, pairs in zip(frame.cells, frame.pairs, strict=True)]
        return [np.array([geometry.kilometres(e).mean() for e in of]) for of in ends], "distance, km"
    size = cell_km(codec)
    # the middle of 1..2, 2..4, ... cells
    apart = [1.5 * 2.0 ** np.arange(len(pairs)) * (size or 1) for pairs in frame.pairs]
    return apart, "distance, km" if size else "distance, cells"


def cell_km(codec: Codec) -> float | None:
    """The side of a cell in the middle of a box; None for globes, places and tiles, whose cells have no one size."""
    if codec.latitude is None or codec.longitude is None or codec.wraps or min(codec.shape[1:]) < 2:
        return None
    if codec.latitude.ndim == 2:
        return EARTH_KM * float(np.sqrt(cell_areas(codec.latitude, codec.longitude).mean()))
    up, across = (float(np.ptp(axis)) / (len(axis) - 1) for axis in (codec.latitude, codec.longitude))
    middle = np.deg2rad((codec.latitude[0] + codec.latitude[-1]) / 2)
    return DEGREE_KM * float(np.sqrt(up * across * np.cos(middle)))
