"""YAML of plain values, read as DVC reads it and written as DVC writes dvc.lock, but quickly: by ruamel.yaml's C parser and emitter.

One dialect for both: to PyYAML, which knows YAML 1.1, a data set named `no` is false, 1e-4 a text, and a hash of 31 digits and an
`e` needs no quotes, which DVC then reads as the number infinity.
"""

import io
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.representer import SafeRepresenter

from levy_core.base.files import replacing

DEEPEST, MOST, LONGEST_NUMBER = 100, 1_000_000, 1024  # levels, values in all, bits
TOO_DEEP = f"brackets, mappings or aliases are nested more than {DEEPEST} deep: take out what is too much"


class DamagedYamlError(ValueError):
    """The text is no YAML, gives a key twice, names a type that is not plain, or stands for more than anybody can have meant."""


class _Representer(SafeRepresenter):
    pass


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", ""))
_Representer.add_representer(OrderedDict, SafeRepresenter.represent_dict)


def read(text: str) -> Any:
    """Mappings, lists and scalars; nothing of the text runs.

    Raises:
        DamagedYamlError: says where, as far as is known, in one line.
    """
    try:
        _refuse_depths(text)
        value = YAML(typ="safe").load(text)
        _refuse_monsters(value)
        return value
    except DamagedYamlError:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DamagedYamlError(f"{where}{error.problem or error.context}") from error
    except YAMLError as error:
        raise DamagedYamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise DamagedYamlError(TOO_DEEP) from error
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:  # of a value unlike its !!type
        raise DamagedYamlError(f"a value is not what its type says, or a key is no text ({error})") from error


def _refuse_depths(text: str) -> None:
    """Refuses a text so deeply nested that the C parser, which calls itself for each level, would take the process with it.

    Raises:
        DamagedYamlError: it is too deep.
    """
    brackets, indents = text.count("[") + text.count("{"), max(map(len, text.splitlines()), default=0)
    if brackets + indents < 10_000:  # no text is deeper than this sum
        return
    depth = 0
    for event in YAML(typ="safe").parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEEPEST:
            raise DamagedYamlError(TOO_DEEP)


def _refuse_monsters(value: Any) -> None:
    """Refuses what a few characters of YAML can make and nobody can print: aliases of aliases, endless ones among them, and huge numbers.

    Raises:
        DamagedYamlError: says what.
    """
    count, level = 0, [value]
    for _ in range(DEEPEST):
        count += len(level)
        if count > MOST:
            raise DamagedYamlError(f"its aliases stand for more than {MOST:,} values: write out what is meant")
        if any(isinstance(v, int) and v.bit_length() > LONGEST_NUMBER for v in level):
            raise DamagedYamlError(f"it has a whole number of more than {LONGEST_NUMBER} bits: write a smaller one")
        level = [inner for v in level for inner in _inside(v)]
        if not level:
            return
    raise DamagedYamlError(TOO_DEEP)


def _inside(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple | set):
        yield from value


def write(value: Any) -> str:
    """In the order of keys, with long lines left whole."""
    yaml = YAML(typ="safe")
    yaml.Representer = _Representer
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 1000
    text = io.StringIO()
    yaml.dump(value, text)
    return text.getvalue().replace(": \n", ":\n")  # the place of a null; texts with such an end are quoted in one line


def merge(target: Any, patch: Any) -> Any:
    """``target`` with the changes of ``patch``: mappings are merged, null removes a key, and anything else replaces what is there.

    Neither argument is changed. Source: JSON Merge Patch, RFC 7396.
    """
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged


@contextmanager
def changing(path: Path) -> Iterator[dict[str, Any]]:
    """The mapping that a file holds, none if it is not there; the file is replaced as a whole where it has been changed.

    Comments would be lost: dvc.lock has none.
    """
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    values = read(before) or {}
    yield values
    text = write(values)
    if text != before:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
