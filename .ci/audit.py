"""Fails where a locked package has a known vulnerability that is not listed in ``KNOWN`` with its reason.

pip-audit asks the package index's JSON pages. Where those do not answer for a version, as in mirrors of the simple index alone,
this says so and passes: nothing is known there, neither good nor bad.
"""

import subprocess
import sys
import tempfile
import urllib.request
import venv
from pathlib import Path

LOCK = Path(__file__).resolve().parent.parent / "requirements.lock"
SERVICE = "https://pypi.org/pypi/pip/25.0/json"  # any version that exists
KNOWN: dict[str, str] = {}  # identifier: why it does not matter here, or until when it is borne


def answers() -> str:
    """Empty where the service answers for a version, else what it said."""
    try:
        with urllib.request.urlopen(SERVICE, timeout=5) as reply:
            return "" if b'"vulnerabilities"' in reply.read() else "an answer without vulnerabilities"
    except OSError as error:
        return str(error)


def main() -> int:
    """Exit status: that of pip-audit, or 0 where it cannot ask."""
    if said := answers():
        print(f"no audit of dependencies: {SERVICE} does not serve what pip-audit needs ({said})")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = f"{folder}/bin/python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "pip-audit>=2.9,<3"], check=True)  # noqa: S603
        command = [
            python,
            "-m",
            "pip_audit",
            "--requirement",
            str(LOCK),
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
        ]
        ignored = [option for identifier in KNOWN for option in ("--ignore-vuln", identifier)]
        return subprocess.run([*command, *ignored], check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main())
