"""Units: read from a source, checked and converted with pint and cf_xarray's registry. Nothing is guessed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pint
from cf_xarray.units import units as registry

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import RUNNING, Variable, duration

WATER = registry.Quantity(1000.0, "kg m-3")
SPELLINGS = {
    "m of water equivalent": "m",
    "(0 - 1)": "1",
    "~": "1",
    "Proportion": "1",
    "degrees_C": "degC",
}  # of GRIB tables
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

    A depth of water and its mass on an area are one quantity (1000 kg m-3). An amount becomes a rate only through
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
        factor = _factor(1 / time * source, target)
        if factor is None:
            raise LevyError(
                f"{name} has units {text!r} and is said to be accumulated ({variable.accumulated}), but {variable.units!r} is not "
                f"{text!r} per time: remove `accumulated` from {here}, or write units that are a rate"
            )
        return Conversion(factor)
    if (found := _between(source, target)) is not None:
        return found
    second = registry.Quantity(1.0, "s")
    advice = f"correct the `units` of {here}, or add `source_units` if the file is wrong"
    if _factor(source / second, target) is not None:
        advice = (
            f"write over which time it was gathered in {here}, such as `accumulated: 1h` (ERA5: the hour before) or `accumulated: "
            f"{RUNNING}` (ERA5-Land: since 00 UTC)"
        )
    elif _factor(source * second, target) is not None:
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
    found = _between(source, _parse(target, name, "correct them in params"))
    if found is None:
        raise LevyError(f"{name} is given in {unit!r}, which cannot become {target!r}: write units of that quantity")
    return found


def is_amount(variable: Variable, attribute: str | None) -> bool:
    """Whether a source's numbers are amounts that are wanted as a rate."""
    text = variable.source_units if variable.source_units is not None else (attribute or "").strip()
    try:
        source, target = (registry.parse_units(SPELLINGS.get(t, t)) for t in (text, variable.units))
        return _factor(1 / registry.Quantity(1.0, "s") * source, target) is not None
    except Exception:  # ``conversion`` says what is wrong with them
        return False


def suited_name(name: str, variable: Variable, attribute: str | None) -> str | None:
    """The standard_name of a source's variable once it is in ``variable.units``; None where CF has none for them."""
    text = variable.source_units if variable.source_units is not None else (attribute or "").strip()
    source, target = (registry.parse_units(SPELLINGS.get(t, t)) for t in (text, variable.units))
    if variable.accumulated is None and source.dimensionality == target.dimensionality:
        return name
    return NAMES.get(name) if variable.accumulated is None else None


def _between(source: pint.Unit, target: pint.Unit) -> Conversion | None:
    """None where one cannot become the other."""
    if source == target:
        return Conversion()
    if source.dimensionality == target.dimensionality:  # offsets too: K and degC
        zero, far = (float(registry.Quantity(x, source).to(target).magnitude) for x in (0.0, 1024.0))
        return Conversion((far - zero) / 1024, zero)
    factor = _factor(1.0 * source, target)
    return None if factor is None else Conversion(factor)


def _parse(text: str, name: str, advice: str) -> pint.Unit:
    if text in AMBIGUOUS:
        said = f"has units {text!r}, which may be {AMBIGUOUS[text]}" if AMBIGUOUS[text] else "has no units"
        raise LevyError(f"{name} {said}: {advice}")
    try:
        return registry.parse_units(SPELLINGS.get(text, text))
    except Exception as error:  # pint raises many kinds, some of Python's tokenizer
        raise LevyError(f"{name} has units {text!r}, which are not known ({error}): {advice}") from error


def _factor(quantity: pint.Quantity, target: pint.Unit) -> float | None:
    """How many ``target`` the quantity is, directly or as water; None where it is something else."""
    for density in (1, WATER, 1 / WATER):
        try:
            return float((quantity * density).to(target).magnitude)
        except (pint.DimensionalityError, pint.OffsetUnitCalculusError):
            continue
    return None
