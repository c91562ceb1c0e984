"""Aliases of registered models, with their history: which version was champion when, and why.

A move is written down before the alias moves and marked done after, as tags of the registered model: what a killed process
left half done is completed by the next one, and an alias never changes without a trace.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from levy_core.base.errors import LevyError

CHAMPION = "champion"
CHALLENGER = "challenger"
TAG = "levy.move."  # then the time: the order of the tags is that of the moves


@dataclass(frozen=True)
class Move:
    """An alias that moved ``before`` -> ``after`` (version numbers; None: there was none), ``when`` in UTC."""

    when: str
    alias: str
    before: str | None
    after: str
    why: str
    done: bool = True

    def to_tag(self) -> tuple[str, str]:
        """Key and value of the tag that keeps the move."""
        fields = asdict(self)
        return TAG + fields.pop("when"), json.dumps(fields)


def history(client: Any, name: str) -> list[Move]:
    """All moves, the oldest first.

    Raises:
        LevyError: there is no such model.
    """
    tags = _get_model(client, name).tags
    return [Move(key.removeprefix(TAG), **json.loads(tags[key])) for key in sorted(tags) if key.startswith(TAG)]


def version_of(client: Any, name: str, alias: str) -> str | None:
    """The version that an alias points at.

    Raises:
        LevyError: there is no such model.
    """
    version = _get_model(client, name).aliases.get(alias)
    return None if version is None else str(version)


def move(client: Any, name: str, alias: str, version: str, why: str) -> Move:
    """Points an alias at a version.

    Raises:
        LevyError: there is no such model or version.
    """
    if version not in versions(client, name):
        raise LevyError(f"{name} has no version {version}: `levy lookup {name}` lists what there is")
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    planned = Move(when, alias, version_of(client, name, alias), version, why, done=False)
    client.set_registered_model_tag(name, *planned.to_tag())
    return _finish(client, name, planned)


def settle(client: Any, name: str) -> None:
    """Completes moves that were written down but not done, unless the alias has been moved since."""
    for pending in [m for m in history(client, name) if not m.done]:
        if version_of(client, name, pending.alias) in (pending.before, pending.after):
            _finish(client, name, pending)
        else:
            _mark_done(client, name, pending)


def roll_back(client: Any, name: str, alias: str = CHAMPION, why: str = "rolled back") -> Move:
    """Points an alias at the version that it had before; again, at the one before that.

    Raises:
        LevyError: there is no earlier version, or it was deleted.
    """
    settle(client, name)
    stack: list[str] = []
    for m in history(client, name):
        if m.alias == alias:
            stack = stack[: stack.index(m.after)] if m.after in stack else stack
            stack.append(m.after)
    now = version_of(client, name, alias)
    earlier = stack[: stack.index(now)] if now in stack else stack  # or moved by another hand
    if not earlier:
        raise LevyError(f"{name}@{alias} was never another version: there is nothing to roll back to")
    return move(client, name, alias, earlier[-1], why)


def versions(client: Any, name: str) -> dict[str, Any]:
    """MLflow's versions of a model by number, the oldest first."""
    found = client.search_model_versions(f"name = '{name}'")
    return {str(v.version): v for v in sorted(found, key=lambda v: int(v.version))}


def _finish(client: Any, name: str, pending: Move) -> Move:
    client.set_registered_model_alias(name, pending.alias, pending.after)
    return _mark_done(client, name, pending)


def _mark_done(client: Any, name: str, pending: Move) -> Move:
    done = replace(pending, done=True)
    client.set_registered_model_tag(name, *done.to_tag())
    return done


def _get_model(client: Any, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise LevyError(f"no registered model {name}: `levy lookup` lists what there is") from None
