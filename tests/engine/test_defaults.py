from __future__ import annotations

import json
import logging
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from centernet2.engine import argument_parser, build_cfg, setup
from centernet2.engine.defaults import check_batch, choose_device
from centernet2.engine.precision import amp_dtype
from centernet2.errors import UserError


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the logger of the module under test is told."""
    found: list[str] = []

    class Keeper(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(f"{record.levelname} {record.getMessage()}")

    logger = logging.getLogger("centernet2.engine.defaults")
    monkeypatch.setattr(logger, "handlers", [Keeper()])
    monkeypatch.setattr(logger, "level", logging.INFO)
    return found


def test_command_line_of_detectron2() -> None:
    args = argument_parser().parse_args(
        ["--config-file", "a.yaml", "--num-gpus", "8", "--num-machines", "2", "--machine-rank", "1",
         "--dist-url", "tcp://10.0.0.1:1", "--resume", "--eval-only", "KEY", "VALUE"]
    )  # fmt: skip
    assert (args.config_file, args.num_gpus, args.num_machines) == ("a.yaml", 8, 2)
    assert (args.machine_rank, args.dist_url) == (1, "tcp://10.0.0.1:1")
    assert args.resume
    assert args.eval_only
    assert args.opts == ["KEY", "VALUE"]
    assert argument_parser().parse_args([]).dist_url == "auto"


def test_help_has_examples_and_exit_codes() -> None:
    text = argument_parser().format_help()
    for part in ("--num-cpu-procs", "--resume OUTPUT_DIR", "exit codes"):
        assert part in text


def test_batch_other_than_the_recipes_is_told(messages: list[str]) -> None:
    cfg = build_cfg(overrides=["SOLVER.IMS_PER_BATCH", "2", "SOLVER.BASE_LR", "0.02"])
    check_batch(cfg)
    assert cfg.SOLVER.BASE_LR == 0.02
    (message,) = messages
    assert message.startswith("WARNING SOLVER.BASE_LR 0.02 was chosen for 16 images per step")
    assert "this run takes 2: consider SOLVER.BASE_LR 0.0025" in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["SOLVER.IMS_PER_BATCH", "16"],
        ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.ACCUMULATION_STEPS", "4"],
        ["SOLVER.IMS_PER_BATCH", "4", "SOLVER.REFERENCE_IMS_PER_BATCH", "0"],
    ],
)
def test_fitting_batch_is_silent(messages: list[str], overrides: list[str]) -> None:
    check_batch(build_cfg(overrides=overrides))
    assert messages == []


def test_rate_is_scaled_once(messages: list[str]) -> None:
    cfg = build_cfg(
        overrides=["SOLVER.IMS_PER_BATCH", "4", "SOLVER.ACCUMULATION_STEPS", "2",
                   "SOLVER.BASE_LR", "0.02", "SOLVER.AUTO_SCALE_LR", "True"]
    )  # fmt: skip
    check_batch(cfg)
    check_batch(cfg)  # as when the saved config is trained again
    assert pytest.approx(0.01) == cfg.SOLVER.BASE_LR
    assert len(messages) == 1
    assert messages[0].startswith("INFO")


def test_accumulation_below_one() -> None:
    with pytest.raises(UserError, match="ACCUMULATION_STEPS is 0"):
        check_batch(build_cfg(overrides=["SOLVER.ACCUMULATION_STEPS", "0"]))


def test_device_is_chosen(messages: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    cfg = build_cfg()
    choose_device(cfg)
    assert cfg.MODEL.DEVICE == "cpu"
    assert "running on the CPU" in messages[0]
    with pytest.raises(UserError, match="MODEL.DEVICE is cuda:1, but PyTorch finds no GPU"):
        choose_device(build_cfg(overrides=["MODEL.DEVICE", "cuda:1"]))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    cfg = build_cfg()
    choose_device(cfg)
    assert cfg.MODEL.DEVICE == "cuda"
    choose_device(cfg, on_cpu=True)
    assert cfg.MODEL.DEVICE == "cpu"
    with pytest.raises(UserError, match="this machine has 1 GPUs"):
        choose_device(build_cfg(overrides=["MODEL.DEVICE", "cuda:1"]))


@pytest.mark.parametrize(
    ("overrides", "dtype"),
    [
        ((), None),
        (("SOLVER.AMP.ENABLED", "True"), torch.bfloat16),
        (("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.DTYPE", "bfloat16"), torch.bfloat16),
    ],
)
def test_precision_on_the_cpu(overrides: tuple[str, ...], dtype: Any) -> None:
    assert amp_dtype(build_cfg(overrides=["MODEL.DEVICE", "cpu", *overrides])) is dtype


@pytest.mark.parametrize("bfloat16", [True, False])
def test_precision_on_a_gpu(monkeypatch: pytest.MonkeyPatch, bfloat16: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)
    cfg = build_cfg(overrides=["SOLVER.AMP.ENABLED", "True"])
    assert amp_dtype(cfg) is (torch.bfloat16 if bfloat16 else torch.float16)
    cfg.SOLVER.AMP.DTYPE = "float16"
    assert amp_dtype(cfg) is torch.float16


@pytest.mark.parametrize("name", ["float16", "half"])
def test_impossible_precision(name: str) -> None:
    cfg = build_cfg(overrides=["MODEL.DEVICE", "cpu", "SOLVER.AMP.ENABLED", "True",
                               "SOLVER.AMP.DTYPE", name])  # fmt: skip
    with pytest.raises(UserError, match="bfloat16"):
        amp_dtype(cfg)


def test_run_is_described_and_evaluation_leaves_that_alone(
    tiny: ModuleType, tmp_path: Path
) -> None:
    cfg = setup(tiny.arguments(tmp_path))
    assert cfg.is_frozen()
    config = (tmp_path / "config.yaml").read_text()
    assert yaml.safe_load(config)["SOLVER"]["BASE_LR"] == 0.05
    assert torch.__version__ in (tmp_path / "environment.txt").read_text()

    setup(tiny.arguments(tmp_path, "SOLVER.BASE_LR", 0.1, flags=("--eval-only",)))
    assert (tmp_path / "config.yaml").read_text() == config
    assert yaml.safe_load((tmp_path / "config_eval.yaml").read_text())["SOLVER"]["BASE_LR"] == 0.1
    training, evaluation = json.loads((tmp_path / "runs.json").read_text())
    assert not training["evaluation"]
    assert evaluation["evaluation"]
    assert training["command"]
    assert training["processes"] == 1
    assert training["git"] is None or len(training["git"]["revision"]) == 40


def test_saved_config_gives_the_same_config(tiny: ModuleType, tmp_path: Path) -> None:
    cfg = setup(tiny.arguments(tmp_path))
    again = build_cfg(str(tmp_path / "config.yaml"))
    assert yaml.safe_load(again.dump()) == yaml.safe_load(cfg.dump())
