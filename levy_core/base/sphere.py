"""Distances on the Earth."""

import numpy as np

EARTH_KM = 6371.0  # radius


def great_circle(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Great-circle distances in km of points whose latitude and longitude are in degrees, [2, ...] each, by the haversine formula."""
    (phi, theta), (other_phi, other_theta) = np.deg2rad(one), np.deg2rad(other)
    across = np.cos(phi) * np.cos(other_phi) * np.sin((theta - other_theta) / 2) ** 2
    half = np.sqrt(np.sin((phi - other_phi) / 2) ** 2 + across)
    return 2 * EARTH_KM * np.arcsin(half.clip(0, 1))
