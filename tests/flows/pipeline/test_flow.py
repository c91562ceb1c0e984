"""The whole pipeline on the real starter data with tiny settings: run, rerun, record, look up, sample."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.pipeline.dvc import Dvc
from flows.pipeline.graph import read_state
from flows.pipeline.preflight import find_prunable, prune_outputs
from levy_core.base.manifest import write_manifest
from levy_core.training.checkpoint import FORMAT
from tasks.params import loading
from tests.conftest import Checkout, traceable

pytestmark = pytest.mark.pipeline
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


def test_a_stage_that_meets_a_lock_is_tried_again(ran):
    _, output, _ = ran
    assert re.search(r"DvcBusyError(.|\n)*Retry 1/6 will start", output)
    assert "is busy, it is being blocked by" in output


def test_it_ends_with_the_report_the_best_cell_and_the_look_up(ran):
    checkout, output, _ = ran
    assert "14 of 14 stages ran." in output
    assert re.search(r"best cell  (lim|ddpm) with .*: fid_classes/longtail \d+\.\d+ ± \d+\.\d+ over 2 seeds", output)
    report = Path(re.search(r"report     (.*)", output)[1])
    assert report == checkout.root / "outputs/digits/report/index.html"
    assert report.exists()
    line = re.search(r"samples    python -c '(.*)'", output)[1]
    assert checkout.run(sys.executable, "-c", line).stdout.strip() == "(16, 8, 8, 1)"


def test_stage_output_is_in_prefects_log_and_the_summary_is_an_artifact(ran):
    checkout, output, _ = ran
    assert re.search(r"Task run 'prepare@digits' - digits: 512 training images of 10 classes \(152 ... 7\)", output)
    code = """
import sqlite3, os
db = sqlite3.connect(os.path.join(".prefect", "prefect.db"))
print([row[0] for row in db.execute("select data from artifact where key = 'levy-summary'")][0])
print(db.execute("select count(*) from log where message like '%512 training images%'").fetchone()[0])
print(sorted(row[0] for row in db.execute("select name from task_run where name like '%@%'")))
"""
    shown = checkout.run(sys.executable, "-c", code).stdout
    assert "| train@digits-lim | ran |" in shown
    assert "models:/levy-digits@champion" in shown
    assert shown.splitlines()[-2] == "1"
    assert shown.splitlines()[-1].count("@digits") == 14


@pytest.mark.skipif(not traceable(), reason="strace is not installed, or may not trace here")
def test_no_connection_leaves_the_machine(ran):
    _, _, trace = ran
    lines = trace.read_text().splitlines()
    inet = [line for line in lines if "AF_INET" in line]
    outside = [line for line in inet if not re.search(r'inet_addr\("127\.|inet_pton\(AF_INET6, "::1"', line)]
    assert inet, "the run talks to its own Prefect server, so the trace cannot be empty"
    assert outside == []


def test_a_second_run_runs_no_stage_and_adds_no_version(ran):
    checkout, _, _ = ran
    before = checkout.lock()
    output = checkout.levy("run").stdout
    assert "0 of 14 stages ran." in output
    assert "levy-digits version 1, alias champion (already there)" in output
    assert checkout.lock() == before


def test_adding_an_eta_draws_only_its_cells(ran, tmp_path):
    checkout, _, _ = ran
    copy = tmp_path / "copy"
    shutil.copytree(checkout.root, copy, symlinks=True)
    params, before = copy / "params.yaml", copy / "outputs/digits/evaluations/lim.csv"
    params.write_text(params.read_text().replace("      - 0.5\n", "      - 0.5\n      - 0.7\n", 1))
    assert 0.7 in yaml.safe_load(params.read_text())["sample"]["grid"]["paper"]["etas"]
    kept = before.read_text().splitlines()
    shown = []
    for stage in ("sample", "evaluate"):
        done = subprocess.run(
            [sys.executable, "-m", "tasks", stage, "--dataset", "digits", "--design", "lim"],
            cwd=copy, env={**checkout.environment, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
        )  # fmt: skip
        shown.append(done.stdout + done.stderr)
    # One new eta: 3 discretisations x 2 numbers of steps x 2 seeds; beside the grid stand the tuned samplers.
    cells = len(kept) - 1
    assert f"{cells + 12} cells, 12 to draw" in shown[0]
    assert f"{cells + 12} cells, 12 newly measured" in shown[1]
    assert set(kept) < set(before.read_text().splitlines())  # the rows of the others are the same bytes


def test_the_grid_has_every_cell_with_mean_and_spread(ran):
    checkout, _, _ = ran
    grid = pd.read_csv(checkout.root / "outputs/digits/grid.csv")
    assert len(grid[~grid.tuned]) == 2 * (1 + 1 + 2) * 3 * 2
    assert set(grid[grid.tuned].nfe) == {2, 4}
    assert grid.failed.isna().all()
    assert set(grid[~grid.tuned].discretisation) == {"euler-maruyama", "ei-score", "ei-noise"}
    assert (grid.seeds == 2).all()
    for name in (
        "fid/longtail",
        "fid/balanced",
        "kid/balanced",
        "precision/balanced",
        "recall/balanced",
        "density/longtail",
        "coverage/balanced",
        "near_train",
        "tail_error",
        "rare_share_ratio",
        "rare_coverage/balanced",
        "fid_classes/longtail",
    ):
        assert np.isfinite(grid[name]).all(), name
        assert (grid[f"{name}_std"] >= 0).all(), name
    assert (grid[[f"class_count/{c}" for c in range(10)]].sum(axis=1) == 16).all()
    # At alpha = 2 SDE-A is exact, and its table equals SDE-E(1): but here the etas differ, so its cells stand alone.
    assert len(grid[(grid.design == "ddpm") & (grid.family == "sde-a") & ~grid.tuned]) == 6


def test_dvc_metrics_and_plots_work(ran):
    checkout, _, _ = ran
    shown = json.loads(checkout.run(sys.executable, "-m", "dvc", "metrics", "show", "--json").stdout)
    assert set(shown[""]["data"]["outputs/digits/metrics.json"]["data"]) == {"lim", "ddpm"}
    checkout.run(sys.executable, "-m", "dvc", "plots", "show", "--out", str(checkout.root / ".dvc/tmp/plots"))
    assert (checkout.root / ".dvc/tmp/plots/index.html").exists()


def test_plots_show_a_line_for_each_solver(ran):
    page = (ran[0].root / ".dvc/tmp/plots/index.html").read_text()
    assert "Best of each solver against network evaluations" in page
    assert "lim tuned" in page


def test_an_experiment_changes_alpha_and_shows_in_the_table_of_experiments(ran, tmp_path):
    copy = Checkout(tmp_path / "copy")
    shutil.copytree(ran[0].root, copy.root, symlinks=True)
    # Another alpha of one design: the other design's stages, and what both share, are not run again.
    command = ("exp", "run", "--name", "other-alpha", "-S", "models.lim.alpha=1.5")
    shown = copy.run(sys.executable, "-m", "dvc", *command).stdout
    again = {*re.findall(r"Running stage '(\S+)'", shown)}
    of_lim = {f"{stage}@digits-lim" for stage in ("train", "tune", "sample", "observe", "evaluate")}
    assert again == {*of_lim, "compare@digits", "report@digits"}
    table = copy.run(sys.executable, "-m", "dvc", "exp", "show", "--csv").stdout
    (row,) = [row for row in csv.DictReader(io.StringIO(table)) if row["Experiment"] == "other-alpha"]
    assert row["models.lim.alpha"] == "1.5"
    assert float(row["lim.fid_longtail"]) > 0


def test_mlflow_holds_a_parent_a_child_per_design_and_the_registered_winner(ran):
    checkout, _, _ = ran
    code = """
import json, mlflow
client = mlflow.MlflowClient()
experiment = mlflow.get_experiment_by_name("levy-digits")
runs = client.search_runs([experiment.experiment_id])
version = client.get_model_version_by_alias("levy-digits", "champion")
print(json.dumps({
    "runs": [{"id": r.info.run_id, "status": r.info.status, "tags": r.data.tags, "metrics": r.data.metrics, "params": r.data.params,
              "files": [f.path for f in client.list_artifacts(r.info.run_id)],
              "curve": [point.step for point in client.get_metric_history(r.info.run_id, "train_loss")]} for r in runs],
    "version": version.tags, "info": mlflow.models.get_model_info("models:/levy-digits@champion").signature.to_dict()}))
"""
    found = json.loads(checkout.run(sys.executable, "-c", code).stdout.splitlines()[-1])
    children = [r for r in found["runs"] if "mlflow.parentRunId" in r["tags"]]
    (parent,) = [r for r in found["runs"] if "mlflow.parentRunId" not in r["tags"]]
    assert {r["status"] for r in found["runs"]} == {"FINISHED"}
    assert {r["tags"]["levy.design"] for r in children} == {"lim", "ddpm"}
    assert {r["tags"]["mlflow.parentRunId"] for r in children} == {parent["id"]}
    assert all("levy.training" in r["tags"] for r in children)  # the runs that watched the trainings
    assert {"grid.json", "eta.json", "params.yaml", "dvc.lock", "report"} <= set(parent["files"])
    head = checkout.run("git", "rev-parse", "HEAD").stdout.strip()
    data = yaml.safe_load((checkout.root / "data.dvc").read_text())["outs"][0]["md5"]
    for r in found["runs"]:
        assert (r["tags"]["git.commit"], r["tags"]["git.dirty"], r["tags"]["levy.data_md5"]) == (head, "false", data)
    assert found["version"]["levy.lock"] == parent["tags"]["levy.lock"]
    for r in children:
        assert r["curve"][-1] == 40  # one window of 50, and on a slow machine points before
        assert {"fid/longtail", "rare_share_ratio", "train_loss"} <= set(r["metrics"])
        assert r["params"]["train.steps"] == "40"
        assert f"samples-{r['tags']['levy.design']}.png" in r["files"]
    lim = next(r for r in children if r["tags"]["levy.design"] == "lim")
    assert lim["params"]["design.alpha"] == "1.8"
    assert [c["name"] for c in json.loads(found["info"]["inputs"])] == [
        "n",
        "class",
        "classes",
        "seed",
        "solver",
        "discretisation",
        "grid",
        "steps",
        "eta",
        "guide",
        "strength",
        "guide_rho_max",
        "guide_rho_min",
        "boost",
        "observed",
        "event",
    ]


def test_the_artifact_holds_no_code_and_no_pickle(ran):
    checkout, _, _ = ran
    files = [p for p in (checkout.root / "mlartifacts").rglob("*") if p.is_file() and "model" in str(p.parent)]
    assert {p.name for p in files} >= {
        "model.safetensors",
        "design.json",
        "sampler.json",
        "classifier.safetensors",
        "MLmodel",
    }
    assert not [p for p in files if p.suffix in {".pkl", ".pickle", ".pt", ".pth", ".py", ".bin", ".npy"}]


def test_predict_takes_its_settings_and_refuses_bad_ones(ran):
    checkout, _, _ = ran
    code = """
import mlflow, numpy as np
model = mlflow.pyfunc.load_model("models:/levy-digits@champion")
a = model.predict({"n": 5, "seed": 3})
b = model.predict({"n": 2, "seed": 3})
assert a.dtype == np.uint8 and a.shape == (5, 8, 8, 1) and (a[:2] == b).all()
assert (model.predict({"n": 5, "seed": 4}) != a).any()
c = model.predict({"n": 2, "class": "9", "seed": 0, "solver": "sde-e", "discretisation": "ei-noise", "steps": 3, "eta": 0.2})
assert (c != model.predict({"n": 2, "class": "1", "seed": 0, "solver": "sde-e", "discretisation": "ei-noise", "steps": 3, "eta": 0.2})).any()
import pandas as pd
two = model.predict(pd.DataFrame([{"n": 1, "class": "0"}, {"n": 2, "class": None}]))
assert two.shape == (3, 8, 8, 1)
event = model.predict([{"n": 3, "event": {"where": "class 0 > 0.05", "particles": 200}, "steps": 5}])
assert event["samples"].shape == (3, 8, 8, 1) and 0 < event["probability"] <= 1, event
for bad in ({"n": 0}, {"n": 1, "class": "ten"}, {"n": 1, "solver": "magic"}, {"n": 1, "steps": 0}, {"n": 1, "eta": -1.0}):
    try:
        model.predict(bad)
    except Exception as error:
        print(type(error).__name__, error)
"""
    refused = checkout.run(sys.executable, "-c", code).stdout
    assert "n is 0" in refused
    assert "unknown class 'ten': the model knows 0, 1, 2" in refused
    assert "unknown solver 'magic'" in refused
    assert "steps is 0" in refused
    assert "eta is -1.0" in refused


def test_a_model_of_another_format_says_so_at_load(ran, tmp_path):
    checkout, _, _ = ran
    (found,) = [p.parent for p in (checkout.root / "mlartifacts").rglob("models/*/artifacts/MLmodel")]
    copy = tmp_path / "model"
    shutil.copytree(found, copy)
    (path,) = copy.rglob("design.json")
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 77'))
    write_manifest(path.parent)
    done = checkout.run(sys.executable, "-c", f"import mlflow; mlflow.pyfunc.load_model({str(copy)!r})", check=False)
    assert f"has format 77, but this version of levy reads format {FORMAT}" in done.stderr


def test_levy_lookup_and_levy_sample(ran, tmp_path):
    checkout, _, _ = ran
    shown = checkout.levy("lookup", "levy-digits").stdout
    assert "levy-digits version 1 @champion" in shown
    head = checkout.run("git", "rev-parse", "HEAD").stdout.strip()
    assert re.search(rf"commit +{head}\n", shown)
    assert re.search(r"score +fid_classes/longtail \d+\.\d+ ± \d+\.\d+ over 2 seeds\n", shown)
    checkout.levy("sample", str(tmp_path / "pictures"), "--n", "3", "--class", "8")
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 3


def test_the_report_names_what_matters_and_needs_nothing_from_outside(ran):
    checkout, _, _ = ran
    page = (checkout.root / "outputs/digits/report/index.html").read_text()
    assert "they are not Inception-FID" in page
    assert (
        page.count('src="data:image/png;base64,') == 3 + 3 + 2 + 1
    )  # the data, each design; the rare classes; each design's way; what was observed
    assert page.count("<svg") == 5
    assert "The best sampler at each cost" in page
    assert page.count(">(tuned)<") >= 1
    assert not re.search(r'(src|href)="https?:', page)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine")
def test_the_report_opens_in_a_browser(ran, tmp_path):
    checkout, _, _ = ran
    url = (checkout.root / "outputs/digits/report/index.html").as_uri()
    common = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    dom = subprocess.run([*common, "--dump-dom", url], capture_output=True, text=True, timeout=600).stdout
    assert "wins with" in dom
    picture = tmp_path / "report.png"
    subprocess.run(
        [*common, f"--screenshot={picture}", "--window-size=1200,4000", url], capture_output=True, timeout=600
    )
    from PIL import Image

    with Image.open(picture) as shot:
        colours = shot.convert("RGB").resize((120, 400)).getcolors(48_000)
    assert len(colours) > 200  # pictures and curves, not a blank page


def test_outputs_that_are_set_aside_and_brought_back_leave_dvc_nothing_to_do(ran, tmp_path, monkeypatch):
    copy = Checkout(tmp_path / "copy")
    shutil.copytree(ran[0].root, copy.root, symlinks=True)
    monkeypatch.chdir(copy.root)
    status = [sys.executable, "-m", "dvc", "status", "--json"]
    both = loading.load()
    Path("outputs/digits/curves/other.csv").touch()
    state = read_state(Dvc())
    assert set(state.status) == {"report@digits"}
    assert not state.stale_beyond(find_prunable(both))  # so that a machine without a GPU can show it
    assert "curves/other.csv" in prune_outputs(both)[0]
    assert json.loads(copy.run(*status).stdout) == {}
    assert "samples/lim" in prune_outputs(both.model_copy(update={"designs": ["ddpm"]}))[0]
    stale = json.loads(copy.run(*status).stdout)  # of a params.yaml that still names both
    assert {"compare@digits", "report@digits", "sample@digits-lim"} <= set(stale)
    assert "sample@digits-ddpm" not in stale
    copy.set_params({"designs": ["ddpm"]})
    state = read_state(Dvc())
    assert set(state.status) == {"compare@digits", "report@digits"}
    assert state.stale_beyond(find_prunable(loading.load())) == set(state.status)
    copy.set_params({"designs": ["lim", "ddpm"]})
    assert "samples/lim" in prune_outputs(both)[0]
    assert json.loads(copy.run(*status).stdout) == {}
