"""A program that looks for garbage seldom is the program that it would be."""

import os
import subprocess
import sys

import pytest

from tasks.runtime import garbage

PROGRAM = """
import atexit, gc, sys
print(__name__, sys.argv, sys.path, sys.modules["__main__"].__spec__.name)
atexit.register(lambda: print("frozen" if gc.get_freeze_count() else "last words"))
print(gc.get_threshold()[0], file=sys.stderr)
sys.exit(3)
"""


@pytest.mark.parametrize("safe", [{}, {"PYTHONSAFEPATH": "1"}], ids=["", "safe path"])
def test_a_module_that_looks_for_garbage_seldom_is_called_and_ends_as_by_python_itself(tmp_path, safe):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__main__.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), **safe}
    own, seldom = (
        subprocess.run(
            [sys.executable, *way, "theirs", "-m", "a b"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        for way in (["-m"], [garbage.__file__])
    )
    assert own.stdout == seldom.stdout
    assert own.stdout.endswith("theirs.__main__\nlast words\n")  # the last look is left out after them
    assert own.returncode == seldom.returncode == 3
    assert (int(own.stderr), int(seldom.stderr)) == (700, garbage.EVERY)
