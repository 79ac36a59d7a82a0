from __future__ import annotations

import numpy as np

from centernet2.evaluation.proposal_plots import draw_counts, draw_recall
from centernet2.evaluation.proposals import SIZES, ProposalRecall

COUNTS = (10, 100, 1000)


def recall(best):
    """Recall that grows with the count and falls with the IoU; no small objects."""
    ious = np.linspace(0.5, 0.95, 10)
    values = best * np.array([0.5, 0.8, 1.0])[:, None] * np.linspace(1, 0, 10)
    table = {size: values if size != "small" else values * np.nan for size in SIZES}
    objects = {"all": 9, "small": 0, "medium": 5, "large": 4}
    return ProposalRecall(COUNTS, ious, table, objects, proposals=900.0)


def drawn(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title() == title]
    return [(line.get_xdata(), line.get_ydata()) for line in axes.lines]


def names(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_recall_is_drawn_over_counts_by_size_and_over_iou():
    recalls = {"a": recall(0.9), "b": recall(0.6)}
    figure = draw_recall(recalls, at=100)
    assert names(figure) == ["a", "b"]
    for (x, y), measured in zip(drawn(figure, "all (9 objects)"), recalls.values()):
        np.testing.assert_array_equal(x, COUNTS)
        np.testing.assert_allclose(y, measured.average())
    for (x, y), best in zip(drawn(figure, "100 proposals, all sizes"), (0.9, 0.6)):
        np.testing.assert_allclose(x, np.linspace(0.5, 0.95, 10))
        np.testing.assert_allclose(y, 80 * best * np.linspace(1, 0, 10))
    assert np.isnan(drawn(figure, "small (0 objects)")[0][1]).all()
    figure.draw_without_rendering()


def test_accuracy_and_time_are_drawn_over_counts():
    rows = {
        "a": {k: {"box": 40.0 + k, "AR": 50.0, "process": 0.1, "wall": 9.0} for k in (32, 64)},
        "b": {k: {"box": 20.0, "mask": 10.0, "AR": 30.0, "process": 0.2} for k in (32, 64)},
    }
    figure = draw_counts(rows)
    assert names(figure) == ["a", "b"]
    assert len(figure.axes) == 4
    (first, second), (masks_a, masks_b) = drawn(figure, "box AP"), drawn(figure, "mask AP")
    assert list(first[0]) == [32, 64]
    assert list(first[1]) == [72.0, 104.0]
    assert list(second[1]) == [20.0, 20.0]
    assert list(masks_a[1]) == []
    assert list(masks_b[1]) == [10.0, 10.0]
    times = drawn(figure, "CPU time an image (ms)")
    assert [list(y) for _, y in times] == [[100.0, 100.0], [200.0, 200.0]]
    figure.draw_without_rendering()


def test_what_no_detector_has_gets_no_panel():
    figure = draw_counts({"a": {32: {"box": 1.0, "AR": 2.0, "process": 0.1}}})
    titles = [axes.get_title() for axes in figure.axes]
    assert len(titles) == 3
    assert "mask AP" not in titles
