"""YAML of plain values through libyaml: a dvc.lock is read in a tenth of the time that PyYAML's own parser takes, often in every run."""

from typing import Any

import yaml

READER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # a PyYAML built without libyaml has its own
WRITER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


def read(text: str) -> Any:
    """Mappings, lists and scalars; nothing of the text runs.

    Raises:
        yaml.YAMLError: the text is no YAML, or names a type that is not plain.
    """
    loader = READER(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def write(value: Any) -> str:
    """In the order of keys, with long lines left whole, as DVC writes dvc.lock."""
    return yaml.dump(value, Dumper=WRITER, sort_keys=False, allow_unicode=True, width=1000)
