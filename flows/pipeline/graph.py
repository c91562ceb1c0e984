"""The graph of dvc.yaml, as DVC resolves it. There is no second copy of the order."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, NoReturn

from flows.pipeline.dvc import Dvc
from levy_core.base.errors import LevyError

LINE = re.compile(r'strict digraph *\{|\}|"(?P<before>[^"]+)"( -> "(?P<after>[^"]+)")?;')


@dataclass(frozen=True)
class Graph:
    """Stages and what each needs: ``needs[stage]`` are the stages right before it. Files tracked by `dvc add` are left out."""

    needs: dict[str, frozenset[str]]

    @property
    def order(self) -> list[str]:
        """A topological order; the same for the same graph."""
        return list(
            TopologicalSorter({stage: sorted(self.needs[stage]) for stage in sorted(self.needs)}).static_order()
        )

    def up_to(self, ends: Iterable[str]) -> "Graph":
        """The part that leads to some stages, with them."""
        wanted, todo = set(), list(ends)
        while todo:
            stage = todo.pop()
            if stage not in wanted:
                wanted.add(stage)
                todo += self.needs[stage]
        return Graph({stage: needs for stage, needs in self.needs.items() if stage in wanted})

    def affected_by(self, stale: Iterable[str]) -> set[str]:
        """The stale stages and all that depend on them."""
        affected = set(stale)
        for stage in self.order:
            if self.needs[stage] & affected:
                affected.add(stage)
        return affected


def parse_dot(text: str) -> Graph:
    """The graph that `dvc dag --dot` prints: an edge goes from a stage to the one that needs it.

    Not by pydot, whose parser takes a second for a dozen stages: DVC writes one quoted name or one edge per line, and nothing else.

    Raises:
        LevyError: another line.
    """
    needs: dict[str, set[str]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = LINE.fullmatch(line)
        if match is None:
            raise LevyError(f"`dvc dag --dot` printed {line!r}, which this version of levy cannot read")
        if before := match["before"]:
            needs.setdefault(before, set())
            if after := match["after"]:
                needs.setdefault(after, set()).add(before)
    tracked = {name for name in needs if name.endswith(".dvc")}
    return Graph({stage: frozenset(before - tracked) for stage, before in needs.items() if stage not in tracked})


@dataclass(frozen=True)
class Plan:
    """The graph of the working directory, and what of it has to run."""

    graph: Graph
    todo: frozenset[str]


@dataclass(frozen=True)
class DvcState:
    """What DVC says of the working directory: its whole graph, and `dvc status` by stage."""

    graph: Graph
    status: dict[str, list[Any]]

    @property
    def changed_outputs(self) -> frozenset[str]:
        """Outputs that DVC knows to be other than dvc.lock says."""
        changes = [change for entries in self.status.values() for change in entries if isinstance(change, dict)]
        return frozenset(output for change in changes for output in change.get("changed outs", ()))

    def stale_beyond(self, outputs: Collection[Path]) -> frozenset[str]:
        """Stages that stay stale whatever becomes of these outputs: something else is changed, too."""
        paths = {str(output) for output in outputs}
        return frozenset(stage for stage, entries in self.status.items() if _changed(entries) - paths)


def _changed(entries: list[Any]) -> set[str]:
    """What `dvc status` says is changed of a stage: outputs, dependencies, files of parameters, or in words the command."""
    groups = [group for entry in entries for group in (entry.values() if isinstance(entry, dict) else [[entry]])]
    return {name for group in groups for name in group}


def read_state(dvc: Dvc) -> DvcState:
    """Asks DVC for its graph and its status at the same time.

    Raises:
        DvcBusyError, LevyError: as ``Dvc.output``.
    """
    with ThreadPoolExecutor(2) as pool:
        dot, status = pool.submit(dvc.output, "dag", "--dot"), pool.submit(dvc.output, "status", "--json")
        return DvcState(parse_dot(dot.result()), json.loads(status.result()))


def plan(dvc: Dvc, state: DvcState, datasets: Sequence[str]) -> Plan:
    """The graph of these data sets, and what of it is stale.

    Raises:
        LevyError: data/ is not the version that data.dvc names; DVC would otherwise adopt a half-pulled folder as new data.
    """
    status = state.status
    check_data(dvc, status)
    wanted = state.graph.up_to(f"report@{dataset}" for dataset in datasets)
    todo = frozenset(wanted.affected_by(set(status) & set(wanted.needs)))
    return Plan(wanted, todo)


def check_data(dvc: Dvc, status: dict[str, list[Any]]) -> None:
    """Refuses data/ that is not the version that data.dvc names.

    Args:
        status: what `dvc status --json` says, at least of data.dvc.

    Raises:
        LevyError: what differs, and how to mend it.
    """
    if "data.dvc" in status:
        _refuse_data(dvc, json.dumps(status["data.dvc"]))


def _refuse_data(dvc: Dvc, changes: str) -> NoReturn:
    problem = (
        "is missing or only partly there" if re.search(r"deleted|not in cache", changes) else "differs from data.dvc"
    )
    raise LevyError(
        f"data/ {problem}: {_data_diff(dvc)}. Either get the recorded version back with `dvc pull --force data.dvc` "
        "(which discards what differs), or make what is there the new version with `dvc add data`"
    )


def _data_diff(dvc: Dvc) -> str:
    try:
        uncommitted = json.loads(dvc.output("data", "status", "--granular", "--json")).get("uncommitted", {})
    except LevyError:  # dvc.lock cannot be read: so many words, and data/ differs all the same
        uncommitted = {}
    parts = []
    for kind in ("deleted", "modified", "added"):
        names = [str(name) for name in uncommitted.get(kind, []) if str(name).startswith("data/") and name != "data/"]
        if names:
            parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    return "; ".join(parts) or "its hash is another"
