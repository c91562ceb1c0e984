"""Names of data sets, designs and parts of the grid: they become folders, keys and stage names of DVC, and registry names."""

import re
from collections.abc import Sequence
from datetime import date
from typing import Annotated, Any

from pydantic import BeforeValidator

LONGEST_NAME = 60  # characters: a file's name has room for two names and what stages put around them


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        kind = {bool: "a truth value", date: "a date", type(None): "nothing"}.get(type(name), "a number")
        raise ValueError(f"a name is text, but YAML reads this as {kind}: put quotes around what is written there")
    if "." in name.lstrip("."):
        raise ValueError(
            f"a name has no dot, because DVC looks for a key inside a key there: call it {name.replace('.', '_')}"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError("a name is made of letters, digits, _ and -, and begins with a letter or a digit")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters, but it may have {LONGEST_NAME}: choose a shorter one")
    return name


Name = Annotated[str, BeforeValidator(_check_name)]


def refuse_twins(key: str, names: Sequence[str]) -> None:
    """Refuses names that are equal, or would be where case does not count: on some file systems and in some registries.

    Raises:
        ValueError: names the two.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{key} names {other!r} and {name!r}, which differ only in case: rename one of them")
        if names.count(name) > 1:
            raise ValueError(f"{key} names {name!r} more than once: name it once")
