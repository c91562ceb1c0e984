"""`python -m tasks drift` holds new data against those before as params.yaml says."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

BEFORE = {"3": 100, "5": 100, "7": 100}


def drift(after):
    census = json.dumps({"before": {"counts": BEFORE}, "after": {"counts": after}})
    command = [sys.executable, "-m", "tasks", "drift", "--dataset", "digits"]
    done = subprocess.run(command, cwd=ROOT, input=census, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("after", "texts"),
    [
        ({"3": 120, "5": 120, "7": 120}, []),
        ({"3": 100, "5": 100, "7": 95}, []),  # only taken away
        (
            {"3": 180, "5": 110, "7": 110},
            [
                "class 3: 80 % of 100 new images, 33.3 % of those before",
                "class 5: 10 % of 100 new images, 33.3 % of those before",
                "class 7: 10 % of 100 new images, 33.3 % of those before",
            ],
        ),
    ],
)
def test_classes_that_come_in_other_shares_are_told(after, texts):
    found = drift(after)
    assert [each["text"] for each in found] == texts
    assert all(each["numbers"]["p"] < 0.001 for each in found)
