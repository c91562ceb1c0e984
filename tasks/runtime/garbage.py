"""Programs that look for garbage seldom: what they import is none, and looking through it takes a third of a stage's seconds.

As a script: ``python garbage.py MODULE ...`` is ``python -m MODULE ...`` that does so, for programs of others.
"""

import atexit
import gc
import os
import runpy
import sys

EVERY = 10_000  # objects that are new since the last look; Python's own number is 700


def collect_seldom() -> None:
    """Call it first: at exit, after all that is registered later, what is left is let go without another look through it."""
    gc.set_threshold(EVERY)
    atexit.register(gc.freeze)


if __name__ == "__main__":
    collect_seldom()
    if not sys.flags.safe_path:  # else Python puts neither this script's folder nor the working one there
        sys.path[0] = os.getcwd()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
