"""One module per DVC stage, plus what the stages share: parameters, paths, recording in MLflow.

Nothing that runs from here phones home: importing the package turns the telemetry of its tools off, unless a person
has set those variables already.
"""

import os

from tasks.runtime import leash

SILENCE = {
    "DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
for _name, _value in SILENCE.items():
    os.environ.setdefault(_name, _value)

# Before the seconds of importing torch: a stage whose DVC is killed meanwhile would otherwise live on.
if "DVC_STAGE" in os.environ:
    leash.die_with_parent(int(os.environ.get(leash.PARENT, os.getppid())))
