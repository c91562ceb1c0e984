"""The report of images, from prepared digits and two designs of random weights."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.pixels import to_unit
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets import starter
from levy_core.datasets.images.store import read_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.observations.kept import keep_covariance
from levy_core.process.design import Design
from levy_core.training.checkpoint import save_model
from tasks.cells.comparison import read_winner
from tasks.cells.store import read_cells, read_labels
from tasks.cells.tuned import write_tuned
from tasks.compare import compare
from tasks.evaluate import evaluate
from tasks.observe import observe
from tasks.page.pictures import APART, COMPARED
from tasks.params import loading as settings
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.report import report
from tasks.runtime import paths
from tasks.sample import sample
from tests.conftest import ROOT, merged

DIGITS = tuple("0123456789")
CHANGES = {
    "designs": ["lim", "tedm"],
    "data": {"digits": {"reference_per_class": 40}},
    "models": {"tedm": {"preset": "tedm"}},
    "observe": {
        "images": {
            "half": {"steps": [2, 3], "cases": 4, "members": 3},
            "coarse": {"see": "means", "block": 2, "std": 3, "steps": [2], "cases": 4, "members": 3},
        }
    },
    "evaluate": {"images": {"classifier": {"steps": 40, "batch": 64, "width": 8, "features": 8}}},
}
SAMPLE = {
    "grid": {"tiny": {"solvers": ["ode"], "discretisations": ["ei-noise"], "grids": ["uniform-t"], "steps": [2]}},
    "seeds": [0, 1],
    "n": 40,
    "batch": 40,
}
VOID = {"meta", "img", "br", "link", "hr", "path", "use"}
TILE = 6 * 8 + APART


class Checker(HTMLParser):
    """Refuses elements that are not closed in the order in which they were opened, and attributes that stand twice."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        assert len({name for name, _ in attrs}) == len(attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag, self.getpos()


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A folder with a report of samples that were drawn balanced."""
    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        starter.write_digits(paths.raw("digits") / "digits.zip")
        write(folder, {})
        read = settings.load()
        prepare(read, "digits")
        reference(read, "digits")
        images = read_group(paths.prepared("digits") / "images.zarr", "train")
        counts, pixels = np.bincount(images.label), torch.from_numpy(to_unit(images.image))
        net = UNetConfig((1, 8, 8), 10, (8,))
        torch.manual_seed(0)
        weights = dict(UNet(net).state_dict())
        samples = Samples("images", DIGITS, **RECORDED["images"], shares=tuple(counts / counts.sum()))
        for name in read.designs:
            save_model(paths.model("digits", name), weights, Design.from_mapping({"preset": name}), net, samples, {})
            keep_covariance(pixels, 64, paths.model("digits", name))
            paths.curve("digits", name).parent.mkdir(parents=True, exist_ok=True)
            paths.curve("digits", name).write_text("step,loss,grad_norm\n50,1,1\n100,0.5,1\n")
            write_tuned(paths.tuned("digits", name), {})
        run(read)
    return folder, read


def write(folder, changes):
    values = merged(yaml.safe_load((ROOT / "params.yaml").read_text()), CHANGES)
    (folder / "params.yaml").write_text(yaml.safe_dump(merged({**values, "sample": SAMPLE}, changes)))


def run(read):
    for name in read.designs:
        sample(read, "digits", name)
        observe(read, "digits", name)
        evaluate(read, "digits", name)
    compare(read, "digits")
    report(read, "digits")


@pytest.fixture
def page(reported, monkeypatch):
    monkeypatch.chdir(reported[0])
    return (paths.report("digits") / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 3}, "which outputs/digits/grid.csv does not have"),
        (
            {"design": "edm"},
            "edm with ODE ei-noise, uniform-t, 2 evaluations, which outputs/digits/grid.csv does not have",
        ),
        ({"nfe": None}, "nfe is None: Input should be a valid integer"),
    ],
)
def test_a_winner_that_was_not_compared_is_refused_in_a_line(reported, page, change, words):
    path = paths.winner("digits")
    whole = path.read_text()
    write_json(path, json.loads(whole) | change)
    with pytest.raises(LevyError) as refused:
        report(reported[1], "digits")
    path.write_text(whole)
    message = str(refused.value)
    assert words in message
    assert message.startswith("outputs/digits/winner.json ")
    assert message.endswith(": run the compare stage again")


def test_every_element_is_closed(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == []


def test_what_a_person_wants_to_know_comes_before_the_samplers(page):
    headings = re.findall(r"<h[12][^>]*>([^<]*)<", page)
    assert headings[:6] == [
        "Do the rare classes of digits come back?",
        "How many of each class, and how good",
        "What helps",
        "The rarest classes, real above generated",
        next(h for h in headings if "wins with" in h),
        "The best sampler at each cost",
    ]
    assert "<title>Do the rare classes of digits come back?</title>" in page


def test_classes_are_listed_rarest_first_and_the_rare_ones_are_marked(page):
    table = re.search(r'<table class="classes">.*?</table>', page, re.DOTALL)[0]
    rows = re.findall(r'<tr( class="rare")?><td>(\d)', table)
    assert [name for _, name in rows] == list(reversed(DIGITS))
    assert [bool(mark) for mark, _ in rows] == [True] * 3 + [False] * 7


def test_the_report_says_in_which_classes_samples_were_drawn_and_which_twin_is_missing(page):
    drawn = "drawn with equally many samples of each class, weighed back to the proportions of the training data"
    assert f'<span class="badge">Samples {drawn}</span>' in page
    assert "add <code>lim-gaussian: {param: denoiser, preset: lim, alpha: 2.0}</code> under models" in page
    assert "add <code>tedm-gaussian: {preset: tedm, noise: gaussian}</code> under models" in page


def test_rare_classes_stand_as_training_images_above_the_samples_that_were_asked_for(reported, page):
    train = read_group(paths.prepared("digits") / "images.zarr", "train")
    folder = paths.samples("digits", "lim")
    cells = read_cells(folder)
    drawn = np.concatenate([np.asarray(d.samples) for d in cells])
    labels = np.tile(read_labels(folder, cells), 2)
    for c in (7, 8, 9):
        sheet = np.asarray(Image.open(paths.report("digits") / f"rare-{c}.png"))
        assert sheet.shape == (3 * TILE, COMPARED * TILE)  # real, lim, tedm
        for row, images in ((0, train.image[train.label == c]), (1, drawn[labels == c])):
            for k, image in enumerate(images[:COMPARED]):
                part = sheet[row * TILE : (row + 1) * TILE - APART, k * TILE : (k + 1) * TILE - APART]
                assert np.array_equal(part[::6, ::6], image[0])
    assert page.count("from above") == 3


def test_what_was_observed_of_held_out_images_stands_in_a_table_and_a_picture_of_the_winner(reported, page):
    section = re.search(r"<h2>What was observed</h2>(.*?)</section>", page, re.DOTALL)[1]
    second, first = section.split("<h3")[1:]  # in the order of params.yaml
    assert "half: the left half, without error; 4 held-out cases" in first
    assert "coarse: means over blocks of 2 x 2 cells, with errors of standard deviation 3;" in second
    rows = [re.findall(r"<td>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", first)[1:]]
    ways = [row[:2] for row in rows]
    assert ways[:2] == [["kriging", ""], ["analogues", ""]]  # of no design, as they are the same for both
    assert ways[2:] == [[f"interpolation, {steps} steps", name] for name in reported[1].designs for steps in (2, 3)]
    assert all(re.fullmatch(r"[+-]\d\.\d{3} ± \d\.\d{3} \((ahead|behind|not decidable)\)", row[4]) for row in rows[1:])
    assert "bilinear" in second
    for name in ("half", "coarse"):
        sheet = np.asarray(Image.open(paths.report("digits") / f"observed-{name}.png"))
        assert sheet.shape == (
            4 * TILE,
            (2 + 3 + 2) * TILE,
        )  # observed, truth, three members, mean and spread of four cases
    assert 'alt="half: what was observed, the truth, and members"' in first


def test_experiments_that_were_left_out_have_no_table_and_others_are_shown_of_a_design_that_has_them(
    reported, tmp_path, monkeypatch
):
    read = reported[1]
    monkeypatch.chdir(shutil.copytree(reported[0], tmp_path / "work"))
    won = read_winner(paths.winner("digits"))["design"]
    (other,) = set(read.designs) - {won}
    for design, name, value in (
        (other, "tasks.observe.MOST", 20),  # half sees 32 values
        (won, "tasks.observing.cases.FEWEST", 5000),  # nothing is observed
    ):
        with monkeypatch.context() as patch:
            patch.setattr(name, value)
            observe(read, "digits", design)
    report(read, "digits")
    section = re.search(
        r"<h2>What was observed</h2>(.*?)</section>", (paths.report("digits") / "index.html").read_text(), re.DOTALL
    )[1]
    (only,) = section.split("<h3")[1:]
    assert "coarse: means over blocks" in only
    assert f"<b>{other}</b>, interpolation, 2 steps" in only
    with monkeypatch.context() as patch:
        patch.setattr("tasks.observing.cases.FEWEST", 5000)
        observe(read, "digits", other)
    report(read, "digits")
    assert "What was observed" not in (paths.report("digits") / "index.html").read_text()


def test_samples_without_a_class_are_reported_as_such(reported, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    shutil.copytree(reported[0], folder)
    monkeypatch.chdir(folder)
    write(folder, {"sample": {"classes": "none"}, "observe": {"images": None}})
    run(settings.load())
    page = (paths.report("digits") / "index.html").read_text()
    assert "What was observed" not in page
    assert not list(paths.report("digits").glob("observed-*"))
    assert '<span class="badge">Samples drawn without asking for a class</span>' in page
    assert "No class was asked for, so that nothing is known" in page
    assert "without a class that was asked for, those that the classifier takes for it" in page


def test_what_a_classifier_checked_on_one_image_says_of_rare_classes_is_not_reported(reported, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(reported[0], tmp_path / "work"))
    path = paths.reference("digits") / "balanced.safetensors"
    tensors = read_tensors(path)
    for c in (7, 8, 9):  # one image among them, which it knew
        tensors["confusion"][c] = 0
    tensors["confusion"][9, 9] = 1
    write_tensors(path, tensors)
    read = reported[1]
    for name in read.designs:
        evaluate(read, "digits", name)
    compare(read, "digits")
    report(read, "digits")
    page = (paths.report("digits") / "index.html").read_text()
    (lead,) = re.findall(r'<p class="answer">(.*?)</p>', page)
    assert lead.startswith(
        "Not decidable: how many samples are of the rare classes 9, 8 and 7, and whether one that is"
    )
    assert "checked on 1 real image of them (it knew 1: 100 %, 95 % interval 15 to 100 %; 10 are needed)" in lead
    assert "of 100 cases" not in page
    assert page.count("<b>not decidable <small>") == len(read.designs)
    assert re.search(r"is right on \d+ %, 95 % interval \d+ to \d+ %, of \d+ held-out real images", page)
    headline = json.loads(paths.metrics("digits").read_text())["lim"]
    assert not [name for name in headline if name.startswith(("rare_share", "rare_agreement"))]
    assert "rare_coverage_balanced" in headline
