"""Units: read from a source, checked and converted with pint and cf_xarray's registry. Nothing is guessed."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import pint
from cf_xarray.units import units as registry

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import RUNNING, Variable, duration

WATER = registry.Quantity(1000.0, "kg m-3")
DEPTH_OR_MASS = (registry.Unit("m"), registry.Unit("kg m-2"))
SECOND = registry.Quantity(1.0, "s")
SPELLINGS = {
    "m of water equivalent": "m",
    "(0 - 1)": "1",
    "~": "1",
    "Proportion": "1",
}  # of GRIB tables
# Degrees of temperature, which pint takes for angles where a blank follows or names begin with a capital.
DEGREES = re.compile(
    r"(?:deg(?:rees?)?\.?|[°º])[ _]*(celsius|kelvin|fahrenheit|[ckf])\b|\b(celsius|kelvin|fahrenheit)\b", re.I
)
TEMPERATURES = {"c": "degC", "k": "K", "f": "degF"}
# Fractions of which ``plausible`` knows the range: '1' of a percentage is found by the values.
FRACTIONS = ("relative_humidity", "hurs", "sea_ice_area_fraction", "siconc", "cloud_area_fraction", "tcc", "clt")
AMBIGUOUS = {
    "": "",
    "unknown": "",
    "C": "degrees Celsius or coulombs",
    "c": "degrees Celsius or the speed of light",
    "F": "degrees Fahrenheit or farads",
    "deg": "an angle or a temperature",
    "mb": "millibars or millibarns",
}

# What CF calls a mass of water and its depth: one quantity, two standard names.
DEPTHS = {
    "precipitation_flux": "lwe_precipitation_rate",
    "convective_precipitation_flux": "lwe_convective_precipitation_rate",
    "snowfall_flux": "lwe_snowfall_rate",
    "water_evapotranspiration_flux": "lwe_water_evaporation_rate",
    "precipitation_amount": "lwe_thickness_of_precipitation_amount",
    "surface_snow_amount": "lwe_thickness_of_surface_snow_amount",
}
NAMES = DEPTHS | {depth: mass for mass, depth in DEPTHS.items()}


@dataclass(frozen=True)
class Conversion:
    """value * factor + offset, in float64."""

    factor: float = 1.0
    offset: float = 0.0

    def __call__(self, values: Any) -> Any:
        """Converted values; the very same ones where the units are equal."""
        if self == Conversion():
            return values.astype(np.float64)
        return values.astype(np.float64) * self.factor + self.offset

    def invert(self, value: float) -> float:
        """The source's number of a converted one."""
        return (value - self.offset) / self.factor


def conversion(variable: Variable, attribute: str | None, where: str, standard_name: str = "") -> Conversion:
    """How the numbers of a source become ``variable.units``.

    A depth of water and its mass on an area are one quantity (1000 kg m-3), an angle and a number are two, and a month has no length.
    An amount becomes a rate only through
    ``variable.accumulated``; of running totals to the amount per hour, which ``deaccumulate`` makes rates of.

    Args:
        attribute: the source's ``units``, None where it has none. where: the source, for messages. standard_name: the source's.

    Raises:
        LevyError: missing or ambiguous units, or units of another quantity; it says what to write.
    """
    name = f"{where}: variable {variable.name!r}"
    here = f"variable {variable.name!r} in params"
    remedy = f"add `source_units` to {here} (for instance source_units: {variable.units!r})"
    text = variable.source_units if variable.source_units is not None else (attribute or "").strip()
    source = _parse(text, name, remedy)
    target = _parse(variable.units, f"params: `units` of variable {variable.name!r}", "write unambiguous units")
    checked = variable.name in FRACTIONS or standard_name in FRACTIONS  # by their values, which are read later
    if text == "1" and target == registry.Unit("percent") and variable.source_units is None and not checked:
        raise LevyError(f"{name} has units '1' and '%' is wanted, but files often say '1' of a percentage: {remedy}")
    if variable.accumulated is not None:
        over = "1h" if variable.accumulated == RUNNING else variable.accumulated
        time = registry.Quantity(duration(over, "accumulated").total_seconds(), "s")
        factor = _factor(source, target, 1 / time)
        if factor is None:
            raise LevyError(
                f"{name} has units {text!r} and is said to be accumulated ({variable.accumulated}), but {variable.units!r} is not "
                f"{text!r} per time: remove `accumulated` from {here}, or write units that are a rate"
            )
        return Conversion(factor)
    if (found := between(source, target)) is not None:
        return found
    advice = f"correct the `units` of {here}, or add `source_units` if the file is wrong"
    if _has_months(source, target):
        advice = "a month is 28 to 31 days: divide the file by the length of each (xarray: data / data.time.dt.days_in_month)"
    elif _factor(source, target, 1 / SECOND) is not None:
        advice = (
            f"write over which time it was gathered in {here}, such as `accumulated: 1h` (ERA5: the hour before) or `accumulated: "
            f"{RUNNING}` (ERA5-Land: since 00 UTC)"
        )
    elif _factor(source, target, SECOND) is not None:
        advice = f"write units that are a rate, such as 'mm day-1', in {here}"
    raise LevyError(f"{name} has units {text!r}, which cannot become {variable.units!r}: {advice}")


def convert(value: float, unit: str, target: str, name: str) -> float:
    """A value that a person gives, in units of the data.

    Raises:
        LevyError: as ``conversion_from``.
    """
    return float(conversion_from(unit, target, name)(np.array(value)))


def conversion_from(unit: str, target: str, name: str) -> Conversion:
    """How values that a person gives become values in units of the data; ``name`` is what they are of, for messages.

    Raises:
        LevyError: units that are missing, ambiguous, unknown or of another quantity.
    """
    source = _parse(unit, name, f"write them as in {target!r}")
    found = between(source, _parse(target, name, "correct them in params"))
    if found is None:
        raise LevyError(f"{name} is given in {unit!r}, which cannot become {target!r}: write units of that quantity")
    return found


def is_amount(variable: Variable, attribute: str | None) -> bool:
    """Whether a source's numbers are amounts that are wanted as a rate."""
    text = variable.source_units if variable.source_units is not None else (attribute or "").strip()
    try:
        return _factor(parse_units(text), parse_units(variable.units), 1 / SECOND) is not None
    except Exception:  # ``conversion`` says what is wrong with them
        return False


def suited_name(name: str, variable: Variable, attribute: str | None) -> str | None:
    """The standard_name of a source's variable once it is in ``variable.units``; None where CF has none for them."""
    text = variable.source_units if variable.source_units is not None else (attribute or "").strip()
    source, target = parse_units(text), parse_units(variable.units)
    if variable.accumulated is None and source.dimensionality == target.dimensionality:
        return name
    return NAMES.get(name) if variable.accumulated is None else None


def parse_units(text: str) -> pint.Unit:
    """Units as files write them.

    Raises:
        Exception: of many kinds, pint's and some of Python's tokenizer, where they are not known.
    """
    spelled = DEGREES.sub(lambda found: TEMPERATURES[(found[1] or found[2])[0].lower()], text)
    return registry.parse_units(SPELLINGS.get(spelled, spelled))


def between(source: pint.Unit, target: pint.Unit) -> Conversion | None:
    """None where one cannot become the other."""
    if source == target:
        return Conversion()
    if _has_months(source, target):
        return None
    if source.dimensionality == target.dimensionality and _angles(source) == _angles(target):  # offsets too: K and degC
        return _affine(source, target)
    factor = _factor(source, target)
    return None if factor is None else Conversion(factor)


def _parse(text: str, name: str, advice: str) -> pint.Unit:
    if text in AMBIGUOUS:
        said = f"has units {text!r}, which may be {AMBIGUOUS[text]}" if AMBIGUOUS[text] else "has no units"
        raise LevyError(f"{name} {said}: {advice}")
    try:
        return parse_units(text)
    except Exception as error:  # pint raises many kinds, some of Python's tokenizer
        raise LevyError(f"{name} has units {text!r}, which are not known ({error}): {advice}") from error


def _affine(source: pint.Unit, target: pint.Unit) -> Conversion | None:
    """None of logarithms such as dB, and of a temperature that would become a difference of two."""
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            zero, near, far = (float(registry.Quantity(x, source).to(target).magnitude) for x in (0.0, 512.0, 1024.0))
    except pint.PintError:
        return None
    return Conversion((far - zero) / 1024, zero) if np.isclose(near, (zero + far) / 2, rtol=1e-9) else None


def _factor(source: pint.Unit, target: pint.Unit, times: pint.Quantity | int = 1) -> float | None:
    """How many ``target`` a source's unit ``times`` another quantity is, directly or as water; None where it is something else."""
    if _has_months(source, target) or _angles(source) != _angles(target):
        return None
    try:
        quantity = registry.Quantity(1.0, source) * times
        for density in (1, *([WATER, 1 / WATER] if _is_water(quantity) and _is_water(target) else [])):
            if (quantity * density).is_compatible_with(target):
                return float((quantity * density).to(target).magnitude)
    except pint.PintError:  # of temperatures, which have offsets
        pass
    return None


def _is_water(what: pint.Quantity | pint.Unit) -> bool:
    """Whether it may be a depth of water or its mass on an area, or one of these per time."""
    return any((what / unit).dimensionality in ({}, {"[time]": -1}) for unit in DEPTH_OR_MASS)


def _angles(unit: pint.Unit) -> float:
    """The power of angles in a unit, which pint holds to be numbers."""
    return float(registry.get_root_units(unit)[1]._units.get("radian", 0))


def _has_months(source: pint.Unit, target: pint.Unit) -> bool:
    """Whether months, which have no one length, would become other units of time."""
    return ("month" in source._units) != ("month" in target._units)
