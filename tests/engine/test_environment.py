from __future__ import annotations

import os

import pytest

from centernet2.engine.environment import environment_set


def test_variables_are_what_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CENTERNET2_A", "old")
    monkeypatch.delenv("CENTERNET2_B", raising=False)
    seen = []

    def fail() -> None:
        with environment_set({"CENTERNET2_A": "new", "CENTERNET2_B": "b"}):
            seen.append((os.environ["CENTERNET2_A"], os.environ["CENTERNET2_B"]))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [("new", "b")]
    assert os.environ["CENTERNET2_A"] == "old"
    assert "CENTERNET2_B" not in os.environ
