"""`levy infill`: what was seen of a picture comes back in every sample, and what cannot be asked is refused in a line."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from flows import cli
from levy_core.base.errors import LevyError
from tests.support.registered import register, registry_in


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """A folder with a registry, a picture of which the upper half is seen, and the picture's pixels [8, 8]."""
    folder = tmp_path_factory.mktemp("asked")
    with registry_in(folder):
        register(folder)
        pixels = np.random.default_rng(0).integers(40, 216, (8, 8, 2), dtype=np.uint8)
        pixels[..., 1] = np.where(np.arange(8)[:, None] < 4, 255, 0)
        Image.fromarray(pixels, "LA").save(folder / "half.png")
        yield folder, pixels[..., 0]


def ask(folder, *options):
    answer = CliRunner().invoke(
        cli.app, ["infill", str(folder / "out"), "--observe", str(folder / "half.png"), *options]
    )
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


def test_what_was_seen_comes_back_in_every_sample(seen):
    folder, pixels = seen
    answer = ask(folder, "-n", "3", "--steps", "4", "--guide", "jacobian", "--std", "0")
    assert answer.exit_code == 0
    assert answer.output == f"3 images in {folder / 'out'}, given 32 of 64 pixels\n"
    drawn = [np.asarray(Image.open(path)) for path in sorted((folder / "out").glob("*.png"))]
    assert len(drawn) == 3
    for image in drawn:
        assert np.abs(image[:4].astype(int) - pixels[:4]).max() <= 1
    assert len({image.tobytes() for image in drawn}) == 3


def test_the_truth_judges_what_was_not_seen(seen):
    folder, pixels = seen
    Image.fromarray(pixels, "L").save(folder / "true.png")
    answer = ask(folder, "-n", "3", "--steps", "4", "--guide", "jacobian", "--judge", str(folder / "true.png"))
    names, scores = (line.split() for line in answer.output.splitlines()[1:3])
    said = dict(zip(names, scores, strict=True))
    assert (said["variable"], said["withheld"]) == ("pixels", "32")
    judged = json.loads((folder / "out" / "judged.json").read_text())["scores"][0]
    assert float(said["crps"]) == pytest.approx(judged["crps"], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "keeps no covariance of its training data"),
        (("--std", "x"), "--std x: a number is expected"),
        (("--std", "nan"), "--std nan: it must be 0 or more"),
        (("--std", "-1"), "--std -1: it must be 0 or more"),
        (("--std", "t2m=1"), "std is given of t2m, but images have no variables"),
        (("--mean",), "images have no means"),
        (("--judge", "none.png"), "none.png is not a readable image"),
        (
            ("--guide", "jacobian", "--std", "0", "--steps", "1000000000"),
            "steps is 1,000,000,000, but 100,000 are the most",
        ),
        (("--guide", "none"), "unknown guide towards observations 'none'"),
        (("--class", "NA"), "'NA'"),
        (("--model", "models:/levy-digits/007"), "models:/levy-digits/007"),
        (("--verified",), "nobody said whose signatures hold"),
    ],
)
def test_what_cannot_be_asked_is_refused(seen, monkeypatch, options, message):
    monkeypatch.delenv("LEVY_TRUSTED_KEYS", raising=False)
    guide = () if "--guide" in options or not options else ("--guide", "jacobian")
    with pytest.raises(LevyError, match=message):
        ask(seen[0], "-n", "2", *guide, *options)
