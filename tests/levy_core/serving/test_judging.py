"""What was withheld judges samples in the units of people, and a truth that cannot judge them is refused before anything is drawn."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.datasets.images.observed import read_observed
from levy_core.metrics.common.withheld import Withheld, judge, psnr, skill, ssim
from levy_core.nets.unet import UNetConfig
from levy_core.observations.covariance import Covariance
from levy_core.observations.kept import FILE as COVARIANCE
from levy_core.serving.judging import FILE, judge_samples, pool
from levy_core.serving.registered import RegisteredModel
from tests.conftest import save_untrained
from tests.support.events import LATITUDE, LONGITUDE, make_codec, save_fields
from tests.support.served import save_sampler

TIME = "2019-07-25T12"
SPACE = {"latitude": LATITUDE, "longitude": LONGITUDE, "time": pd.Timestamp(TIME)}


def keep_unit_covariance(folder, size):
    """Of values that say nothing of each other, as those of ``tests.support.events``."""
    zeros = torch.zeros(size).double()
    Covariance(zeros, zeros[:, None][:, :0], zeros + 1).save(folder / COVARIANCE)


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    folder = save_fields(tmp_path_factory.mktemp("weather") / "model")
    save_sampler(folder)
    keep_unit_covariance(folder, 32)
    return RegisteredModel(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("images"), UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    save_sampler(folder)
    return RegisteredModel(folder)


@pytest.fixture
def files(tmp_path):
    """A field of the model's law, and what was seen of it: six cells of temperature, four of rain."""
    codec = make_codec()
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4))
    values = codec.decode(x, pd.DatetimeIndex([TIME]).to_numpy())[0]
    seen = np.zeros((2, 16), dtype=bool)
    seen[0, [0, 3, 5, 9, 12, 14]] = seen[1, [1, 2, 3, 8]] = True
    write(tmp_path / "true.nc", values)
    write(tmp_path / "seen.nc", np.where(seen.reshape(values.shape), values, np.nan))
    return tmp_path, values, ~seen


def write(path, values, **changes):
    units = {"t2m": "degC", "tp": "mm day-1"} | changes
    data = {n: (("latitude", "longitude"), values[c], {"units": units[n]}) for c, n in enumerate(("t2m", "tp"))}
    xr.Dataset(data, SPACE).to_netcdf(path)


def infill(model, folder, truth="true.nc", seen="seen.nc", n=40, **options):
    said = model.infill({"n": n, "seed": 1}, folder / seen, folder / "out", {"": 0.0}, truth=folder / truth, **options)
    return said, json.loads((folder / "out" / FILE).read_text())


def test_scores_are_those_of_the_withheld_cells_in_their_units(weather, files):
    folder, values, withheld = files
    said, judged = infill(weather, folder)
    with xr.open_dataset(folder / "out" / "samples.nc") as drawn:
        members = np.stack([drawn[name].to_numpy() for name in ("t2m", "tp")], 1).reshape(40, 2, 16)
    for c, score in enumerate(judged["scores"]):
        own = judge(members[None][:, :, c, withheld[c]], values.reshape(2, 16)[None, c, withheld[c]])
        assert (score["variable"], score["units"]) == (("t2m", "degC"), ("tp", "mm day-1"))[c]
        assert score["withheld"] == (10, 12)[c]
        assert score["crps"] == pytest.approx(float(own.crps[0]), rel=1e-4)
        assert score["spread_error"] == pytest.approx(own.spread_error, rel=1e-4)
        assert score["skill"] == pytest.approx(1 - score["crps"] / score["kriging_crps"])
        assert score["misfit"] is score["psnr"] is None
        assert score["largest_miss"] < 1e-3
    assert "One case" in said
    assert "psnr" not in said


def test_kriging_with_the_exact_covariance_has_the_score_of_the_exact_law(weather, files):
    """CRPS of a Gaussian law (Gneiting and Raftery, 2007, equation 21). Of ten values and 400 members its standard error is 2 %; 4 of them."""
    folder, values, withheld = files
    temperature = infill(weather, folder, n=400)[1]["scores"][0]
    zero = make_codec().decode(np.zeros((1, 2, 4, 4)), pd.DatetimeIndex([TIME]).to_numpy())[0, 0]
    z = ((values[0] - zero) / 3).reshape(-1)[withheld[0]]
    exact = 3 * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)).mean()
    assert temperature["kriging_crps"] == pytest.approx(exact, rel=0.08)


def test_errors_of_observed_values_make_a_misfit(weather, files):
    folder = files[0]
    weather.infill({"n": 400, "steps": 20}, folder / "seen.nc", folder / "out", {"": 0.01}, truth=folder / "true.nc")
    temperature = json.loads((folder / "out" / FILE).read_text())["scores"][0]
    assert temperature["misfit"] == pytest.approx(1.0, abs=0.2)  # values are the truth, and samples a std from them
    assert temperature["largest_miss"] is None


def test_stations_that_were_left_out_judge(weather, files):
    folder, values, _ = files
    rows = [("t2m", 54.0, -4.0), ("t2m", 51.0, 0.5), ("t2m", 49.5, -1.0)]
    field = xr.DataArray(values[0], {k: SPACE[k] for k in ("latitude", "longitude")}, ("latitude", "longitude"))
    table = pd.DataFrame(rows, columns=["variable", "latitude", "longitude"])
    table["value"] = [float(field.interp(latitude=a, longitude=b)) for _, a, b in rows]
    table.to_csv(folder / "true.csv", index=False)
    table[:1].to_csv(folder / "seen.csv", index=False)
    _, judged = infill(weather, folder, "true.csv", "seen.csv", time=TIME)
    (score,) = judged["scores"]
    assert score["withheld"] == 2
    with xr.open_dataset(folder / "out" / "samples.nc") as drawn:
        at = {"latitude": xr.DataArray([51.0, 49.5], dims="p"), "longitude": xr.DataArray([0.5, -1.0], dims="p")}
        members = drawn.t2m.interp(at).to_numpy()
    assert score["crps"] == pytest.approx(float(judge(members[None], table.value.to_numpy()[None, 1:]).crps[0]), rel=1e-4)  # fmt: skip


def test_images_are_judged_by_the_pixels_that_were_not_seen(images, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels, "L").save(tmp_path / "true.png")
    alpha = np.where(np.arange(8)[:, None] < 4, 255, 0) * np.ones((1, 8))
    Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8), "LA").save(tmp_path / "seen.png")
    _, judged = infill(images, tmp_path, "true.png", "seen.png", n=6, guide="jacobian")
    (score,) = judged["scores"]
    drawn = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{i:05d}.png")) for i in range(6)]).astype(float)
    hidden, true = drawn[:, 4:].reshape(6, -1), pixels[4:].reshape(1, -1).astype(float)
    assert score["withheld"] == 32
    assert score["crps"] == pytest.approx(float(judge(hidden[None], true).crps[0]))
    assert score["psnr"] == pytest.approx(float(psnr(hidden.mean(0)[None], true, 255)[0]))
    assert score["largest_miss"] <= 1
    assert score["kriging_crps"] is score["skill"] is None  # no covariance is kept
    assert score["ssim"] is None  # windows of 11 pixels do not fit


def test_ssim_is_that_of_the_mean_where_it_was_withheld(tmp_path):
    rng = np.random.default_rng(0)
    shape, hidden = (3, 12, 12), np.arange(12) >= 7
    true, samples = rng.integers(0, 256, shape), rng.integers(0, 256, (5, *shape)).astype(np.uint8)
    for name, alpha in (("true", np.full((12, 12), 255)), ("seen", 255 * ~hidden * np.ones((12, 1)))):
        Image.fromarray(np.dstack([*true, alpha]).astype(np.uint8), "RGBA").save(tmp_path / f"{name}.png")
    observed, truth = (read_observed(tmp_path / f"{name}.png", shape, 0.0) for name in ("seen", "true"))
    (score,) = judge_samples(samples, None, observed, truth, "true.png").scores
    where = np.broadcast_to(hidden, shape)[None]
    assert score.ssim == pytest.approx(float(ssim(samples.mean(0)[None], true[None], 255, where)[0]))
    assert score.withheld == 3 * 12 * 5


def test_samples_that_are_the_truth_are_judged_in_json(tmp_path):
    """As where all that was withheld is black."""
    pixels, shape = np.zeros((12, 12), dtype=np.uint8), (1, 12, 12)
    Image.fromarray(pixels, "L").save(tmp_path / "true.png")
    alpha = np.where(np.arange(12)[:, None] < 7, 255, 0) * np.ones((1, 12))
    Image.fromarray(np.dstack([pixels, alpha]).astype(np.uint8), "LA").save(tmp_path / "seen.png")
    observed, truth = (read_observed(tmp_path / f"{name}.png", shape, 0.0) for name in ("seen", "true"))
    judge_samples(np.zeros((3, *shape), dtype=np.uint8), None, observed, truth, "true.png").write(tmp_path)

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    (score,) = json.loads((tmp_path / FILE).read_text(), parse_constant=refuse)["scores"]
    assert (score["crps"], score["psnr"], score["ssim"]) == (0, None, pytest.approx(1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: None, "true.nc: there is no such file"),
        (lambda d: d.assign_coords(latitude=d.latitude + 0.3), "which is none of the model's"),
        (lambda d: d.assign_coords(time=pd.Timestamp("2019-07-26T12")), "is of 2019-07-26T12:00:00, but what was observed is of 2019-07-25 12:00:00"),
        (lambda d: d.t2m.assign_attrs(units="m").to_dataset(), "true.nc"),
        (lambda d: d.t2m.drop_attrs().to_dataset(), "has no units"),
        (lambda d: d.rename(t2m="u", tp="v"), "has no observed value of t2m or tp"),
        (lambda d: d.where(d.t2m > 1e9), "has no observed value of t2m or tp"),
        (lambda d: d.where(d.t2m < 5, 1e308), "looks like a fill value"),
        (lambda d: d.expand_dims(number=[0, 1]), "has 2 entries along number"),
    ],
)  # fmt: skip
def test_a_truth_that_cannot_judge_is_refused_and_nothing_is_written(weather, files, change, message):
    folder = files[0]
    with xr.open_dataset(folder / "true.nc") as data:
        changed = change(data.load())
    (folder / "true.nc").unlink()
    if changed is not None:
        changed.to_netcdf(folder / "true.nc")
    with pytest.raises(LevyError, match=message) as refused:
        infill(weather, folder)
    assert "\n" not in str(refused.value)
    assert not (folder / "out").exists()


def test_a_truth_that_was_all_observed_judges_nothing(weather, files):
    folder = files[0]
    with pytest.raises(LevyError, match=r"seen\.nc has nothing to judge by: each of its 10 values was observed"):
        infill(weather, folder, "seen.nc")
    assert not (folder / "out").exists()


def test_several_cases_are_paired(tmp_path):
    own, rival = np.array([1.0, 2.0, 1.5]), np.array([1.2, 2.1, 1.9])
    for row, (a, b) in enumerate(zip(own, rival, strict=True)):
        write_json(tmp_path / f"{row}.json", {"scores": [{"variable": "t2m", "crps": a, "kriging_crps": b}]})
    of = lambda crps: Withheld(crps, crps, crps, crps)
    assert pool(sorted(tmp_path.glob("*.json"))) == {"t2m": skill(of(own), of(rival))}
