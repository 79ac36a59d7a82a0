from __future__ import annotations

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("gradio")

from centernet2.inference.excerpt import WHOLE
from centernet2.web import answers
from centernet2.web.answers import KEPT, Answers, Shown
from centernet2.web.uploads import Limits, Upload
from centernet2.web.work import Work


def test_drawings_are_kept_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "draw_video", lambda *_: [])
    for name, age in (("made-old", KEPT + 60), ("made-now", KEPT - 60), ("upload", KEPT + 60)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").touch()
        os.utime(tmp_path / name, times=(time.time() - age,) * 2)
    parts: dict[str, Any] = {n: n for n in ("controls", "status", "shown", "place", "redraw")}
    panels: Any = [SimpleNamespace(video="video")]
    page = Answers({}, Limits(), tmp_path, panels=panels, **parts)
    work = Work("model", Upload(Path("film.mp4"), True, "film.mp4"), WHOLE, (), "")
    *_, last = page.draw(Shown((work,)), 0.5, (), True)
    made = Path(last["video"]["value"]).parents[1]
    assert {path.name for path in tmp_path.iterdir()} == {"made-now", "upload", made.name}
