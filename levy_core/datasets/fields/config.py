"""What a person says of their fields: the variables, where and when, and what is done to them before training."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from levy_core.base.errors import LevyError, choose
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.quantile_mapping import QuantileMapping, SeasonalMapping
from levy_core.datasets.fields.transforms import TRANSFORMS

if TYPE_CHECKING:
    import pandas as pd

CLIMATOLOGIES = ("none", "day", "hour", "day-hour")
SEASONS = ("none", "season", "month", "day", "day-hour")
REDUCTIONS = ("mean", "sum", "max", "min")
STANDARDISATIONS = ("variable", "cell")
STAMPS = ("end", "start")
DTYPES = ("float32", "float16")
TEST_SHARE = 0.2  # unless it is said what is held out
HELD_OUT = ("train_until", "test_share", "test_years")  # of which one says it
Choice = str | float  # an entry of a dimension
SEASON = "season"  # of ``quantile_mapping``: a mapping for each
FITTED = ("scores", "mapping")  # of a variable
RUNNING = "since-00"  # totals since 00 UTC, as ERA5-Land's


@dataclass(frozen=True)
class Variable:
    """One channel.

    Attributes:
        name: the variable's name in the source, or its CF standard_name.
        units: of the prepared data ("K", "mm day-1", "m s-1").
        source_units: what the source's numbers are in, where its own attribute is missing or ambiguous.
        accumulated: the time over which the source's amounts were gathered ("1h"), or ``RUNNING``: they are read as a rate.
        stamped: whether the times of what was gathered are the end or the start of it, where the source does not say.
        level: pressure level in hPa.
        transform: a name in ``TRANSFORMS``; ``scale`` (in ``units``) and ``exponent`` are its parameters.
        minimum: physical lower bound in ``units``. Values below it in the source are an error (packing noise apart);
            samples are raised to it only when they are written to files.
        wet: value in ``units`` from which on a cell counts as wet; None: its wet days are not measured.
        quantile_mapping: whether samples get the values of the training period that have the same rank, all cells and times together; or
            those of its ``SEASON``.
        scores: of the transform normal-score, fitted to the training period; mapping: of ``quantile_mapping``, fitted to a model's
            samples; no settings of a person's.
    """

    name: str
    units: str
    source_units: str | None = None
    accumulated: str | None = None
    stamped: str | None = None
    level: float | None = None
    transform: str = "identity"
    scale: float = 1.0
    exponent: float = 0.5
    minimum: float | None = None
    wet: float | None = None
    quantile_mapping: bool | str = False
    scores: NormalScores | None = None
    mapping: QuantileMapping | SeasonalMapping | None = None

    def __post_init__(self) -> None:
        choose("transform", self.transform, TRANSFORMS)
        if not (math.isfinite(self.scale) and self.scale > 0 and math.isfinite(self.exponent) and self.exponent > 0):
            raise LevyError(
                f"variable {self.name!r} has scale {self.scale} and exponent {self.exponent}: both must be positive numbers"
            )
        if self.transform == "log1p" and (self.minimum is None or self.minimum <= -self.scale):
            raise LevyError(
                f"variable {self.name!r} has transform log1p, which exists above -scale = {-self.scale:g} only: "
                "set its minimum (0 for precipitation), or take power or asinh"
            )
        if self.wet is not None and not (math.isfinite(self.wet) and (self.minimum is None or self.wet > self.minimum)):
            raise LevyError(
                f"variable {self.name!r} counts as wet from {self.wet} {self.units} on: a number above its minimum was expected (1 mm day-1 for rain)"
            )
        if self.quantile_mapping != SEASON and not isinstance(self.quantile_mapping, bool):
            raise LevyError(
                f"quantile_mapping of variable {self.name!r} is {self.quantile_mapping!r}, but true, false or {SEASON} is expected"
            )
        if self.accumulated not in (None, RUNNING):
            duration(str(self.accumulated), f"`accumulated` of variable {self.name!r} (or {RUNNING})")
        if self.stamped is not None:
            choose(f"`stamped` of variable {self.name!r}", self.stamped, dict.fromkeys(STAMPS))
        if self.accumulated == RUNNING and self.stamped == "start":
            raise LevyError(
                f"variable {self.name!r} is accumulated since 00 UTC and stamped at the start: the times of running totals are "
                "their ends, so leave `stamped` out"
            )

    @property
    def is_linear(self) -> bool:
        """Whether means of it are means of what a network sees."""
        return self.transform == "identity" and self.mapping is None

    @property
    def key(self) -> str:
        """The channel's name: that of the variable, with its level where it has one (``t_850``)."""
        return self.name if self.level is None else f"{self.name}_{self.level:g}".replace(".", "p")


@dataclass(frozen=True)
class Static:
    """Fields that are the same at all times, which the network is told: orography, land-sea mask.

    Attributes:
        files: a path or glob relative to the data set's folder, or a URL.
        variables: their names in these files, or their CF standard_names; in this order they are channels of the input.
    """

    files: str
    variables: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.variables or len(set(self.variables)) < len(self.variables):
            raise LevyError(
                f"the variables of `static` are {', '.join(self.variables) or 'none'}: at least one is needed, each only once"
            )

    @classmethod
    def from_mapping(cls, values: Any) -> "Static":
        """Of what a person writes.

        Raises:
            LevyError: something else than ``files`` and ``variables``.
        """
        found = dict(values) if isinstance(values, Mapping) else {}
        files, variables = found.pop("files", None), found.pop("variables", None)
        is_list = isinstance(variables, list | tuple) and all(isinstance(name, str) for name in variables)
        if found or not isinstance(files, str) or not is_list:
            raise LevyError(
                f"static is {values!r}: a file and the names of variables in it are expected, such as "
                "`static: {files: static.nc, variables: [z, lsm]}`"
            )
        return cls(files, tuple(variables))


@dataclass(frozen=True)
class FieldsConfig:
    """A data set of fields.

    Attributes:
        variables: the channels, in order.
        box: south, north, west, east in degrees; it may cross 0 or the date line.
        period: first and last time (dates mean whole days).
        resample: length of a time step of the prepared data ("1D", "6h", "1MS"); each variable is reduced by ``how``.
        climatology: the smooth cycle taken off each cell, fitted on the training period: by day of the year, hour, or both.
        standardise: whether all cells of a variable are divided by one standard deviation, or each cell by its own, about its own mean.
        train_until: last time of the training period; what follows is held out.
        test_share: share of the times, the last ones, that is held out; ``TEST_SHARE`` unless it is said otherwise.
        test_years: calendar years that are held out, wherever they lie; all others are of training.
        gap: time left out between training and test.
        patch: height and width of the tiles that each field is cut into, each a sample.
        season: the class of a sample; days, and hours of days, are told to a network as the smooth numbers of a climatology.
        max_missing: share of missing cells that a field may have beside the cells that are always missing.
        select: of dimensions beside time and space the entry that is taken, by its value, or ``dimensions.MERGE``
            for the first that is not missing in each cell.
        members: the dimension whose entries are samples of the same time each: that of an ensemble's members.
        static: fields that are the same at all times, which the network is told; None: none.
        dtype: of the prepared store's numbers.
    """

    variables: tuple[Variable, ...]
    box: tuple[float, float, float, float] | None = None
    period: tuple[str, str] | None = None
    resample: str | None = None
    how: str = "mean"
    climatology: str = "none"
    standardise: str = "variable"
    train_until: str | None = None
    test_share: float | None = None
    test_years: tuple[int, ...] | None = None
    gap: str = "2D"
    patch: tuple[int, int] | None = None
    season: str = "none"
    max_missing: float = 0.05
    select: Mapping[str, Choice] = field(default_factory=dict)
    members: str | None = None
    static: Static | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        keys = [v.key for v in self.variables]
        if not keys or len(set(keys)) < len(keys):
            raise LevyError(f"the variables are {', '.join(keys) or 'none'}: at least one is needed, each only once")
        for kind, value, choices in (
            ("climatology", self.climatology, CLIMATOLOGIES),
            ("way to standardise", self.standardise, STANDARDISATIONS),
            ("season", self.season, SEASONS),
            ("way to resample", self.how, REDUCTIONS),
            ("dtype", self.dtype, DTYPES),
        ):
            choose(kind, value, dict.fromkeys(choices))
        if self.box is not None:
            _check_box(self.box)
        _check_select(self.select)
        if self.members in self.select:
            raise LevyError(
                f"{self.members!r} is in both `members` and `select`: take all entries as samples, or choose one"
            )
        if len(said := [name for name in HELD_OUT if getattr(self, name) is not None]) > 1:
            raise LevyError(f"{' and '.join(said)} each say what is held out: keep one of them")
        if self.test_years is not None:
            _check_years(self.test_years)
        for name, share in (("test_share", self.test_share), ("max_missing", self.max_missing)):
            if share is not None and (not 0 <= share < 1 or (name == "test_share" and not share)):
                raise LevyError(f"{name} is {share}: a share between 0 and 1 is expected")
        duration(self.gap, "`gap`", zero=True)
        if self.patch is not None and (min(self.patch) < 1 or self.climatology != "none"):
            raise LevyError(
                f"patch is {list(self.patch)} with climatology {self.climatology!r}: the sides must be positive, and a generated "
                "tile has no place whose climatology could be added to it, so set climatology to none"
            )
        if self.patch is not None and self.standardise == "cell":
            raise LevyError(
                f"patch is {list(self.patch)} with standardise 'cell': a generated tile has no place whose mean and standard deviation "
                "could be given back to it, so set standardise to variable"
            )
        if self.maps_seasons and self.season == "none" and "day" not in self.climatology.split("-"):
            raise LevyError(
                "quantile_mapping is 'season', but samples have no season: set `season` to season, month or day, or `climatology` to day, or "
                "quantile_mapping to true"
            )
        if self.patch is not None and self.static is not None:
            raise LevyError("static fields belong to places, which tiles do not know: leave `static` or `patch` out")

    @property
    def maps_seasons(self) -> bool:
        """Whether some variable has a quantile mapping for each season."""
        return any(v.quantile_mapping == SEASON for v in self.variables)

    def to_mapping(self) -> dict[str, Any]:
        """What a person would write; without ``FITTED``."""
        plain = asdict(self)
        for variable in plain["variables"]:
            for name in FITTED:
                del variable[name]
        return plain

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> "FieldsConfig":
        """The inverse of ``to_mapping``; lists may stand for tuples.

        Raises:
            LevyError: a setting that does not exist or has an impossible value.
        """
        variables = tuple(Variable(**_known(Variable, v)) for v in values.get("variables", ()))
        rest: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in _known(cls, values).items()}
        static = values.get("static")
        return cls(**{**rest, "variables": variables, "static": static and Static.from_mapping(static)})


def duration(text: str, what: str, zero: bool = False) -> "pd.Timedelta":
    """A length of time such as "1h" or "2D".

    Raises:
        LevyError: not a length of time, negative, or 0 where ``zero`` does not allow it.
    """
    import pandas as pd  # half a second, which whoever has images does without

    try:
        found = pd.Timedelta(text)
        if found > pd.Timedelta(0) or (zero and not found):
            return found
    except ValueError:
        pass
    raise LevyError(f'{what} is {text!r}: a length of time such as "1h", "6h" or "2D" is expected')


def _known(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    names = [f.name for f in fields(kind) if f.name not in FITTED]
    unknown = sorted(set(values) - set(names))
    if unknown:
        raise LevyError(f"unknown settings {', '.join(unknown)} of fields: there are {', '.join(names)}")
    return values


def _check_select(select: Any) -> None:
    entries = list(select.values()) if isinstance(select, Mapping) else [None]
    if any(isinstance(entry, bool) or not isinstance(entry, str | int | float) for entry in entries):
        raise LevyError(
            f"select is {select!r}: dimensions with the value of one entry each are expected, such as `select: {{number: 0}}`"
        )


def _check_years(years: Any) -> None:
    entries = [*years] if isinstance(years, list | tuple) else []
    if not entries or any(isinstance(year, bool) or not isinstance(year, int) for year in entries):
        raise LevyError(
            f"test_years is {list(years) if isinstance(years, tuple) else years!r}: years in a list are expected, such as `test_years: [1985, 1990]`"
        )
    if twice := sorted({year for year in entries if entries.count(year) > 1}):
        raise LevyError(f"test_years has {', '.join(map(str, twice))} twice: write each year once")


def _check_box(box: tuple[float, float, float, float]) -> None:
    south, north, west, east = box
    fine = -90 <= south <= north <= 90 and all(-180 <= x <= 360 for x in (west, east))
    if not fine:
        raise LevyError(
            f"box is {list(box)}: south, north, west, east are expected in degrees, with -90 <= south <= north <= 90 and "
            "longitudes from -180 to 360 (west may be greater than east: the box then crosses 0 or the date line)"
        )
