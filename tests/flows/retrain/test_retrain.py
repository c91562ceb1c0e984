"""New data arrive beside a person's work: a version, a model, a verdict, a commit, and nothing of the person's touched."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest
import yaml

from tasks.registry import promotions
from tests.conftest import Checkout, wait_until
from tests.support.home import make_home
from tests.support.inbox import inbox
from tests.support.service import serving

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def people():
    """The Apprise address of somebody, and what came there."""
    with inbox() as people:
        yield people


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A person's checkout with digits in class folders, most of them; and the rest, which will arrive later."""
    later = tmp_path_factory.mktemp("later")
    return make_home(tmp_path_factory.mktemp("home"), later, every=10), later


def state_of(checkout: Checkout) -> dict[str, bytes]:
    """What a person would miss: every file of the working tree but caches and records, and where git stands."""
    shown = checkout.run("git", "status", "--porcelain").stdout + checkout.run("git", "rev-parse", "HEAD").stdout
    files = [
        *checkout.root.glob("*.*"),
        *(p for d in ("tasks", "flows", "data") for p in (checkout.root / d).rglob("*")),
    ]
    kept = {str(p): p.read_bytes() for p in files if p.is_file() and "__pycache__" not in p.parts and p.suffix != ".db"}
    return {"git": shown.encode(), **kept}


def lookup(checkout: Checkout) -> dict:
    """Aliases and tags of versions in the checkout's registry."""
    client = mlflow.MlflowClient(f"sqlite:///{checkout.root}/mlflow.db")
    aliases = client.get_registered_model("levy-digits").aliases
    return {
        "aliases": {alias: str(version) for alias, version in aliases.items()},
        "versions": {v: found.tags for v, found in promotions.versions(client, "levy-digits").items()},
    }


@pytest.fixture(scope="module")
def first(home):
    """The first model, and what the command said."""
    return home[0].levy("retrain", "digits", "--quiet", "0").stdout


@pytest.fixture(scope="module")
def second(home, first, people):
    """A person at work, with edits that would break every stage, while new images arrive."""
    checkout, later = home
    (checkout.root / "tasks/train.py").write_text("this is being edited")
    (checkout.root / "params.yaml").write_text("datasets: [")
    (checkout.root / "notes.txt").write_text("mine")
    for image in later.rglob("*.png"):
        shutil.copy(image, checkout.root / "data/digits" / image.relative_to(later))
    before = state_of(checkout)
    said = checkout.levy("retrain", "digits", "--quiet", "0", LEVY_NOTIFY=people[0]).stdout
    return said, before, state_of(checkout)


def test_the_first_model_becomes_champion(home, first):
    assert re.search(
        r"^Promoted: levy-digits version 1 promoted: there was no champion; no new data; commit ", first, re.MULTILINE
    )
    found = lookup(home[0])
    assert found["aliases"] == {"anchor": "1", "champion": "1"}
    assert found["versions"]["1"]["git.dirty"] == "false"


def test_with_nothing_new_nothing_runs_and_a_rolled_back_champion_stays(home, first):
    checkout, _ = home
    tip = checkout.run("git", "rev-parse", "retrain/digits").stdout
    said = checkout.levy("retrain", "digits", "--quiet", "0").stdout
    assert "Unchanged: nothing new since levy-digits version 1" in said
    assert "stages ran" not in said
    assert checkout.run("git", "rev-parse", "retrain/digits").stdout == tip
    assert set(lookup(checkout)["versions"]) == {"1"}


def test_new_data_are_versioned_and_the_new_model_is_judged(home, second):
    checkout, _ = home
    said, _, _ = second
    assert re.search(r"^(Promoted|Kept): levy-digits version 2 .*against version 1: ", said, re.MULTILINE)
    assert "1617 -> 1797 samples" in said
    assert "9 of 9 stages ran." in said
    found = lookup(checkout)
    tags = found["versions"]["2"]
    assert tags["levy.verdict"] in ("promoted", "kept as challenger")
    assert tags["levy.undecided"] == "none"  # 1,797 digits have enough held out of each class
    assert found["aliases"] == (
        {"anchor": "1", "champion": "2"}
        if tags["levy.verdict"] == "promoted"
        else {"anchor": "1", "champion": "1", "challenger": "2"}
    )
    history = checkout.levy("history", "levy-digits").stdout.splitlines()
    assert len(history) == 3
    assert "@anchor" in history[1]
    assert tags["levy.reason"] in history[2]


def test_the_persons_work_is_not_touched(second):
    _, before, after = second
    assert after == before


def test_the_run_left_a_commit_that_can_be_checked_out(home, second, tmp_path):
    checkout, _ = home
    tags = lookup(checkout)["versions"]["2"]
    assert checkout.run("git", "rev-parse", "retrain/digits").stdout.strip() == tags["git.commit"]
    copy = Checkout(tmp_path / "look")
    checkout.run("git", "worktree", "add", "-q", "--detach", str(copy.root), tags["git.commit"])
    copy.run(sys.executable, "-m", "dvc", "cache", "dir", "--local", str(checkout.root / ".dvc/cache"))
    copy.run(sys.executable, "-m", "dvc", "checkout", "-q", "--with-deps", "data.dvc", "report@digits")
    assert len(list((copy.root / "data/digits").rglob("*.png"))) == 1797
    assert copy.run(sys.executable, "-m", "dvc", "status").stdout.strip() == "Data and pipelines are up to date."
    assert yaml.safe_load((copy.root / "data.dvc").read_text())["outs"][0]["md5"] == tags["levy.data_md5"]
    log = checkout.run("git", "log", "--format=%s", "retrain/digits").stdout.splitlines()
    assert [line.split(":")[0] for line in log[:3]] == ["Retrain digits", "Retrain digits", "digits in class folders"]


def test_people_are_told_of_a_promotion_only(home, second, people):
    told = [message["title"] for message in people[1] if "champion" in message["title"]]
    promoted = lookup(home[0])["aliases"]["champion"] == "2"
    assert told == (["levy: levy-digits version 2 is champion"] if promoted else [])


def test_half_a_delivery_is_refused_and_people_are_told(home, second, people, tmp_path):
    checkout, _ = home
    data = checkout.root / "data/digits"
    shutil.move(data / "3", tmp_path / "3")
    done = checkout.levy("retrain", "digits", "--quiet", "0", check=False, LEVY_NOTIFY=people[0])
    shutil.move(tmp_path / "3", data / "3")
    assert done.returncode == 1
    assert re.search(r"error: .*the new data of digits are less than the last version: '3' had 183, has 0", done.stderr)
    assert "--accept-losses" in done.stderr
    assert people[1][-1]["title"] == "levy: retraining of digits failed"
    assert "'3' had 183" in people[1][-1]["message"]
    assert set(lookup(checkout)["versions"]) == {"1", "2"}


def test_a_second_retraining_of_the_same_data_set_is_skipped(home, first):
    checkout, _ = home
    lock = checkout.root / ".levy/retrain-digits.lock"
    code = (
        "import sys; sys.path.insert(0, '.')\nfrom pathlib import Path\nfrom flows.pipeline.dvc import hold_lock\n"
        f"with hold_lock(Path({str(lock)!r}), '', ''): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=checkout.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout.readline() == b"held\n"
        said = checkout.levy("retrain", "digits").stdout
        holder.stdin.close()
    assert f"Skipped: another retraining (process {holder.pid}) is using the data set digits" in said
    assert Path(lock).exists()


@pytest.fixture(scope="module")
def service(home, second, people, tmp_path_factory):
    """prefect.yaml as it is, but due every minute."""
    checkout, _ = home
    path = checkout.root / "prefect.yaml"
    path.write_text(path.read_text().replace('cron: "17 3 * * *"', 'cron: "* * * * *"'))
    with serving(checkout, tmp_path_factory.mktemp("prefect"), LEVY_NOTIFY=people[0]) as service:
        yield service


def test_a_due_run_fires_and_ends_unchanged_where_nothing_is_new(service):
    def fired():
        return [run for run in service.runs() if run["scheduled"] and run["state"] == "Unchanged"]

    assert wait_until(fired), service.runs()
    assert "nothing new since levy-digits version 2" in fired()[0]["message"]
    (event, *_) = service.events("levy.retrain.finished")
    assert event["resource"] == {"prefect.resource.id": "levy.data.digits"}
    assert event["payload"]["state"] == "Unchanged"


def test_an_event_starts_a_run(service):
    before = {run["id"] for run in service.runs() if not run["scheduled"]}
    service.prefect("event", "emit", "levy.data.arrived", "--resource-id", "levy.data.digits")
    assert wait_until(lambda: {r["id"] for r in service.runs() if r["by"] == "AUTOMATION"} - before), service.runs()


def test_runs_of_one_data_set_do_not_overlap(service):
    asked = [service.prefect("deployment", "run", "levy-retrain/retrain-digits") for _ in range(2)]
    assert len(asked) == 2

    def manual():
        return [run["state"] for run in service.runs() if run["by"] == "USER" or run["by"] is None]

    assert wait_until(lambda: "Cancelled" in manual()), service.runs()


def test_new_images_of_one_class_alone_are_told_and_stop_nothing(home, service, people):
    folder = home[0].root / "data/digits/3"
    assert not service.events("levy.data.drifted")  # one of every ten images was none
    for image in list(folder.glob("*.png"))[:60]:
        shutil.copy(image, folder / f"again-{image.name}")
    service.prefect("event", "emit", "levy.data.arrived", "--resource-id", "levy.data.digits")
    assert wait_until(lambda: any("unlike" in message["title"] for message in people[1])), service.runs()
    (event, *_) = service.events("levy.data.drifted")
    assert event["payload"]["text"] == "class 3: 100 % of 60 new images, 10.2 % of those before"
    (message,) = {m["message"] for m in people[1] if "unlike" in m["title"]}
    assert message.startswith(event["payload"]["text"])
    assert wait_until(lambda: {run["state"] for run in service.runs()} & {"Promoted", "Kept"}), service.runs()
