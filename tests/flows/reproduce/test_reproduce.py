"""`levy reproduce` makes a registered version again from its lineage alone, beside a person's work that went on."""

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
import zarr

from flows.pipeline.graph import parse_dot
from flows.reproduce import rerun
from flows.reproduce.differences import list_differences
from flows.reproduce.verdict import first_difference
from flows.reproduce.versions import Version, check_commit, find
from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import read_tensors, write_tensors
from tasks.params.loading import load
from tasks.registry import integrity, lineage
from tasks.registry.environment import Environment
from tests.conftest import TINY, make_checkout, merged, wait_until

SMALL = merged(
    TINY,
    {
        "designs": ["ddpm"],
        "train": {"steps": 20},
        "evaluate": {"images": {"classifier": {"steps": 20}}},
        "tune": {"steps": [2], "samples": 16, "first": 8, "last": 8},
        "sample": {"grid": {"paper": {"solvers": ["ode"], "discretisations": ["ei-noise"], "steps": [2]}}},
    },
)
WORKSPACE = ".levy/reproduce-levy-digits-1"
FORGET = """
import mlflow
client = mlflow.MlflowClient()
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id]):
        client.delete_run(run.info.run_id)
"""


def all_files(checkout):
    """Contents of all that a person has in a checkout, and names of what DVC's cache has."""
    names = checkout.run("git", "ls-files", "--cached", "--others", "--exclude-standard").stdout.splitlines()
    files = {name: (checkout.root / name).read_bytes() for name in names}
    for folder in ("data", "outputs"):
        files |= {str(p): p.read_bytes() for p in sorted((checkout.root / folder).rglob("*")) if p.is_file()}
    cached = sorted(str(p) for p in (checkout.root / ".dvc/cache").rglob("*"))
    return files, cached, checkout.run("git", "status", "--porcelain").stdout


@pytest.fixture(scope="module")
def went_on(tmp_path_factory):
    """A checkout with a registered result; then code, params and data changed, and MLflow's runs were deleted for good."""
    checkout = make_checkout(tmp_path_factory.mktemp("went-on"), SMALL)
    checkout.run(sys.executable, "-m", "dvc", "repro", "-q")
    checkout.levy("run")
    train, noise = checkout.root / "tasks/train.py", checkout.root / "levy_core/process/noise.py"
    train.write_text(train.read_text().replace("CURVE_WINDOW = 50", "CURVE_WINDOW = 10"))
    checkout.set_params({"train": {"steps": 30}})
    checkout.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qam", "later")
    checkout.set_params({"train": {"steps": 40}})
    noise.write_text(noise.read_text() + "# not committed\n")
    (checkout.root / "data/digits/mine.txt").write_text("new")
    checkout.run(sys.executable, "-m", "dvc", "add", "-q", "data")
    database = f"sqlite:///{checkout.root / 'mlflow.db'}"
    checkout.run(sys.executable, "-c", FORGET, MLFLOW_TRACKING_URI=database)
    collected = checkout.run("mlflow", "gc", "--backend-store-uri", database, MLFLOW_TRACKING_URI=database)
    assert collected.stdout.count("permanently deleted") == 2
    return checkout


@pytest.fixture(scope="module")
def reproduced(went_on):
    """The checkout, what it held before, the version's identity, and what a killed `levy reproduce` and the next one printed."""
    before = all_files(went_on)
    command = ("reproduce", "models:/levy-digits@champion", "--workers", "2")
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *command],
        cwd=went_on.root, env=went_on.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    assert wait_until(
        lambda: any("tasks tune" in line for line in went_on.processes()) or process.poll() is not None, 900
    )
    identity = (went_on.root / WORKSPACE / rerun.BEGUN).read_text()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    assert wait_until(lambda: not went_on.processes(), 15)
    return went_on, before, identity, went_on.levy(*command).stdout


def compare_again(checkout, identity, check=False):
    """`levy reproduce` in a workspace where every stage was rerun: it only compares."""
    (checkout.root / WORKSPACE / rerun.BEGUN).write_text(identity)
    return checkout.levy("reproduce", "models:/levy-digits/1", check=check)


@pytest.mark.long
def test_a_version_is_made_again_with_equal_hashes_after_a_kill_though_code_params_data_and_runs_are_gone(reproduced):
    output = reproduced[3]
    assert "reproduced: 9 stages, all hashes equal" in output
    assert "of 9 stages were rerun before: going on" in output
    assert "prepare@digits: " not in output
    assert "\nwarning: " not in output
    assert "evaluate@digits-ddpm: " in output


@pytest.mark.long
def test_the_persons_files_and_the_cache_are_untouched(reproduced):
    checkout, before, _, _ = reproduced
    assert all_files(checkout) == before
    assert " M levy_core/process/noise.py" in before[2]


@pytest.mark.long
def test_stages_really_run_and_say_so(reproduced):
    checkout, _, _, _ = reproduced
    root = checkout.root / WORKSPACE
    lock = yaml.safe_load((root / "dvc.lock").read_text())["stages"]
    assert set(lock) == set(checkout.lock()["stages"])
    assert lock["train@digits-ddpm"]["params"]["params.yaml"]["train"]["steps"] == 20
    assert "CURVE_WINDOW = 50" in (root / "tasks/train.py").read_text()
    assert not (root / "data/digits/mine.txt").exists()


@pytest.mark.long
def test_a_difference_of_the_model_is_named_by_stage_tensor_and_size(reproduced):
    checkout, _, identity, _ = reproduced
    root = checkout.root / WORKSPACE
    path, lock = root / "outputs/digits/models/ddpm/model.safetensors", root / "dvc.lock"
    kept = path.read_bytes(), lock.read_text()
    tensors = read_tensors(path)
    name = next(name for name, t in tensors.items() if name.endswith("bias") and t.numel() > 4)
    tensors[name][3] += 0.25
    write_tensors(path, tensors)
    stages = yaml.safe_load(kept[1])
    (out,) = [e for e in stages["stages"]["train@digits-ddpm"]["outs"] if e["path"].endswith("models/ddpm")]
    out["md5"] = "0" * 32 + ".dir"
    lock.write_text(yaml.safe_dump(stages))
    done = compare_again(checkout, identity)
    path.write_bytes(kept[0])
    lock.write_text(kept[1])
    assert done.returncode == 1
    assert "the outputs of 1 of 9 stages differ. First: train@digits-ddpm\nits inputs are equal" in done.stdout
    assert f"model.safetensors: 1 of {len(tensors)} differ; largest difference 0.25 ({name})" in done.stdout
    assert "design.json" not in done.stdout


@contextmanager
def without_hashes(checkout):
    """As a version that was registered before the hashes of its files were."""
    client = mlflow.MlflowClient(f"sqlite:///{checkout.root / 'mlflow.db'}")
    of_version = ("levy-digits", "1", integrity.TAG)
    kept = client.get_model_version(*of_version[:2]).tags[integrity.TAG]
    client.delete_model_version_tag(*of_version)
    try:
        yield
    finally:
        client.set_model_version_tag(*of_version, kept)


@pytest.mark.long
def test_a_tampered_lock_names_its_stage_and_says_that_only_hashes_can_be_compared(reproduced, monkeypatch):
    checkout, _, _, _ = reproduced
    (path,) = (checkout.root / "mlartifacts").rglob("lineage/dvc.lock")
    kept = path.read_text()
    made = checkout.lock()["stages"]["compare@digits"]["outs"]
    md5 = next(e["md5"] for e in made if e["path"].endswith("winner.json"))
    path.write_text(kept.replace(md5, "f" * 32))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout.root / 'mlflow.db'}")
    with pytest.raises(LevyError, match=r"levy-digits/1 is not as it was registered: .*lineage/dvc.lock is damaged"):
        find("models:/levy-digits/1")
    with without_hashes(checkout):
        version = find("models:/levy-digits/1")
        done = compare_again(checkout, version.identity)
    path.write_text(kept)
    assert done.returncode == 1
    assert "the dvc.lock that it carries is not the one of its tag levy.lock" in done.stdout
    assert "the outputs of 1 of 9 stages differ. First: compare@digits" in done.stdout
    assert f"winner.json: md5 {md5}, was {'f' * 32}; no cache and no remote has the recorded files" in done.stdout
    with pytest.raises(LevyError, match="levy-digits/7 is not in sqlite"):
        find("models:/levy-digits/7")


@pytest.mark.long
def test_levy_lookup_shows_the_whole_lineage_without_any_run(reproduced):
    shown = reproduced[0].levy("lookup", "levy-digits").stdout
    assert reproduced[0].levy("lookup", "models:/levy-digits@champion").stdout == shown
    assert "levy-digits version 1 @champion\n" in shown
    for key in ("winner", "score", "data", "params", "outputs", "commit", "environment"):
        assert f"\n    {key} " in shown
    assert "levy reproduce models:/levy-digits/1" in shown


@pytest.mark.long
def test_data_that_nobody_has_any_more_are_named_with_their_remote(reproduced):
    checkout = reproduced[0]  # the last test of this file in it: it begins anew
    (path,) = (checkout.root / "mlartifacts").rglob("lineage/data.dvc")
    kept = path.read_text()
    (out,) = yaml.safe_load(kept)["outs"]
    path.write_text(kept.replace(out["md5"], "e" * 32 + ".dir"))
    with without_hashes(checkout):
        done = checkout.levy("reproduce", "models:/levy-digits/1", check=False)
    path.write_text(kept)
    assert "data/digits of the recorded version (" + "e" * 32 in done.stderr
    assert "is neither in DVC's cache nor in the remote 'starter'" in done.stderr


WON = {"design": "lim", "metric": "fid", "nfe": 4, "seeds": 2, "fid": 1.0, "fid_std": None}
WON |= {"family": "ode", "discretisation": "ei-noise", "grid": "uniform-t", "steps": 4}
MADE = lineage.Lineage(
    {}, "", "", WON, Environment({"torch": "2", "threads": "1", "instructions": "AVX2"}, {"numpy": "2.0", "scipy": "1"})
)


def test_a_commit_that_is_not_here_is_refused_with_what_to_do():
    tags = {"git.commit": "0" * 40, "git.remote": "https://host/path"}
    with pytest.raises(LevyError, match=f"is not in this repository: `git fetch https://host/path {'0' * 40}`"):
        check_commit(Version("levy-x", "3", tags, MADE))
    for commit in ("none", "--upload-pack=x", "HEAD"):
        with pytest.raises(LevyError, match="names no git commit"):
            check_commit(Version("levy-x", "3", {"git.commit": commit}, MADE))


@pytest.mark.parametrize(
    "uri", ["levy-digits", "models:/levy-digits", "models:/a/b/c", "models:/../1/x", "runs:/1/model"]
)
def test_only_registered_versions_can_be_reproduced(uri):
    with pytest.raises(LevyError, match="write models:/NAME/VERSION or models:/NAME@ALIAS"):
        find(uri)


def entry(md5, seed=0, code="a"):
    return {
        "cmd": "c",
        "deps": [{"path": "code.py", "md5": code}],
        "params": {"params.yaml": {"train": {"seed": seed}}},
        "outs": [{"path": "out", "md5": md5}],
    }


def test_the_first_difference_is_the_first_in_topological_order_with_what_differs_of_its_inputs():
    recorded = {"a": entry("1"), "b": entry("2"), "c": entry("3")}
    found = {"a": entry("1", code="b"), "b": entry("x", seed=1, code="c"), "c": entry("y")}
    assert first_difference(recorded, recorded, ["a", "b", "c"]) is None
    difference = first_difference(recorded, found, ["a", "b", "c"])
    assert (difference.stage, difference.outputs) == ("b", [("out", "2", "x")])
    assert difference.inputs == ["code.py differs", "params.yaml: train.seed is 1, was 0"]
    assert first_difference(recorded, found, ["a", "c", "b"]).stage == "c"


def test_differences_are_the_largest_of_all_numbers_with_their_names(tmp_path):
    before, after = tmp_path / "before", tmp_path / "after"
    for folder, by in ((before, 0.0), (after, 1.0)):
        folder.mkdir()
        write_tensors(
            folder / "m.safetensors", {"w": torch.tensor([1.0, 100.0 + by]), "b": torch.tensor([1e-3 * (1 + by)])}
        )
        np.save(folder / "x.npy", np.array([[3, 5], [7, 200 + int(by)]], np.uint8))
        pd.DataFrame({"k": ["a", "b"], "v": [1.0, np.nan], "u": [4.0, 2.0 + by]}).to_csv(folder / "t.csv", index=False)
        write_json(folder / "j.json", {"a": [1, {"b": 10 + by}], "same": None, "text": "old" if by == 0 else "new"})
        group = zarr.create_group(folder / "s.zarr")
        group.create_array("images/x", data=np.arange(10.0) + np.array([0] * 9 + [by]), chunks=(3,))
        (folder / "page.html").write_text("x" * (2 + int(by)))
        (folder / "equal.json").write_text("{}")
    (after / "new.txt").write_text("")
    found = {line.split(": ")[0]: line.split(": ", 1)[-1] for line in list_differences(before, after)}
    assert found == {
        "m.safetensors": "2 of 2 differ; largest difference 1 (w); largest relative difference 0.5 (b)",
        "x.npy": "1 of 1 differ; largest difference 1; largest relative difference 0.005",
        "t.csv": "1 of 3 differ; largest difference 1 (u); largest relative difference 0.33 (u)",
        "j.json": "1 of 4 differ; largest difference 1 (a.1.b); largest relative difference 0.091 (a.1.b); text is 'new', was 'old'",
        "s.zarr": "1 of 1 differ; largest difference 1 (images/x); largest relative difference 0.1 (images/x)",
        "page.html": "3 bytes, were 2",
        "new.txt is new": "new.txt is new",
    }
    assert list_differences(before, before) == []


def test_what_is_not_finite_on_one_side_differs_without_bound(tmp_path):
    for name, values in (("a", [np.nan, np.inf, 1.0]), ("b", [np.nan, np.inf, np.nan])):
        np.save(tmp_path / f"{name}.npy", np.array(values))
    (line,) = list_differences(tmp_path / "a.npy", tmp_path / "b.npy")
    assert "largest difference inf" in line
    assert list_differences(tmp_path / "a.npy", tmp_path / "a.npy") == []


def test_an_environment_names_what_changed_and_survives_writing(tmp_path):
    here = Environment.here(1)
    assert {"torch", "numpy", "dvc"} <= set(here.packages)
    here.write(tmp_path)
    assert Environment.read(tmp_path) == here
    assert Environment.read(tmp_path).hash == here.hash
    then = replace(here, machine={**here.machine, "threads": "2"}, packages={**here.packages, "numpy": "1.0"})
    assert then.hash != here.hash
    now = here.packages["numpy"]
    assert then.changes(here) == ["threads: 2 then, 1 now", f"numpy: 1.0 then, {now} now"]


def test_a_damaged_lineage_says_so(tmp_path):
    with pytest.raises(LevyError, match="is damaged"):
        lineage.Lineage.read(tmp_path)
    replace(MADE, stages={"prepare@digits": {"cmd": "true"}}).write(tmp_path)
    assert set(lineage.Lineage.read(tmp_path).stages) == {"prepare@digits"}
    write_json(tmp_path / "winner.json", WON | {"fid": "low"})
    with pytest.raises(LevyError, match=r"is damaged \(fid is 'low' with the spread None: numbers were expected\)"):
        lineage.Lineage.read(tmp_path)
    (tmp_path / "dvc.lock").unlink()
    with pytest.raises(LevyError, match=r"is damaged \(dvc.lock is missing or names no stages\)"):
        lineage.Lineage.read(tmp_path)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://me:secret@host:8443/a.git?token=secret", "https://host:8443/a.git"),
        ("ssh://git:secret@host/a.git", "ssh://host/a.git"),
        ("git@host:a.git", "git@host:a.git"),
    ],
)
def test_no_credentials_of_a_git_remote_are_recorded(url, kept, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    subprocess.run(["git", "-C", tmp_path, "remote", "add", "origin", url], check=True)
    (tmp_path / "data.dvc").write_text("outs: [{md5: abc.dir, path: data}]")
    monkeypatch.chdir(tmp_path)
    assert lineage.tags("digits")["git.remote"] == kept


OF_DATASETS = {"dataset": "${datasets}"}
OF_DESIGNS = {**OF_DATASETS, "design": "${designs}"}
COMPARED = {"cmd": "compare", "params": {"params.yaml": {"designs": ["lim"]}}}


def write_graph(declared, names):
    """dvc.yaml with these stages, and dvc.lock with entries of these names, of which compare@a says that it compared lim."""
    Path("dvc.yaml").write_text(json.dumps({"stages": declared}))
    stages = {name: COMPARED if name == "compare@a" else {"cmd": f"run {name}"} for name in names}
    Path("dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": stages}))
    Path("params.yaml").write_text("designs: [lim, new]\nrounds: {all: [1, 2]}\n")


def test_stages_that_are_gone_and_designs_that_are_no_longer_compared_are_no_part_of_a_result(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    declared = {name: {"matrix": OF_DATASETS} for name in ("prepare", "compare")}
    declared |= {"train": {"matrix": OF_DESIGNS}, "older": {"cmd": "older"}}
    names = ("train@a-lim", "train@a-old", "train@a-new", "train@a-b-lim", "train@b-lim", "prepare@b", "prepare")
    write_graph(declared, (*names, "gone@a", "older@a", "compare@a"))
    assert set(lineage.stages_of("a")) == {"train@a-lim", "compare@a"}


def test_a_stage_belongs_to_a_result_whatever_its_command_and_its_other_axes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    axes = {**OF_DESIGNS, "round": "${rounds.all}", "exact": [True, 0.5]}
    write_graph({"distil": {"matrix": axes}, "compare": {"matrix": OF_DATASETS}}, ["compare@a", "distil@a-lim-2-true"])
    assert set(lineage.stages_of("a")) == {"distil@a-lim-2-true", "compare@a"}


@pytest.mark.parametrize(
    ("declared", "name", "message"),
    [
        ({"cmd": "sum"}, "sum", "gives it no `matrix` with `dataset"),
        ({"foreach": ["a"], "do": {}}, "sum@a", "gives it no `matrix` with `dataset"),
        ({"matrix": {"design": ["lim"]}}, "sum@lim", "gives it no `matrix` with `dataset"),
        ({"matrix": {**OF_DATASETS, "of": "${none}"}}, "sum@a-1", "`of: \\${none}` in the matrix of the stage sum"),
        ({"matrix": {**OF_DATASETS, "of": "${rounds}"}}, "sum@a-1", "is neither a list"),
        ({"matrix": {**OF_DATASETS, "of": ["${designs}"]}}, "sum@a-1", "is neither a list"),
    ],
)
def test_a_stage_that_ran_for_nobody_knows_which_data_set_is_refused(declared, name, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_graph({"sum": declared}, ["train@a-lim"])
    assert lineage.stages_of("a") == {}  # it never ran
    write_graph({"sum": declared}, [name])
    with pytest.raises(LevyError, match=message):
        lineage.stages_of("a")


def test_every_stage_that_dvc_makes_of_the_shipped_pipeline_is_part_of_one_result(bare_checkout, monkeypatch):
    monkeypatch.chdir(bare_checkout.root)
    names = set(parse_dot(bare_checkout.run(sys.executable, "-m", "dvc", "dag", "--dot").stdout).needs)
    declared, datasets = lineage.read_stages(lineage.GRAPH), load().datasets
    monkeypatch.setattr(lineage, "LOCK", bare_checkout.root / ".dvc/tmp/whole.lock")
    lineage.LOCK.write_text(json.dumps({"stages": {name: {"cmd": ""} for name in names}}))
    assert {name.split("@")[0] for name in names} == set(declared)
    assert set().union(*(lineage.stages_of(dataset) for dataset in datasets)) == names
