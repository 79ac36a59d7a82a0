from __future__ import annotations

import json

import pytest

from centernet2.errors import UserError
from centernet2.evaluation.report import write_report

from .scenes import detection, loaded, make_truth


def _stage(scale):
    averages = {"all": [10.0 * scale, 20.0 * scale], "small": None, "large": [1.0, 2.0]}
    return {
        "counts": [10, 100],
        "objects": {"all": 7, "small": 0, "large": 7},
        "average_recall": averages,
    }


def _write(folder, content):
    loaded(folder, make_truth([(0, 0, 1, 1, 20, 20, 0)]), [detection(0, 0, 1, 1, 20, 20, 0.9)])
    (folder / "recall.json").write_text(json.dumps(content))
    write_report(
        folder / "dt.json", folder / "gt.json", folder / "out", recall=folder / "recall.json"
    )
    return (folder / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_shows_the_recall_of_each_first_stage(tmp_path):
    html = _write(tmp_path, {"val": {"CenterNet2": _stage(2), "RPN <1>": _stage(1)}})
    assert "Recall of the first stage on val" in html
    assert "AR@10<" in html and "AR@100<" in html
    for name, low, high in (("CenterNet2", "20.0", "40.0"), ("RPN &lt;1&gt;", "10.0", "20.0")):
        cells = [name, "all", "7", low, high]
        assert "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>" in html
    assert "<td>small</td>" not in html


@pytest.mark.parametrize(
    "content",
    [[], {"val": {}}, {"val": {"a": {}}}, {"val": 3}, "recall",
     {"val": {"a": {"counts": 3, "objects": {}, "average_recall": {"all": 1}}}}],
)  # fmt: skip
def test_another_file_is_one_sentence(content, tmp_path):
    with pytest.raises(UserError, match=r"recall\.json is not a file of recalls"):
        _write(tmp_path, content)
    assert not (tmp_path / "out").exists()
