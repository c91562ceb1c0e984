"""What the report shows beside the samplers: one exhibit a kind of data."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from tasks.page.shown import Chosen
from tasks.params.schema import Params


class Exhibit(Protocol):
    """The real data of a data set, and how samples are shown beside them."""

    measures: list[tuple[str, str]]  # name for people, column of the grid; "x 1000" in the name scales
    training_samples: int
    ways: int  # samples whose way from noise is shown
    picture_width: int  # pixels that a sheet of samples needs at least

    def __init__(self, params: Params, dataset: str) -> None:
        """Reads the prepared data and the reference."""

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """What to know of a design at a glance: title, value, unit, text."""

    def figures(self, chosen: dict[str, Chosen]) -> dict[str, str]:
        """SVG by name."""

    def values(self, chosen: dict[str, Chosen]) -> dict[str, Any]:
        """What the template of this kind asks for."""

    def pictures(self, folder: Path, chosen: dict[str, Chosen]) -> list[dict[str, str]]:
        """Real samples, then each design's, also as files: title, text, png in base64."""

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """[..., C, H, W] as uint8 with 1 or 3 channels."""


def exhibit_of(kind: str) -> type[Exhibit]:
    """The exhibit of a kind of data; each brings seconds of imports that the other does without."""
    if kind == "fields":
        from tasks.kinds.fields.page import FieldExhibit

        return FieldExhibit
    from tasks.kinds.images.page import ImageExhibit

    return ImageExhibit
