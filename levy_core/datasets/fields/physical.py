"""Between values of variables in their units and transformed ones: through the transform, the quantile mapping and above the minimum."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.quantile_mapping import SeasonalMapping
from levy_core.datasets.fields.transforms import TRANSFORMS


def transform(variables: tuple[Variable, ...], values: np.ndarray, seasons: np.ndarray | None = None) -> np.ndarray:
    """Each channel of physical values [N, C, ...] through its transform, float64; ``seasons`` [N] as of ``each_season``."""
    transformed = np.empty(values.shape)
    for own, rows in each_season(variables, seasons):
        for c, v in enumerate(own):
            assert not isinstance(v.mapping, SeasonalMapping), "the mapping of a season is chosen before"
            mapped = values[rows, c] if v.mapping is None else v.mapping.inverse(values[rows, c])
            transformed[rows, c] = TRANSFORMS[v.transform].forward(mapped, v)
    return transformed


def physical(variable: Variable, transformed: np.ndarray, near: np.ndarray | float = 0.0) -> np.ndarray:
    """Back through the transform of one variable and, where it is mapped, to quantiles of the training period; not below its minimum; keeps NaN.

    Args:
        near: a distance of transformed values: what lies no further above the minimum is the minimum, as dry cells are that were rounded.
    """
    values = unbounded(variable, transformed)
    if variable.minimum is None:
        return values
    low = values < variable.minimum
    if variable.mapping is None:
        end = TRANSFORMS[variable.transform].forward(np.array(variable.minimum, dtype=np.float64), variable)
        reached = unbounded(variable, end - near) <= variable.minimum  # not by scores of higher values that are equal
        low |= reached & (transformed <= end + near)
    return np.where(low, variable.minimum, values)


def unbounded(variable: Variable, transformed: np.ndarray) -> np.ndarray:
    """As ``physical``, with values below the minimum as they are."""
    assert not isinstance(variable.mapping, SeasonalMapping), "the mapping of a season is chosen before"
    values = TRANSFORMS[variable.transform].inverse(transformed, variable)
    return values if variable.mapping is None else variable.mapping.forward(values)


def maps_seasons(variables: tuple[Variable, ...]) -> bool:
    """Whether some variable has a mapping for each season."""
    return any(isinstance(v.mapping, SeasonalMapping) for v in variables)


def each_season(
    variables: tuple[Variable, ...], seasons: np.ndarray | None
) -> Iterator[tuple[tuple[Variable, ...], np.ndarray | slice]]:
    """The variables with the mappings of each season that fields have, and which fields these are: all at once where nothing is mapped by season.

    Args:
        seasons: of each field, names [N]; None only where nothing is mapped by season.

    Raises:
        LevyError: as ``of_season``.
    """
    if seasons is None or not maps_seasons(variables):
        yield variables, slice(None)
        return
    for season in np.unique(seasons):
        yield of_season(variables, season), seasons == season


def of_season(variables: tuple[Variable, ...], season: str) -> tuple[Variable, ...]:
    """The same with the mappings of a season.

    Raises:
        LevyError: a season that the training period has not.
    """
    chosen = []
    for v in variables:
        if isinstance(v.mapping, SeasonalMapping):
            if season not in v.mapping.by_season:
                raise LevyError(
                    f"{v.key} is mapped by season, and nothing is known of {season}, of which the training period has no field (it has "
                    f"{', '.join(v.mapping.by_season)})"
                )
            v = replace(v, mapping=v.mapping.by_season[season])
        chosen.append(v)
    return tuple(chosen)


def are_alike(variables: tuple[Variable, ...], others: tuple[Variable, ...]) -> bool:
    """Whether the transformed values of both are the same for the same physical ones."""
    each, other = (
        [(v.transform, v.scale, v.exponent, v.scores, v.mapping) for v in those] for those in (variables, others)
    )
    return each == other
