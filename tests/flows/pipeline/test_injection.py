"""Every write of every stage fails once, or is its last: the rerun ends with the bytes of a run that nobody disturbed."""

import multiprocessing
import shutil
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import repeat
from pathlib import Path

import pytest

from tests.conftest import traceable
from tests.support import victims
from tests.support.injection import BY_ZARR, choose, contents, fail, finish, judge_end, make_folder, put_back, writes_of

pytestmark = pytest.mark.skipif(not traceable(), reason="strace is not installed, or may not trace here")
# At how many writes each fault is tried once. EIO takes the way of ENOSPC, but for its words.
FAULTS = {"ENOSPC": 1, "kill": 1, "EIO": 3}


def survey(folder: Path, stage: str, faults: Mapping[str, int], places: str = "") -> tuple[Counter, list[str]]:
    """Fails the writes of a stage one after the other, each in the folder as it is now.

    Args:
        faults: kinds of faults; each is tried at every write, or at one of so many. places: part of the path of writes that
            may fail.

    Returns:
        How many writes there were, and how many faults of each kind; what was wrong after a fault.
    """
    log, before = folder.with_suffix(".log"), contents(folder)
    writes = [write for write in writes_of(folder, stage, log) if places in write.path]
    whole = contents(folder)
    counts, wrong = Counter(writes=len(writes)), []
    for write, fault in choose(writes, faults):
        exitcode, said = fail(folder, stage, write, fault, log, partial(put_back, folder, before))
        after = contents(folder)
        finish(folder, stage, log)
        counts[fault] += 1
        counts["went on"] += exitcode == 0
        found = [*judge_end(fault, exitcode, said), *judge_files(before, after, whole)]
        if exitcode == 0 and after != whole:
            found.append(f"it ended as if nothing had happened, but {differing(after, whole)} differ")
        if (rerun := contents(folder)) != whole:
            found.append(f"after the rerun {differing(rerun, whole)} differ")
        wrong += [f"{stage}, {fault} at {write}: {what}" for what in found]
    return counts, wrong


def judge_files(before: dict[str, bytes], after: dict[str, bytes], whole: dict[str, bytes]) -> list[str]:
    """What is wrong with the files of a stage that was disturbed: earlier outputs are as they were, its own whole or not there."""
    lost = [name for name, content in before.items() if "/resume/" not in name and after.get(name) != content]
    outputs = [name for name in after if "/resume/" not in name and "/." not in name]
    half = [name for name in outputs if after[name] != whole.get(name)]
    return [f"it lost {lost}"] * bool(lost) + [f"it left {half} half-written"] * bool(half)


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def test_after_any_write_of_evaluate_failed_the_rerun_ends_with_the_same_bytes(tmp_path):
    folder, stages = tmp_path / "run", list(victims.STAGES)
    make_folder(folder)
    for stage in stages[: stages.index("evaluate")]:
        finish(folder, stage, folder.with_suffix(".log"))
    counts, wrong = survey(folder, "evaluate", FAULTS | {"kill": 3})
    assert not wrong, "\n".join(wrong)
    assert counts["ENOSPC"] == counts["writes"] > 5
    assert min(counts["kill"], counts["EIO"]) > 2


@pytest.mark.long
def test_a_training_that_was_cut_off_while_it_kept_its_state_leaves_nothing_of_it_in_the_end(tmp_path):
    make_folder(tmp_path / "run")
    finish(tmp_path / "run", "prepare", tmp_path / "log")
    counts, wrong = survey(tmp_path / "run", "train", {"kill": 4, "ENOSPC": 12}, places="/resume/")
    assert not wrong, "\n".join(wrong)
    assert min(counts["kill"], counts["ENOSPC"]) > 2


@pytest.mark.long
def test_after_some_writes_of_the_packed_store_failed_the_rerun_ends_with_the_same_bytes(tmp_path):
    make_folder(tmp_path / "run")
    counts, wrong = survey(tmp_path / "run", f"prepare{BY_ZARR}", {"ENOSPC": 60, "kill": 60, "EIO": 120})
    assert not wrong, "\n".join(wrong)
    assert counts["writes"] > 200
    assert min(counts["ENOSPC"], counts["kill"]) > 2


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_after_any_write_of_any_stage_failed_the_rerun_ends_with_the_same_bytes(tmp_path):
    reached = tmp_path / "undisturbed"
    make_folder(reached)
    works = [*victims.STAGES, f"prepare{BY_ZARR}"]
    for stage in victims.STAGES:
        for work in filter(lambda work: work.startswith(stage), works):
            shutil.copytree(reached, tmp_path / work)  # as it is before the stage
        finish(reached, stage, reached.with_suffix(".log"))
    total: Counter = Counter()
    faults = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        surveys = pool.map(survey, [tmp_path / work for work in works], works, repeat(FAULTS))
        for work, (counts, wrong) in zip(works, surveys, strict=True):
            print(work, dict(counts), f"{len(wrong)} wrong", flush=True)
            total += counts
            faults += wrong
    print("all stages", dict(total))
    assert not faults, "\n".join(faults)
    assert total["ENOSPC"] == total["kill"] == total["writes"] > 500
