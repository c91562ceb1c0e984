"""Champion against challenger on held-out data: digits and made-up weather, models as the registry keeps them."""

import json
import re
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
import zarr

from levy_core.base.files import write_json
from levy_core.base.manifest import write_manifest
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets import starter
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import times_of
from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.split import FEWEST_CHECKS
from levy_core.datasets.images.store import read_group
from levy_core.datasets.synthetic import Synthetic, blocks
from levy_core.metrics.common.paired import Comparison
from levy_core.metrics.images.classifier import classify, describe_classifier, hold_out
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from levy_core.serving import draw, registered
from levy_core.serving.registered import RegisteredModel
from levy_core.training.checkpoint import save_model
from tasks.kinds.images.metrics import classifier_folder
from tasks.kinds.opening import open_metrics
from tasks.params import loading as settings
from tasks.params.sections import SeedCounts
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.registry.challenge import challenge, decide, judge
from tasks.registry.gate import LONGEST, shorten_reason
from tasks.runtime import paths
from tasks.train import train
from tests.conftest import ROOT, merged, save_untrained

SMALL = {
    "designs": ["ddpm"],
    "net": {"channels": [16], "attention": [False]},
    "train": {"steps": 100, "batch": 32, "warmup": 10, "lr": 0.003, "ema": 0.95},
    "evaluate": {
        "images": {
            "kid_subsets": 3,
            "kid_subset_size": 8,
            "classifier": {"steps": 90, "batch": 64, "width": 12, "features": 8},
        },
        "fields": {"resamples": 20},
    },
    "retrain": {"n": 60, "seeds": {"first": 6, "most": 6}, "false_promotion": 0.05},
}
WEATHER = {
    "kind": "fields",
    "variables": [
        {"name": "t2m", "units": "K"},
        {"name": "tp", "units": "mm day-1", "transform": "log1p", "minimum": 0},
    ],
    "climatology": "day",
    "test_share": 0.3,
}
WEATHER["variables"][1]["accumulated"] = "1D"
GOOD = Solver("ode", "2m-data", "karras", 5, rho_max=80.0, rho_min=0.02, denoise=True, limit="clamp")


def begin(folder, patch, **changes):
    patch.chdir(folder)
    values = merged(merged(yaml.safe_load((ROOT / "params.yaml").read_text()), SMALL), changes)
    Path("params.yaml").write_text(yaml.safe_dump(values))
    return settings.load()


def as_registered(model, folder, solver=GOOD):
    """A copy of a trained model with its sampler, as the registry keeps it."""
    shutil.copytree(model, folder, dirs_exist_ok=True)
    write_json(folder / "sampler.json", {"default": solver.steps, "samplers": {solver.steps: asdict(solver)}})
    write_manifest(folder)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with prepared digits, their references, and a trained and an untrained model of them."""
    folder = tmp_path_factory.mktemp("digits")
    with pytest.MonkeyPatch.context() as patch:
        read = begin(folder, patch)
        starter.write_digits(paths.raw("digits") / "digits.zip")
        prepare(read, "digits")
        reference(read, "digits")
        train(read, "digits", "ddpm")
        as_registered(paths.model("digits", "ddpm"), folder / "trained")
        as_registered(
            save_untrained(folder / "model", UNetConfig((1, 8, 8), 10, (16,)), tuple("0123456789")),
            folder / "untrained",
        )
    torch.use_deterministic_algorithms(False)  # the stages ask for it
    return folder, read


@pytest.fixture
def images(digits, monkeypatch):
    folder, read = digits
    monkeypatch.chdir(folder)
    yield read
    torch.use_deterministic_algorithms(False)


def changed(folder, into, **described):
    """A copy of a registered model that says something else of itself."""
    shutil.copytree(folder, into)
    path = into / "design.json"
    path.write_text(json.dumps(merged(json.loads(path.read_text()), described)))
    write_manifest(into)
    return into


TRAINED, UNTRAINED = Path("trained"), Path("untrained")


def against(read, dataset, champion, challenger, **anchor):
    """The verdict on a challenger."""
    return challenge(read, dataset, {"challenger": challenger, "champion": champion, **anchor})


def test_held_out_images_are_in_no_other_group_and_the_references_are_of_them_alone(images):
    store = zarr.open_group(paths.prepared("digits") / "images.zarr", mode="r")
    indices = {group: set(store[group]["source_index"][:].tolist()) for group in ("train", "balanced", "test")}
    assert not indices["test"] & (indices["train"] | indices["balanced"])
    assert 0.15 * 1797 < len(indices["test"]) < 0.25 * 1797
    held_out, train_images = (read_group(paths.prepared("digits") / "images.zarr", g) for g in ("test", "train"))
    measured_with = open_metrics(images, "digits")
    whole, part = measured_with._held_out["test"], measured_with._held_out["test-longtail"]
    assert np.allclose(whole.features, measured_with.features(held_out.image), atol=1e-5)
    assert {tuple(row) for row in part.features.tolist()} <= {tuple(row) for row in whole.features.tolist()}
    shares = np.bincount(train_images.label) / len(train_images.label)
    assert np.abs(np.bincount(part.labels) / len(part.labels) - shares).max() < 1 / len(part.labels) + 0.01


def test_the_classifier_keeps_what_it_said_of_each_class_of_images_that_it_was_not_trained_on(images):
    kept, net = classifier_folder(paths.reference("digits")), open_metrics(images, "digits").classifier
    balanced, held_out = (read_group(paths.prepared("digits") / "images.zarr", g) for g in ("balanced", "test"))
    unseen = hold_out(balanced.label, images.evaluate.images.classifier.seed)[1]
    image, label = (np.concatenate([getattr(balanced, k)[unseen], getattr(held_out, k)]) for k in ("image", "label"))
    verdict = classify(net, image)
    checks = describe_classifier(kept).checks
    assert len(checks) == 10
    for c, check in enumerate(checks):
        assert (check.images, check.known) == ((label == c).sum(), ((label == c) & (verdict == c)).sum())
        assert (check.others, check.mistaken) == ((label != c).sum(), ((label != c) & (verdict == c)).sum())
        assert check.images >= FEWEST_CHECKS


def test_a_gate_may_name_the_measures_of_held_out_images_and_no_others(images):
    held_out = read_group(paths.prepared("digits") / "images.zarr", "test")
    row = open_metrics(images, "digits").measure_held_out(held_out.image, held_out.label)
    taken = {name.split("/")[0] for name in row}
    measures = images.kind("digits").measures
    assert {measure.name for measure in measures if measure.held_out} == taken & {m.name for m in measures}
    assert {measure.name for measure in measures if not measure.held_out} == {"near_train"}


def gated(read, **gate):
    """The settings with another gate for images."""
    gates = read.retrain.gate.model_copy(update={"images": gate})
    return read.model_copy(update={"retrain": read.retrain.model_copy(update={"gate": gates})})


def test_a_trained_model_takes_the_place_of_an_untrained_one_and_not_the_other_way(images):
    read = gated(images, **{"fid/test-longtail": "better", "coverage/test": 0.5})
    up, down = against(read, "digits", UNTRAINED, TRAINED), against(read, "digits", TRAINED, UNTRAINED)
    assert (up.promoted, down.promoted) == (True, False)
    assert up.reason.startswith("fid/test-longtail ")
    assert up.reason.endswith(": better (p = 0.016); within their margins: coverage/test; over 6 seeds of 60 samples")
    assert ": not shown to be better (p = 1, needed 0.05); " in down.reason
    assert [line.gain for line in up.lines] == [-line.gain for line in down.lines]
    assert up.evaluations == {"challenger": 5, "champion": 5}


def test_a_model_never_takes_its_own_place_and_the_verdict_is_the_same_again(images):
    first, again = (against(images, "digits", TRAINED, TRAINED) for _ in range(2))
    assert first == again
    assert not first.promoted
    assert {line.gain for line in first.lines} == {0}
    assert [line.passed for line in first.lines] == [False, True, True, True]
    kept = json.loads(json.dumps(first.to_mapping(), allow_nan=False))
    assert kept["comparable"] is True
    assert kept["lines"][0]["metric"] == "fid_classes/test-longtail"


def test_more_seeds_are_drawn_while_undecided_and_each_only_once(images, monkeypatch):
    drawn = []
    draw = RegisteredModel.draw_default
    monkeypatch.setattr(
        RegisteredModel, "draw_default", lambda self, n, seed, c: drawn.append(seed) or draw(self, n, seed, c)
    )
    plan = images.retrain.model_copy(update={"seeds": SeedCounts(first=3, most=12), "false_promotion": 0.06})
    read = gated(images.model_copy(update={"retrain": plan}), **{"fid/test-longtail": "better"})
    verdict = against(read, "digits", UNTRAINED, TRAINED)
    assert verdict.promoted
    assert verdict.seeds == 6  # all gains at 3 seeds have a p of 1 in 8
    assert len(drawn) == 2 * len(set(drawn)) == 2 * 6
    assert against(read, "digits", TRAINED, UNTRAINED).seeds == 3  # hopeless


def test_an_anchor_holds_back_what_the_champion_would_let_pass(images):
    read = gated(images, **{"fid/test-longtail": "better", "fid_classes/test-longtail": 1.0})
    # The untrained champion is far from the anchor already: a challenger like it is within its margin, not within the anchor's.
    verdict = against(read, "digits", UNTRAINED, UNTRAINED, anchor=TRAINED)
    assert [(line.metric, line.against, line.passed) for line in verdict.lines] == [
        ("fid/test-longtail", "champion", False),
        ("fid_classes/test-longtail", "champion", True),
        ("fid_classes/test-longtail", "anchor", False),
    ]
    assert "fid_classes/test-longtail " in verdict.reason
    assert " against the anchor's " in verdict.reason
    assert set(verdict.evaluations) == {"challenger", "champion", "anchor"}


def test_the_cost_of_both_default_samplers_is_told(images, tmp_path):
    dearer = as_registered(TRAINED, tmp_path / "dearer", replace(GOOD, steps=7))
    assert against(images, "digits", TRAINED, dearer).evaluations == {"champion": 5, "challenger": 7}


def test_better_overall_without_the_rare_classes_is_kept_with_that_reason(images):
    read = gated(images, **{**images.retrain.gate.images, "fid/test-longtail": "better"})
    read.retrain.gate.images.pop("fid_classes/test-longtail")
    # Real images stand for samples: the champion's are blurred and of all classes, the challenger's sharp and of the common ones.
    train_images = read_group(paths.prepared("digits") / "images.zarr", "train")
    measured_with, rare = open_metrics(images, "digits"), rare_classes(np.bincount(train_images.label).tolist())
    common = np.flatnonzero(~np.isin(train_images.label, rare))
    rows = {"champion": [], "challenger": []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        every = rng.integers(len(train_images.label), size=200)
        noisy = np.clip(train_images.image[every] + rng.normal(0, 60, (200, 1, 8, 8)), 0, 255).astype(np.uint8)
        sharp = train_images.image[rng.choice(common, 200)]
        for side, samples in (("champion", noisy), ("challenger", sharp)):
            rows[side].append(measured_with.measure_held_out(samples, np.full(200, 10)))
    lines = judge(read.retrain.looks, read.gate("digits"), images.kind("digits").measures, rows, look=0)
    verdict = decide(read.retrain, lines, 6, {})
    passed = {line.metric: line.passed for line in verdict.lines}
    assert passed["fid/test-longtail"]
    assert not passed["rare_coverage/test"]
    assert not passed["rare_share_ratio"]
    assert not verdict.promoted
    assert verdict.reason.startswith("rare_coverage/test ")
    assert "rare_share_ratio" in verdict.reason
    assert "fid" not in verdict.reason


def test_a_champion_that_does_not_know_a_class_is_measured(images, tmp_path):
    nine = UNetConfig((1, 8, 8), 9, (16,))
    older = as_registered(save_untrained(tmp_path / "model", nine, tuple("012345678")), tmp_path / "older")
    verdict = against(images, "digits", older, TRAINED)
    assert verdict.comparable
    assert {line.metric for line in verdict.lines} == set(images.retrain.gate.images)


def test_models_that_cannot_be_compared_are_left_to_a_person_with_the_reason(images, tmp_path):
    larger = as_registered(
        save_untrained(tmp_path / "model", UNetConfig((3, 8, 8), 10, (16,)), tuple("0123456789")), tmp_path / "larger"
    )
    older = changed(TRAINED, tmp_path / "older", format=1)
    wild = changed(TRAINED, tmp_path / "wild")
    weights = read_tensors(wild / "model.safetensors")
    weights["unet.conv_out.bias"][0] = float("inf")
    write_tensors(wild / "model.safetensors", weights)
    write_manifest(wild)
    for champion, challenger, reason in (
        (
            larger,
            TRAINED,
            "the champion cannot be judged: it draws images of shape [3, 8, 8], but the data are images of [1, 8, 8]",
        ),
        (older, TRAINED, "the champion cannot be judged"),
        (wild, TRAINED, "the champion cannot be judged: the network returned NaN"),
        (TRAINED, wild, "the challenger cannot be judged: the network returned NaN"),
    ):
        verdict = against(images, "digits", champion, challenger)
        assert (verdict.promoted, verdict.comparable, verdict.lines) == (False, False, ())
        assert verdict.reason.startswith("a person must decide, because ")
        assert reason in verdict.reason
        json.dumps(verdict.to_mapping(), allow_nan=False)


def test_without_held_out_images_the_setting_is_named(images, tmp_path, monkeypatch):
    shutil.copytree(paths.reference("digits"), tmp_path / paths.reference("digits"))
    shutil.copytree(paths.prepared("digits"), tmp_path / paths.prepared("digits"))
    for name in ("test", "test-longtail"):
        (tmp_path / paths.reference("digits") / f"{name}.safetensors").unlink()
    trained = TRAINED.resolve()
    monkeypatch.chdir(tmp_path)
    reason = against(images, "digits", trained, trained).reason
    assert reason.endswith("no images were held out of outputs/digits/data: set test_share of the data set above 0")


# Fields


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    """A folder with two years of small fields, their references, and an untrained model of them."""
    folder = tmp_path_factory.mktemp("weather")
    with pytest.MonkeyPatch.context() as patch:
        read = begin(folder, patch, datasets=["weather"], data={"weather": WEATHER})
        paths.raw("weather").mkdir(parents=True)
        made = Synthetic(("t2m", "tp"), shape=(8, 8), box=(40, 54, 0, 14), seed=1)
        next(iter(blocks(made, 900, block=900))).load().to_netcdf(paths.raw("weather") / "a.nc")
        prepare(read, "weather")
        reference(read, "weather")
        torch.manual_seed(0)
        net = UNetConfig((2, 8, 8), 1, (8,))
        design = Design.from_mapping({"preset": "edm", "sigma_data": 1.0})
        save_model(
            folder / "model",
            dict(UNet(net).state_dict()),
            design,
            net,
            Samples("fields", ("all",), **RECORDED["fields"]),
            {},
        )
        Codec.load(paths.prepared("weather")).save(folder / "model")
    torch.use_deterministic_algorithms(False)
    return folder, read


@pytest.fixture
def fields(weather, monkeypatch):
    folder, read = weather
    monkeypatch.chdir(folder)
    yield read.model_copy(update={"retrain": read.retrain.model_copy(update={"n": 50})})
    torch.use_deterministic_algorithms(False)


def stored(n):
    """Standardised real fields, their times of the year as a model's samples get them, and the data's codec."""
    store, codec = (
        FieldStore.open(paths.prepared("weather") / "fields.zarr", "test"),
        Codec.load(paths.prepared("weather")),
    )
    return store[np.arange(n)], codec


def other(codec):
    """A codec of the same fields with another standardisation, another transform of rain and no climatology."""
    temperature, rain = codec.variables
    variables = (temperature, replace(rain, transform="asinh", scale=2.0))
    mean, std = np.array([285.0, 1.0]), np.array([11.0, 0.7])
    return replace(codec, variables=variables, mean=mean, std=std, climatology=None)


def written(folder, codec, **changes):
    """A registered model of fields with another codec."""
    as_registered(Path("model"), folder)
    replace(codec, **changes).save(folder)
    write_manifest(folder)
    return folder


@pytest.mark.parametrize("kind", ["standardised", "transformed"])
def test_fields_of_another_codec_are_measured_as_the_fields_that_they_are(fields, tmp_path, kind):
    x, codec = stored(100)
    labels, samples = np.ones(100, dtype=np.int64), Samples("fields", ("all",), **RECORDED["fields"])
    other_codec = other(codec) if kind == "transformed" else replace(codec, mean=codec.mean + 3, std=codec.std * 2)
    other_codec.save(tmp_path)
    times = times_of(codec, samples, labels)
    values = codec.decode(
        x, times
    )  # dry cells are all 0 there, so that the last bits of a sample would decide its rank
    values[:, 1] += np.random.default_rng(0).uniform(0.05, 0.1, values[:, 1].shape)
    x, y = codec.encode(values, times), other_codec.encode(values, times)
    assert np.abs(x - y).max() > 1
    measured_with = open_metrics(fields, "weather")
    accepted = measured_with.accept(tmp_path, codec.shape, samples)
    assert np.allclose(accepted(y, labels)[0][np.arange(100)], x, atol=2e-4)
    expected, row = (measured_with.measure_held_out(*given) for given in ((x, labels), accepted(y, labels)))
    assert set(expected) >= {"distance/test", "tail_error/test/t2m", "return_error/test/tp"}
    assert not any("/train" in name for name in expected)
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=0.02, abs=2e-3, nan_ok=True), name


def test_what_a_transform_cannot_invert_survives_a_champion_of_another_standardisation(fields, tmp_path):
    x, codec = stored(4)
    labels, samples = np.ones(4, dtype=np.int64), Samples("fields", ("all",), **RECORDED["fields"])
    replace(codec, mean=codec.mean + 3, std=codec.std * 2).save(tmp_path)
    x[0, 1, 0, 0] = -300  # rain of a hair under -1 mm per day: the inverse of its logarithm has no such number
    accepted = open_metrics(fields, "weather").accept(tmp_path, codec.shape, samples)
    assert np.isfinite(accepted(x, labels)[0][np.arange(4)]).all()


def test_samples_that_are_drawn_in_slices_are_judged_as_those_that_are_drawn_together(fields, monkeypatch, tmp_path):
    codec = Codec.load(paths.prepared("weather"))
    same, wide = written(tmp_path / "same", codec), written(tmp_path / "wide", codec, std=2 * codec.std)
    monkeypatch.setattr(registered, "rows_of_batch", lambda each: 16)
    together = against(fields, "weather", same, wide)
    assert together.comparable
    monkeypatch.setattr(draw, "SLICE", 1)  # byte: every batch by itself
    files = sorted(Path("outputs/weather").rglob("*"))
    assert against(fields, "weather", same, wide).to_mapping() == together.to_mapping()
    assert sorted(Path("outputs/weather").rglob("*")) == files


def test_a_champion_of_fields_is_judged_through_its_own_codec(fields, tmp_path):
    codec = Codec.load(paths.prepared("weather"))
    same = written(tmp_path / "same", codec)
    wide = written(tmp_path / "wide", codec, std=codec.std * 30)
    gate = {"fields": {"distance/test": "better", "ks/test": 0.05}}
    read = fields.model_copy(
        update={"retrain": fields.retrain.model_copy(update={"gate": fields.retrain.gate.model_copy(update=gate)})}
    )
    verdict = against(read, "weather", wide, same)
    assert [line.metric for line in verdict.lines] == ["distance/test", "ks/test/t2m", "ks/test/tp"]
    assert verdict.lines[0].passed
    assert not against(read, "weather", same, wide).promoted


def test_a_margin_that_the_data_cannot_decide_is_told_against_champion_and_anchor_alike(fields, tmp_path):
    """Beyond the 99.9 % quantile the held-out fields have too few values for any number, which is nobody's fault."""
    codec = Codec.load(paths.prepared("weather"))
    same = written(tmp_path / "same", codec)
    wide = written(tmp_path / "wide", codec, std=codec.std * 30)
    gate = {"distance/test": "better", "ks/test": 0.5, "tail_error/test": 0.01, "q999_ratio/test/tp": 0.05}
    gates = fields.retrain.gate.model_copy(update={"fields": gate})
    read = fields.model_copy(update={"retrain": fields.retrain.model_copy(update={"gate": gates})})
    up, down = against(read, "weather", wide, same, anchor=wide), against(read, "weather", same, wide, anchor=same)
    assert (up.promoted, down.promoted) == (True, False)
    for verdict in (up, down):
        assert {name: [line.against for line in lines] for name, lines in verdict.undecided.items()} == {
            name: ["champion", "anchor"] for name in ("tail_error/test/t2m", "tail_error/test/tp", "q999_ratio/test/tp")
        }
        assert not any(line.passed for lines in verdict.undecided.values() for line in lines)
        assert verdict.to_mapping()["undecided"] == list(verdict.undecided)
        for name, margin, number, level in (
            ("tail_error/test/tp", "0.01", r"\S+ ± \S+", "99"),
            ("q999_ratio/test/tp", "0.05", "no number", "99.9"),
        ):
            assert re.search(
                rf"not held to its margin of {margin}: {name} {number} against the champion's {number}, the anchor's {number}, "
                rf"which these data cannot decide \(\S+ independent exceedances of the {level} % quantile, 20 are needed\); ",
                verdict.reason,
            )
        assert verdict.reason.endswith("hold out more, or name a measure that they can (docs/retraining.md)")
    assert "within their margins: ks/test/t2m, ks/test/tp; over" in up.reason
    assert down.reason.startswith("distance/test ")


def line_of(metric, rule, passed=False, needed=None, why="", against="champion"):
    numbers = dict.fromkeys(("challenger_std", "other_std", "gain", "low", "high"), 0.1)
    return Comparison(metric, against, rule, 1.0, other=2.0, p=0.3, level=1e-4, passed=passed, seeds_needed=needed,
                      undecidable=why, **numbers)  # fmt: skip


def test_a_margin_that_the_seeds_are_too_few_for_is_told_with_what_to_do(images):
    plan = images.retrain.model_copy(update={"seeds": SeedCounts(first=12, most=48)})
    better = line_of("fid/test", "better", passed=True)
    verdict = decide(plan, [better, line_of("coverage/test", 0.01, needed=90)], 48, {})
    assert not verdict.promoted
    assert "about 90 seeds would show a gain of this size" in verdict.reason
    advice = "48 seeds are too few for the margin of coverage/test: raise retrain.n or retrain.seeds.most, or widen the margin"
    assert verdict.reason.endswith(f"; {advice}")
    for other in (line_of("coverage/test", 0.01, passed=True), line_of("coverage/test", 0.01)):  # held, and hopeless
        assert advice not in decide(plan, [better, other], 48, {}).reason


def test_a_reason_with_many_undecided_margins_stays_short_and_the_file_names_all(images):
    few = "the classifier was checked on 3 real images of them (10 are needed)"
    lines = [line_of("fid/test", "better", passed=True)]
    lines += [
        line_of(f"class_agreement/{c}", 0.1, why=few, against=a) for a in ("champion", "anchor") for c in range(100)
    ]
    verdict = decide(images.retrain, lines, 6, {})
    assert verdict.promoted
    assert "; 97 more that verdict.json names are not held to their margins either; " in verdict.reason
    assert len(verdict.reason) < 1500
    assert len(verdict.to_mapping()["undecided"]) == 100


def test_nothing_is_better_by_what_the_data_cannot_decide(images):
    verdict = decide(images.retrain, [line_of("rare_share_ratio", "better", why="too few")], 6, {})
    assert not verdict.promoted
    assert verdict.undecided == {}  # no margin
    assert "not decidable with these data (too few)" in verdict.reason
    assert verdict.reason.endswith("name a measure that they can (docs/retraining.md)")


def test_fields_of_other_variables_units_cells_or_seasons_are_left_to_a_person(fields, tmp_path):
    codec = Codec.load(paths.prepared("weather"))
    same, (temperature, rain) = written(tmp_path / "same", codec), codec.variables
    for number, (changes, reason) in enumerate(
        (
            (
                {"variables": (replace(temperature, units="degC"), rain)},
                "its units: degC, mm day-1; of the data: K, mm day-1",
            ),
            (
                {"variables": (replace(temperature, name="d2m"), rain)},
                "its variables: d2m, tp; of the data: t2m, tp",
            ),
            ({"latitude": codec.latitude + 1}, "its cells are not those of the data"),
            ({"valid": codec.valid & (np.arange(8) > 0)}, "its cells are not those of the data"),
            ({"calendar": "noleap"}, "its calendar: noleap; of the data: proleptic_gregorian"),
        )
    ):
        verdict = against(fields, "weather", written(tmp_path / str(number), codec, **changes), same)
        assert verdict.reason.startswith(f"a person must decide, because the champion cannot be judged: {reason}")
    seasonal = written(tmp_path / "seasonal", codec)
    described = json.loads((seasonal / "design.json").read_text())
    described["samples"] |= {"classes": ["DJF", "MAM", "JJA", "SON"], "shares": [0.25] * 4}
    described["net"]["classes"] = 4
    torch.manual_seed(0)
    write_tensors(seasonal / "model.safetensors", dict(UNet(UNetConfig((2, 8, 8), 4, (8,))).state_dict()))
    (seasonal / "design.json").write_text(json.dumps(described))
    write_manifest(seasonal)
    assert "its seasons: DJF, MAM, JJA, SON; of the data: all" in against(fields, "weather", seasonal, same).reason


@pytest.mark.parametrize("rules", [0, 1, 40, 41, 500])
def test_a_reason_that_a_tag_cannot_hold_keeps_its_end_where_the_advice_stands(rules):
    reason = (
        "against version 3: "
        + "worse by a margin of one tenth in a measure of a variable with a long name; " * rules
        + "hold out more"
    )
    kept = shorten_reason(reason)
    assert len(kept) <= LONGEST
    assert kept.startswith("against version 3: ")
    assert kept.endswith("hold out more")
    assert (kept == reason) is (len(reason) <= LONGEST)
