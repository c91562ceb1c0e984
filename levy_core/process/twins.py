"""Gaussian twins: what heavy tails bring is seen beside a design that differs in nothing but the noise law."""

import json
from collections.abc import Mapping
from typing import Any

from levy_core.process.design import Design
from levy_core.process.noise import Stable


def twin_of(name: str, designs: Mapping[str, Design]) -> str | None:
    """The first Gaussian design that is a twin of the heavy-tailed one of this name.

    None where there is none, or the design of this name is Gaussian itself.
    """
    design = designs[name]
    if design.is_gaussian:
        return None
    return next((key for key, other in designs.items() if other.is_gaussian and design.is_twin(other)), None)


def gaussian_twin(settings: Mapping[str, Any], design: Design) -> dict[str, Any]:
    """Settings of the Gaussian twin of a heavy-tailed design, of which ``settings`` are the mapping: alpha 2 of a stable law, whose
    parametrisation may need one, else Gaussian noise."""
    kept = {k: v for k, v in settings.items() if k not in design.noise_options}
    return {**kept, "alpha": 2.0} if isinstance(design.noise, Stable) else {**kept, "noise": "gaussian"}


def describe_missing_twin(name: str, settings: Mapping[str, Any], designs: Mapping[str, Design]) -> str:
    """For people: which design to add, so that the heavy-tailed one of this name has a Gaussian twin among ``designs``.

    Empty where it is Gaussian itself, or it or another design with its noise has one: then it is shown what the noise brings.
    """
    design = designs[name]
    alike = [key for key, other in designs.items() if other.noise == design.noise]
    if design.is_gaussian or any(twin_of(key, designs) for key in alike):
        return ""
    twin = ", ".join(
        f"{key}: {value if isinstance(value, str) else json.dumps(value)}"
        for key, value in gaussian_twin(settings, design).items()
    )
    return (
        f"{name} has no Gaussian twin among the designs, so that nothing shows what its heavy tails bring: "
        f"add `{name}-gaussian: {{{twin}}}` under models and {name}-gaussian to designs in params.yaml"
    )
