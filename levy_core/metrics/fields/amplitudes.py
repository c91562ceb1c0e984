"""How strong each field is as a whole: what a noise law that all its cells share is chosen by."""

import numpy as np

PATTERNS = 10
CELLS = 20_000  # that patterns are found from; more are thinned evenly


def thin_cells(flat: np.ndarray) -> np.ndarray:
    """Of values [..., cells] those of at most twice ``CELLS`` of them, evenly thinned; of those again, all."""
    return flat[..., :: max(1, flat.shape[-1] // CELLS)]


def amplitudes(fields: np.ndarray) -> np.ndarray:
    """The mean and the coefficients of the leading patterns (principal components) of each field, float64 [N, 1 + at most PATTERNS].

    Args:
        fields: [N, ...] of one variable, NaN where missing, which counts as the cell's mean.

    A Student-t design has one mixing variable for all cells of a field, so that its nu is that of whole fields. Pooled cells have the
    same tail where storms cover a field, and a much heavier one where they are local, of which a field's patterns sum many.
    """
    flat = thin_cells(fields.reshape(len(fields), -1)).astype(np.float64)
    known = ~np.isnan(flat)
    counts = np.maximum(known.sum(0), 1)
    centred = np.where(known, flat - np.where(known, flat, 0).sum(0) / counts, 0)
    values, vectors = np.linalg.eigh(centred @ centred.T if len(flat) <= flat.shape[1] else centred.T @ centred)
    leading = np.flatnonzero(values > 1e-9 * max(values[-1], np.finfo(float).tiny))[::-1][:PATTERNS]
    if len(flat) <= flat.shape[1]:
        patterns = vectors[:, leading] * np.sqrt(values[leading])
    else:
        patterns = centred @ vectors[:, leading]
    return np.hstack([centred.mean(1, keepdims=True), patterns])
