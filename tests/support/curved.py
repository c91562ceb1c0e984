"""Small files on the curved grids that people have: CORDEX's rotated pole, HRRR's Lambert cone, NEMO's ocean."""

import numpy as np
import pandas as pd
import xarray as xr

LATITUDE = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"}
LONGITUDE = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"}


def unrotated(rlat, rlon, pole_latitude=39.25, pole_longitude=-162.0):
    """Latitude and longitude [y, x] in degrees of the axes of a rotated grid."""
    phi, theta = np.meshgrid(np.deg2rad(rlat), np.deg2rad(rlon), indexing="ij")
    pole = np.deg2rad(pole_latitude)
    north = np.arcsin(np.sin(phi) * np.sin(pole) + np.cos(phi) * np.cos(theta) * np.cos(pole))
    east = np.arctan2(
        np.cos(phi) * np.sin(theta), np.sin(pole) * np.cos(phi) * np.cos(theta) - np.cos(pole) * np.sin(phi)
    )
    return np.rad2deg(north), (np.rad2deg(east) + pole_longitude + 180 + 180) % 360 - 180


def fields(n, latitude, seed=0):
    """Temperatures [n, y, x] in K, warmer in the south."""
    noise = np.random.default_rng(seed).standard_normal((n, *latitude.shape))
    return (300 - 0.4 * np.abs(latitude) + 4 * noise).astype(np.float32)


def cordex(n=60, step=2.2, height=11, width=12, seed=0):
    """EUR-11's corner and rotated pole, in coarser steps: tas(time, rlat, rlon)."""
    rlat, rlon = -23.375 + step * np.arange(height), -28.375 + step * np.arange(width)
    latitude, longitude = unrotated(rlat, rlon)
    said = {"standard_name": "air_temperature", "long_name": "Near-Surface Air Temperature", "units": "K"}
    said |= {"cell_methods": "time: mean", "grid_mapping": "rotated_pole"}
    pole = {"grid_mapping_name": "rotated_latitude_longitude", "north_pole_grid_longitude": 0.0}
    pole |= {"grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
    axes = [
        {"standard_name": f"grid_{name}", "units": "degrees", "axis": axis}
        for name, axis in (("latitude", "Y"), ("longitude", "X"))
    ]
    return xr.Dataset(
        {
            "tas": (("time", "rlat", "rlon"), fields(n, latitude, seed), said),
            "rotated_pole": ((), np.int32(0), pole),
        },
        {
            "time": (
                "time",
                pd.date_range("2001-01-01T12", periods=n, freq="D"),
                {"standard_name": "time", "axis": "T"},
            ),
            "rlat": ("rlat", rlat, axes[0]),
            "rlon": ("rlon", rlon, axes[1]),
            "lat": (("rlat", "rlon"), latitude, LATITUDE),
            "lon": (("rlat", "rlon"), longitude, LONGITUDE),
            "height": ((), 2.0, {"standard_name": "height", "units": "m", "axis": "Z", "positive": "up"}),
        },
    )


def hrrr(n=60, step=300e3, height=9, width=12):
    """HRRR's cone over the United States, in coarser steps, as cfgrib gives it: t2m(time, y, x), longitudes from 0 to 360."""
    cone, radius = np.deg2rad(38.5), 6371229.0
    x, y = -2697520.0 + step * np.arange(width), -1587306.0 + step * np.arange(height)
    slope = np.sin(cone)
    scale = np.cos(cone) * np.tan(np.pi / 4 + cone / 2) ** slope / slope
    apex = radius * scale / np.tan(np.pi / 4 + cone / 2) ** slope
    east, north = np.meshgrid(x, y)
    distance, turn = np.hypot(east, apex - north), np.arctan2(east, apex - north)
    latitude = np.rad2deg(2 * np.arctan((radius * scale / distance) ** (1 / slope)) - np.pi / 2)
    longitude = (262.5 + np.rad2deg(turn / slope)) % 360
    said = {
        "GRIB_gridType": "lambert",
        "GRIB_LoVInDegrees": 262.5,
        "GRIB_Latin1InDegrees": 38.5,
        "GRIB_shortName": "2t",
    }
    said |= {"units": "K", "long_name": "2 metre temperature", "standard_name": "unknown"}
    return xr.Dataset(
        {"t2m": (("time", "y", "x"), fields(n, latitude), said)},
        {
            "time": ("time", pd.date_range("2001-01-01", periods=n, freq="h")),
            "latitude": (("y", "x"), latitude, LATITUDE),
            "longitude": (("y", "x"), longitude, LONGITUDE),
            "heightAboveGround": ((), 2.0),
        },
    )


def nemo(n=60, height=10, width=14):
    """NEMO's sea surface temperature: sosstsst(time_counter, y, x) without axes of their own, NaN on land."""
    latitude, longitude = unrotated(np.linspace(-12, 12, height), np.linspace(-20, 25, width), 60, 40)
    values = fields(n, latitude)
    values[:, :3, :4] = np.nan
    said = {"standard_name": "sea_surface_temperature", "long_name": "Sea Surface Temperature", "units": "K"}
    return xr.Dataset(
        {"sosstsst": (("time_counter", "y", "x"), values, said)},
        {
            "time_counter": (
                "time_counter",
                pd.date_range("2001-01-01T12", periods=n, freq="D"),
                {"standard_name": "time", "axis": "T"},
            ),
            "nav_lat": (("y", "x"), latitude.astype(np.float32), LATITUDE | {"nav_model": "grid_T"}),
            "nav_lon": (("y", "x"), longitude.astype(np.float32), LONGITUDE | {"nav_model": "grid_T"}),
        },
    )
