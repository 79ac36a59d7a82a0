"""YAML of any origin: values or one sentence, and never code, growth or an endless wait."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from centernet2.errors import UserError
from centernet2.yaml_file import parse_yaml

REPO = Path(__file__).resolve().parents[1]

LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 40)]
)
MERGES = "\n".join(
    ["a0: &a0 {k: 1}"] + [f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}" for i in range(1, 60)]
)


def test_shipped_configs_read_as_by_the_reference() -> None:
    files = sorted((REPO / "configs").rglob("*.yaml"))
    assert len(files) > 5
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert parse_yaml(text, file.name) == yaml.safe_load(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_nothing_is_none(text: str) -> None:
    assert parse_yaml(text, "x.yaml") is None


@pytest.mark.parametrize(
    "text",
    [
        '!!python/object/apply:os.system ["touch pwned"]',
        'a: !!python/object/apply:os.system ["touch pwned"]',
        '!!python/object/new:os.system ["touch pwned"]',
        "a: !!python/name:os.system",
        "a: !!python/module:antigravity",
        '- !!python/object/apply:subprocess.Popen [["touch", "pwned"]]',
        "? !!python/object/apply:builtins.eval [\"open('pwned', 'w')\"]\n: 1",
        'x: &a !!python/object/apply:os.system ["touch pwned"]\ny: *a',
        "!!python/tuple [1, 2]",
        "a: !own {b: 1}",
    ],
)
def test_tags_that_build_objects_are_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"x\.yaml: refused, because it asks to build Python obj"):
        parse_yaml(text, "x.yaml")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "its aliases stand for more than 100,000 values"),
        (MERGES, "its aliases stand for more than 100,000 values"),
        ("&a {b: *a}", "the group of line 1 is inside itself"),
        ("a:\n  - &b [1, [*b]]", "the group of line 2 is inside itself"),
        ("[" * 5000, "nested too deeply"),
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("{a: " * 5000, "nested too deeply"),
        ("a: 2001-99-99", "has a value that cannot be read"),
        ("a: " + "9" * 5000, "the number in line 1 has 5000 digits"),
        ("a: " + "1:" * 5000 + "1", "the number in line 1 has 10001 digits"),
        ("a: !!int x", "has a value that cannot be read"),
        ("a: !!float x", "has a value that cannot be read"),
        ("{[a]: 1}", "is not valid YAML: .*unhashable key"),
        ("a: \x00", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
        ("a: *b", "is not valid YAML: .*undefined alias"),
        ("--- 1\n--- 2", "is not valid YAML"),
        ("a: [1,\n" * 300_000, "is too large"),
    ],
)
def test_hostile_text_is_one_sentence(text: str, said: str) -> None:
    with pytest.raises(UserError, match=rf"^x\.yaml.*{said}") as error:
        parse_yaml(text, "x.yaml")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 500


def test_shared_values_within_reason_are_taken() -> None:
    shared = parse_yaml("a: &a [1, 2]\nb: {<<: &c {d: *a}, e: *a}\nf: *c", "x.yaml")
    assert shared == {"a": [1, 2], "b": {"d": [1, 2], "e": [1, 2]}, "f": {"d": [1, 2]}}
