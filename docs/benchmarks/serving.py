"""What a served model answers under load: python docs/benchmarks/serving.py [SECONDS]

Serves a network of the size of the starter's with random weights by MLflow's own server, and asks for one image in ten
evaluations, each request with a seed of its own. Clients run in a process of their own on the same machine.
"""

import asyncio
import contextlib
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import aiohttp
import numpy as np
import torch

from levy_core.base.files import write_json
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from levy_core.serving.requests import COLUMNS, SAMPLER
from levy_core.training.checkpoint import save_model

CLIENTS = (1, 8, 32)
SERVERS = {"1 worker": (), "2 workers": ("--workers", "2")}  # options of `mlflow models serve`
STARTER = UNetConfig((1, 8, 8), 10, (16, 32))
SOLVER = Solver("ode", "2m-data", "karras", 10)


def save_served(folder: Path, config: UNetConfig = STARTER) -> Path:
    """An MLflow model with random weights."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    torch.manual_seed(0)
    samples = Samples("images", tuple("0123456789"), **RECORDED["images"])
    save_model(
        folder / "data", dict(UNet(config).state_dict()), Design.from_mapping({"preset": "lim"}), config, samples, {}
    )
    write_json(folder / "data" / SAMPLER, {"default": SOLVER.steps, "samplers": {str(SOLVER.steps): asdict(SOLVER)}})
    columns = [ColSpec(kind, name, required=False) for name, kind in COLUMNS.items()]
    mlflow.pyfunc.save_model(
        folder / "model", loader_module="levy_core.serving.registered", data_path=str(folder / "data"),
        signature=ModelSignature(Schema(columns)), pip_requirements=["levy"],
    )  # fmt: skip
    return folder / "model"


@contextlib.contextmanager
def serving(model: Path, *options: str) -> Iterator[str]:
    """The address of MLflow's server of a model, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    where = ("--env-manager", "local", "--host", "127.0.0.1", "--port", str(port))
    mlflow = shutil.which("mlflow", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with (model.parent / "server.log").open("w") as log:
        server = subprocess.Popen(
            [str(mlflow), "models", "serve", "-m", str(model), *where, *options],
            env={**os.environ, "UVICORN_LOG_LEVEL": "warning"}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        url = f"http://127.0.0.1:{port}"
        try:
            while True:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ping", timeout=5):
                    break
                if server.poll() is not None:
                    sys.exit(f"the server ended: {Path(log.name).read_text()[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait()


async def load(url: str, clients: int, seconds: float) -> list[float]:
    """Seconds that each request took, with so many clients that ask again as soon as they are answered."""
    taken, end = [], time.perf_counter() + seconds
    async with aiohttp.ClientSession() as session:

        async def ask(client: int) -> None:
            seed = client * 1_000_000
            while (begun := time.perf_counter()) < end:
                seed += 1
                body = {"dataframe_records": [{"n": 1, "class": str(seed % 10), "seed": seed}]}
                async with session.post(f"{url}/invocations", json=body) as answer:
                    images = json.loads(await answer.read())
                    assert answer.status == 200, images
                taken.append(time.perf_counter() - begun)

        await asyncio.gather(*(ask(client) for client in range(clients)))
    return taken


def main(seconds: float) -> None:
    """Prints a table."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {seconds:g} s a line\n")
    print("| server | clients | requests/s | p50, ms | p99, ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        model = save_served(Path(folder))
        for name, options in SERVERS.items():
            with serving(model, *options) as url:
                asyncio.run(load(url, 1, 2))  # warms up
                for clients in CLIENTS:
                    taken = asyncio.run(load(url, clients, seconds))
                    p50, p99 = 1000 * np.percentile(taken, [50, 99])
                    print(f"| {name} | {clients} | {len(taken) / seconds:.1f} | {p50:.0f} | {p99:.0f} |", flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 20)
