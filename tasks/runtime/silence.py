"""Telemetry off: nothing that the programs of this project start phones home, unless a person has set a variable otherwise."""

import os

SILENCE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}


def silence() -> None:
    """Sets the variables that are not set yet; for programs alone, because they are those of the whole process."""
    for name, value in SILENCE.items():
        os.environ.setdefault(name, value)
