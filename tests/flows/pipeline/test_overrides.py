"""Settings of a file beside params.yaml: checked without a trace, run in a workspace, and never in anybody's way."""

import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from levy_core.base.errors import LevyError
from tasks.params import loading, plain_yaml
from tasks.params.samplers import cells_of
from tasks.registry import promotions
from tests.conftest import ROOT, wait_until
from tests.support.outputs import finished_checkout

SHIPPED = ROOT / "params.yaml"


def merged(tmp_path, text):
    (tmp_path / "mine.yaml").write_text(text)
    return loading.load_merged(tmp_path / "mine.yaml", SHIPPED)


def test_a_file_says_what_changes_and_the_rest_is_that_of_params_yaml(tmp_path):
    settings, values = merged(tmp_path, "train: {steps: 7}\ndata: {digits: {reference_per_class: 5, flip: null}}")
    shipped = loading.load(SHIPPED)
    assert settings.train == shipped.train.model_copy(update={"steps": 7})
    assert settings.data["digits"].reference_per_class == 5
    assert settings.data["digits"].flip is False  # the default
    assert "flip" not in values["data"]["digits"]
    assert settings.model_copy(update={"train": shipped.train, "data": shipped.data}) == shipped
    (tmp_path / "params.yaml").write_text(plain_yaml.write(values))
    assert loading.load(tmp_path / "params.yaml") == settings


def test_a_whole_params_yaml_is_a_file_of_changes_too(tmp_path):
    assert merged(tmp_path, SHIPPED.read_text())[0] == loading.load(SHIPPED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {steps: many}", r"mine.yaml, merged onto .*params.yaml: train.steps is 'many': input should be"),
        ("train: {setps: 7}", r"mine.yaml, merged onto .*params.yaml: unknown key train.setps \(value 7\)"),
        ("train: {steps: null}", r"mine.yaml, merged onto .*params.yaml: the key train.steps is missing"),
        ("designs: [007]", r"mine.yaml, merged onto .*: designs\[0\] is 7: a name is text"),
        (
            "sample: {grid: {paper: null}}\ntune: {steps: []}",
            r"mine.yaml, .*: sample.grid has no block and tune.steps no",
        ),
        ("- train", r"mine.yaml holds \['train'\]: the keys of .*params.yaml that are to change are expected"),
        ("# nothing", r"mine.yaml holds nothing: the keys of"),
        ("a: [1", r"mine.yaml is not valid YAML: line"),
    ],
)
def test_faults_name_the_file_and_the_key(tmp_path, text, message):
    with pytest.raises(LevyError, match=message):
        merged(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        LevyError, match=r"gone.yaml cannot be read \(No such file.*\): give the path of a settings file"
    ):
        loading.load_merged(tmp_path / "gone.yaml", SHIPPED)


@pytest.mark.parametrize(
    ("name", "datasets", "designs", "cells"),
    [
        ("cifar10-lt", ["cifar10-lt"], ["lim", "ddpm"], 12),
        ("paper-table", ["digits"], ["lim-1_2", "lim-1_5", "lim-1_8"], 48),
        ("weather", ["weather"], ["tedm-eofs", "edm-eofs"], 4),
    ],
)
def test_the_files_in_docs_are_valid_changes_of_the_shipped_params(name, datasets, designs, cells):
    settings, _ = loading.load_merged(ROOT / f"docs/params/{name}.yaml", SHIPPED)
    assert (settings.datasets, settings.designs) == (datasets, designs)
    assert len(cells_of(settings.sample, settings.kind(datasets[0]))) == cells


def files_of(root):
    """Bytes, size and time of every file of a checkout but for compiled code and DVC's own notes."""
    skipped = {"__pycache__", "tmp", ".made"}
    files = [p for p in root.rglob("*") if p.is_file() and not skipped & set(p.relative_to(root).parts)]
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout in which everything ran, and where somebody works: an edit, and a new module, which are not committed."""
    found = finished_checkout(tmp_path_factory, "overrides")
    with (found.root / "tasks/compare.py").open("a") as stream:
        stream.write("\n\nfrom tasks import novelty  # noqa: E402, F401\n")
    (found.root / "tasks/novelty.py").write_text('print("a new module is here")\n')
    (found.root / "first.yaml").write_text("sample: {seeds: [0]}\n")
    return found


def test_check_says_what_would_run_and_leaves_every_file_as_it_is(checkout):
    before = files_of(checkout.root)
    said = checkout.levy("check", "--params", "first.yaml").stdout
    assert re.match(r"all in order: digits; 1 designs, .*`levy run --params first.yaml` runs in .levy/run-first", said)
    assert files_of(checkout.root) == before


def test_check_leaves_every_file_as_it_is_where_something_is_wrong(checkout, tmp_path):
    (tmp_path / "bad.yaml").write_text("sample: {grid: {paper: {etas: [-1.0]}}}")
    before = files_of(checkout.root)
    for command in ("check", "run"):
        done = checkout.levy(command, "--params", str(tmp_path / "bad.yaml"), check=False)
        assert done.returncode == 1
        assert "bad.yaml, merged onto params.yaml: sample.grid.paper.etas[0] is -1.0: input should be" in done.stderr
    assert files_of(checkout.root) == before
    extra = checkout.root / "data/extra.txt"
    extra.write_bytes(b"x")
    try:
        done = checkout.levy("check", "--params", "first.yaml", check=False)
    finally:
        extra.unlink()
    assert "data/ differs from data.dvc: 1 added (data/extra.txt)" in done.stderr
    assert done.returncode == 1


@pytest.fixture(scope="module")
def at_once(checkout):
    """Two files of settings at the same time, while a run in the checkout is under way; what was there before, and what they said."""
    (checkout.root / "other.yaml").write_text("sample: {seeds: [1]}\n")
    before = files_of(checkout.root)
    with (checkout.root / ".dvc/tmp/levy.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        runs = [start(checkout, name) for name in ("first.yaml", "other.yaml")]
        said = [run.communicate(timeout=900)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(said)
    return before, said


def start(checkout, name):
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "run", "--params", name, "--workers", "1"],
        cwd=checkout.root, env=checkout.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.pipeline
def test_runs_with_different_files_leave_the_checkout_as_it_is(checkout, at_once):
    before, _ = at_once
    after = files_of(checkout.root)
    added = {
        name for name in after if not name.startswith((".levy/", "mlflow.db", "mlartifacts/", ".dvc/cache/", ".git/"))
    }
    assert {name: after[name] for name in added} == {k: v for k, v in before.items() if k in added}
    assert {name for name in before if name not in after} == set()
    assert after[".git/index"] == before[".git/index"]
    assert "?? tasks/novelty.py" in checkout.run("git", "status", "--porcelain").stdout


@pytest.mark.pipeline
def test_they_run_only_what_their_settings_make_stale_with_the_files_of_the_working_tree(checkout, at_once):
    _, (first, other) = at_once
    assert "a new module is here" in first  # in the stage compare, whose code was edited as well
    assert ["4 of 9 stages ran." in said for said in (first, other)] == [True, True]
    assert "0 to draw" in first  # the cells of this seed are those of the checkout
    for name, said in (("first", first), ("other", other)):
        root = checkout.root / f".levy/run-{name}"
        assert Path(re.search(r"report     (.*)", said)[1]) == root / "outputs/digits/report/index.html"
        assert (root / "outputs/digits/report/index.html").exists()
        assert (root / "tasks/novelty.py").read_bytes() == (checkout.root / "tasks/novelty.py").read_bytes()
        assert not (root / "first.yaml").exists()  # what is no code stays behind
    used = loading.load(checkout.root / ".levy/run-first/params.yaml")
    assert used == loading.load_merged(checkout.root / "first.yaml", checkout.root / "params.yaml")[0]


@pytest.mark.pipeline
def test_they_are_recorded_with_the_commit_of_the_checkout_and_as_changed(checkout, at_once):
    client = mlflow.MlflowClient(f"sqlite:///{checkout.root}/mlflow.db")
    head = checkout.run("git", "rev-parse", "HEAD").stdout.strip()
    found = [version.tags for version in promotions.versions(client, "levy-digits").values()]
    assert [tags["levy.seeds"] for tags in found] == ["1", "1"]
    assert [(tags["git.commit"], tags["git.dirty"]) for tags in found] == [(head, "true")] * 2


@pytest.mark.pipeline
def test_the_same_command_computes_nothing_again_and_follows_the_working_tree(checkout, at_once):
    assert "0 of 9 stages ran." in checkout.levy("run", "--params", "first.yaml").stdout
    (checkout.root / "tasks/novelty.py").write_text('print("it was edited")\n')
    with (checkout.root / "tasks/report.py").open("a") as stream:
        stream.write("# a comment\n")
    said = checkout.levy("run", "--params", "first.yaml").stdout
    assert "1 of 9 stages ran." in said  # report; dvc.yaml does not know the new module
    assert (checkout.root / ".levy/run-first/tasks/novelty.py").read_text() == 'print("it was edited")\n'


@pytest.mark.pipeline
def test_a_second_run_with_the_same_file_is_refused_by_the_process_number_of_the_first(checkout, at_once):
    with (checkout.root / ".levy/run-first.lock").open("r+") as stream:
        stream.truncate()
        stream.write("4711")
        stream.flush()
        fcntl.flock(stream, fcntl.LOCK_EX)
        done = checkout.levy("run", "--params", "first.yaml", check=False)
    assert done.returncode == 1
    assert "another `levy run --params` (process 4711) is using .levy/run-first" in done.stderr


@pytest.mark.pipeline
@pytest.mark.long
def test_interrupted_the_same_command_goes_on(checkout):
    (checkout.root / "long.yaml").write_text("train: {steps: 3000, save_every: 100}\n")
    before = (checkout.root / "params.yaml").stat()
    run = start(checkout, "long.yaml")
    kept = checkout.root / ".levy/run-long/outputs/digits/resume/ddpm.safetensors"
    assert wait_until(kept.exists)
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    said, _ = run.communicate(timeout=120)
    assert run.returncode == 130
    assert said.endswith("interrupted: the same command goes on from here\n")
    assert wait_until(lambda: not checkout.processes(), 20), checkout.processes()
    said = checkout.levy("run", "--params", "long.yaml", "--no-record")
    assert re.search(r"going on after step \d+00", said.stdout)
    assert yaml.safe_load((checkout.root / ".levy/run-long/dvc.lock").read_text())["stages"]["train@digits-ddpm"]
    after = (checkout.root / "params.yaml").stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
