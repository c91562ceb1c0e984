"""A registered model over REST: MLflow's own application, which says here to a drawing that its client has left."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from levy_core.serving.connection import WatchedConnections
from levy_core.serving.requests import limit_of
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
    from mlflow.models import ModelSignature
    from mlflow.pyfunc import scoring_server

    os.environ[TIMEOUT] = str(seconds)  # read by MLflow's application and by the model
    batch = limit_of("LEVY_BATCH")
    with TemporaryDirectory() as scratch:  # a model reads what belongs to observations once it is asked with some
        model = mlflow.pyfunc.load_model(str(fetch_whole(uri, Path(scratch) / "model", verified)))
        outputs = model.metadata.signature.outputs if model.metadata.signature else None
        # That of an earlier levy would drop later keys.
        model.metadata.signature = ModelSignature(signature.inputs(), outputs)
        server = uvicorn.Server(uvicorn.Config(WatchedConnections(scoring_server.init(model)), host=host, port=port))
        asyncio.run(_run(server, _threads(batch)))


def _threads(batch: int) -> int:
    """As many as asyncio would have; who waits for a batch beside them keeps a thread, too."""
    return min(32, (os.cpu_count() or 1) + 4) + batch


async def _run(server: Any, threads: int) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(threads))
    await server.serve()
