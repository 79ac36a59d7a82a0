"""What docs/MIGRATION.md names exists."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode

from centernet2.engine import build_cfg

REPO = Path(__file__).resolve().parents[2]
PAGE = (REPO / "docs" / "MIGRATION.md").read_text(encoding="utf-8")


def all_keys(node: CfgNode, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        yield f"{prefix}{name}"
        if isinstance(value, CfgNode):
            yield from all_keys(value, f"{prefix}{name}.")


def spelled_out(text: str) -> list[str]:
    """``A.{B,C}_{D,E}`` as the four keys that it stands for."""
    parts = re.split(r"\{([^}]*)\}", text)
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(chosen) for chosen in itertools.product(*choices)]


def test_every_key_exists() -> None:
    keys = set(all_keys(build_cfg()))
    names = {key.rpartition(".")[2] for key in keys}
    quoted = re.findall(r"`([A-Z][A-Z0-9_]+(?:[._{][A-Z0-9_.,{}*]+)?)[ `]", PAGE)
    named = [key.removesuffix(".*") for text in quoted for key in spelled_out(text)]
    assert len(named) > 120
    for key in named:
        known = keys if "." in key else names | {"BGR", "RGB"}
        assert key in known, key


def test_every_script_and_option_exists() -> None:
    ours = re.findall(r"python ((?:tools|demo)/\w+\.py)[^|`]*", PAGE)
    theirs = {
        "tools/train.py",
        "tools/test.py",
        "demo/image_demo.py",
        "demo/video_demo.py",
        "tools/analysis_tools",
    }
    for script in set(ours) - theirs:
        assert (REPO / script).is_file(), script
    for link in re.findall(r"\]\(([\w./]+\.md)\)", PAGE):
        assert (REPO / "docs" / link).is_file(), link


def test_every_section_of_the_contents_exists() -> None:
    headings = {
        re.sub(r"[^\w -]", "", line.lstrip("# ")).lower().replace(" ", "-")
        for line in PAGE.splitlines()
        if line.startswith("#")
    }
    anchors = re.findall(r"\]\(#([\w-]+)\)", PAGE)
    assert len(anchors) == 3
    assert set(anchors) <= headings
