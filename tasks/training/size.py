"""Which network is trained: the one that is asked for, as large as the data and the design make it."""

from collections.abc import Mapping
from typing import Any, cast

from levy_core.nets.mlp import MLPConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import NETS, NetConfig
from tasks.params.training import NetParams


def size_network(
    params: NetParams,
    design: Design,
    shape: tuple[int, ...],
    classes: int,
    augment: int = 0,
    label_numbers: int = 0,
    given: Mapping[str, Any] | None = None,
    latent: int | None = None,
) -> NetConfig:
    """The network that is asked for on the values, or one of layers on the coefficients of a latent.

    Args:
        shape: of a sample. augment: numbers that tell it how a sample was augmented. label_numbers: of a class. given: settings that the data
            decide. latent: the number of coefficients; None: there are none.
    """
    if latent is not None:
        return MLPConfig((latent,), classes, params.width, params.depth, design.heads, label_numbers)
    config, _ = NETS[params.kind]
    settings = {"shape": shape, "classes": classes, **(given or {}), **params.settings}
    of_design = {"augment": augment, "heads": design.heads, "patches": design.patches, "label_numbers": label_numbers}
    return cast(NetConfig, config.from_mapping(settings | of_design))
