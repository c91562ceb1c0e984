"""Where a rerun differs from what was recorded, why as far as hashes tell, and by how much."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.pipeline.dvc import Dvc
from flows.reproduce.differences import list_differences
from flows.reproduce.versions import Version
from levy_core.base.errors import LevyError
from tasks.cells.comparison import read_winner
from tasks.params import plain_yaml
from tasks.runtime import paths

EXPECTED = Path("expected")  # in the workspace: outputs as recorded, of the stage that differs
SHOWN = 10  # lines of a list


@dataclass(frozen=True)
class Difference:
    """The first stage in topological order whose outputs differ; ``outputs`` are (path, expected md5, md5 now)."""

    stage: str
    inputs: list[str]
    outputs: list[tuple[str, str, str]]


def first_difference(recorded: dict[str, Any], rerun: dict[str, Any], order: list[str]) -> Difference | None:
    """Compares the outputs of two dvc.lock, and the inputs of the first stage with another output.

    Args:
        recorded, rerun: stages of dvc.lock. order: their names in topological order.
    """
    for stage in order:
        before, after = _hashes(recorded[stage], "outs"), _hashes(rerun[stage], "outs")
        outputs = [(path, before.get(path, ""), after.get(path, "")) for path in sorted({*before, *after})]
        outputs = [entry for entry in outputs if entry[1] != entry[2]]
        if outputs:
            return Difference(stage, _changed_inputs(recorded[stage], rerun[stage]), outputs)
    return None


def _changed_inputs(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    lines = [] if before["cmd"] == after["cmd"] else [f"the command is {after['cmd']!r}, was {before['cmd']!r}"]
    deps = _hashes(before, "deps"), _hashes(after, "deps")
    lines += [f"{path} differs" for path in sorted({*deps[0], *deps[1]}) if deps[0].get(path) != deps[1].get(path)]
    params = [dict(_flat(entry.get("params", {}).get("params.yaml", {}))) for entry in (before, after)]
    lines += [
        f"params.yaml: {key} is {params[1].get(key)!r}, was {params[0].get(key)!r}"
        for key in sorted({*params[0], *params[1]})
        if params[0].get(key) != params[1].get(key)
    ]
    return lines


def _hashes(entry: dict[str, Any], kind: str) -> dict[str, str]:
    return {item["path"]: item.get("md5", "") for item in entry.get(kind, [])}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        yield name, value
        return
    for key, child in value.items():
        yield from _flat(child, f"{name}.{key}" if name else str(key))


def explain(
    version: Version, root: Path, first: Difference, order: list[str], rerun: dict[str, Any], dvc: Dvc
) -> list[str]:
    """Lines for people: which stage differs first, why as far as hashes tell, by how much, and what that does to the winner.

    Args:
        version: what was to be reproduced. root: of the workspace, where `dvc` works. first: the difference.
        order: the stages. rerun: their entries in the workspace's dvc.lock.
    """
    recorded = version.lineage.stages
    count = sum(_hashes(recorded[stage], "outs") != _hashes(rerun[stage], "outs") for stage in order)
    lines = [f"not reproduced: the outputs of {count} of {len(order)} stages differ. First: {first.stage}"]
    if first.inputs:
        lines.append(itemise("its inputs differ too", first.inputs))
    else:
        lines.append("its inputs are equal: code, data, parameters and results of earlier stages")
    for number, (path, before, after) in enumerate(first.outputs):
        expected = _expected(root / EXPECTED / str(number), Path(path).name, before, dvc) if before and after else None
        if not (before and after):
            lines.append(f"{path} {'was not made' if before else 'is new'}")
        elif expected is None:
            why = "no cache and no remote has the recorded files, so only hashes can be compared"
            lines.append(f"{path}: md5 {after}, was {before}; {why}")
        else:
            lines.append(itemise(path, list_differences(expected, root / path)))
    then = version.lineage.winner
    metric = then["metric"]
    now = read_winner(root / paths.winner(version.dataset), metric)
    lines.append(
        f"the winner's {metric}: {now[metric]:.6g} ({now['design']}), was {then[metric]:.6g} ({then['design']})"
    )
    return lines


def itemise(title: str, items: list[str]) -> str:
    """A title and the first of its items, one line each."""
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return "\n  ".join([f"{title}:", *items[:SHOWN], *more])


def _expected(folder: Path, name: str, md5: str, dvc: Dvc) -> Path | None:
    """A recorded output from DVC's cache or remote, by a .dvc file of its own; None where neither has it."""
    folder.mkdir(parents=True, exist_ok=True)
    pointer = folder / f"{name}.dvc"
    pointer.write_text(plain_yaml.write({"outs": [{"md5": md5, "hash": "md5", "path": name}]}))
    for command in ("checkout", "pull"):
        try:
            dvc.output(command, str(pointer))
            return folder / name
        except LevyError:
            continue
    return None
