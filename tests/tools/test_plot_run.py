from __future__ import annotations

import json

import pytest
from PIL import Image

from plot_run import main


@pytest.fixture
def make_run(tmp_path):
    def make(name, count=3):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        lines = [{"iteration": i, "total_loss": 3.0 - i, "lr": 0.1} for i in range(count)]
        (folder / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    return make


def test_a_run_is_drawn_into_its_folder(make_run, capsys):
    run = make_run("run")
    assert main([str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'curves.png'}\n"
    assert Image.open(run / "curves.png").width > 1000


def test_runs_whose_folders_have_one_name_are_told_apart(make_run, tmp_path):
    runs = [make_run("a/run"), make_run("b/run")]
    page = tmp_path / "page.html"
    assert main([*map(str, runs), "--output", str(tmp_path / "x.svg"), "--html", str(page)]) == 0
    assert "<svg" in (tmp_path / "x.svg").read_text()
    text = page.read_text()
    assert "<td>a/run</td>" in text and "<td>b/run</td>" in text


def test_a_run_without_metrics_is_left_out(make_run, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    run = make_run("run")
    assert main([str(empty), str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.err.startswith(f"Left out: {empty} has no metrics.json")
    assert captured.out == f"{run / 'curves.png'}\n"
    assert not list(empty.iterdir())


def test_without_any_metrics_nothing_is_drawn(tmp_path, capsys):
    output = tmp_path / "x.png"
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--output", str(output)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all("has no metrics.json" in line for line in lines)
    assert not output.exists()


@pytest.mark.parametrize("option", ["--output", "--html"])
def test_a_path_that_cannot_be_written_is_one_sentence(option, make_run, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([str(make_run("run")), option, str(tmp_path / "file" / "x.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Cannot write")


def test_an_unknown_ending_is_one_sentence(make_run, tmp_path, capsys):
    assert main([str(make_run("run")), "--output", str(tmp_path / "x.txt")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "x.txt: its ending must be one of" in line


def test_smoothing_is_an_option(make_run, tmp_path):
    run = str(make_run("run", count=20))
    for weight in ("0", "0.9"):
        assert main([run, "--smoothing", weight, "--output", str(tmp_path / f"{weight}.png")]) == 0
    first, second = (Image.open(tmp_path / f"{w}.png").tobytes() for w in ("0", "0.9"))
    assert first != second


@pytest.mark.parametrize("weight", ["1", "-0.1", "much", "nan"])
def test_smoothing_out_of_range_is_refused(weight, make_run, capsys):
    with pytest.raises(SystemExit) as stop:
        main([str(make_run("run")), "--smoothing", weight])
    assert stop.value.code == 2
    assert "is no number from 0 to below 1" in capsys.readouterr().err
