"""A process that may take so many more bytes of addresses, as after ``ulimit -v``."""

import gc
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from levy_core.base.memory import give_back


@contextmanager
def left(size: int) -> Iterator[None]:
    """The limit is the kernel's own: what takes more fails for real. Afterwards it is as it was.

    What earlier tests of the process have let go of is given back first: what a refusal gives back would otherwise come on top.
    """
    gc.collect()
    give_back()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
