"""One dialect of YAML for DVC and for us."""

from copy import deepcopy
from itertools import pairwise

import pytest
from dvc.utils.serialize import dumps_yaml, parse_yaml
from hypothesis import given
from hypothesis import strategies as st

from tasks.params import plain_yaml
from tests.conftest import ROOT


def test_a_lock_is_written_as_dvc_writes_it():
    text = (ROOT / "dvc.lock").read_text()
    lock = plain_yaml.read(text)
    assert lock == parse_yaml(text, "dvc.lock")
    assert plain_yaml.write(lock) == dumps_yaml(lock) == text
    # an abbreviation that YAML 1.1 takes for a truth value, numbers that it takes for texts, and a hash that is a number to DVC
    odd = {
        "data": "no",
        "lr": 1e-05,
        "text": "1e5",
        "md5": "12345678901234567890123456789e01",
        "none": None,
        "end": ": ",
    }
    assert plain_yaml.write(odd) == dumps_yaml(odd)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [  # RFC 7396, appendix A
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_changes_are_merged_as_the_rfc_merges_them(target, patch, result):
    before = deepcopy((target, patch))
    assert plain_yaml.merge(target, patch) == result
    assert (target, patch) == before


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_what_is_written_is_read_as_it_was_by_us_and_by_dvc(value):
    text = plain_yaml.write(value)
    assert plain_yaml.read(text) == value
    assert (parse_yaml(text, "x") or {}) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("!!python/object/apply:os.getcwd []", "line 1, column 1: .*python/object"),
        ("a: 1\nb: 2\na: 3\n", 'line 3, column 1: found duplicate key "a"'),
        ("a: [1,\n", "line 2, column 1"),
        ("a: \x00", "control characters"),
        (
            "a: " + "[" * 300_000,
            "nested more than 100 deep",
        ),  # the C parser, which calls itself, would take the process with it
        ("- " * 300_000, "nested more than 100 deep"),
        ("a: " + "[" * 3000 + "]" * 3000, "nested more than 100 deep"),
        ("a: &a [*a]", "nested more than 100 deep"),
        (
            "- &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
            + "".join(f"- &{y} [{', '.join(10 * ['*' + x])}]\n" for x, y in pairwise("abcdefg")),
            "aliases stand for more than 1,000,000 values",
        ),
        ("a: 0x" + "f" * 300, "whole number of more than 1024 bits"),
        ("a: !!bool x", "a value is not what its type says"),
        ("? [[]]\n: 1", "a key is no text"),
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(text, message):
    with pytest.raises(plain_yaml.DamagedYamlError, match=message):
        plain_yaml.read(text)
