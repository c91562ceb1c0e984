"""A stage in several processes, through accelerate: started here on this machine, or by `accelerate launch` on any."""

import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import get_cpu_distributed_information, parse_flag_from_env

from levy_core.errors import LevyError
from tasks import leash, stage
from tasks.params import ComputeParams

Work = Callable[[PartialState], None]
BACKEND = "gloo"  # on GPUs too: the processes exchange no tensors, they only wait for each other
PATIENCE = timedelta(days=365)  # a process whose share is done waits for the slowest


def run(compute: ComputeParams, work: Work) -> None:
    """Calls ``work(state)`` in ``compute.processes`` processes of this machine, and returns when all have ended.

    Where `accelerate launch` started this process, calls it once: the launcher has decided how many there are.

    Raises:
        LevyError: of the first process that failed, or that one was killed; the others are stopped.
    """
    if get_cpu_distributed_information().world_size > 1:  # says the environment
        leash.die_with_parent(os.getppid())
        state = _state(compute, backend=BACKEND)
        work(state)
        state.destroy_process_group()
    elif compute.processes > 1:
        _run_workers(compute, work)
    else:
        work(_state(compute))


def wait_for_everyone() -> None:
    """Returns when every process has come here; accelerate's own goes over the GPUs, of which there may be fewer."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def _state(compute: ComputeParams, **group: Any) -> PartialState:
    cpu = stage.device(compute.device).type == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")
    return PartialState(cpu=cpu, timeout=PATIENCE, **group)


def _run_workers(compute: ComputeParams, work: Work) -> None:
    """Watches over the workers and does nothing else: forked, they need no imports, and CUDA starts in them alone."""
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, BaseProcess] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for rank in range(compute.processes):
                failures, failure = context.Pipe(duplex=False)
                workers[failures] = context.Process(
                    target=_worker, args=(rank, compute, work, Path(folder) / "group", failure, os.getpid())
                )
                workers[failures].start()
                failure.close()  # so that the end of the worker is the end of the pipe
            _join(workers)
        except Exception:
            print(file=sys.stderr)  # ends the line of the progress bar
            raise
        finally:
            for worker in workers.values():
                worker.kill()
                worker.join()


def _join(workers: dict[Connection, BaseProcess]) -> None:
    running = dict(workers)
    while running:
        ready: list[Any] = wait(list(running))
        for failures in ready:
            worker = running.pop(failures)
            try:
                error = failures.recv()
            except EOFError:  # it has ended
                worker.join()
                error = worker.exitcode and LevyError(
                    f"one of {len(workers)} processes ended with status {worker.exitcode} (-9 is mostly want of memory): "
                    "run the same command again, it goes on; if it happens again, lower compute.processes"
                )
            if error:
                raise error


def _worker(rank: int, compute: ComputeParams, work: Work, group: Path, failure: Connection, parent: int) -> None:
    leash.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this process
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(compute.processes),
        "LOCAL_WORLD_SIZE": str(compute.processes),
        "OMP_NUM_THREADS": str(compute.threads),
        "GLOO_SOCKET_IFNAME": "lo",
    }
    try:
        # They meet in a file, because torch's TCP store listens on every interface.
        work(_state(compute, backend=BACKEND, init_method=f"file://{group}", rank=rank, world_size=compute.processes))
    except Exception as error:
        error.add_note(f"in process {rank}:\n{traceback.format_exc()}")
        failure.send(error)
        signal.pause()  # ending now would cut the others off, and they would complain too
