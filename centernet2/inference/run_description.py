"""What the results of a run depend on, to tell whether another run may go on from them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from centernet2.inference.predictor import Predictor

__all__ = ["describe_run"]


def describe_run(predictor: Predictor, root: Path, drawings: bool) -> dict[str, Any]:
    """Describe a run over images; the same on another device or with another batch size.

    Args:
        predictor: the model.
        root: folder that the images' names are relative to.
        drawings: whether drawings are made.

    Returns:
        Texts and numbers by name.
    """
    cfg = predictor.cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = cfg.MODEL.WEIGHTS = ""
    relevant = "".join(part.dump() for part in (cfg.MODEL, cfg.INPUT, cfg.TEST))
    return {
        "weights": _describe_file(predictor.cfg.MODEL.WEIGHTS),
        "score threshold": predictor.threshold,
        "configuration": hashlib.sha256(relevant.encode()).hexdigest()[:12],
        "images": str(root),
        "drawings": drawings,
    }


def _describe_file(name: str) -> str:
    path = Path(name)
    if not path.is_file():  # an address
        return name
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return f"{path.name} ({digest.hexdigest()[:12]})"
