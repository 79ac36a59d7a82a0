from __future__ import annotations

from typing import Any

import pytest

from centernet2.data.coco_sections import SECTIONS, missing_sections


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        ({"images": [], "annotations": [], "categories": [], "info": {}}, []),
        ({"images": [], "annotations": {}}, ["annotations", "categories"]),
        ([{"image_id": 1}], list(SECTIONS)),
        (None, list(SECTIONS)),
    ],
)
def test_missing_sections(data: Any, missing: list[str]) -> None:
    assert missing_sections(data) == missing
