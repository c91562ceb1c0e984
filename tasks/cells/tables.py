"""Tables of the grid on disk: CSV in one piece, with names that come back as they were written."""

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from levy_core.base.files import replacing

# Columns of text. Left to pandas, a design called 007 would come back as a number, and one called NA as nothing.
TEXTS = ("design", "cell", "ruler", "failed", "series", "rows", "fitted_to")
NAMES = {  # for people, of measures and of metrics, where they have another
    "fid": "FID",
    "kid": "KID",
    "fid_classes": "FID + class FID",
    "distance/train": "distance from the training period",
    "distance/test": "distance from the held-out period",
}


def write_rows(path: Path, rows: pd.DataFrame, digits: int, exact: Collection[str]) -> None:
    """A CSV in one piece: numbers with a point are rounded to significant digits, but for the columns ``exact``."""
    rounded = {
        name: values if name in exact or values.dtype.kind != "f" else values.map(lambda v: float(f"{v:.{digits}g}"))
        for name, values in rows.items()
    }
    with replacing(path) as temporary:
        pd.DataFrame(rounded).to_csv(temporary, index=False)


def read_rows(path: Path) -> pd.DataFrame:
    """A table that ``write_rows`` wrote: names and hashes are text, whatever they look like; empty cells are missing.

    Raises:
        OSError, ValueError: the file cannot be read, or is no table.
    """
    return pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str), keep_default_na=False, na_values=[""])


def metric_name(metric: str) -> str:
    """A metric for people, with its reference where it has more than one: FID, KID, distance from the training period."""
    measure = metric.split("/")[0]
    return NAMES.get(metric, NAMES.get(measure, measure))
