"""What figures say beside their curves."""

import pytest

from tasks.page.figures import label_apart


@pytest.mark.parametrize(
    ("ticks", "labels"),
    [
        ([4, 10, 19, 20, 39], ["4", "10", "", "20", "39"]),
        ([18, 19, 20, 39, 40], ["", "", "20", "", "40"]),
        ([1, 2], ["1", "2"]),
        ([7], ["7"]),
        ([], []),
    ],
)
def test_labels_of_neighbours_do_not_overlap(ticks, labels):
    assert label_apart(ticks) == labels
