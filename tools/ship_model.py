#!/usr/bin/env python3
"""Turn a finished training run into a model that comes with the package.

    python tools/ship_model.py output/pedestrian --name pedestrian --card card.md

writes ``centernet2/model_zoo/<name>/``: the weights in half precision as safetensors with the
model card inside, the config (what differs from the defaults), and the card as README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
import yaml
from detectron2.config import CfgNode, get_cfg
from safetensors.torch import save_file

from centernet2.config import add_centernet_config
from centernet2.engine import build_cfg, load_weights_file
from centernet2.errors import UserError

ZOO = Path(__file__).resolve().parent.parent / "centernet2" / "model_zoo"


def changed_keys(cfg: CfgNode, default: CfgNode) -> dict[str, Any]:
    """The part of a config that differs from another one, as plain nested dicts."""
    changed: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            if inner := changed_keys(value, default[key]):
                changed[key] = inner
        elif value != default[key]:
            changed[key] = list(value) if isinstance(value, tuple) else value
    return changed


def ship(run: Path, weights: str, name: str, card: str) -> Path:
    """Write the model's folder.

    Args:
        run: OUTPUT_DIR of a training run.
        weights: name of its checkpoint.
        name: of the model.
        card: the model card, Markdown.

    Returns:
        The folder.

    Raises:
        UserError: if the run lacks its config or the checkpoint.
    """
    cfg = build_cfg(str(run / "config.yaml"))
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.DEVICE = "cuda"
    cfg.OUTPUT_DIR = "./output"
    default = get_cfg()
    add_centernet_config(default)
    state = load_weights_file(str(run / weights))["model"]
    tensors = {key: _compact(torch.as_tensor(value)) for key, value in state.items()}
    folder = ZOO / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt", "model_card": card})
    text = yaml.safe_dump({**changed_keys(cfg, default), "VERSION": 2}, sort_keys=False)
    (folder / "config.yaml").write_text(f"# The shipped model '{name}'; see README.md\n{text}")
    (folder / "README.md").write_text(card)
    return folder


def _compact(tensor: torch.Tensor) -> torch.Tensor:
    # Statistics of normalisations can be too small for half precision, and are few
    halved = tensor.is_floating_point() and tensor.dim() > 1
    return (tensor.half() if halved else tensor).contiguous()


def main(arguments: list[str] | None = None) -> int:
    """Parse the command line, write the folder, say where.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description="Turn a training run into a shipped model.")
    parser.add_argument("run", type=Path, help="OUTPUT_DIR of the run")
    parser.add_argument("--name", required=True, help="folder below centernet2/model_zoo")
    parser.add_argument("--card", type=Path, required=True, help="the model card, Markdown")
    parser.add_argument("--weights", default="model_final.pth", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        folder = ship(
            options.run, options.weights, options.name, options.card.read_text(encoding="utf-8")
        )
    except (UserError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
