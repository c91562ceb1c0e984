"""Numbers that a variable cannot have, and numbers that stand for none, are not taken for weather."""

import netCDF4
import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.prepare import prepare_fields
from tests.support.fields import REAL, config, linked, temperature, write


def field(name, mean, spread, units, **attributes):
    data = temperature()
    noise = (data["t2m"].drop_attrs() - 280) / 5
    return (mean + spread * noise).astype(np.float32).assign_attrs({"units": units} | attributes).to_dataset(name=name)


def prepared(folder, variable, **settings):
    into = folder.parent / "into"
    into.mkdir()
    return prepare_fields(folder, config(variable, gap="0h", **settings), into, None, lambda blocks: blocks)


def refused(folder, variable, *words, **settings):
    with pytest.raises(LevyError) as error:
        prepared(folder, variable, **settings)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("value", [-9999.0, 1e20, 9.969209968386869e36, -32767.0, 99999.0, -3.4e38])
@pytest.mark.parametrize("units", ["K", "mg m-3"])
def test_what_looks_like_a_fill_value_is_refused_in_any_variable(value, units, tmp_path):
    data = field("chl", 280, 5, units, long_name="chlorophyll")
    data["chl"][17, 1, 2] = value
    folder = write(tmp_path / "data", data)
    wanted = Variable("chl", {"K": "degC", "mg m-3": "kg m-3"}[units])  # it is known again after conversion
    refused(
        folder,
        wanted,
        "a.nc",
        "2001-01-01T17:00:00",
        "latitude 51, longitude 2",
        f"{np.float32(value):g}",
        "_FillValue",
    )


def test_a_fill_value_does_not_hide_in_a_mean_nor_in_totals(tmp_path):
    data = field("tp", 0.01, 0, "mm")
    data["tp"][:] += 1e-4 * np.arange(48)[:, None, None]
    data["tp"][29, 0, 3] = -9999
    folder = write(tmp_path / "data", data)
    for said in ({"accumulated": "1h", "stamped": "end"}, {"accumulated": "since-00"}):
        with pytest.raises(LevyError, match=r"2001-01-02T05:00:00, latitude 52, longitude 3, is -9999"):
            open_fields(folder, config(Variable("tp", "mm day-1", **said), resample="1D")).load()


def test_a_fill_value_outside_the_period_is_no_fault(tmp_path):
    data = field("chl", 280, 5, "mg m-3").chunk(time=10)
    data = data.load()
    data["chl"][2, 0, 0] = -9999
    found = open_fields(write(tmp_path, data), config(Variable("chl", "mg m-3"), period=("2001-01-02", "2001-01-02")))
    assert np.isfinite(found["chl"].to_numpy()).all()


DECLARED = {
    "more digits than the values": {"missing_value": 1e20},
    "text": {"missing_value": "-9999"},
    "a range": {"valid_range": np.array([0.0, 1000.0])},
    "a lower bound": {"valid_min": 0.0},
}


@pytest.mark.parametrize("case", DECLARED)
def test_what_the_attributes_call_missing_is_missing(case, tmp_path):
    data, attributes = field("chl", 280, 5, "mg m-3"), DECLARED[case]
    data["chl"][17, 1, 2] = 1e20 if attributes.get("missing_value") == 1e20 else -9999
    data["chl"].attrs |= attributes
    write(tmp_path, data, encoding={"chl": {"_FillValue": None}})
    found = open_fields(tmp_path, config(Variable("chl", "mg m-3")))["chl"].to_numpy()
    assert np.argwhere(np.isnan(found)).tolist() == [[17, 1, 2]]
    assert np.nanmax(np.abs(found)) < 400


def test_the_range_of_packed_values_is_one_of_packed_values(tmp_path):
    with netCDF4.Dataset(tmp_path / "a.nc", "w") as file:
        for name, size in (("time", 48), ("latitude", 3), ("longitude", 4)):
            file.createDimension(name, size)
            file.createVariable(name, "f8", (name,))[:] = np.arange(size) * (-1 if name == "latitude" else 1)
        file["time"].units, file["latitude"].units, file["longitude"].units = (
            "hours since 2001-01-01",
            "degrees_north",
            "degrees_east",
        )
        packed = file.createVariable("chl", "i2", ("time", "latitude", "longitude"))
        packed.setncatts(
            {"scale_factor": 0.5, "add_offset": 10.0, "valid_range": np.array([0, 100], "i2"), "units": "mg m-3"}
        )
        packed.set_auto_maskandscale(False)
        packed[:] = 7
        packed[3, 0, 0], packed[4, 0, 0], packed[5, 0, 0] = 100, 101, -1
    found = open_fields(tmp_path, config(Variable("chl", "mg m-3")))["chl"].to_numpy()
    assert found[2:6, 0, 0].tolist()[:2] == [13.5, 60.0]
    assert np.argwhere(np.isnan(found)).tolist() == [[4, 0, 0], [5, 0, 0]]


@pytest.mark.parametrize(("outlier", "fine"), [(-32767, False), (-30, True)])
def test_the_fill_value_of_a_packed_type_is_suspect_where_it_stands_apart(outlier, fine, tmp_path):
    data = field("chl", 280, 5, "mg m-3")
    data["chl"][17, 1, 2] = 280 + outlier / 100
    folder = write(
        tmp_path, data, encoding={"chl": {"dtype": "i2", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": None}}
    )
    found = open_fields(folder, config(Variable("chl", "mg m-3")))["chl"]
    if fine:
        found.load()
    else:
        with pytest.raises(LevyError, match=r"2001-01-01T17.*latitude 51, longitude 2, is -47\.67.*fill value"):
            found.load()


@pytest.mark.parametrize("value", [-999.0, -99.9])
def test_what_stations_write_for_none_is_suspect_where_it_stands_apart(value, tmp_path):
    data = field("pr", 5, 1, "mm day-1")
    data["pr"][17:19, 1, 2] = value
    with pytest.raises(LevyError, match=rf"2001-01-01T17.*latitude 51, longitude 2, is {value:g}.*fill value"):
        open_fields(write(tmp_path / "apart", data), config(Variable("pr", "mm day-1"))).load()
    data["pr"][0, 0] = np.linspace(value - 1, 0, 4)
    data["pr"][0, 1] = np.linspace(value, 0, 4)
    open_fields(write(tmp_path / "among", data), config(Variable("pr", "mm day-1"))).load()


IMPLAUSIBLE = {
    "specific humidity in g kg-1": (field("q", 8, 0.5, "1"), Variable("q", "g kg-1"), ["g kg-1", "specific humidity"]),
    "sea ice in per cent": (field("siconc", 50, 10, "1"), Variable("siconc", "1"), ["sea ice area fraction", "above 1.02"]),
    "pressure by its CF name": (
        field("pmsl", 101300, 500, "hPa", standard_name="air_pressure_at_mean_sea_level"), Variable("pmsl", "Pa"), ["pmsl", "hPa"],
    ),
    "pressure by its short name": (field("msl", 1013, 5, "Pa"), Variable("msl", "hPa"), ["sea level", "source_units"]),
    "the sea in degC": (field("sst", 15, 3, "K"), Variable("sst", "K"), ["sea surface temperature", "255"]),
    "wind in another unit": (field("u10", 0, 300, "m s-1"), Variable("u10", "m s-1"), ["eastward wind"]),
    "geopotential": (field("z", 3e6, 1e5, "m2 s-2"), Variable("z", "m2 s-2"), ["geopotential"]),
    "humidity in fractions": (field("hurs", 0.6, 0.05, "%"), Variable("hurs", "%"), ["too little for relative humidity", "source_units"]),
    "per cent that say 1": (field("hurs", 60, 5, "1"), Variable("hurs", "%"), ["relative humidity", "source_units"]),
    "rain in a rate": (field("tp", 40, 1, "m h-1"), Variable("tp", "mm day-1"), ["precipitation"]),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPLAUSIBLE)
def test_values_that_a_known_variable_cannot_have_are_named_with_their_place(case, tmp_path):
    data, variable, words = IMPLAUSIBLE[case]
    refused(write(tmp_path / "data", data), variable, "a.nc", "latitude" if "humidity in f" not in case else "", *words)


PLAUSIBLE = {
    "anomalies": (field("t2m", 0, 2, "K", long_name="2 metre temperature anomaly"), Variable("t2m", "K")),
    "another quantity of that name": (field("z", 12, 3, "mg"), Variable("z", "mg")),
    "humidity": (field("q", 0.008, 0.0005, "kg kg-1"), Variable("q", "g kg-1")),
    "humidity of 1 in per cent": (field("hurs", 0.6, 0.05, "1"), Variable("hurs", "%")),
    "humidity in per cent": (field("hurs", 60, 5, "%"), Variable("hurs", "1")),
    "pressure": (field("msl", 101300, 500, "Pa"), Variable("msl", "hPa")),
}


@pytest.mark.parametrize("case", PLAUSIBLE)
def test_values_that_a_variable_can_have_pass(case, tmp_path):
    data, variable = PLAUSIBLE[case]
    prepared(write(tmp_path / "data", data), variable)


@REAL
def test_the_real_variables_of_era5_pass(tmp_path):
    names = {
        "hurs": "%", "huss": "g kg-1", "pr": "mm day-1", "prsn": "mm day-1", "ps": "hPa", "psl": "hPa", "rsds": "W m-2",
        "tas": "degC", "tasmax": "K", "tdps": "K", "uas": "m s-1", "sfcWindmax": "m s-1", "swe": "m",
    }  # fmt: skip
    folder = linked(tmp_path / "data", "era5_daily_surface_cancities_1990-1993.nc")
    variables = [Variable(n, u, source_units="1" if n == "hurs" else None) for n, u in names.items()]
    (tmp_path / "into").mkdir()
    prepare_fields(folder, config(*variables), tmp_path / "into", None, lambda blocks: blocks)
