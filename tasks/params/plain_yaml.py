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
from ruamel.yaml.representer import SafeRepresenter

from levy_core.base.files import replacing


class DamagedYamlError(ValueError):
    """The text is no YAML, gives a key twice, or names a type that is not plain."""


class _Representer(SafeRepresenter):
    pass


_Representer.add_representer(type(None), lambda self, _: self.represent_scalar("tag:yaml.org,2002:null", ""))
_Representer.add_representer(OrderedDict, SafeRepresenter.represent_dict)


def read(text: str) -> Any:
    """Mappings, lists and scalars; nothing of the text runs.

    Raises:
        DamagedYamlError: says where.
    """
    try:
        return YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise DamagedYamlError(f"{where}{error.problem or error.context}") from error
    except YAMLError as error:
        raise DamagedYamlError(str(error)) from error


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
