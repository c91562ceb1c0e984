"""A finished result is kept where nothing that decides it changed, and made again where anything did or a file is damaged."""

import json
import sys

import pytest

from tasks.runtime import paths
from tasks.runtime.finished import FinishedStage
from tests.conftest import Checkout
from tests.support.outputs import finished_checkout, flip

MODEL, CURVE, REFERENCE = paths.model("digits", "ddpm"), paths.curve("digits", "ddpm"), paths.reference("digits")
TUNED, MEMO = paths.tuned("digits", "ddpm"), paths.scores("digits", "ddpm")
KEPT = {"train": "the model is kept", "reference": "the reference is kept"}


@pytest.fixture
def outputs(tmp_path):
    """A folder with two files and a file beside it."""
    (tmp_path / "folder" / "deep").mkdir(parents=True)
    for name in ("folder/one", "folder/deep/two", "alone"):
        (tmp_path / name).write_text(name)
    return [tmp_path / "folder", tmp_path / "alone"]


def test_a_record_holds_for_its_fingerprint_and_its_files_alone(outputs, tmp_path):
    record = tmp_path / "resume" / "done.json"
    finished = FinishedStage(record, "mine", outputs)
    assert not finished.is_kept()
    finished.write()
    assert finished.is_kept()
    assert not FinishedStage(record, "another's", outputs).is_kept()
    assert not FinishedStage(record, "mine", outputs[:1]).is_kept()


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: flip(folder / "folder/one"),
        lambda folder: (folder / "folder/deep/two").unlink(),
        lambda folder: (folder / "folder/three").touch(),
        lambda folder: (folder / "alone").write_text("cut"),
        lambda folder: (folder / "alone").unlink(),
        lambda folder: (folder / "done.json").unlink(),
        lambda folder: (folder / "done.json").write_text('{"fingerprint": "mine"'),
        lambda folder: (folder / "done.json").write_text('{"fingerprint": "mine"}'),
        lambda folder: (folder / "done.json").write_text("[]"),
    ],
)
def test_any_damage_to_the_files_or_the_record_is_found(outputs, tmp_path, damage):
    finished = FinishedStage(tmp_path / "done.json", "mine", outputs)
    finished.write()
    damage(tmp_path)
    assert not finished.is_kept()
    finished.write()
    assert finished.is_kept()


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Checkout:
    return finished_checkout(tmp_path_factory, "kept")


def change(checkout: Checkout, file: str) -> None:
    with (checkout.root / file).open("a") as stream:
        stream.write("# a remark\n")


def files(checkout: Checkout, *outputs):
    """Bytes and times of every file."""
    found = {}
    for output in outputs:
        path = checkout.root / output
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            found[file] = (file.is_file() and file.read_bytes(), file.stat().st_mtime_ns)
    return found


def rerun(checkout: Checkout, stage: str) -> str:
    """What DVC prints where it runs the stage, which it must not call up to date."""
    name = {"train": "train@digits-ddpm", "tune": "tune@digits-ddpm"}.get(stage, f"{stage}@digits")
    told = checkout.run(sys.executable, "-m", "dvc", "repro", "--single-item", name).stdout
    assert f"Running stage '{name}'" in told
    return told


# Changes of settings one after the other, and what stages print after each: `python -m tasks` without the imports of each.
EACH = """
import contextlib, io, json, sys
from importlib import import_module
from tests.conftest import Checkout
from tasks.params import loading
from pathlib import Path

told = []
for changes, stages in json.loads(sys.argv[1]):
    Checkout(Path.cwd()).set_params(changes)
    told.append({})
    for stage in stages:
        names = ["digits", "ddpm"] if stage in ("train", "tune") else ["digits"]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            getattr(import_module(f"tasks.{stage}"), stage)(loading.load(), *names)
        told[-1][stage] = said.getvalue()
print(json.dumps(told))
"""


def begun_after_each(checkout: Checkout, *cases: tuple[dict, list[str]]) -> list[dict[str, str]]:
    """What the stages of each case print, in one process, after its changes of settings and those before."""
    return json.loads(checkout.run(sys.executable, "-c", EACH, json.dumps(cases)).stdout.splitlines()[-1])


def begun(checkout: Checkout, *stages: str) -> dict[str, str]:
    """What the stages print in a process of their own."""
    return begun_after_each(checkout, ({}, list(stages)))[0]


@pytest.mark.pipeline
def test_a_line_of_a_page_leaves_what_no_page_decides_and_a_line_of_the_training_trains_anew(ran):
    before = files(ran, MODEL, REFERENCE)
    others = [(ran.root / path).read_bytes() for path in (CURVE, TUNED, MEMO)]
    change(ran, "tasks/kinds/images/page.py")
    for stage in ("reference", "train"):
        assert KEPT[stage] in rerun(ran, stage)
    assert "ddpm on digits, 2 evaluations" in rerun(ran, "tune")
    assert files(ran, MODEL, REFERENCE) == before
    assert [(ran.root / path).read_bytes() for path in (CURVE, TUNED, MEMO)] == others  # DVC touches lone files

    change(ran, "levy_core/training/trainer.py")
    assert KEPT["train"] not in rerun(ran, "train")
    after = files(ran, MODEL)
    for file, (content, time) in after.items():
        assert content == before[file][0]
        assert time > before[file][1]
    told = begun(ran, *KEPT)
    assert all(KEPT[stage] in told[stage] for stage in KEPT)

    change(ran, "levy_core/metrics/images/fidelity.py")
    told = begun(ran, *KEPT)
    assert KEPT["train"] in told["train"]
    assert KEPT["reference"] not in told["reference"]


@pytest.mark.pipeline
@pytest.mark.long
def test_damage_of_what_is_finished_is_found_and_mended(ran):
    for stage, damaged in (
        ("train", MODEL / "model.safetensors"),
        ("train", CURVE),
        ("reference", REFERENCE / "counts.json"),
    ):
        begun(ran, stage)
        assert KEPT[stage] in begun(ran, stage)[stage]
        expected = (ran.root / damaged).read_bytes()
        flip(ran.root / damaged)
        assert KEPT[stage] not in begun(ran, stage)[stage]
        assert (ran.root / damaged).read_bytes() == expected
        assert KEPT[stage] in begun(ran, stage)[stage]


@pytest.mark.pipeline
def test_settings_that_decide_a_result_make_it_again_and_others_do_not(ran):
    cases = (
        ({"retrain": {"n": 99}, "tune": {"seed": 9}}, set()),
        ({"evaluate": {"images": {"neighborhood": 2}}}, {"reference"}),
        ({"train": {"steps": 11}}, {"train"}),
        ({"data": {"digits": {"imbalance": 10}}}, {"train", "reference"}),
    )
    stages = [[*(["prepare"] if "data" in changes else []), *KEPT] for changes, _ in cases]
    told = begun_after_each(
        ran, ({}, [*KEPT]), *((changes, each) for (changes, _), each in zip(cases, stages, strict=True))
    )
    for (changes, redone), said in zip(cases, told[1:], strict=True):
        assert {stage for stage in KEPT if KEPT[stage] not in said[stage]} == redone, changes
    record = json.loads((ran.root / paths.finished_training("digits", "ddpm")).read_text())
    assert set(record) == {"fingerprint", "files"}
