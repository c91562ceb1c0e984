"""Every write of a registration, of its gate and of a promotion fails once, or is its last: the same command completes it."""

import json
import multiprocessing
import os
import shutil
import sys
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest

from flows.doctor.registry import registry
from tasks.registry import integrity, promotions, tracking
from tests.conftest import Checkout, make_checkout, traceable
from tests.support import victims
from tests.support.injection import (
    SMALLEST,
    choose,
    contents,
    ends_of_runs,
    fail,
    finish,
    judge_end,
    put_back,
    writes_of,
)
from tests.support.kills import alias_is_whole
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.skipif(not traceable(), reason="strace is not installed, or may not trace here")
NAME = f"levy-{victims.DATASET}"
# From outputs that nobody recorded to a version that is champion and anchor; then another version becomes champion.
REGISTER, PROMOTE = f"levy gate {victims.DATASET}", f"levy promote {NAME} 2"
# Files that name the run, or the packages as they are installed at the time; `levy doctor` compares them with their hashes.
CHANGING = ("MLmodel", "lineage/requirements.txt", "model/SHA256SUMS")
KEPT = "ml*"  # the database with its journal and backups, and the artifacts


def make_database(folder: Path) -> None:
    """As `levy run` leaves it that found nothing to record yet."""
    connect_in(folder)


def add_version(folder: Path) -> None:
    """A second version, of the files of the first."""
    client = connect_in(folder)
    first = promotions.versions(client, NAME)["1"]
    client.create_model_version(NAME, first.source, first.run_id, {**first.tags, "levy.lock": "of other outputs"})


def look(folder: Path, answer: Path) -> None:
    """Writes down what the registry holds, as far as it is the same each time, and what `levy doctor` says of it."""
    client = connect_in(folder)
    moves, versions = promotions.history(client, NAME), promotions.versions(client, NAME)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    state = {
        "files": {
            number: {name: h for name, h in integrity.read_hashes(version).items() if not name.endswith(CHANGING)}
            for number, version in versions.items()
        },
        "verdicts": {number: version.tags.get("levy.verdict") for number, version in versions.items()},
        "aliases": client.get_registered_model(NAME).aliases,
        "moves": sorted({f"{move.alias} -> {move.after}" for move in moves if move.done}),
        "not done": [move.to_tag() for move in moves if not move.done],
        "running": len(client.search_runs(experiments, "attributes.status = 'RUNNING'")),
        "wrong": [finding.found for finding in registry(deep=True) if finding.state != "ok"],
    }
    answer.write_text(json.dumps(state))


def connect_in(folder: Path):
    os.chdir(folder)
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # of a test that started the server of these processes
    return tracking.connect().MlflowClient()


def call(target, *arguments: object) -> None:
    process = victims.fork(target, *arguments)
    process.join()
    assert process.exitcode == 0


def state_of(folder: Path) -> dict:
    call(look, folder, folder.with_suffix(".json"))
    return json.loads(folder.with_suffix(".json").read_text())


def survey(
    folder: Path, what: str, faults: Mapping[str, int], part: int = 0, parts: int = 1
) -> tuple[Counter, list[str]]:
    """Fails the writes of a command one after the other, each with the registry as it is in the folder now.

    Args:
        faults: kinds of faults; each is tried at every write, or at one of so many. part: of ``parts`` that share the work.

    Returns:
        How many writes there were, and how many faults of each kind; what was wrong after a fault.
    """
    log, outputs, before = folder.with_suffix(".log"), contents(folder), contents(folder, KEPT)
    writes = writes_of(folder, what, log)
    whole = state_of(folder)
    apart = ends_of_runs(writes)
    counts, wrong = Counter(writes=len(writes), apart=len(apart)), []
    for write, fault in choose(apart, faults)[part::parts]:
        exitcode, said = fail(folder, what, write, fault, log, partial(put_back, folder, before, KEPT))
        found = judge_end(fault, exitcode, said)
        if not alias_is_whole(Checkout(folder)):
            found.append("an alias points at half a model")
        counts[fault] += 1
        counts["went on"] += exitcode == 0
        try:
            if exitcode:
                finish(folder, what, log)
            if (state := state_of(folder)) != whole:
                found.append(
                    "; ".join(f"{key}: {state[key]}, not {whole[key]}" for key in whole if state[key] != whole[key])
                )
        except AssertionError as error:
            found.append(f"the rerun: {error}")
        if contents(folder) != outputs:
            found.append("outputs are others")
        wrong += [f"{what}, {fault} at {write}: {line}" for line in found]
    put_back(folder, before, KEPT)
    return counts, wrong


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A checkout with outputs and an empty database."""
    folder = finished_checkout(tmp_path_factory, "injected").root
    call(make_database, folder)
    return folder


@pytest.mark.long
def test_after_faults_at_some_writes_the_same_command_ends_with_one_whole_version(finished):
    counts, wrong = survey(finished, REGISTER, {"kill": 600, "ENOSPC": 600})
    assert not wrong, "\n".join(wrong)
    assert counts["writes"] > 500
    finish(finished, REGISTER, finished.with_suffix(".log"))
    call(add_version, finished)
    counts, wrong = survey(finished, PROMOTE, {"kill": 30, "ENOSPC": 30})
    assert not wrong, "\n".join(wrong)
    assert counts["writes"] > 50


@pytest.mark.long
@pytest.mark.timeout(36000)  # five hours on two cores that do nothing else
def test_after_any_write_of_a_registration_or_a_promotion_failed_the_same_command_completes_it(tmp_path):
    checkout = make_checkout(tmp_path / "finished", SMALLEST)
    for stage in victims.STAGES:
        victims.finish(checkout.root, stage)
    checkout.run(sys.executable, "-m", "dvc", "commit", "--force", "--quiet")
    faults = {"kill": 1, "ENOSPC": 1, "EIO": 3}
    steps = [
        ("the database is made", None, {"kill": 200, "ENOSPC": 200}, REGISTER),
        ("a version is registered", make_database, faults, REGISTER),
        ("another is promoted", add_version, faults, PROMOTE),
    ]
    all_wrong = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for name, prepare, chosen, what in steps:
            if prepare:
                call(prepare, checkout.root)
            folders = [tmp_path / f"{name} {part}" for part in range(2)]
            for folder in folders:
                shutil.copytree(checkout.root, folder, symlinks=True)
            total: Counter = Counter()
            for counts, wrong in pool.map(survey, folders, repeat(what), repeat(chosen), range(2), repeat(2)):
                total = total + counts - Counter(writes=total["writes"])  # both counted all
                all_wrong += wrong
            print(f"{name}: {dict(total)}, {len(all_wrong)} wrong", flush=True)
            if prepare is make_database:
                finish(checkout.root, what, checkout.root.with_suffix(".log"))
    assert not all_wrong, "\n".join(all_wrong)
