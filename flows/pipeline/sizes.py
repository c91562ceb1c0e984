"""How large the networks of a run are, before one is trained."""

from collections.abc import Mapping
from functools import partial

from tasks.kinds.kind import Contents
from tasks.params.resolution import design_of
from tasks.params.schema import Params

BYTES = 4  # of a value in float32
COPIES = 4  # of each in training: itself, its gradient, and Adam's two moments; averages come on top


def describe_sizes(params: Params, found: Mapping[str, Contents]) -> list[str]:
    """For people, per data set and size of network, a line with its parameters and what they take in training, beside what a batch takes.

    Designs on EOFs are left out. About: what the data tell a network besides, such as coordinates,
    is not known yet.
    """
    from levy_core.nets.sizing import count_unmade
    from levy_core.training.checkpoint import NETS
    from tasks.training.size import size_network

    lines = []
    for dataset in params.datasets:
        shape, classes = found[dataset].shape, len(found[dataset].counts)
        by_size: dict[int, list[str]] = {}
        for name in params.designs:
            design = design_of(params.models[name])
            if design.eofs is None:
                make = partial(NETS[params.net.kind][1], size_network(params.net, design, shape, classes))
                by_size.setdefault(count_unmade(make), []).append(name)
        averages = 1 + len(params.train.ema_lengths or ())
        for parameters, names in by_size.items():
            held = parameters * BYTES * (COPIES + averages)
            lines.append(
                f"{', '.join(names)} on {dataset}: about {float(f'{parameters:.3g}'):,.0f} parameters, which take {_describe_bytes(held)} in training, "
                "beside what a batch takes"
            )
    return lines


def _describe_bytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{max(1, round(number / 2**20))} MiB"
