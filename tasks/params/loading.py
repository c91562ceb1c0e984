"""Params files: read, merged, validated, and their faults told to a person: the key, its value, what is allowed."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from levy_core.base.errors import LevyError
from tasks.params import plain_yaml
from tasks.params.schema import Params
from tasks.runtime.paths import PARAMS

LONGEST_FAULT, MOST_FAULTS = 800, 30  # characters of one, faults of a file: so much anybody reads


def load(path: Path = PARAMS) -> Params:
    """Reads and validates a params file.

    Raises:
        LevyError: lists every fault: key, value, what is allowed.
    """
    return _validate(_read(path), str(path))


def load_merged(changes: Path, path: Path = PARAMS) -> tuple[Params, dict[str, Any]]:
    """The settings of a params file with the changes of another, typed and as plain values; no file is changed.

    Raises:
        LevyError: lists every fault: key, value, what is allowed.
    """
    patch = _read(changes)
    if not isinstance(patch, dict):
        held = "nothing" if patch is None else _shorten(repr(patch))
        raise LevyError(
            f"{changes} holds {held}: the keys of {path} that are to change are expected, each with its section"
        )
    merged = plain_yaml.merge(_read(path), patch)
    return _validate(merged, f"{changes}, merged onto {path}"), merged


def _read(path: Path) -> Any:
    try:
        return plain_yaml.read(path.read_text())
    except OSError as error:
        where = "run from the root of the repository" if path == PARAMS else "give the path of a settings file"
        raise LevyError(f"{path} cannot be read ({error.strerror}): {where}") from error
    except ValueError as error:  # also bytes that are no text
        raise LevyError(f"{path} is not valid YAML: {_shorten(str(error))}") from error


def _validate(values: Any, source: str) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        faults = [_shorten(_explain(fault)) for fault in error.errors()]
        more = f"; and {len(faults) - MOST_FAULTS} more" if len(faults) > MOST_FAULTS else ""
        raise LevyError(f"{source}: {'; '.join(faults[:MOST_FAULTS])}{more}") from None


def _shorten(text: str) -> str:
    """A fault in one line without its middle, if it is long; what cannot be printed is escaped."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return line if len(line) <= LONGEST_FAULT else f"{line[: LONGEST_FAULT // 2]} ... {line[-LONGEST_FAULT // 2 :]}"


def _explain(fault: Any) -> str:
    where = fault["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["loc"][-1:] == ("[key]",):
        return f"{'.'.join(map(str, fault['loc'][:-2]))} has the name {fault['input']!r}: {message}"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key} (value {fault['input']!r}): check its spelling against the shipped params.yaml"
    if fault["type"] == "missing":
        return f"the key {key} is missing"
    if isinstance(fault["input"], dict) and where[:1] == ("data",):  # a kind of data knows no names of data sets
        return f"{key}: {message}"
    if not key or isinstance(fault["input"], dict):  # checks of any other whole section name the key themselves
        return message
    return f"{key} is {fault['input']!r}: {message[0].lower() + message[1:]}"
