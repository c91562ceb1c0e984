"""Aliases of registered models, with their history: which version was champion when, and why.

The history, tags of the registered model, decides; an alias follows it. Whoever moves an alias

1. settles what others left half done,
2. writes the move down, after all moves that are there, as not done,
3. points the alias at it, and marks it done if it is still the last one of its alias; else points the alias at the last one,
   and calls its own superseded.

So whatever is interrupted or interleaved, the move that was written down last stands in the end, every version that an alias
pointed at has its line, and nothing that was left half done keeps others from moving. An alias that was moved without a line,
by MLflow itself, is left where it is until the next move. ``tests/tasks/registry/test_interleavings.py`` tries them all.
"""

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from levy_core.base.errors import LevyError
from tasks.registry import tracking

CHAMPION = "champion"
CHALLENGER = "challenger"
ANCHOR = "anchor"  # what champions may not drift away from: tasks/registry/gate.py
TAG = "levy.move."  # then the time: the order of the tags is that of the moves
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Move:
    """An alias that moved ``before`` -> ``after`` (version numbers; None: there was none), ``when`` in UTC.

    Attributes:
        done: the alias was pointed at ``after``.
        superseded: it was not, or not for good: a later move, or another hand, came before it was done.
        of: tells moves of the same time apart.
    """

    when: str
    alias: str
    before: str | None
    after: str
    why: str
    done: bool = True
    superseded: bool = False
    of: str = ""

    @property
    def pending(self) -> bool:
        """Written down, and neither done nor superseded."""
        return not (self.done or self.superseded)

    def to_tag(self) -> tuple[str, str]:
        """Key and value of the tag that keeps the move."""
        fields = asdict(self)
        return TAG + fields.pop("when") + fields.pop("of"), json.dumps(fields)

    @classmethod
    def from_tag(cls, key: str, value: str) -> "Move":
        """Of ``to_tag()``."""
        time, end, of = key.removeprefix(TAG).partition("Z")
        return cls(when=time + end, of=of, **json.loads(value))


def history(client: Any, name: str) -> list[Move]:
    """All moves, the oldest first.

    Raises:
        LevyError: there is no such model.
    """
    return _moves(_get_model(client, name))


def version_of(client: Any, name: str, alias: str) -> str | None:
    """The version that an alias points at.

    Raises:
        LevyError: there is no such model.
    """
    return _version(_get_model(client, name), alias)


def move(client: Any, name: str, alias: str, version: str, why: str) -> Move:
    """Points an alias at a version, and keeps a copy of a record that is a sqlite file.

    Raises:
        LevyError: there is no such model or version, or MLflow takes no such alias; nothing is written down.
    """
    if version not in versions(client, name):
        raise LevyError(f"{name} has no version {version}: `levy lookup {name}` lists what there is")
    check_alias(alias)
    settle(client, name)
    model = _get_model(client, name)
    last = max((m.when for m in _moves(model)), default="")
    when = datetime.now(UTC).strftime(TIME)
    if when <= last:  # clocks differ
        when = (datetime.strptime(last, TIME) + timedelta(microseconds=1)).strftime(TIME)
    planned = Move(when, alias, _version(model, alias), version, why, done=False, of="-" + uuid4().hex[:8])
    client.set_registered_model_tag(name, *planned.to_tag())
    _follow(client, name, alias, planned.of)
    tracking.back_up()
    return next(m for m in history(client, name) if m.of == planned.of)


def check_alias(alias: str) -> None:
    """Raises LevyError where MLflow would refuse an alias."""
    from mlflow.exceptions import MlflowException
    from mlflow.utils import validation

    try:
        validation._validate_model_alias_name(alias)
        validation._validate_model_alias_name_reserved(alias)
    except MlflowException as error:
        raise LevyError(f"{alias!r} is no alias that MLflow takes: {error.message}") from None


def settle(client: Any, name: str) -> None:
    """Completes moves that were written down but not done, unless something has moved the alias since."""
    for alias in {m.alias for m in history(client, name) if m.pending}:
        _follow(client, name, alias)


def _follow(client: Any, name: str, alias: str, own: str = "") -> None:
    """Points an alias at the last of its moves, until it is there and none is pending.

    The caller's ``own`` pending move is done wherever the alias points now; others' are, where no other hand has moved it since.
    """
    written: set[str] = set()
    while True:
        model = _get_model(client, name)  # moves and alias of one moment
        moves, now = [m for m in _moves(model) if m.alias == alias], _version(model, alias)
        last, pending = moves[-1], [m for m in moves if m.pending]
        # Where moves that were overtaken left it: an overtaken one may point the alias at its version late.
        known = written | {m.after for m in pending} | ({m.before for m in pending} if last.pending else set())
        mine = last.pending and last.of == own
        if now != last.after and (mine or now in known) and _is_possible(client, name, last):
            client.set_registered_model_alias(name, alias, last.after)
            written.add(last.after)
        elif not pending:
            return
        else:
            for m in pending:
                stands = m == last and now == last.after
                client.set_registered_model_tag(name, *replace(m, done=stands, superseded=not stands).to_tag())


def roll_back(client: Any, name: str, alias: str = CHAMPION, why: str = "rolled back") -> Move:
    """Points an alias at the version that it had before; again, at the one before that.

    Raises:
        LevyError: there is no earlier version, or it was deleted.
    """
    settle(client, name)
    before = earlier(client, name, alias)
    if not before:
        raise LevyError(f"{name}@{alias} was never another version: there is nothing to roll back to")
    return move(client, name, alias, before[-1], why)


def earlier(client: Any, name: str, alias: str) -> list[str]:
    """The versions that an alias had before the one that it has, the last one last; those that it was rolled back from are left out.

    Raises:
        LevyError: there is no such model.
    """
    stack: list[str] = []
    for m in history(client, name):
        if m.alias == alias and m.done:
            stack = stack[: stack.index(m.after)] if m.after in stack else stack
            stack.append(m.after)
    now = version_of(client, name, alias)
    return stack[: stack.index(now)] if now in stack else stack  # or moved by another hand


def versions(client: Any, name: str) -> dict[str, Any]:
    """MLflow's versions of a model by number, the oldest first."""
    found = client.search_model_versions(f"name = '{name}'")
    return {str(v.version): v for v in sorted(found, key=lambda v: int(v.version))}


def _is_possible(client: Any, name: str, wanted: Move) -> bool:
    """Not of an alias that MLflow refuses, as could be written down once, nor to a version that was deleted since."""
    try:
        check_alias(wanted.alias)
    except LevyError:
        return False
    return wanted.after in versions(client, name)


def _moves(model: Any) -> list[Move]:
    return [Move.from_tag(key, model.tags[key]) for key in sorted(model.tags) if key.startswith(TAG)]


def _version(model: Any, alias: str) -> str | None:
    version = model.aliases.get(alias)
    return None if version is None else str(version)


def _get_model(client: Any, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise LevyError(f"no registered model {name}: `levy lookup` lists what there is") from None
