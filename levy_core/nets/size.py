"""What decides the size of a network, as a plain mapping and back."""

from dataclasses import asdict, dataclass
from typing import Any, Self

from levy_core.base.patches import Patches


@dataclass(frozen=True)
class Size:
    """Of a network; a kind of network has one with fields of its own."""

    def to_mapping(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> Self:
        """The inverse of ``to_mapping``, also after JSON made the tuples lists."""
        return cls(**{key: _read(value) for key, value in mapping.items()})


def _read(value: Any) -> Any:
    if isinstance(value, dict):  # there is no other in a size
        return Patches.from_mapping(value)
    return tuple(value) if isinstance(value, list) else value
