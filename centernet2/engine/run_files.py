"""What is saved with a run so that it can be repeated: config, command, revision, environment."""

from __future__ import annotations

import datetime
import json
import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils import comm

import centernet2
from centernet2.engine.atomic import atomic_write
from centernet2.env import collect_env, format_env

__all__ = ["git_revision", "save_run_files"]

logger = logging.getLogger(__name__)


def save_run_files(cfg: CfgNode, evaluation: bool = False) -> None:
    """Write the config and append to ``runs.json`` how this run was started.

    A training run writes ``config.yaml`` and ``environment.txt``; an evaluation writes
    ``config_eval.yaml``, so that it leaves the training's files alone.
    """
    folder = Path(cfg.OUTPUT_DIR)
    name = "config_eval.yaml" if evaluation else "config.yaml"
    with atomic_write(folder / name, "w") as file:
        file.write(cfg.dump())
    if not evaluation:
        with atomic_write(folder / "environment.txt", "w") as file:
            file.write(format_env(collect_env()) + "\n")
    record = {
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join([os.path.basename(sys.executable), *sys.argv]),
        "folder": os.getcwd(),
        "evaluation": evaluation,
        "config": name,
        "processes": comm.get_world_size(),
        "git": git_revision(Path(centernet2.__file__).resolve().parent),
    }
    path = folder / "runs.json"
    with atomic_write(path, "w") as file:
        json.dump([*_earlier_runs(path), record], file, indent=2)
    logger.info("Config: %s; command and git revision: %s", folder / name, path)


def _earlier_runs(path: Path) -> list[Any]:
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return earlier if isinstance(earlier, list) else []


def git_revision(folder: Path) -> dict[str, Any] | None:
    """The commit of the source in a folder and whether files differ from it; None: no git."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()

    try:
        return {
            "revision": git("rev-parse", "HEAD"),
            "modified": bool(git("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None
