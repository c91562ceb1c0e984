"""Which GPU a stage computes on, for numbers of GPUs that this machine need not have."""

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from flows.pipeline.dvc import Dvc
from flows.pipeline.gpus import VISIBLE, Gpus, find_gpus
from tasks.runtime.processes import most_per_gpu

TRAININGS = [f"train@digits-{i}" for i in range(6)]


@pytest.mark.parametrize("count", [2, 3, 4, 8])
def test_stages_side_by_side_are_dealt_over_all_gpus_and_a_free_one_is_taken_first(count):
    gpus = Gpus([str(i) for i in range(count)])
    with ExitStack() as stack:
        lent = [stack.enter_context(gpus.lend(stage))[VISIBLE] for stage in TRAININGS]
    assert lent == [str(i % count) for i in range(6)]
    with gpus.lend("tune@digits-a") as first, gpus.lend("tune@digits-b"):
        with gpus.lend("sample@digits-c"):
            pass
        assert first == {VISIBLE: "0"}
        with gpus.lend("observe@digits-d") as last:
            assert last == {VISIBLE: "0" if count == 2 else "2"}


def test_a_stage_that_fails_gives_its_gpu_back():
    gpus = Gpus(["GPU-a", "GPU-b"])
    for _ in range(3):
        with pytest.raises(AssertionError), gpus.lend("train@x") as lent:
            assert lent != {VISIBLE: "GPU-a"}  # which fails, as it is


def test_stages_in_threads_never_share_while_one_is_free():
    gpus = Gpus(["0", "1", "2", "3"])
    busy = []

    def work(stage):
        with gpus.lend(stage) as lent:
            busy.append(lent[VISIBLE])
            assert busy.count(lent[VISIBLE]) == 1
            busy.remove(lent[VISIBLE])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, TRAININGS * 50))


def test_stages_without_a_gpu_or_in_several_processes_and_a_single_gpu_are_left_alone():
    for gpus, stage in (
        (Gpus(["0", "1"], {"train"}), "train@digits-lim"),
        (Gpus(["0", "1"]), "prepare@digits"),
        (Gpus(["3"]), "train@digits-lim"),
        (Gpus([]), "train@digits-lim"),
    ):
        with gpus.lend(stage) as lent:
            assert lent == {}


def test_a_machine_without_several_gpus_has_none_to_deal(tmp_path):
    (tmp_path / "nvidia0").touch()
    (tmp_path / "nvidiactl").touch()
    assert find_gpus({VISIBLE: "0,1"}, tmp_path) == []


def test_a_stage_is_told_which_gpu_it_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (["git", "init", "-q"], [sys.executable, "-m", "dvc", "init", "-q"]):
        subprocess.run(command, check=True)
    make = {"cmd": f"echo ${VISIBLE} > seen", "outs": ["seen"]}
    Path("dvc.yaml").write_text(yaml.safe_dump({"stages": {"make": make}}))
    with Gpus(["5", "7"]).lend("make") as environment:
        assert Dvc().reproduce("make", print, environment=environment) == "ran"
    assert Path("seen").read_text().strip() == "5"


@pytest.mark.parametrize(("count", "gpus", "most"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (8, 4, 2), (2, 8, 1), (9, 2, 5)])
def test_processes_of_a_stage_that_share_a_gpu_are_counted_as_they_are_dealt(count, gpus, most):
    """As accelerate deals them: process k of a machine has GPU k modulo their number."""
    assert max(Counter(k % gpus for k in range(count)).values()) == most_per_gpu(count, gpus) == most
