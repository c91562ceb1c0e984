"""GPUs for stages that run side by side."""

import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.params.schema import Params

VISIBLE = "CUDA_VISIBLE_DEVICES"
WITHOUT = frozenset({"prepare", "compare", "report"})  # stages that compute on no GPU


class Gpus:
    """The GPUs of this machine for stages: one in a single process gets the one with the fewest stages, in several it sees all.

    Args:
        ids: as CUDA_VISIBLE_DEVICES names them. several: kinds of stages that run in several processes.
    """

    def __init__(self, ids: Sequence[str], several: Collection[str] = ()):
        self._stages, self._several = dict.fromkeys(ids, 0), several
        self._lock = threading.Lock()

    @contextmanager
    def lend(self, stage: str) -> Iterator[dict[str, str]]:
        """Variables of the environment of a stage of DVC's graph, while it runs."""
        kind = stage.partition("@")[0]
        if len(self._stages) < 2 or kind in WITHOUT or kind in self._several:
            yield {}
            return
        with self._lock:
            gpu = min(self._stages, key=lambda name: self._stages[name])
            self._stages[gpu] += 1
        try:
            yield {VISIBLE: gpu}
        finally:
            with self._lock:
                self._stages[gpu] -= 1


def gpus_for(params: Params) -> Gpus:
    """Those that the stages of these parameters may use."""
    counts = {"train": params.train.processes, "sample": params.compute.processes}
    several = {kind for kind, count in counts.items() if count > 1}
    return Gpus([] if params.compute.device == "cpu" else find_gpus(), several)


def find_gpus(environment: Mapping[str, str] = os.environ, devices: Path = Path("/dev")) -> list[str]:
    """The GPUs that a stage would see, as CUDA_VISIBLE_DEVICES names them; none where there are not several."""
    if len(list(devices.glob("nvidia[0-9]*"))) < 2:  # torch, which knows, takes a second to import
        return []
    import torch

    named = [name.strip() for name in environment.get(VISIBLE, "").split(",") if name.strip()]
    count = torch.cuda.device_count()
    return named[:count] if named else [str(number) for number in range(count)]
