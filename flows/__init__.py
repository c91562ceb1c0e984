"""Prefect flows over the DVC graph. Prefect adds when and where a stage runs, never anything to a result."""

import os
from pathlib import Path

from tasks.runtime.silence import silence

silence()  # before Prefect is imported

# Prefect's database and settings live in the checkout, unless a person has set another place.
os.environ.setdefault("PREFECT_HOME", str(Path.cwd() / ".prefect"))
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "INFO")
os.environ.setdefault("PREFECT_SERVER_LOGGING_LEVEL", "ERROR")
