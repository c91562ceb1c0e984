"""One and two workers at the same work: python docs/benchmarks/scaling.py [--parts train sample prepare] [--rounds 3]

Each round does the work with 1 and with 2 processes in turn; the table gives medians and their ratio. `train` and `sample`
count the processor time of the busiest process, which other load on the machine hardly changes, so waiting for each
other and for the link is left out; `prepare` counts the time of the clock, which on a busy machine says little.
"""

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import PartialState

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.determinism import make_reproducible
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.config import TrainConfig
from levy_core.training.share import Share
from levy_core.training.trainer import Trainer
from tasks.params.sections import ComputeParams
from tasks.runtime import processes

SHAPE, BATCH, STEPS, CELLS = (3, 32, 32), 16, 4, 4
COMPUTE = ComputeParams(threads=1, device="auto")
CONFIG = TrainConfig(
    steps=STEPS + 1,
    batch=BATCH,
    lr=1e-4,
    warmup=1,
    ema=0.99,
    clip=1.0,
    label_dropout=0.5,
    flip=False,
    seed=0,
    precision="float32",
)


def unet() -> UNet:
    """Of 636,835 parameters; built in the measured processes alone."""
    torch.manual_seed(0)
    return UNet(UNetConfig(SHAPE, 10, (32, 64)))


def timed(count: int, work: Callable[[PartialState, Path], None], exchange: bool = False) -> float:
    """Processor seconds of the busiest of ``count`` processes, as each of them wrote them down; their start is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        ours = lambda state: work(state, Path(folder, str(state.process_index)))
        # Forked like the stage's own, from a process that has not computed: torch's threads do not outlive a fork.
        measured = multiprocessing.get_context("fork").Process(
            target=processes.run, args=(COMPUTE, count, ours, exchange)
        )
        measured.start()
        measured.join()
        return max(float(path.read_text()) for path in Path(folder).iterdir())


def training(state: PartialState, answer: Path) -> None:
    """Steps of the whole batch, after one that warms up."""
    make_reproducible(1)
    share = Share(state.process_index, state.num_processes, torch.distributed.all_reduce)
    data, labels = torch.randn(256, *SHAPE), torch.zeros(256, dtype=torch.long)
    steps = Trainer(
        Design.from_mapping({"preset": "lim"}),
        unet(),
        data,
        of_labels(labels),
        {LABEL: torch.tensor(10)},
        CONFIG,
        state.device,
        share,
    ).run()
    next(steps)
    begun = time.process_time()
    for _ in steps:
        pass
    answer.write_text(str(time.process_time() - begun))


def sampling(state: PartialState, answer: Path) -> None:
    """Cells dealt to the processes, as the stage sample deals them."""
    make_reproducible(1)
    design = Design.from_mapping({"preset": "lim"})
    predictor = design.predictor(unet().to(state.device).eval())
    table = tabulate(Solver("ode", "ei-noise", "karras", 5), design.schedule)
    cond = of_labels(torch.full((8,), 10, device=state.device))
    sample(predictor, table, design.noise, 99, range(8), SHAPE, cond)  # warms up
    begun = time.process_time()
    for seed in range(CELLS)[state.process_index :: state.num_processes]:
        sample(predictor, table, design.noise, seed, range(8), SHAPE, cond)
    answer.write_text(str(time.process_time() - begun))


def preparing(folder: Path, settings: FieldsConfig) -> Callable[[int], float]:
    """Seconds of one preparation on a cluster of some worker processes; 0 workers: in this process."""
    import dask
    from distributed import LocalCluster

    from levy_core.datasets.fields.prepare import prepare_fields
    from tasks.runtime import cluster

    def once() -> float:
        with tempfile.TemporaryDirectory() as into:
            begun = time.perf_counter()
            with cluster.open_block_map() as spread:
                prepare_fields(folder, settings, Path(into), None, lambda blocks: blocks, block_map=spread)
            return time.perf_counter() - begun

    def measured(workers: int) -> float:
        if not workers:
            return once()
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0"
            ) as found,
            dask.config.set({"scheduler-address": found.scheduler_address}),
        ):
            once()  # the workers import what they need
            return once()

    return measured


def compare(name: str, rounds: int, measured: Callable[[int], float]) -> None:
    """Prints the medians of one and of two, measured in turn, and their ratio."""
    pairs = [(measured(1), measured(2)) for _ in range(rounds)]
    one, two = (statistics.median(times) for times in zip(*pairs, strict=True))
    print(f"| {name} | {one:.1f} | {two:.1f} | {one / two:.2f} | {os.getloadavg()[0]:.1f} |", flush=True)


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("train", "sample", "prepare")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--hours", type=int, default=384, help="of the fields that are prepared (0.5 MB per hour)")
    arguments = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before, torch {torch.__version__}"
    )
    print(f"U-Net of 636,835 parameters, batch {BATCH} of {SHAPE}\n")
    print("| work | one, s | two, s | ratio | load |\n|---|---|---|---|---|", flush=True)
    if "train" in arguments.parts:
        compare(f"train, {STEPS} steps", arguments.rounds, lambda n: timed(n, training, True))
    if "sample" in arguments.parts:
        compare(f"sample, {CELLS} cells", arguments.rounds, lambda n: timed(n, sampling))
    if "prepare" in arguments.parts:
        from ingest import SETTINGS, make  # beside this script

        with tempfile.TemporaryDirectory() as folder:
            make(Path(folder, "era5.zarr"), arguments.hours)
            measured = preparing(Path(folder), SETTINGS)
            compare(f"prepare, {arguments.hours} hours", arguments.rounds, measured)
            print(f"(prepare without a cluster: {measured(0):.1f} s)")


if __name__ == "__main__":
    main()
