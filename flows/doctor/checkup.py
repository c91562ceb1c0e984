"""`levy doctor`: looks at the whole set-up, changes nothing, and says what is wrong and how to mend it."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from flows.doctor import checkout as checkout
from flows.doctor import models, registry, servers
from flows.doctor import storage as dvc
from flows.doctor.findings import Check, Finding, run_check

SECONDS = 120.0  # for one check; a dead server is given up after a few


def checks(deep: bool) -> dict[str, Check]:
    """Every check by its name, in the order in which a person would mend things.

    Args:
        deep: read all of DVC's cache and all registered models, however large, instead of a part.
    """
    return {
        "environment": checkout.environment,
        "params": checkout.params_file,
        "processors": checkout.processors,
        "disk": dvc.disk,
        "git": checkout.git_repository,
        "secrets": checkout.secrets,
        "keys": checkout.signing_keys,
        "locks": dvc.locks,
        "cache": partial(dvc.cache, deep),  # before data, which come from it
        "data": partial(dvc.data, deep),
        "models": partial(models.trained_models, deep),
        "remotes": dvc.remotes,
        "mlflow": servers.mlflow_server,
        "registry": partial(registry.registry, deep),
        "prefect": servers.prefect_server,
        "schedule": servers.schedule,
    }


def examine(deep: bool, seconds: float = SECONDS) -> Iterator[tuple[str, Finding]]:
    """Runs the checks one after the other; yields each finding with the name of its check."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    for name, check in checks(deep).items():
        for finding in run_check(check, seconds * (30 if deep else 1)):
            yield name, finding


def as_line(name: str, finding: Finding) -> str:
    """One line for people."""
    advice = f" -> {finding.advice}" if finding.advice else ""
    return f"{finding.state:8s} {name:11s} {finding.found}{advice}"


def as_json(findings: list[tuple[str, Finding]]) -> dict[str, Any]:
    """For programs: whether nothing is wrong, and every finding."""
    return {
        "healthy": is_healthy(findings),
        "findings": [{"check": name, **asdict(finding)} for name, finding in findings],
    }


def is_healthy(findings: list[tuple[str, Finding]]) -> bool:
    """Whether nothing is wrong; warnings are no illness."""
    return all(finding.state != "wrong" for _, finding in findings)


def summary(findings: list[tuple[str, Finding]]) -> str:
    """The last line for people."""
    count = {state: sum(f.state == state for _, f in findings) for state in ("wrong", "warning")}
    return f"{count['wrong']} wrong, {count['warning']} warnings" if any(count.values()) else "all in order"
