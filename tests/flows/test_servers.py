"""The set-up of docs/servers.md, with real servers: PostgreSQL and sshd of Debian, MLflow with accounts, Prefect and its worker."""

import base64
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from flows.doctor import checkup
from flows.doctor import servers as doctor_servers
from flows.doctor.findings import run_check
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files
from tasks.registry import tracking
from tasks.runtime import health
from tests.conftest import Checkout
from tests.support import servers
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.long
SERVER_CHECKS = ("mlflow", "registry", "prefect")
ACCOUNTS = (servers.DOCS / "accounts.py").resolve()


@dataclass(frozen=True)
class Team:
    """The running servers, and what a member of the team sets."""

    postgres: servers.Postgres
    processes: list[psutil.Process]
    logs: list[Path]
    folder: Path
    server: dict[str, str]
    passwords: dict[str, str]

    @property
    def mlflow(self) -> str:
        return f"http://127.0.0.1:{self.server['MLFLOW_PORT']}"

    @property
    def prefect(self) -> str:
        return f"http://127.0.0.1:{self.server['PREFECT_SERVER_API_PORT']}/api"

    def member(self, name: str) -> dict[str, str]:
        """The environment of client.env for an account."""
        return servers.filled(
            "client.env.example",
            {
                "MLFLOW_TRACKING_URI": self.mlflow,
                "MLFLOW_TRACKING_USERNAME": name,
                "MLFLOW_TRACKING_PASSWORD": self.passwords[name],
                "PREFECT_API_URL": self.prefect,
                "PREFECT_API_AUTH_STRING": self.server["PREFECT_SERVER_API_AUTH_STRING"],
            },
        )


def answering(url: str) -> bool:
    try:
        return health.status(url, 2) == 200
    except OSError:
        return False


def server_settings(folder: Path, postgres: servers.Postgres) -> dict[str, str]:
    """server.env with ports, folders and secrets of this test, and mlflow-auth.ini beside it."""
    address = f"levy@127.0.0.1:{postgres.port}"
    ini = (servers.DOCS / "mlflow-auth.ini").read_text().replace("levy@127.0.0.1:5432", address)
    (folder / "mlflow-auth.ini").write_text(ini)
    return servers.filled(
        "server.env.example",
        {
            "MLFLOW_PORT": str(servers.free_port()),
            "MLFLOW_WORKERS": "1",
            "MLFLOW_BACKEND_STORE_URI": f"postgresql://{address}/mlflow",
            "MLFLOW_ARTIFACTS_DESTINATION": str(folder / "artifacts"),
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "mlflow-auth.ini"),
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_SERVER_API_PORT": str(servers.free_port()),
            "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://{address}/prefect",
            "PGPASSWORD": postgres.password,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(24),
            "MLFLOW_AUTH_ADMIN_PASSWORD": secrets.token_hex(24),
            "PREFECT_SERVER_API_AUTH_STRING": f"levy:{secrets.token_hex(24)}",
        },
    )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    return finished_checkout(tmp_path_factory, "finished")


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    folder = tmp_path_factory.mktemp("team")
    (folder / "artifacts").mkdir()
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.postgres())
        settings = server_settings(folder, postgres)
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **settings}
        team = Team(postgres, [postgres.process], [postgres.log], folder, settings, {})
        for unit, url in {"mlflow": team.mlflow, "prefect": team.prefect}.items():
            log, command = folder / f"{unit}.log", servers.unit_command(f"{unit}.service")
            process = servers.running(command, log, lambda url=url: answering(url), env=environment, cwd=folder)
            team.processes.append(stack.enter_context(process))
            team.logs.append(log)
        team.passwords["admin"] = settings["MLFLOW_AUTH_ADMIN_PASSWORD"]
        for name, role in {"rita": "reader", "levy": "writer"}.items():
            team.passwords[name] = secrets.token_hex(24)
            subprocess.run(
                [sys.executable, ACCOUNTS, name, role],
                input=team.passwords[name], text=True, env={**os.environ, **team.member("admin")}, check=True,
            )  # fmt: skip
        yield team


@pytest.fixture(scope="module")
def recorded(team, checkout) -> str:
    """What `levy run` printed: nothing was stale, so it ran the flow on Prefect and recorded in MLflow as the writer."""
    return checkout.levy("run", **team.member("levy")).stdout


@pytest.fixture
def become(team, monkeypatch):
    """Makes this process a member of the team; without a name, somebody without an account."""
    import mlflow

    def member(name: str | None) -> mlflow.MlflowClient:
        for variable, value in team.member(name or "rita").items():
            monkeypatch.setenv(variable, value)
        if name is None:
            for variable in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING"):
                monkeypatch.delenv(variable)
        mlflow.set_tracking_uri(team.mlflow)
        return mlflow.MlflowClient()

    yield member
    mlflow.set_tracking_uri(None)


def status(error: Exception) -> int:
    """The HTTP status behind an error of MLflow's client."""
    return error.get_http_status_code() if hasattr(error, "get_http_status_code") else error.response.status_code


@pytest.mark.parametrize("path", ["mlflow/experiments/search?max_results=1", "mlflow-artifacts/artifacts"])
def test_without_an_account_mlflow_answers_401(team, path):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{team.mlflow}/api/2.0/{path}", timeout=600)
    assert refused.value.code == 401


def test_without_the_password_prefect_answers_401(team):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{team.prefect}/admin/version", timeout=600)
    assert refused.value.code == 401


def test_a_writer_records_through_the_servers_alone(team, checkout, recorded, become):
    assert "levy-digits version 1, alias champion" in recorded
    assert not (checkout.root / "mlflow.db").exists()  # nothing beside the servers
    assert not (checkout.root / "mlartifacts").exists()
    client = become("levy")
    version = client.get_model_version_by_alias("levy-digits", "champion")
    run = client.get_run(version.tags["levy.run"])
    assert run.info.artifact_uri.startswith("mlflow-artifacts:/")  # clients never learn of the folder
    assert list((team.folder / "artifacts").rglob("model.safetensors"))


def test_the_flow_ran_on_the_prefect_server_with_postgresql(team, recorded):
    assert recorded
    login = base64.b64encode(team.server["PREFECT_SERVER_API_AUTH_STRING"].encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{team.prefect}/flow_runs/filter", b"{}", headers)
    (run,) = json.loads(urllib.request.urlopen(request, timeout=600).read())
    assert run["state"]["type"] == "COMPLETED"
    assert run["id"] in team.postgres.dump("prefect")


def test_a_reader_looks_up_and_draws_but_changes_nothing(team, checkout, recorded, become, tmp_path):
    import mlflow

    client = become("rita")
    images = mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 2, "seed": 0})
    assert images.shape == (2, 8, 8, 1)
    version = client.get_model_version_by_alias("levy-digits", "champion")
    run = version.tags["levy.run"]
    (tmp_path / "file").write_text("x")
    attempts = {
        "alias": lambda: client.set_registered_model_alias("levy-digits", "champion", version.version),
        "tag of a version": lambda: client.set_model_version_tag("levy-digits", version.version, "a", "b"),
        "delete": lambda: client.delete_model_version("levy-digits", version.version),
        "metric": lambda: client.log_metric(run, "a", 1.0),
        "artifact": lambda: client.log_artifact(run, str(tmp_path / "file")),
    }
    found = {}
    for what, attempt in attempts.items():
        with pytest.raises(Exception) as refused:  # noqa: PT011  (MLflow's or its HTTP library's)
            attempt()
        found[what] = status(refused.value)
    assert found == dict.fromkeys(attempts, 403)


def test_levy_lookup_works_for_a_reader(team, checkout, recorded):
    assert "levy-digits version 1 @champion" in checkout.levy("lookup", **team.member("rita")).stdout


@pytest.mark.parametrize("password", [None, "another"])
def test_levy_says_which_variables_an_account_needs(team, become, monkeypatch, password):
    become("rita" if password else None)
    if password:
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
    with pytest.raises(LevyError, match="MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"):
        tracking.check_server(team.mlflow)


def test_doctor_finds_the_teams_servers_in_order_and_names_what_an_account_lacks(
    team, checkout, recorded, become, monkeypatch
):
    monkeypatch.chdir(checkout.root)
    checks = {name: check for name, check in checkup.checks(deep=False).items() if name in SERVER_CHECKS}

    def findings(name):
        become(name)
        return [finding for check in checks.values() for finding in run_check(check, 60)]

    assert {finding.state for finding in findings("rita")} == {"ok"}
    advice = " ".join(finding.advice for finding in findings(None) if finding.state == "wrong")
    assert "MLFLOW_TRACKING_USERNAME" in advice
    assert "PREFECT_API_AUTH_STRING" in advice


@pytest.mark.parametrize(("pool", "unit"), [("levy", "prefect-worker"), ("levy-alarm", "prefect-alarm")])
def test_a_deployment_without_a_worker_is_named_and_the_unit_of_the_worker_mends_it(
    team, checkout, become, tmp_path, monkeypatch, pool, unit
):
    become("levy")
    monkeypatch.chdir(tmp_path)
    Path("prefect.yaml").write_text(f"deployments: [{{name: for-{pool}}}]")
    ask = doctor_servers.query_prefect

    def state():
        return [finding.state for finding in run_check(doctor_servers.schedule, 60)]

    assert state() == ["warning"]  # it is in the file and not on the server
    ask("work_pools/", {"name": pool, "type": "process"})
    flow = ask("flows/", {"name": "scheduled"})
    ask("deployments/", {"name": f"for-{pool}", "flow_id": flow["id"], "work_pool_name": pool})
    assert state() == ["wrong"]  # nobody would run it
    command, log = servers.unit_command(f"{unit}.service"), team.folder / f"{unit}.log"
    environment = {**checkout.environment, **team.member("levy"), "PREFECT_HOME": str(team.folder / unit)}
    team.logs.append(log)
    with servers.running(command, log, lambda: state() == ["ok"], env=environment, cwd=checkout.root) as worker:
        assert servers.listeners(worker) <= {"127.0.0.1"}


@pytest.fixture(scope="module")
def ssh(tmp_path_factory) -> Iterator[servers.Sshd]:
    folder = tmp_path_factory.mktemp("ssh")
    with servers.sshd(folder, folder / "store") as server:
        yield server


def test_what_is_pushed_over_ssh_is_pulled_elsewhere_byte_by_byte(checkout, ssh, tmp_path):
    def dvc(at, *arguments):
        return Checkout(at).run(sys.executable, "-m", "dvc", *arguments)

    dvc(checkout.root, "remote", "add", "--default", "storage", ssh.url)
    dvc(checkout.root, "remote", "modify", "--local", "storage", "keyfile", str(ssh.key))
    dvc(checkout.root, "push", "--quiet")
    checkout.run("git", "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "-qam", "remote")
    clone = tmp_path / "clone"
    checkout.run("git", "clone", "-q", str(checkout.root), str(clone))
    assert not (clone / ".dvc" / "config.local").exists()  # where the key lies is no concern of git's
    dvc(clone, "remote", "modify", "--local", "storage", "keyfile", str(ssh.key))
    said = dvc(clone, "pull")
    assert "No remote provided" not in said.stdout + said.stderr  # with a default remote, DVC has nothing to call out
    assert contents(clone / "outputs") == contents(checkout.root / "outputs", without="resume")
    assert contents(clone / "data") == contents(checkout.root / "data")
    assert servers.listeners(ssh.process) == {"127.0.0.1"}


def contents(folder: Path, without: str = "") -> dict[str, str]:
    """Hashes of all files below a folder."""
    files = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file() and without not in p.parts}
    return {name: hash_files(path) for name, path in files.items() if path.name != ".gitignore"}


def test_every_server_listens_on_loopback_alone(team, recorded):
    assert {address for process in team.processes for address in servers.listeners(process)} == {"127.0.0.1"}


def test_no_secret_is_in_git_in_the_databases_in_artifacts_in_logs_or_in_a_command_line(team, checkout, recorded):
    secret = {name: team.server[name] for name in servers.SECRETS} | team.passwords
    secret |= {f"{name}, encoded": base64.b64encode(value.encode()).decode() for name, value in secret.items()}
    kept = [checkout.root / name for name in checkout.run("git", "ls-files", "-z").stdout.split("\0") if name]
    kept += [p for folder in ("artifacts", "prefect") for p in (team.folder / folder).rglob("*")]
    kept += [*team.logs, *(checkout.root / ".prefect").rglob("*"), *(servers.DOCS).iterdir()]
    held = {str(path): path.read_bytes() for path in kept if path.is_file()}
    held |= {f"database {name}": team.postgres.dump(name).encode() for name in servers.DATABASES}
    for process in team.processes:
        for member in [process, *process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):  # PostgreSQL's come and go with connections
                held[f"command line of {member.pid}"] = " ".join(member.cmdline()).encode()
    assert len(held) > 100
    assert [
        (name, where) for where, text in held.items() for name, value in secret.items() if value.encode() in text
    ] == []
