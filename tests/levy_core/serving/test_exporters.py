"""A model can name exporters of this project and nothing else."""

import pytest

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.serving.exporters import READERS, exporter_of, reader_of


def named(exporter):
    return Samples("images", ("a", "b"), "uint8", exporter)


@pytest.mark.parametrize("kind", sorted(RECORDED))
def test_a_model_of_before_exporters_were_named_has_that_of_its_kind(kind):
    module, _, name = RECORDED[kind]["exporter"].partition(":")
    found = exporter_of(named(RECORDED[kind]["exporter"]))
    assert (found.__module__, found.__name__) == (module, name)


@pytest.mark.parametrize(
    ("exporter", "message"),
    [
        ("os:system", r"the model names the exporter 'os:system', which is none of levy's: nothing of it was run$"),
        ("levy_core_x.y:Z", r"none of levy's"),
        ("levy_core.datasets.images.export", r"is not installed here"),
        ("levy_core.datasets.images.export:Gone", r"whose exporter .*:Gone is not installed here"),
        ("levy_core.base.files:write_json", r"'levy_core.base.files:write_json', which exports nothing"),
        ("levy_core.base.samples:Samples", r"which exports nothing: nothing of it was run$"),
        ("levy_core.base.samples:RECORDED", r"which exports nothing"),
    ],
)
def test_what_is_no_exporter_of_this_project_is_refused(exporter, message):
    with pytest.raises(LevyError, match=message):
        exporter_of(named(exporter))


@pytest.mark.parametrize(("reader", "named"), READERS.items())
def test_a_kind_without_a_reader_says_so(reader, named):
    class Bare:
        array = write = None

    with pytest.raises(LevyError, match=f"samples of the kind 'series' have no {named}"):
        reader_of(Bare(), reader, "series")
