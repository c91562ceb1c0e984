"""What networks by name take: python docs/benchmarks/networks.py [NAME ...] [--sides 32 64]

No number is computed by a network and no memory is taken for one: torch runs one forward pass of each on tensors without data, which counts multiplications
and what is kept for gradients. An estimate: what kernels take while they run is not in it, nor what an allocator holds in reserve.
"""

import argparse

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from levy_core.base.conditions import LABEL
from levy_core.nets.named import NAMED
from levy_core.nets.precision import parameter_count
from levy_core.training.checkpoint import NETS

STATE = 20  # bytes per parameter: float32 of weight, gradient, Adam's two means and the average of weights


def made(name: str, shape: tuple[int, int, int], classes: int) -> torch.nn.Module:
    """The network as this project trains it."""
    row = NAMED[name]
    config, net = NETS[row.kind]
    return net(config.from_mapping({"shape": shape, "classes": classes, **row.settings}))


def multiplications(net: torch.nn.Module, shape: tuple[int, int, int]) -> float:
    """Of one evaluation of one sample."""
    explicit = sdpa_kernel(SDPBackend.MATH)  # the counter knows no fused attention of CPUs
    with FlopCounterMode(display=False) as counted, torch.no_grad(), explicit:
        net.eval()(torch.empty(1, *shape), torch.zeros(1), {LABEL: torch.zeros(1, dtype=torch.long)})
    return counted.get_total_flops() / 2


def kept(net: torch.nn.Module, shape: tuple[int, int, int], precision: torch.dtype, batch: int) -> int:
    """Bytes that a forward pass keeps for gradients, each memory counted once."""
    found: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        found[storage._cdata] = storage
        return tensor

    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", precision, enabled=precision != torch.float32),
    ):
        net.train()(torch.empty(batch, *shape), torch.zeros(batch), {LABEL: torch.zeros(batch, dtype=torch.long)})
    return sum(storage.nbytes() for storage in found.values())


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMED), metavar="NAME")
    parser.add_argument("--sides", nargs="+", type=int, default=[32, 64])
    arguments = parser.parse_args()
    print(
        "| network, shape, classes | parameters | 10⁹ multiplications | state, GB | per sample: MB in float32, in bfloat16, checkpointed in bfloat16 |"
    )
    print("|---|---|---|---|---|")
    for name in arguments.names:
        published, classes = NAMED[name].of
        for shape in dict.fromkeys([published, *((3, side, side) for side in arguments.sides)]):
            with FakeTensorMode():
                net = made(name, shape, classes)
                computed, parameters = multiplications(net, shape), parameter_count(net)
                sample = []
                for precision, checkpointing in (
                    (torch.float32, False),
                    (torch.bfloat16, False),
                    (torch.bfloat16, True),
                ):
                    net.checkpointing = checkpointing
                    one, two = (kept(net, shape, precision, batch) for batch in (2, 4))
                    sample.append(f"{(two - one) / 2 / 1e6:.1f}")
            print(
                f"| {name}, {shape}, {classes} | {parameters:,} | {computed / 1e9:.2f} | {STATE * parameters / 1e9:.2f} | {', '.join(sample)} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
