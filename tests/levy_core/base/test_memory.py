"""Free memory is what the kernel would give: of the machine, of control groups, of the limit of addresses."""

import ctypes

import numpy as np
import psutil
import pytest

from levy_core.base.memory import free_memory, give_back, left_in_groups
from tests.support import addresses

GIB = 2**30
UNIFIED, OLD = "0::/levy/serve\n", "3:cpu,cpuacct:/\n2:memory,hugetlb:/levy/serve\n0::/\n"
FILES = {
    UNIFIED: ("", "memory.max", "memory.current", "inactive_file"),
    OLD: ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}


def group(folder, names, most, taken, reclaimed):
    _, limit, usage, statistic = names
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{taken}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{statistic} {reclaimed}\nfile 2\n")


def left(tmp_path, groups):
    (tmp_path / "cgroup").write_text(groups)
    name, *files = FILES[groups]
    return left_in_groups(tmp_path / "cgroup", {name: (tmp_path / "fs", *files)})


@pytest.mark.parametrize("groups", FILES)
def test_a_group_leaves_its_limit_less_what_is_taken_and_not_given_back(tmp_path, groups):
    group(tmp_path / "fs/levy/serve", FILES[groups], 4 * GIB, 3 * GIB, GIB // 2)
    group(tmp_path / "fs/levy", FILES[groups], 8 * GIB, 8 * GIB, GIB)
    group(tmp_path / "fs", FILES[groups], "max", 9 * GIB, 0)
    assert left(tmp_path, groups) == [3 * GIB // 2, GIB]


@pytest.mark.parametrize("groups", FILES)
def test_in_a_container_the_root_is_its_group(tmp_path, groups):
    group(tmp_path / "fs", FILES[groups], 2 * GIB, GIB, 0)
    assert left(tmp_path, groups) == [GIB]


def test_without_groups_nothing_limits(tmp_path):
    assert left_in_groups(tmp_path / "none") == []
    assert left(tmp_path, UNIFIED) == []


def test_no_more_is_free_than_the_machine_has_or_the_limit_of_addresses_leaves():
    """Other processes come and go between two looks: a quarter of a machine is more than they do."""
    assert 0 < free_memory() <= 1.25 * psutil.virtual_memory().available
    with addresses.left(50_000_000):
        assert 40_000_000 < free_memory() <= 50_000_000


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc")
def test_what_was_let_go_of_goes_back_to_the_kernel():
    taken = lambda: psutil.Process().memory_info().rss
    parts = [np.ones(12_000) for _ in range(2000)]  # 192 MB in pieces that glibc keeps
    last = np.ones(12_000)  # above them, so that the end of the heap cannot move
    before = taken()
    parts.clear()
    give_back()
    assert taken() < before - 100_000_000
    assert last.all()
