"""Several processes of a stage: where CUDA may start."""

import subprocess
import sys

# CUDA counts its devices through the first function; a process that has asked cannot hand CUDA on to those that it forks.
ASKED = """
import os, sys
from types import SimpleNamespace

import torch

def count():
    with open(sys.argv[1], "a") as file:
        print(os.getpid(), file=file)
    return 0

torch._C._cuda_getDeviceCount = count
assert not torch.cuda.is_available()
os.truncate(sys.argv[1], 0)

from tasks import sample, train  # with all that the stages import
from tasks.runtime import processes

assert train.processes is sample.processes is processes
processes.run(SimpleNamespace(threads=1, device="auto"), 2, lambda state: None, exchange=EXCHANGE)
print(os.getpid())
"""


def test_the_process_that_forks_asks_nothing_of_cuda(tmp_path):
    path = tmp_path / "asked"
    command = [sys.executable, "-c", ASKED.replace("EXCHANGE", "True"), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    asked = set(path.read_text().split())
    assert len(asked) == 2  # the workers, which choose their device
    assert done.stdout.split()[-1] not in asked
