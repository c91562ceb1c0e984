"""Errors of the disk, whichever library met them, in words for people."""

import errno
import os
import re

# What the system calls an error of the disk: what is wrong, and what to do before the same command is run again.
FAULTS = {
    errno.ENOSPC: ("the disk is full", "free some space"),
    errno.EDQUOT: ("the quota of the disk is used up", "free some space"),
    errno.EIO: ("the disk could not be read or written", "look for its errors in the system's log, mend it"),
}


def explain(error: BaseException) -> str | None:
    """What is wrong with the disk, where, and what to do; None for an error of another kind."""
    said = str(error)
    # safetensors, zarr and HDF5 put the system's words into errors of their own.
    number = next((n for n in FAULTS if getattr(error, "errno", None) == n or os.strerror(n) in said), None)
    if number is None and re.search(r"^\d+ requested and \d+ written$", said):  # all that numpy says
        number = errno.ENOSPC
    if number is None:
        return None
    fault, remedy = FAULTS[number]
    return f"{fault} ({getattr(error, 'filename', None) or os.getcwd()}): {remedy} and run the same command again"
