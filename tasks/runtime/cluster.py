"""Work on blocks of fields, given to the workers of a dask cluster where one is named, else done here."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import dask

from levy_core.base.errors import LevyError
from levy_core.base.rows import BlockMap

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")
AHEAD = 2  # blocks per worker: one in work, one waiting


@contextmanager
def open_block_map() -> Iterator[BlockMap]:
    """``map`` over the workers of the cluster that `DASK_SCHEDULER_ADDRESS` (or dask's own configuration) names; else ``map``.

    Raises:
        LevyError: no scheduler answers there, it has no workers, or one with several threads.
    """
    address = dask.config.get("scheduler-address", None)
    if address is None:
        yield map
        return
    from distributed import Client

    try:
        client = Client(address, timeout=10)
    except OSError as error:
        raise LevyError(
            f"no dask scheduler answers at {address} ({error}): start `dask scheduler`, or unset DASK_SCHEDULER_ADDRESS"
        ) from error
    with client:
        yield _Cluster(client, address)


class _Cluster:
    """Results come in the order of their blocks, fetched one by one; a few blocks per worker are under way."""

    def __init__(self, client: "Client", address: str):
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise LevyError(
                f"the dask scheduler at {address} has no workers: start `dask worker {address} --nthreads 1`"
            )
        several = [f"{name} has {held['nthreads']}" for name, held in workers.items() if held["nthreads"] > 1]
        if several:
            raise LevyError(
                f"workers of the dask cluster must have one thread, because the HDF5 library is not safe with more, but {several[0]}: "
                "start `dask worker --nworkers N --nthreads 1`"
            )
        self._client, self._address, self._ahead = client, address, AHEAD * len(workers)

    def __call__(self, work: Callable[[slice], Result], rows: list[slice], /) -> Iterable[Result]:
        from distributed import CancelledError, KilledWorker
        from distributed.comm import CommClosedError

        try:
            shared = self._client.scatter(work, broadcast=True, hash=False)  # unpickled once per worker
            coming = (self._client.submit(_call, shared, block, pure=False) for block in rows)
            waiting = deque(islice(coming, self._ahead))
            while waiting:
                ready = waiting.popleft()
                result = ready.result()
                ready.release()
                waiting.extend(islice(coming, 1))
                yield result
        except (KilledWorker, CancelledError, CommClosedError, TimeoutError, ImportError) as error:
            raise LevyError(
                f"the dask cluster at {self._address} lost this work ({type(error).__name__}: {error}): its workers need this "
                "environment, this package, these folders under the same paths, and about 1 GB of memory each; run the same command again"
            ) from error


def _call(work: Callable[[slice], Result], rows: slice) -> Result:
    return work(rows)
