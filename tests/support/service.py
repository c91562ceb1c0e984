"""A real Prefect server and a real worker on loopback, for a checkout."""

import json
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.conftest import ROOT, Checkout
from tests.support.servers import answers, free_port, running

DOCUMENTED = (ROOT / "docs/retraining.md").read_text().partition("## On a schedule")[2].partition("\n## ")[0]
LIST = """
import asyncio, json
from prefect.client.orchestration import get_client
async def runs():
    async with get_client() as client:
        print(json.dumps([
            {"id": str(r.id), "state": r.state_name, "scheduled": r.auto_scheduled, "by": r.created_by and r.created_by.type,
             "message": r.state.message}
            for r in await client.read_flow_runs() if r.deployment_id]))
asyncio.run(runs())
"""


@dataclass(frozen=True)
class Service:
    """A server with the work pools of prefect.yaml and a process worker for each, started in the root of a checkout."""

    checkout: Checkout
    environment: dict[str, str]

    def prefect(self, *arguments: str) -> str:
        """Standard output of Prefect's command."""
        return self._run("-m", "prefect", *arguments)

    def runs(self) -> list[dict]:
        """The runs of deployments."""
        return json.loads(self._run("-c", LIST).splitlines()[-1])

    def events(self, name: str) -> list[dict]:
        """The events of this name so far, newest first."""
        body = json.dumps({"filter": {"event": {"name": [name]}}}).encode()
        url, head = f"{self.environment['PREFECT_API_URL']}/events/filter", {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, head)) as reply:
            return json.load(reply)["events"]

    def _run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.checkout.root, env=self.environment, stdin=subprocess.DEVNULL,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def documented(*beginnings: str) -> list[list[str]]:
    """Arguments of the commands `prefect BEGINNING...` in docs/retraining.md from an empty machine on, in their order."""
    commands = [shlex.split(line, comments=True)[1:] for line in DOCUMENTED.splitlines() if line.startswith("prefect ")]
    found = [arguments for arguments in commands if " ".join(arguments).startswith(beginnings)]
    assert found, f"docs/retraining.md has no `prefect {beginnings[0]}`"
    return found


def prefect_server(port: int, folder: Path, **options) -> AbstractContextManager[psutil.Process]:
    """Prefect's server on a port of loopback; its log lies in ``folder``."""
    where = ("--host", "127.0.0.1", "--port", str(port), "--no-ui")
    command = [sys.executable, "-m", "prefect", "server", "start", *where]
    return running(command, folder / "server.log", lambda: answers(port), **options)


@contextmanager
def serving(checkout: Checkout, folder: Path, **extra: str) -> Iterator[Service]:
    """The service of docs/retraining.md, by its commands, with what prefect.yaml deploys; logs and the database lie in ``folder``, ``extra`` in its environment."""
    port = free_port()
    environment = {
        **checkout.environment,
        "PREFECT_HOME": str(folder),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_API_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "true",
        "PWD": str(checkout.root),
        **extra,
    }
    service, command = Service(checkout, environment), [sys.executable, "-m", "prefect"]
    options = {"cwd": checkout.root, "env": environment}
    with ExitStack() as stack:
        stack.enter_context(prefect_server(port, folder, **options))
        for arguments in documented("work-pool create", "--no-prompt deploy --all"):
            service.prefect(*arguments)
        for arguments in documented("worker start"):
            log = folder / f"{arguments[-1]}.log"
            worker = running([*command, *arguments], log, lambda log=log: "started!" in log.read_text(), **options)
            stack.enter_context(worker)
        yield service
