"""A training as an MLflow run while it goes on: the flow forwards what the stage writes down, and the record makes the run its own."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from tasks.registry import lineage, tracking
from tasks.runtime.live import LiveReader

TRAINING = "levy.training"  # tag of a run: hash of what decided the training
PICTURES = "samples"  # key of a run's images
POLL, PATIENCE = 2.0, 60.0  # seconds between two looks, and between two tries of a server that is lost
AT_THE_END = 10.0  # seconds that the end of a stage waits for the last points


class Forwarder:
    """Forwards one training from its file to MLflow, as long as the ``with`` block lasts. A server that is lost costs a warning.

    Args:
        path: where the stage writes (``tasks.runtime.live``); what stands there before is removed.
        warn: takes a line.
    """

    def __init__(self, dataset: str, design: str, path: Path, warn: Callable[[str], None]):
        self.dataset, self.design, self._warn = dataset, design, warn
        self._reader, self._run = LiveReader(path), ""
        self._waiting, self._pictures, self._folder = list[dict[str, float]](), list[dict[str, Any]](), path.parent
        self._over, self._status, self._lost, self._client = threading.Event(), "KILLED", False, None
        self._thread = threading.Thread(target=self._follow, name=f"live {design}", daemon=True)
        path.unlink(missing_ok=True)

    def __enter__(self) -> "Forwarder":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._status = "FINISHED" if kind is None else "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._over.set()
        self._thread.join(AT_THE_END)

    def _follow(self) -> None:
        while True:
            over = self._over.wait(PATIENCE if self._lost else POLL)
            for line in self._reader.read():
                (self._pictures if "picture" in line else self._waiting).append(line)
            if self._waiting or self._pictures or (over and self._run):
                self._lost = not self._forward(over)
            if over:
                return

    def _forward(self, over: bool) -> bool:
        """Sends what waits, and the run's end; whether that went well."""
        try:
            client = self._client = self._client or tracking.connect().MlflowClient()
            self._run = self._run or _begin(client, self.dataset, self.design, self._reader.about)
            client.log_batch(self._run, metrics=_metrics(self._waiting))
            self._waiting = []
            while self._pictures:
                _log_picture(client, self._run, self._folder, self._pictures[0])
                self._pictures.pop(0)
            if over:
                client.set_terminated(self._run, self._status)
        except Exception as error:  # of a server, a database, the network
            self._client = None
            if not self._lost:
                what = " ".join(str(tracking.explain(error) or error).split())[:300]
                self._warn(
                    f"{self.design} on {self.dataset}: its points do not reach {tracking.address()} ({what}); it goes on without"
                )
            return False
        return True


def _begin(client: Any, dataset: str, design: str, about: dict[str, Any]) -> str:
    """The run of this training: a new one, or the one that an interrupted training left."""
    mlflow = tracking.connect()
    experiment = tracking.get_experiment(mlflow, f"levy-{dataset}")
    left = _unrecorded(client, experiment, about["training"])
    if left and about["first"]:  # the training goes on, and so does its run
        client.update_run(left[0].info.run_id, status="RUNNING")
        return str(left[0].info.run_id)
    for run in left:
        if run.info.status == "RUNNING":  # of a process that was killed
            client.set_terminated(run.info.run_id, "KILLED")
    tags = {tracking.HOST: tracking.host(), TRAINING: about["training"], lineage.DESIGN: design}
    run = client.create_run(experiment, run_name=f"{dataset} {design}", tags=tags)
    client.log_param(run.info.run_id, "train.steps", about["steps"])
    return str(run.info.run_id)


def find_run(client: Any, experiment: str, training: str | None) -> str | None:
    """The run of a training that has ended here, which no record has made its own; None where nobody watched.

    Points may be missing: of a time without a server, or without anybody who watched, and those on their way when a flow was killed.
    """
    left = _unrecorded(client, experiment, training) if training else []
    left.sort(key=lambda run: run.info.status != "FINISHED")
    return left[0].info.run_id if left else None


def _unrecorded(client: Any, experiment: str, training: str) -> list[Any]:
    asked = f"tags.`{TRAINING}` = '{training}' and tags.`{tracking.HOST}` = '{tracking.host()}'"
    return [run for run in client.search_runs([experiment], asked) if lineage.RECORDED not in run.data.tags]


def _log_picture(client: Any, run: str, folder: Path, line: dict[str, Any]) -> None:
    """One that a new training has removed is left out."""
    from PIL import Image

    with suppress(FileNotFoundError), Image.open(folder / line["picture"]) as picture:
        client.log_image(run, picture, key=PICTURES, step=int(line["step"]), synchronous=True)


def _metrics(points: list[dict[str, float]]) -> list[Any]:
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    return [
        Metric(name, float(value), now, int(point["step"]))
        for point in points
        for name, value in point.items()
        if name != "step"
    ]
