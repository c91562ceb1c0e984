"""A registered model over REST: MLflow's own application, which says here to a drawing that its client has left."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from levy_core.base.errors import LevyError
from levy_core.serving.connection import WatchedConnections
from levy_core.serving.requests import limit_of, refuse_unknown
from levy_core.serving.workload import TIMEOUT
from tasks.registry import signature
from tasks.registry.download import fetch_whole


def serve(uri: str, host: str, port: int, seconds: int, verified: bool = False) -> None:
    """Serves a model until SIGTERM or Ctrl-C, with MLflow's routes and answers.

    Args:
        seconds: that a request may take. verified: only what a trusted key has signed.

    Raises:
        LevyError: as ``fetch_whole`` and as loading the model.
    """
    import mlflow
    import uvicorn

    os.environ[TIMEOUT] = str(seconds)  # read by MLflow's application and by the model
    batch = limit_of("LEVY_BATCH")
    with TemporaryDirectory() as scratch:  # a model reads what belongs to observations once it is asked with some
        model = mlflow.pyfunc.load_model(str(fetch_whole(uri, Path(scratch) / "model", verified)))
        server = uvicorn.Server(uvicorn.Config(WatchedConnections(application(model)), host=host, port=port))
        asyncio.run(_run(server, _threads(batch)))


def application(model: Any) -> Any:
    """MLflow's application (ASGI) of a model that ``mlflow.pyfunc`` loaded; it knows all keys of a request and no others."""
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import scoring_server

    outputs = model.metadata.signature.outputs if model.metadata.signature else None
    # That of an earlier levy would drop later keys.
    model.metadata.signature = ModelSignature(signature.inputs(), outputs)
    return scoring_server.init(StrictModel(model))


class StrictModel:
    """A loaded model, as MLflow's application uses it, that refuses what MLflow would leave out with a warning in the log.

    Raises:
        LevyError: a key that no request has, or ``params``, which levy's models do not take.
    """

    def __init__(self, model: Any):
        self._model, self.metadata = model, model.metadata

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> Any:
        rows = data if isinstance(data, list) else [data]  # tables and mappings go through their keys
        refuse_unknown(key for row in rows if hasattr(row, "keys") for key in row)
        if params:
            raise LevyError(f"the request has params {params}: write its keys into the rows, beside n")
        return self._model.predict(data)


def _threads(batch: int) -> int:
    """As many as asyncio would have; who waits for a batch beside them keeps a thread, too."""
    return min(32, (os.cpu_count() or 1) + 4) + batch


async def _run(server: Any, threads: int) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    await server.serve()
