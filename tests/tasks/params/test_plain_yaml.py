"""One dialect of YAML for DVC and for us."""

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
    ],
)
def test_what_is_no_plain_yaml_is_refused_with_its_place(text, message):
    with pytest.raises(plain_yaml.DamagedYamlError, match=message):
        plain_yaml.read(text)
