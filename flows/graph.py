"""The graph of dvc.yaml, as DVC resolves it. There is no second copy of the order."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

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


def load(dvc: Dvc) -> Graph:
    """The graph of the working directory."""
    return parse_dot(dvc.output("dag", "--dot"))


def stale_stages(dvc: Dvc) -> set[str]:
    """Stages that `dvc status` calls changed."""
    return {name for name in json.loads(dvc.output("status", "--json")) if not name.endswith(".dvc")}


def check_data(dvc: Dvc) -> None:
    """Refuses a ``data/`` that is not the version data.dvc names: DVC would otherwise adopt a half-pulled folder as new data.

    Raises:
        LevyError: names the missing or changed files.
    """
    status = json.loads(dvc.output("status", "--json", "data.dvc"))
    changes = status.get("data.dvc", [])
    if not changes:
        return
    described = json.dumps(changes)
    if re.search(r"deleted|not in cache", described):
        found = "is missing or only partly there"
    else:
        found = "differs from the version in data.dvc"
    raise LevyError(
        f"data/ {found}: {_data_diff(dvc)}. Either get the recorded version back with `dvc pull data.dvc` "
        "(add --force to discard what is there), or make what is there the new version with `dvc add data`"
    )


def _data_diff(dvc: Dvc) -> str:
    uncommitted = json.loads(dvc.output("data", "status", "--granular", "--json")).get("uncommitted", {})
    parts = []
    for kind in ("deleted", "modified", "added"):
        names = [str(name) for name in uncommitted.get(kind, []) if str(name).startswith("data")]
        if names:
            parts.append(f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    return "; ".join(parts) or "its hash is another"
