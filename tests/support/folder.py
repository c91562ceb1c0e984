"""A folder in which one stage is started, killed and started again."""

import multiprocessing
import os
import sys
from pathlib import Path

from accelerate import PartialState

from tasks.params import loading
from tasks.runtime import stage
from tests.conftest import ROOT, Checkout


class Folder(Checkout):
    """A folder with nothing but params.yaml and what a stage reads; the code is that of the working tree."""

    @property
    def environment(self):
        return {**super().environment, "PYTHONPATH": str(ROOT)}

    def start(self, work, *names, **environment):
        """The stage whose function is ``work`` as a fork of this process, which saves the many seconds of its imports."""
        process = multiprocessing.get_context("fork").Process(target=self._stage, args=(work, names, environment))
        process.start()
        return process

    def finish(self, work, *names):
        """The stage, run to its end; its exit status."""
        process = self.start(work, *names)
        process.join()
        return process.exitcode

    def _stage(self, work, names, environment):
        PartialState._reset_state()  # a program that starts knows of no processes; a fork of a test that ran others does
        os.chdir(self.root)
        os.environ |= environment
        sys.stdout = sys.stderr = (self.root / "log").open("w")  # open to the end: the error comes last
        stage.run(work, loading.load, dataset=names[0], design=names[1])

    def log(self):
        """What the last stage printed."""
        return (self.root / "log").read_text()


def workers(process):
    """Pids of the processes that a stage has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
