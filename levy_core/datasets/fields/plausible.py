"""What the main variables of reanalyses and models can be: a value beyond is in other units than it says, or no value."""

from dataclasses import dataclass

import numpy as np

from levy_core.datasets.fields.units import between, parse_units


@dataclass(frozen=True)
class Quantity:
    """A physical quantity.

    Attributes:
        names: CF standard names, first the usual one, and short names of ERA5, GRIB and CMIP. units: of the bounds.
        low, high: no value on Earth is beyond, with some room.
        reaches: what the highest of many values exceeds: fractions that are called percentages do not.
    """

    names: str
    units: str
    low: float
    high: float
    reaches: float = -np.inf


FRACTION = (-0.02, 1.02)  # with noise of packing
QUANTITIES = (
    Quantity("air_temperature t2m 2t t tas tasmin tasmax mx2t mn2t", "K", 130, 350),
    Quantity("dew_point_temperature d2m 2d tdps", "K", 100, 330),
    Quantity("sea_surface_temperature sst tos", "K", 255, 320),
    Quantity("surface_temperature skt ts stl1", "K", 130, 370),
    Quantity("air_pressure_at_sea_level air_pressure_at_mean_sea_level msl psl prmsl", "hPa", 850, 1100),
    Quantity("surface_air_pressure sp ps", "hPa", 300, 1100),
    Quantity("eastward_wind northward_wind u v ua va u10 v10 10u 10v u100 v100 100u 100v uas vas", "m s-1", -180, 180),
    Quantity("wind_speed wind_speed_of_gust si10 10si ws fg10 10fg i10fg gust sfcWind sfcWindmax", "m s-1", -0.1, 180),
    Quantity("lagrangian_tendency_of_air_pressure w wap", "Pa s-1", -100, 100),
    Quantity("specific_humidity q hus huss", "1", -0.002, 0.06),
    Quantity("relative_humidity r hur hurs r2", "1", -0.5, 2.0),
    Quantity("relative_humidity hurs r2", "1", -0.5, 2.0, reaches=0.02),
    Quantity("sea_ice_area_fraction siconc ci sic", "1", *FRACTION),
    Quantity("cloud_area_fraction tcc lcc mcc hcc clt", "1", *FRACTION),
    Quantity("volume_fraction_of_condensed_water_in_soil swvl1 swvl2 swvl3 swvl4", "1", *FRACTION),
    Quantity("precipitation_flux tp cp lsp pr mtpr tprate avg_tprate", "kg m-2 s-1", -1, 1),  # 3.6 m per hour
    Quantity("geopotential z", "m2 s-2", -10_000, 1_000_000),
    Quantity("geopotential_height gh zg", "m", -1000, 100_000),
    Quantity("lwe_thickness_of_surface_snow_amount sd swe", "m", -0.1, 50),
    Quantity("surface_downwelling_shortwave_flux_in_air ssrd rsds", "W m-2", -20, 1600),
    Quantity("surface_downwelling_longwave_flux_in_air strd rlds", "W m-2", -20, 800),
    Quantity("atmosphere_mass_content_of_water_vapor tcwv prw", "kg m-2", -0.5, 150),
    Quantity("sea_surface_wave_significant_height swh", "m", -0.1, 40),
    Quantity("atmosphere_convective_available_potential_energy cape", "J kg-1", -1, 30_000),
    Quantity("atmosphere_boundary_layer_thickness blh", "m", -1, 20_000),
)
# Of other variables, by a word of their standard or long name.
WORDS = (
    Quantity("temperature", "K", 100, 400),
    Quantity("precipitation", "kg m-2 s-1", -1, 1),
    Quantity("snowfall", "kg m-2 s-1", -1, 1),
)
NOT_ABSOLUTE = (
    "anomaly", "difference", "range", "tendency", "index", "deviation", "variance", "gradient", "bias", "error", "increment",
)  # fmt: skip


def find_quantities(name: str, attributes: dict[str, str], level: float | None) -> list[Quantity]:
    """What a variable is by its own name and its standard or long name; nothing where it is a difference.

    Args:
        name: as params write it. level: far up, humidity may be nearly 0 everywhere.
    """
    standard, described = attributes.get("standard_name", ""), attributes.get("long_name", "").lower()
    exact = [
        q for q in QUANTITIES if {standard, name} & set(q.names.split()) and (level is None or q.reaches == -np.inf)
    ]
    whole = f"{standard} {described} {attributes.get('cell_methods', '')}".replace("standard_deviation", "deviation")
    if any(n in whole for n in NOT_ABSOLUTE) and standard != "lagrangian_tendency_of_air_pressure":
        return []
    return exact or [q for q in WORDS if q.names in whole.lower()]


def in_units_of(value: float, unit: str, quantity: Quantity) -> float | None:
    """A value in the units of the quantity's bounds; None where it is something else (a name may mean several)."""
    try:
        found = between(parse_units(unit), parse_units(quantity.units))
    except Exception:  # pint raises many kinds
        return None
    return None if found is None else float(found(np.float64(value)))


def find_beyond(value: float, unit: str, name: str, attributes: dict[str, str], level: float | None) -> Quantity | None:
    """The quantity that a variable is and whose bounds a value is beyond; None where nothing is known against it.

    Args:
        unit: of the value. name, attributes, level: as of ``find_quantities``.
    """
    for quantity in find_quantities(name, attributes, level):
        number = in_units_of(value, unit, quantity)
        if number is not None and not quantity.low <= number <= quantity.high:
            return quantity
    return None
