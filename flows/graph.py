"""The graph of dvc.yaml, as DVC resolves it. There is no second copy of the order."""

import json
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import NoReturn

import pydot

from flows.processes import Dvc
from levy_core.errors import LevyError


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

    def affected_by(self, stale: Iterable[str]) -> set[str]:
        """The stale stages and all that depend on them."""
        affected = set(stale)
        for stage in self.order:
            if self.needs[stage] & affected:
                affected.add(stage)
        return affected


def parse_dot(text: str) -> Graph:
    """The graph that `dvc dag --dot` prints: an edge goes from a stage to the one that needs it."""
    (dot,) = pydot.graph_from_dot_data(text)
    needs: dict[str, set[str]] = {}
    for node in dot.get_nodes():
        needs.setdefault(node.get_name().strip('"'), set())
    for edge in dot.get_edges():
        before, after = edge.get_source().strip('"'), edge.get_destination().strip('"')
        needs.setdefault(before, set())
        needs.setdefault(after, set()).add(before)
    tracked = {name for name in needs if name.endswith(".dvc")}
    return Graph({stage: frozenset(before - tracked) for stage, before in needs.items() if stage not in tracked})


@dataclass(frozen=True)
class Plan:
    """The graph of the working directory and what of it has to run."""

    graph: Graph
    todo: frozenset[str]


def plan(dvc: Dvc) -> Plan:
    """Asks DVC for the graph and for what is stale, at the same time.

    Raises:
        LevyError: data/ is not the version that data.dvc names; DVC would otherwise adopt a half-pulled folder as new data.
    """
    with ThreadPoolExecutor(2) as pool:
        dot, status_json = pool.submit(dvc.output, "dag", "--dot"), pool.submit(dvc.output, "status", "--json")
        graph, status = parse_dot(dot.result()), json.loads(status_json.result())
    if "data.dvc" in status:
        _refuse_data(dvc, json.dumps(status["data.dvc"]))
    return Plan(graph, frozenset(graph.affected_by(set(status) & set(graph.needs))))


def _refuse_data(dvc: Dvc, changes: str) -> NoReturn:
    found = (
        "is missing or only partly there" if re.search(r"deleted|not in cache", changes) else "differs from data.dvc"
    )
    raise LevyError(
        f"data/ {found}: {_data_diff(dvc)}. Either get the recorded version back with `dvc pull data.dvc` "
        "(add --force to discard what is there), or make what is there the new version with `dvc add data`"
    )


def _data_diff(dvc: Dvc) -> str:
    uncommitted = json.loads(dvc.output("data", "status", "--granular", "--json")).get("uncommitted", {})
    parts = []
    for kind in ("deleted", "modified", "added"):
        names = [str(name) for name in uncommitted.get(kind, []) if str(name).startswith("data/") and name != "data/"]
        if names:
            parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    return "; ".join(parts) or "its hash is another"
