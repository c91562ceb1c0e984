"""The exception for mistakes that a person can correct."""

from collections.abc import Mapping
from typing import TypeVar

Entry = TypeVar("Entry")


class LevyError(Exception):
    """Bad input: the message says what was found, where, what was expected and what to do."""


class NotFiniteError(LevyError):
    """A network or a sampler left the finite numbers: this setting is lost, others may not be."""


def choose(kind: str, name: object, table: Mapping[str, Entry]) -> Entry:
    """The entry of ``table`` called ``name``.

    Raises:
        LevyError: names the kind, the unknown name and every allowed one.
    """
    if not isinstance(name, str) or name not in table:
        raise LevyError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(table))}")
    return table[name]
