"""systemd takes the units in docs/servers as they are, but for the place of the programs."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servers import DOCS

ANALYZE = shutil.which("systemd-analyze")
UNITS = sorted(path.name for path in DOCS.glob("*.service"))


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is not installed (Debian: apt-get install systemd)")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(tmp_path, unit):
    text = (DOCS / unit).read_text()
    assert "/srv/levy/checkout/.venv/bin/" in text
    (tmp_path / unit).write_text(text.replace("/srv/levy/checkout/.venv/bin", str(Path(sys.executable).parent)))
    done = subprocess.run([ANALYZE, "verify", tmp_path / unit], capture_output=True, text=True)
    # Warnings of other units on this machine are none of this one's.
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit in line]) == (0, [])
