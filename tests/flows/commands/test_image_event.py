"""`levy event` of images: members are pictures in the event, its probability is that of the law, and what cannot be asked is refused."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows import cli
from levy_core.base.errors import LevyError
from levy_core.base.pixels import to_uint8
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.events import read_event
from tests.support.events import save_normal
from tests.support.registered import register, registry_in

SHAPE = (3, 8, 8)
WORDS = "brightness mean of 2..3,4..5 > 190 levels"
PICTURES = Samples("images", ("a", "b"), **RECORDED["images"], shares=(0.5, 0.5))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a registry in which images of three channels, whose values are N(0, 1) before they are cut at 0 and 255, are levy-digits."""
    folder = tmp_path_factory.mktemp("pictures")
    with registry_in(folder):
        register(folder, save=lambda path: save_normal(path, SHAPE, PICTURES))
        yield folder


def ask(folder, *options):
    model = ("--model", "models:/levy-digits@champion")
    answer = CliRunner().invoke(cli.app, ["event", str(folder / "out"), *model, *options])
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
        event = read_event(text, SHAPE)
        found = event.measure(None)(x.reshape(5, -1)[:, event.cells], np.arange(5))
        assert found == pytest.approx(expected), text
        assert event.above is (">" in text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((WORDS, "--time", "2019-07-25"), "the time 2019-07-25 is given, but images have none"),
        ((WORDS, "--per-year", "60"), "samples per year are given, but these samples have no time"),
        ((WORDS, "--class", "c"), "unknown class 'c'"),
        (("class = 9",), "is of a class, which only a classifier sees, and a registered model carries none"),
        (("class is a",), "is of a class"),
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
        read_event("red mean > 3 levels", (1, 8, 8))
