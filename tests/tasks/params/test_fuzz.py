"""params.yaml changed at random: every text is taken, with designs, cells and searches, or refused in one line that a person can read."""

import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from tasks.params import loading, plain_yaml
from tasks.params.resolution import design_of
from tasks.params.samplers import cells_of, classes_of, space_of
from tests.conftest import ROOT

SHIPPED = (ROOT / "params.yaml").read_text()
VALUES = plain_yaml.read(SHIPPED)
FAST, LONG = 100, 1_500  # inputs of each way to change
LONGEST_LINE = 4000  # characters of a refusal
# What YAML can hold beside plain values, and texts that readers have stumbled over.
ODD = [
    "null", "~", ".nan", ".inf", "-.inf", "1e400", "-0", "0x" + "f" * 5000, "9" * 5000, "9" * 30, "1_000", "2024-01-01", "2024-01-01T00:00:00Z",
    "!!set {a, b}", "!!binary aGVsbG8=", "!!omap [a: 1]", "!!timestamp 2024-13-01", "!!int x", "!!float x", "!!bool x", "!unknown 1", "&a [*a]", "&a {b: *a}",
    "{? [a, b] : 1}", "{? {a: 1} : 2}", "{1: 2}", "{null: 1}", "{.nan: 1, .nan: 2}", "{a: 1, a: 2}", "{<<: {a: 1}, b: 2}", "{<<: 3}", "{<<: [1]}",
    "[" * 5000 + "]" * 5000, "{a: " * 3000 + "1" + "}" * 3000, '"\\ud800"', '"a\\nb"', '"\\0"', "x" * 100_000, "'" + "y" * 70 + ".5'",
    "[&x [l, l], &y [*x, *x, *x, *x, *x, *x, *x, *x], &z [*y, *y, *y, *y, *y, *y, *y, *y], [*z, *z, *z, *z, *z, *z, *z, *z, *z, *z, *z, *z]]",
    "[]", "{}", "[[]]", "[{}]", "''", "yes", "no", "on", "0o17", "1:30", "=", "@", "`",
]  # fmt: skip
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([0, 1, -1, 2**31, 2**63, 10**18, 10**30, 1e-320, 1e300, 0.5, "data", "images", "fields", "lim"])
    | st.floats()
    | st.text(max_size=20)
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(0, 9), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value below a mapping."""
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, inner in below for place in [(*path, key), *places(inner, (*path, key))]]


PLACES = places(VALUES)


def at(values: Any, place: tuple) -> Any:
    for key in place:
        values = values[key]
    return values


def check(folder: Path, text: str | bytes) -> bool:
    """Whether a params.yaml is taken; if not, it is refused in one line."""
    path = folder / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        params = loading.load(path)
        for name in params.designs:
            design_of(params.models[name], tail_index=3.0)
        for dataset in params.datasets:
            kind = params.kind(dataset)
            assert cells_of(params.sample, kind) or params.tune.steps
            space_of(params.tune, kind).pairs()
            classes_of(params.sample, kind)
            params.evaluation(dataset), params.metric(dataset), params.gate(dataset)
        params.tune.counts()
    except LevyError as error:
        message = str(error)
        assert len(message.splitlines()) == 1, message
        assert message.isprintable(), message
        assert len(message) < LONGEST_LINE, message
        assert "params.yaml" in message
        return False
    return True


def fuzz(examples: int, strategy: Any):
    """The same inputs at every call."""
    limits = settings(
        max_examples=examples, derandomize=True, deadline=None, database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip
    return lambda test: limits(given(strategy)(test))


changes = st.lists(
    st.tuples(st.sampled_from(PLACES), st.sampled_from(["replace", "drop", "twice"]), PLAIN), min_size=1, max_size=3
)


def changed(edits: list[tuple]) -> str:
    """The shipped file with values replaced, dropped or standing twice."""
    values = deepcopy(VALUES)
    for place, what, value in edits:
        try:
            holder = at(values, place[:-1])
            if what == "replace":
                holder[place[-1]] = value
            elif what == "drop":
                del holder[place[-1]]
            elif isinstance(holder, list):
                holder.append(holder[place[-1]])
            else:
                holder[f"{place[-1]}2"] = holder[place[-1]]
        except (KeyError, IndexError, TypeError):  # an earlier edit took it away
            continue
    return plain_yaml.write(values)


def test_the_shipped_file_is_taken(tmp_path):
    assert check(tmp_path, SHIPPED)


@pytest.mark.parametrize("examples", [FAST, pytest.param(LONG, marks=pytest.mark.long)])
def test_values_changed_at_random_are_taken_or_refused_in_a_line(tmp_path, examples):
    taken = []
    fuzz(examples, changes)(lambda edits: taken.append(check(tmp_path, changed(edits))))()
    assert any(taken)
    assert not all(taken)


@pytest.mark.parametrize("every", [pytest.param(6, marks=pytest.mark.long), 120])
def test_odd_yaml_in_any_place_is_taken_or_refused_in_a_line(tmp_path, every):
    pairs = [(place, odd) for odd in ODD for place in [(), *PLACES]]
    random.Random(0).shuffle(pairs)
    for place, odd in pairs[::every]:
        values = deepcopy(VALUES)
        if place:
            at(values, place[:-1])[place[-1]] = "ODD"
        text = plain_yaml.write(values).replace("ODD", odd) if place else odd
        check(tmp_path, text)


@pytest.mark.parametrize("every", [pytest.param(6, marks=pytest.mark.long), 60])
def test_odd_keys_in_any_place_are_taken_or_refused_in_a_line(tmp_path, every):
    pairs = [(place, odd) for odd in ODD for place in PLACES if isinstance(at(VALUES, place), dict)]
    random.Random(0).shuffle(pairs)
    for place, odd in pairs[::every]:
        values = deepcopy(VALUES)
        at(values, place)["ODD"] = 1
        check(tmp_path, plain_yaml.write(values).replace("ODD:", f"? {odd}\n:" if len(odd) > 60 else f"{odd}:"))


@pytest.mark.parametrize("examples", [FAST, pytest.param(LONG, marks=pytest.mark.long)])
def test_bytes_changed_at_random_are_taken_or_refused_in_a_line(tmp_path, examples):
    draw = random.Random(0)
    taken = []
    for _ in range(examples):
        text = bytearray(SHIPPED.encode())
        for _ in range(draw.randint(1, 4)):
            at_byte = draw.randrange(len(text))
            new = bytes(draw.choices(b"[]{}:,-&*!|>'\"%@`#? \n\t0129.eEaZ\x00\x7f\xff\xc3\xe2", k=draw.randint(0, 3)))
            text[at_byte : at_byte + draw.choice([0, 1, 1, 40])] = new
        taken.append(check(tmp_path, bytes(text)))
    assert any(taken)
    assert not all(taken)
