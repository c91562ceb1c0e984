"""Servers that tests start for real: PostgreSQL, sshd, MLflow and Prefect, each on loopback and gone with its block.

MLflow, Prefect and its worker are started as the units and environment files in docs/servers say, with other ports and folders.
"""

import contextlib
import getpass
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

import psutil
import pytest

from tasks.runtime import leash
from tests.conftest import ROOT, wait_until

DOCS = ROOT / "docs" / "servers"
DATABASES = ("mlflow", "mlflow_auth", "prefect")
SECRETS = (
    "PGPASSWORD",
    "MLFLOW_FLASK_SERVER_SECRET_KEY",
    "MLFLOW_AUTH_ADMIN_PASSWORD",
    "PREFECT_SERVER_API_AUTH_STRING",
)
SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Whether something listens on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def running(
    command: list[str], log: Path, ready: Callable[[], bool], stop=signal.SIGTERM, **options
) -> Iterator[psutil.Process]:
    """A server in a session of its own until the block ends, or the tests do.

    The test fails, with the end of the log, as soon as the server has ended; a busy machine alone does not make it fail.
    """
    tests = os.getpid()
    with log.open("w") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True,
            preexec_fn=lambda: leash.die_with_parent(tests), **options,
        )  # fmt: skip
    try:
        came = wait_until(lambda: process.poll() is not None or ready())
        if process.poll() is not None or not came:
            why = "does not answer" if process.poll() is None else f"ended with {process.poll()}"
            pytest.fail(f"{' '.join(command)} {why}:\n{log.read_text()[-3000:]}")
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(stop)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def listeners(process: psutil.Process) -> set[str]:
    """The addresses that a server and its children listen on."""
    family = [process, *process.children(recursive=True)]
    sockets = [c for p in family for c in p.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    return {c.laddr.ip for c in sockets}


@dataclass(frozen=True)
class Postgres:
    """A cluster with the role and databases of docs/servers.md."""

    port: int
    password: str
    bin: Path
    process: psutil.Process
    log: Path

    def dump(self, database: str) -> str:
        """Everything that a database holds."""
        command = [self.bin / "pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "levy", "--inserts", database]
        return subprocess.run(
            command, env={"PGPASSWORD": self.password}, capture_output=True, text=True, check=True
        ).stdout


def _postgres_account() -> dict:
    """Options of a process that may be PostgreSQL, which refuses root."""
    if os.getuid():
        return {}
    try:
        entry = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _postgres_folder() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders or not (folders[-1] / "postgres").exists():
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    return folders[-1]  # Debian keeps them off the PATH


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A new cluster in a folder that its account can reach, removed afterwards."""
    tools, account, port, password = _postgres_folder(), _postgres_account(), free_port(), secrets.token_hex(24)
    folder = Path(tempfile.mkdtemp(prefix="levy-postgres-"))
    try:
        if account:
            os.chown(folder, account["user"], account["group"])
        data, log = folder / "data", folder.with_suffix(".log")
        init = [
            tools / "initdb",
            "-D",
            data,
            "--auth-local=peer",
            "--auth-host=scram-sha-256",
            "--no-sync",
            "-E",
            "UTF8",
        ]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **account)
        server = [str(tools / "postgres"), "-D", str(data), "-p", str(port), "-k", str(folder)]
        server += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with running(server, log, lambda: answers(port), signal.SIGINT, cwd=folder, **account) as process:
            local = ["-h", str(folder), "-p", str(port)]
            role = f"CREATE ROLE levy LOGIN PASSWORD '{password}'"
            psql = [tools / "psql", *local, "-q", "-v", "ON_ERROR_STOP=1", "postgres"]
            accepts = lambda: subprocess.run([tools / "pg_isready", *local], capture_output=True).returncode == 0
            assert wait_until(accepts), log.read_text()
            subprocess.run(psql, input=role, text=True, check=True, cwd=folder, **account)
            for name in DATABASES:
                subprocess.run([tools / "createdb", *local, "-O", "levy", name], check=True, cwd=folder, **account)
            yield Postgres(port, password, tools, process, log)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        folder.with_suffix(".log").unlink(missing_ok=True)


@dataclass(frozen=True)
class Sshd:
    """An sshd that lets this account in with one key, for files only."""

    url: str
    key: Path
    process: psutil.Process
    log: Path


SSHD_CONFIG = Template("""
Port $port
ListenAddress 127.0.0.1
HostKey $folder/host
PidFile none
AuthorizedKeysFile $folder/client.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp
ForceCommand internal-sftp
""")


@contextlib.contextmanager
def sshd(folder: Path, store: Path) -> Iterator[Sshd]:
    """An sshd for this account; ``url`` is the folder ``store`` as a DVC remote."""
    if not SSHD:
        pytest.skip("sshd is not installed (Debian: apt-get install openssh-server)")
    if not os.getuid():
        Path("/run/sshd").mkdir(exist_ok=True)  # Debian's service makes it; sshd wants it for root alone
    port, config = free_port(), folder / "sshd_config"
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    config.write_text(SSHD_CONFIG.substitute(port=port, folder=folder))
    log = folder / "sshd.log"
    with running([SSHD, "-D", "-e", "-f", str(config)], log, lambda: answers(port)) as process:
        yield Sshd(f"ssh://{getpass.getuser()}@127.0.0.1:{port}{store}", folder / "client", process, log)


def filled(example: str, values: dict[str, str]) -> dict[str, str]:
    """The variables of an environment file in docs/servers with other values for some; a line left empty is an error."""
    lines = [
        line.partition("=") for line in (DOCS / example).read_text().splitlines() if "=" in line and line[0] != "#"
    ]
    settings = {name: value for name, _, value in lines}
    assert set(values) <= set(settings), "only variables that the example names"
    settings |= values
    assert all(settings.values()), "every empty line is filled in"
    return settings


def unit_command(unit: str) -> list[str]:
    """What a systemd unit in docs/servers runs, by this environment's programs."""
    (line,) = [line for line in (DOCS / unit).read_text().splitlines() if line.startswith("ExecStart=")]
    program, *arguments = line.removeprefix("ExecStart=").split()
    return [str(Path(sys.executable).parent / Path(program).name), *arguments]
