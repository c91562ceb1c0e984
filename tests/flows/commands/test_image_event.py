"""`levy event` of images: members are pictures in the event, its probability is that of the law, and what cannot be asked is refused."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from flows import cli
from levy_core.base.errors import LevyError
from levy_core.base.manifest import write_manifest
from levy_core.base.pixels import to_uint8
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.events import read_event
from levy_core.metrics.images.classifier import Classifier, load_classifier, log_probabilities, save_classifier
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import MEASURED_BY
from tests.support.events import save_normal
from tests.support.registered import register, registry_in

SHAPE = (3, 8, 8)
WORDS = "brightness mean of 2..3,4..5 > 190 levels"
PICTURES = Samples("images", ("a", "b"), **RECORDED["images"], shares=(0.5, 0.5))


def save_pictures(path):
    """A model of such images, and a classifier of random weights, whose log odds of the class a are about -4 +- 1.5 of them."""
    torch.manual_seed(4)
    net = Classifier(SHAPE[0], 2, 4, 8).eval()
    odds = draw_law(2000, net)
    net.score.weight.data *= 1.5 / odds.std()
    odds = draw_law(2000, net)
    net.score.bias.data[0] -= odds.mean() + 4
    checks = [
        {"images": 3, "known": 3, "others": 40, "mistaken": 1},
        {"images": 40, "known": 39, "others": 3, "mistaken": 0},
    ]
    save_classifier(path / MEASURED_BY / "classifier", net, {"checks": checks})
    return save_normal(path, SHAPE, PICTURES)


def draw_law(count, net):
    """Log odds of the class a, of pictures of the law."""
    law = to_uint8(np.random.default_rng(0).standard_normal((count, *SHAPE), dtype=np.float32))
    return -np.diff(log_probabilities(net, law))[:, 0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a registry in which images of three channels, whose values are N(0, 1) before they are cut at 0 and 255, are levy-digits."""
    folder = tmp_path_factory.mktemp("pictures")
    with registry_in(folder):
        register(folder, save=save_pictures)
        yield folder


def no_classifier():
    raise AssertionError("no event of a class was asked for")


def ask(folder, *options, out="out"):
    model = ("--model", "models:/levy-digits@champion")
    answer = CliRunner().invoke(cli.app, ["event", str(folder / out), *model, *options])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


def test_members_are_in_the_event_and_its_probability_is_that_of_the_law(pictures):
    """Beside 10^6 pictures of the law, whose share has an error of 1 %; the estimate's own, of 600 particles, is about 10 %."""
    answer = ask(pictures, "--where", WORDS, "-n", "12", "--particles", "600", "--class", "b", "--seed", "1")
    assert answer.exit_code == 0
    said = json.loads((pictures / "out" / "event.json").read_text())
    drawn = np.stack([np.asarray(Image.open(path)) for path in sorted((pictures / "out").glob("*.png"))])
    assert drawn.shape == (12, 8, 8, 3)
    assert drawn[:, 2:4, 4:6].mean((1, 2, 3)).min() > 190
    assert len({image.tobytes() for image in drawn}) == 12
    law = to_uint8(np.random.default_rng(0).standard_normal((1_000_000, 12), dtype=np.float32)).mean(1)
    true = (law > 190).mean()
    assert 0.001 < true < 0.02
    assert said["probability"] == pytest.approx(true, rel=0.35)
    assert said["recurs"] is False
    lines = answer.output.splitlines()
    assert lines[0].startswith(f"P({WORDS}) = ")
    assert lines[1].startswith(f"one in {said['return_period']:,.4g} samples (")
    assert (said["classifier"], said["undecidable"]) == ("", "")  # pixels need none
    assert "one_in" in answer.output
    assert "return" not in answer.output


def test_what_is_measured_is_what_files_have():
    """Channels last there, first here."""
    x = np.random.default_rng(1).standard_normal((5, *SHAPE)).astype(np.float32)
    files = to_uint8(x).astype(float)
    for text, expected in (
        ("brightness mean > 100 levels", files.mean((1, 2, 3))),
        ("red max of 0..3,7..5 < 250 levels", files[:, 0, :4, 5:].max((1, 2))),
        ("green min > 0 levels", files[:, 1].min((1, 2))),
        ("blue at 2,7 > 1e1 levels", files[:, 2, 2, 7]),
        ("brightness max > 100 levels", files.mean(1).max((1, 2))),
    ):
        event = read_event(text, SHAPE, PICTURES.classes, None, no_classifier)
        found = event.measure(None)(x.reshape(5, -1)[:, event.cells], np.arange(5))
        assert found == pytest.approx(expected), text
        assert event.above is (">" in text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((WORDS, "--time", "2019-07-25"), "the time 2019-07-25 is given, but images have none"),
        ((WORDS, "--per-year", "60"), "samples per year are given, but these samples have no time"),
        ((WORDS, "--class", "c"), "unknown class 'c'"),
        (("class = 9",), "is of the class '= 9': the model's images are of a, b"),
        (("class c",), "is of the class 'c': the model's images are of a, b"),
        (("class ab > 0.5",), "is of the class 'ab > 0.5': the model's images are of a, b"),
        (("class a > 3 levels",), "has the unit 'levels', but a class has a probability, from 0 to 1"),
        (("class a > 1 probability",), "never or always happens: take a probability between 0 and 1"),
        (("class a < 0",), "never or always happens"),
        (("brightness > 100 levels",), "says of no place where: MEASURE"),
        (("brightness",), "cannot be read: MEASURE"),
        (("brightness median > 100 levels",), "cannot be read at 'median'"),
        (("t2m mean > 100 levels",), "is of 't2m': images of this model have brightness, red, green, blue"),
        (("brightness mean > 100",), "has the unit '', but pixels are in levels"),
        (("brightness mean > 100 K",), "has the unit 'K', but pixels are in levels"),
        (("brightness mean > 255 levels",), "cannot happen: brightness is from 0 to 255 levels"),
        (("brightness mean > -1 levels",), "always happens"),
        (("brightness mean < 0 levels",), "cannot happen"),
        (("brightness mean < 256 levels",), "always happens"),
        (("brightness mean > 1e308 levels",), "cannot happen"),
        (("brightness at 8,0 > 100 levels",), "has the row 8, but whole numbers from 0 to 7 are expected"),
        (("brightness at 0,1.5 > 100 levels",), "has the column 1.5, but whole numbers"),
        (("brightness mean of 0..3,-1..2 > 100 levels",), "has the column -1, but whole numbers"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_written(pictures, options, message):
    where, *rest = options
    folder = pictures / "refused"
    folder.mkdir(exist_ok=True)
    with pytest.raises(LevyError, match=message) as refused:
        ask(folder, "--where", where, "-n", "2", "--particles", "200", *rest)
    assert "\n" not in str(refused.value)
    assert not (folder / "out").exists()


def test_grey_images_have_no_colours():
    with pytest.raises(LevyError, match=r"is of 'red': images of this model have brightness$"):
        read_event("red mean > 3 levels", (1, 8, 8), (), None, no_classifier)


def test_a_class_is_an_event_that_a_classifier_sees(pictures):
    """Beside 10^5 pictures of the law, whose share has an error of 5 %; the estimate's own, of 1,000 particles, is about 10 %."""
    net = load_classifier(pictures / "model" / MEASURED_BY / "classifier")
    law = draw_law(100_000, net)
    true = float((law > 0).mean())
    assert 0.001 < true < 0.01
    answer = ask(pictures, "--where", "class a", "-n", "10", "--particles", "1000", out="of_class")
    assert answer.exit_code == 0
    said = json.loads((pictures / "of_class" / "event.json").read_text())
    assert said["probability"] == pytest.approx(true, rel=0.4)
    assert (said["event"], said["units"], said["recurs"]) == ("class a > 0.5 probability", "probability", False)
    drawn = np.stack([np.asarray(Image.open(path)) for path in sorted((pictures / "of_class").glob("*.png"))])
    assert drawn.shape == (10, 8, 8, 3)
    assert np.exp(log_probabilities(net, drawn.transpose(0, 3, 1, 2)))[:, 0].min() > 0.5
    assert said["undecidable"] == (
        "the classifier was checked on 3 real images of it (it knew 3: 100 %, 95 % interval 46 to 100 %; 10 are needed)"
    )
    first, second, *_ = answer.output.splitlines()
    assert first == (
        f"Not decidable how many samples are of the class: {said['undecidable']}. Below is how many the classifier calls so"
    )
    assert second.startswith("P(class a > 0.5 probability) = ")
    assert json.loads((pictures / "of_class" / "levy.json").read_text())["drawn"]["undecidable"] == said["undecidable"]
    usual = RegisteredModel(pictures / "model").predict({"n": 5, "event": {"where": "class b > 0.9", "particles": 200}})
    assert usual["undecidable"] == ""
    assert usual["classifier"] == (
        "the classifier knew 39 of 40 real images of it: 98 %, 95 % interval 89 to 100 %; "
        "of 3 others it took 0 for it: 0 %, 95 % interval 0 to 54 %"
    )
    low = float((law < -np.log(9)).mean())
    assert usual["low"] * 0.8 < low < usual["high"] * 1.2


@pytest.mark.parametrize(
    ("words", "name", "threshold", "above"),
    [
        ("class 007", "007", 0.5, True),
        ("class 7.5 < .25", "7.5", 0.25, False),
        ("class NA > 0.9 probability", "NA", 0.9, True),
        ("class a > 0.3", "a > 0.3", 0.5, True),  # the longest name
        ("class a > 0.3 > 0.2", "a > 0.3", 0.2, True),
        ("class a > 0.4", "a", 0.4, True),
        ("  class   sea lion<1e-3 ", "sea lion", 1e-3, False),
    ],
)
def test_classes_of_odd_names_are_found(words, name, threshold, above):
    classes = ("a", "a > 0.3", "007", "7", "7.5", "NA", "sea lion", "sea")
    seen = np.random.default_rng(0).normal(size=(5, len(classes)))
    event = read_event(words, SHAPE, classes, None, lambda: lambda image: seen)
    assert (event.threshold, event.above) == (threshold, above)
    assert event.text == f"class {name} {'>' if above else '<'} {threshold:g} probability"
    values = event.measure(None)(np.zeros((5, 192)), np.arange(5))
    np.testing.assert_array_equal(values, np.exp(seen[:, classes.index(name)]))


def test_a_model_of_before_checks_were_kept_says_that_nobody_knows(pictures, tmp_path):
    folder = shutil.copytree(pictures / "model", tmp_path / "model")
    kept = folder / MEASURED_BY / "classifier"
    save_classifier(kept, load_classifier(kept), {})
    write_manifest(folder)
    found = RegisteredModel(folder).predict({"n": 2, "event": {"where": "class b", "particles": 200}})
    assert found["undecidable"].startswith("the model does not keep on how many real images its classifier was checked")
    assert found["classifier"] == ""


def test_a_model_without_a_classifier_is_asked_for_no_class(pictures, tmp_path):
    folder = shutil.copytree(pictures / "model", tmp_path / "model")
    shutil.rmtree(folder / MEASURED_BY)
    write_manifest(folder)
    model = RegisteredModel(folder)
    with pytest.raises(LevyError, match="the model keeps no classifier, which events of a class need"):
        model.event({"n": 2}, "class a", tmp_path / "out")
    save_classifier(folder / MEASURED_BY / "classifier", Classifier(3, 5, 4, 8), {})
    with pytest.raises(LevyError, match="tells 5 classes apart, but the model has 2"):
        model.event({"n": 2}, "class a", tmp_path / "out")
    assert not (tmp_path / "out").exists()
