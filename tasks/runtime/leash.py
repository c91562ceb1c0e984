"""Processes that die with their parent, so that a killed run leaves nothing behind that still writes.

As a script: ``python leash.py PARENT_PID COMMAND ...`` ties COMMAND to its parent. Linux only; elsewhere a no-op.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PARENT = "LEVY_LEASH_PID"  # tells the stages of a leashed DVC whose children they are


def die_with_parent(parent: int) -> None:
    """Asks the kernel to SIGKILL this process when the thread that started it ends.

    Args:
        parent: the pid that is expected as parent; where it is gone already, this process ends at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the request above took effect
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.environ[PARENT] = str(os.getpid())
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606  the request outlives exec; no shell sees the command
