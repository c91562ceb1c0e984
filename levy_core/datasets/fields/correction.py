"""What corrects samples of a model in physical units, fitted to samples that it drew."""

from dataclasses import asdict
from typing import Any

import numpy as np

from levy_core.base.rows import Rows, parts
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import SEASON
from levy_core.datasets.fields.labels import SEASONS, seasons_of
from levy_core.datasets.fields.quantile_mapping import QuantileMapping


def fit_mappings(
    codec: Codec,
    x: Rows,
    times: np.ndarray | None,
    real: np.ndarray,
    cells: np.ndarray | None = None,
    seasons: np.ndarray | None = None,
) -> dict[str, Any]:
    """Quantile mappings of the variables that are to have one, by their key, for ``Codec.corrected``.

    Args:
        x: samples of the model [N, C, H, W], at times [N], read a part at a time. cells: flat int64 [K], which of them are looked at, so that all areas count alike; None: all.
        real: of the training period, in physical units, the same cells [M, C, K], or all [M, C, H, W].
        seasons: of the real fields, names [M]; needed where a variable is mapped by season, as are times.

    Raises:
        LevyError: as ``Codec.decode`` and ``QuantileMapping.fit``.
    """
    seen = np.arange(codec.valid[0].size) if cells is None else cells
    read = ((x[rows], rows) for part in parts(len(x), codec.shape) for rows in [np.arange(len(x))[part]])
    physical = (codec.unbounded(fields, None if times is None else times[rows]) for fields, rows in read)
    values = np.concatenate([fields.reshape(*fields.shape[:2], -1)[:, :, seen] for fields in physical])
    found: dict[str, Any] = {}
    for c, v in enumerate(codec.variables):
        made, held = values[:, c], real[:, c]
        if v.quantile_mapping == SEASON:
            assert times is not None, "fields that are mapped by season have times"
            assert seasons is not None, "and so have real ones"
            of_made = seasons_of(times)
            each = {s: (made[of_made == s], held[seasons == s]) for s in SEASONS if (seasons == s).any()}
            found[v.key] = {s: asdict(QuantileMapping.fit(*both)) for s, both in each.items()}
        elif v.quantile_mapping:
            found[v.key] = asdict(QuantileMapping.fit(made, held))
    return found
