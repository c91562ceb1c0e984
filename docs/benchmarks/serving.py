"""What a served model answers under load: python docs/benchmarks/serving.py [SECONDS [ROUNDS]]

Serves a network of the size of the starter's with random weights, and asks for one image in ten evaluations, each request with a
seed of its own. Clients run in a process of their own on the same machine. All servers run all the time and are asked in turn, round
after round, so that other work on the machine meets them alike.
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
from collections.abc import Iterator, Mapping, Sequence
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
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import save_model
from tasks.registry import signature

CLIENTS = (1, 8, 32)
MLFLOW = ("mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1", "-m")
SERVERS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {  # the command, and its environment
    "mlflow models serve": (MLFLOW, {}),
    "levy serve": (("levy", "serve"), {}),
    "levy serve, LEVY_BATCH=32": (("levy", "serve"), {"LEVY_BATCH": "32"}),
}
STARTER = UNetConfig((1, 8, 8), 10, (16, 32))
SOLVER = Solver("ode", "2m-data", "karras", 10)


def save_served(folder: Path, config: UNetConfig = STARTER) -> Path:
    """An MLflow model with random weights."""
    import mlflow
    from mlflow.models import ModelSignature

    torch.manual_seed(0)
    samples = Samples("images", tuple("0123456789"), **RECORDED["images"])
    save_model(
        folder / "data", dict(UNet(config).state_dict()), Design.from_mapping({"preset": "lim"}), config, samples, {}
    )
    write_json(folder / "data" / SAMPLER, {"default": SOLVER.steps, "samplers": {str(SOLVER.steps): asdict(SOLVER)}})
    mlflow.pyfunc.save_model(
        folder / "model", loader_module="levy_core.serving.registered", data_path=str(folder / "data"),
        signature=ModelSignature(signature.inputs()), pip_requirements=["levy"],
    )  # fmt: skip
    return folder / "model"


@contextlib.contextmanager
def serving(model: Path, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[str]:
    """The address of a server of a model, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    own = {"UVICORN_LOG_LEVEL": "warning", "MLFLOW_TRACKING_URI": f"sqlite:///{model.parent / 'mlflow.db'}"}
    with (model.parent / f"{port}.log").open("w") as log:
        server = subprocess.Popen(
            [str(program), *command[1:], str(model), "--port", str(port)], env={**os.environ, **own, **environment},
            stdout=log, stderr=log, start_new_session=True,
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


def main(seconds: float, rounds: int) -> None:
    """Prints a table."""
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {rounds} rounds of {seconds:g} s\n"
    )
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as servers:
        model = save_served(Path(folder))
        urls = {name: servers.enter_context(serving(model, *how)) for name, how in SERVERS.items()}
        found: dict[tuple[str, int], list[list[float]]] = {}
        for url in urls.values():
            asyncio.run(load(url, 8, 2))  # warms up
        for _ in range(rounds):
            for clients in CLIENTS:
                for name, url in urls.items():
                    found.setdefault((name, clients), []).append(asyncio.run(load(url, clients, seconds)))
    print("| server | clients | requests/s: best (all rounds) | p50, ms | p99, ms |\n|---|---|---|---|---|")
    for (name, clients), taken in sorted(found.items(), key=lambda entry: entry[0][1]):
        best, rates = max(taken, key=len), ", ".join(f"{len(t) / seconds:.0f}" for t in taken)
        p50, p99 = 1000 * np.percentile(best, [50, 99])
        print(f"| {name} | {clients} | {len(best) / seconds:.1f} ({rates}) | {p50:.0f} | {p99:.0f} |")


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10, int(sys.argv[2]) if len(sys.argv) > 2 else 5)
