from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageOps

from centernet2.data.upright import orientation, upright_size


@pytest.mark.parametrize("tag", [None, *range(10), 60000])
def test_as_the_image_is_turned(tag: Any) -> None:
    exif = Image.Exif()
    if tag is not None:
        exif[0x0112] = tag
    stream = io.BytesIO()
    Image.new("RGB", (5, 3)).save(stream, "PNG", exif=exif)
    with Image.open(stream) as image:
        turned = ImageOps.exif_transpose(image)
        assert upright_size(image) == turned.size
        assert orientation(image) == (tag if tag in range(1, 9) else 1)
