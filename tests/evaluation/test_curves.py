from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from centernet2.errors import UserError
from centernet2.evaluation.curves import draw_curves, write_page, write_picture


def run(scale=1.0, **accuracies):
    """Metrics of a run: losses at 0, 5, ... 95, accuracies at 25, 50, 75."""
    i = np.arange(0, 100, 5.0)
    loss = scale * np.exp(-i / 50)
    at = np.array([25.0, 50.0, 75.0])
    metrics = {"total_loss": (i, 2 * loss), "loss_a": (i, loss), "lr": (i, np.full(20, 0.1))}
    return {**metrics, **{name: (at, np.array(v)) for name, v in accuracies.items()}}


BOX = {"bbox/AP": [10.0, 30.0, 20.0], "bbox/AP50": [40.0, 50.0, 60.0]}
MASK = {"segm/AP": [1.0, 2.0, 3.0]}


def panel(figure, title):
    (axes,) = [axes for axes in figure.axes if axes.get_title() == title]
    return axes


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_one_run_shows_every_loss_and_every_accuracy():
    figure = draw_curves({"run": run(**BOX, **MASK)})
    assert labels(panel(figure, "losses")) == ["total", "a"]
    assert labels(panel(figure, "AP")) == ["box AP", "box AP50", "mask AP"]
    (rate,) = panel(figure, "learning rate").lines
    assert rate.get_ydata().tolist() == [0.1] * 20


def test_several_runs_are_compared_in_masks_too():
    runs = {"one": run(**BOX, **MASK), "two": run(2, **BOX), "three": run(3)}
    figure = draw_curves(runs)
    assert [axes.get_title() for axes in figure.axes] == [
        "total loss",
        "learning rate",
        "box AP",
        "mask AP",
    ]
    assert [len(axes.lines) for axes in figure.axes] == [2 * 3, 3, 2, 1]
    assert panel(figure, "mask AP").lines[0].get_ydata().tolist() == MASK["segm/AP"]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == list(runs)


def test_data_sets_and_augmented_views_have_panels_of_their_own():
    named = {"first_val/bbox/AP": [1.0] * 3, "second_val/bbox/AP": [2.0] * 3}
    figure = draw_curves({"one": run(**named), "two": run(**{"bbox_TTA/AP": [3.0] * 3})})
    titles = {axes.get_title() for axes in figure.axes}
    assert {"box AP first_val", "box AP second_val", "box AP TTA"} <= titles


def test_fifteen_runs_differ_in_look():
    figure = draw_curves({f"run{i}": run(i + 1, **BOX) for i in range(15)})
    looks = {
        (n.get_color(), n.get_linestyle(), n.get_marker()) for n in figure.legends[0].legend_handles
    }
    assert len(looks) == 15


def test_names_are_shown_as_they_are():
    figure = draw_curves({"_a$b$": run(), "c": run()})
    figure.draw_without_rendering()
    handle = figure.legends[0].legend_handles[0]
    assert figure.legends[0].get_texts()[0].get_text() == r" _a\$b\$"
    assert not handle.get_label().startswith("_")


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9])
def test_smoothing_is_the_weighted_mean_of_the_past(weight):
    values = np.array([4.0, 1.0, 3.0, 2.0])
    metrics = {"total_loss": (np.arange(4.0), values)}
    line = panel(draw_curves({"run": metrics}, smoothing=weight), "losses").lines[-1]
    expected = []
    for i in range(4):
        weights = [weight ** (i - j) for j in range(i + 1)]
        expected.append(np.average(values[: i + 1], weights=weights))
    np.testing.assert_allclose(line.get_ydata(), expected)


@pytest.mark.parametrize("count", [1, 2])
def test_runs_that_logged_little_are_drawn(count, tmp_path):
    runs = {f"run{i}": {"lr": (np.array([0.0]), np.array([0.1]))} for i in range(count)}
    figure = draw_curves(runs)
    write_picture(figure, tmp_path / "x.png")
    assert "nothing logged" in [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("count", [1, 2, 11])
def test_pictures_show_something_in_every_panel(count, tmp_path):
    runs = {f"a_run_of_a_rather_long_name_{i}": run(1 + i, **BOX) for i in range(count)}
    write_picture(draw_curves(runs), tmp_path / "out" / "curves.png")
    picture = np.asarray(Image.open(tmp_path / "out" / "curves.png"))
    drawn = (picture[..., :3] < 250).any(axis=2)
    for part in np.array_split(drawn, 3, axis=1):
        assert part.mean() > 0.01
    border = np.concatenate([drawn[0], drawn[-1], drawn[:, 0], drawn[:, -1]])
    assert not border.any()  # nothing, the legend above all, is cut off


@pytest.mark.parametrize("name", ["curves.txt", "curves"])
def test_unknown_endings_are_named(name, tmp_path):
    with pytest.raises(UserError, match=rf"{name}: its ending must be one of .*png.*svg"):
        write_picture(draw_curves({"run": run()}), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_files_that_cannot_be_written_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    runs = {"run": run()}
    figure = draw_curves(runs)
    with pytest.raises(UserError, match=r"Cannot write .*x\.png"):
        write_picture(figure, tmp_path / "file" / "x.png")
    with pytest.raises(UserError, match=r"Cannot write .*x\.html"):
        write_page(runs, figure, tmp_path / "file" / "x.html")


class Cells(HTMLParser):
    def __init__(self):
        super().__init__()
        self.rows, self.sources = [], []

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
        self.sources += [v for k, v in attrs if k in ("src", "href")]

    def handle_data(self, data):
        if self.rows and self.rows[-1] and self.lasttag in ("th", "td"):
            self.rows[-1][-1] += data


def test_the_page_stands_alone_and_tells_last_and_best_values(tmp_path):
    runs = {"<one>": run(**BOX), "two": {**run(2), "loss_b": (np.array([0.0]), np.array([7.0]))}}
    write_page(runs, draw_curves(runs), tmp_path / "out" / "page.html")
    text = (tmp_path / "out" / "page.html").read_text()
    cells = Cells()
    cells.feed(text)
    assert [source[:22] for source in cells.sources] == ["data:image/png;base64,"]
    assert not re.search(r"https?://", text)
    header, one, two = cells.rows
    first, second = dict(zip(header, one)), dict(zip(header, two))
    assert (first["run"], first["iteration"]) == ("<one>", "95")
    assert (first["box AP, last"], first["box AP, best"]) == ("20.0", "30.0")
    assert first["box AP50, last"] == "60.0"
    assert float(first["total_loss"]) == pytest.approx(2 * np.exp(-95 / 50), rel=1e-3)
    assert (first["loss_b"], second["loss_b"], second["box AP, best"]) == ("–", "7", "–")
