"""Retraining killed -9 at random moments, any of its processes: in the end, what it leaves is what it leaves undisturbed."""

import json
import random
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import Checkout, merged
from tests.support.home import SMALL, make_home
from tests.support.kills import alias_is_whole, kill_any, live, start

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]
SEED = 7_007
KILLS = 4  # of the first retraining, and of one with new data
SETTINGS = merged(SMALL, {"train": {"save_every": 3}, "evaluate": {"images": {"classifier": {"steps": 20}}}})
RETRAIN = ("retrain", "digits", "--quiet", "0")
FOUND = """
import json, mlflow
from tasks.registry import promotions, tracking
client = tracking.connect().MlflowClient()
versions = {v: {t: found.tags.get(t) for t in ("levy.lock", "levy.verdict", "levy.data_md5", "git.dirty")}
            for v, found in promotions.versions(client, "levy-digits").items()}
aliases = {alias: str(v) for alias, v in client.get_registered_model("levy-digits").aliases.items()}
moves = [(m.alias, m.before, m.after) for m in promotions.history(client, "levy-digits")]
running = sum(r.info.status == "RUNNING" for r in client.search_runs([e.experiment_id for e in client.search_experiments()]))
print(json.dumps([versions, aliases, moves, running]))
"""


def deliver(checkout: Checkout, folder: Path) -> None:
    """The other half arrives."""
    shutil.copytree(folder / "later", checkout.root / "data/digits", dirs_exist_ok=True)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Two retrainings, and the seconds of each."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    checkout, seconds = make_home(folder / "home", folder / "later", every=2, settings=SETTINGS), []
    for arrive in (lambda: None, lambda: deliver(checkout, folder)):
        arrive()
        begun = time.monotonic()
        checkout.levy(*RETRAIN)
        seconds.append(time.monotonic() - begun)
    return checkout, seconds


@pytest.fixture(scope="module")
def killed(uninterrupted, tmp_path_factory):
    """The same with kills; what was killed, and whether the aliases were whole each time."""
    folder = tmp_path_factory.mktemp("killed")
    checkout = make_home(folder / "home", folder / "later", every=2, settings=SETTINGS)
    moments, hits, whole = random.Random(SEED), Counter(), []
    for seconds, arrive in zip(uninterrupted[1], (lambda: None, lambda: deliver(checkout, folder)), strict=True):
        arrive()
        for _ in range(KILLS):
            process = start(checkout, "flows.cli", *RETRAIN)
            hits[kill_any(checkout, process, moments.uniform(1, seconds), moments) or "nothing"] += 1
            whole.append(alias_is_whole(checkout))
        checkout.levy(*RETRAIN)
    return checkout, hits, whole


def test_kills_hit_several_kinds_of_processes_and_no_alias_was_ever_at_half_a_model(killed):
    _, hits, whole = killed
    assert sum(hits.values()) - hits["nothing"] >= KILLS
    assert len({kind for kind in hits if kind != "nothing"}) >= 2
    assert all(whole)


def test_the_branch_holds_the_same_data_and_results(killed, uninterrupted):
    for file in ("dvc.lock", "data.dvc"):
        shown = [c.run("git", "show", f"retrain/digits:{file}").stdout for c in (killed[0], uninterrupted[0])]
        assert shown[0] == shown[1]


def test_the_registry_holds_the_same_versions_verdicts_and_history(killed, uninterrupted):
    found = [json.loads(c.run(sys.executable, "-c", FOUND).stdout) for c in (killed[0], uninterrupted[0])]
    assert found[0] == found[1]
    assert set(found[0][0]) == {"1", "2"}
    assert found[0][3] == 0


def test_nothing_is_left_running_and_the_checkout_is_as_the_person_left_it(killed, uninterrupted):
    assert live(killed[0]) == {}
    shown = [c.run("git", "status", "--porcelain").stdout for c in (killed[0], uninterrupted[0])]
    assert shown[0] == shown[1]
