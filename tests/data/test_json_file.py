from __future__ import annotations

import math

import pytest

from centernet2.data.json_file import read_json
from centernet2.errors import UserError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32-le"])
def test_any_unicode_encoding_is_read(encoding, tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"name": "Kälte 冷", "x": NaN}', encoding=encoding)
    value = read_json(path)
    assert value["name"] == "Kälte 冷" and math.isnan(value["x"])
    assert read_json(str(path))["name"] == value["name"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"a": 1,\n "b": }', r"a\.json, line 2, is not valid JSON"),
        (b"", r"a\.json, line 1, is not valid JSON"),
        (b"\xff\xd8\xff\xe0 a picture", r"a\.json is not valid JSON"),
        (b"[" * 200_000, r"a\.json cannot be read: its lists are nested too deeply"),
        (b"9" * 5000, r"a\.json is not valid JSON"),
    ],
)
def test_what_is_not_json_is_one_sentence(content, problem, tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=problem) as error:
        read_json(path)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.json cannot be read: No such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read: Is a directory"):
        read_json(tmp_path)
