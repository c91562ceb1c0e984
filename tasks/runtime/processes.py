"""A stage in several processes, through accelerate: started here on this machine, or by `accelerate launch` on any."""

import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import PartialState
from accelerate.utils import get_cpu_distributed_information, parse_flag_from_env

from levy_core.base.errors import LevyError
from tasks.runtime import leash, stage


class Compute(Protocol):
    """Threads per process, and the device: ``compute`` of params.yaml."""

    @property
    def threads(self) -> int: ...

    @property
    def device(self) -> str: ...


Work = Callable[[PartialState], None]
PATIENCE = timedelta(days=365)  # a process whose share is done waits for the slowest
STEP_PATIENCE = timedelta(minutes=30)  # processes that exchange tensors are never far from each other
GRACE_SECONDS = 10


class LostError(LevyError):
    """This process can no longer reach another one; why that one ended is known better by who watches over it."""


def run(compute: Compute, count: int, work: Work, exchange: bool = False) -> None:
    """Calls ``work(state)`` in ``count`` processes of this machine, and returns when all have ended.

    Where `accelerate launch` started this process, calls it once: the launcher has decided how many there are.

    Args:
        exchange: the processes exchange tensors: on GPUs through NCCL, so that each needs a GPU of its own. Else they only
            wait for each other, through gloo.

    Raises:
        LevyError: of the first process that failed, or that one was killed; the others are stopped. Fewer GPUs than
            processes that exchange tensors.
    """
    launched = get_cpu_distributed_information()  # says the environment
    if launched.world_size > 1:
        leash.die_with_parent(os.getppid())
        state = _state(compute, **_group(compute, launched.local_world_size, exchange))
        work(state)
        state.destroy_process_group()
    elif count > 1:
        _run_workers(compute, count, work, exchange)
    else:
        work(_state(compute))


def wait_for_everyone() -> None:
    """Returns when every process has come here; accelerate's own goes over the GPUs, of which there may be fewer."""
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def sharing(state: PartialState) -> int:
    """Processes, at most, that share the memory of the device of this one, itself among them; accelerate deals those of a machine over its GPUs."""
    if state.device.type != "cuda":
        return state.num_processes
    return most_per_gpu(get_cpu_distributed_information().local_world_size, torch.cuda.device_count())


def most_per_gpu(processes: int, gpus: int) -> int:
    """Process k of a machine has GPU k modulo their number."""
    return -(-processes // gpus)


def _on_cpu(compute: Compute) -> bool:
    return stage.device(compute.device).type == "cpu" or parse_flag_from_env("ACCELERATE_USE_CPU")


def _group(compute: Compute, here: int, exchange: bool) -> dict[str, Any]:
    """How processes talk, ``here`` of them on this machine."""
    if not exchange:
        return {"backend": "gloo", "timeout": PATIENCE}
    if _on_cpu(compute):
        return {"backend": "gloo", "timeout": STEP_PATIENCE}
    if here > torch.cuda.device_count():
        raise LevyError(
            f"{here} processes train together on this machine, which has {torch.cuda.device_count()} GPUs: "
            "each needs its own, so lower train.processes, or set compute.device to cpu"
        )
    return {"backend": "nccl", "timeout": STEP_PATIENCE}


def _state(compute: Compute, **group: Any) -> PartialState:
    return PartialState(cpu=_on_cpu(compute), **group)


def _run_workers(compute: Compute, count: int, work: Work, exchange: bool) -> None:
    """Watches over the workers and does nothing else: forked, they need no imports, and CUDA starts in them alone."""
    context = multiprocessing.get_context("fork")
    workers: dict[Connection, BaseProcess] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            for rank in range(count):
                failures, failure = context.Pipe(duplex=False)
                # They meet in a file, because torch's TCP store listens on every interface.
                meeting = {"init_method": f"file://{Path(folder, 'group')}", "rank": rank, "world_size": count}
                arguments = (compute, work, exchange, meeting, failure, os.getpid())
                workers[failures] = context.Process(target=_worker, args=arguments)
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
                    "run the same command again, it goes on; if it happens again, lower the number of processes"
                )
            if error:
                raise error


def _worker(
    compute: Compute, work: Work, exchange: bool, meeting: dict[str, Any], failure: Connection, parent: int
) -> None:
    leash.die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, and that ends this process
    rank, count = str(meeting["rank"]), str(meeting["world_size"])
    os.environ |= {
        "RANK": rank,
        "LOCAL_RANK": rank,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "OMP_NUM_THREADS": str(compute.threads),
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    PartialState._reset_state()  # forked, it would say what the parent was
    try:
        work(_state(compute, **meeting, **_group(compute, meeting["world_size"], exchange)))
    except Exception as error:
        if isinstance(error, LostError):
            time.sleep(GRACE_SECONDS)  # the parent sees the end of the other one by itself, and says it better
        error.add_note(f"in process {rank}:\n{traceback.format_exc()}")
        failure.send(error)
        signal.pause()  # ending now would cut the others off, and they would complain too
