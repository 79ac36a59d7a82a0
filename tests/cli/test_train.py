from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any

import pytest

from centernet2.cli import eval as evaluation
from centernet2.cli import train
from centernet2.cli.main import main
from centernet2.engine import argument_parser
from centernet2.inference.cases import draw_case

Run = Callable[..., tuple[int, str, str]]


def test_options_are_those_of_train_net() -> None:
    words = ["--config-file", "a.yaml", "--num-gpus", "2", "--data", "a.json", "images", "A.B", "1"]
    ours, theirs = train.build_parser().parse_args(words), argument_parser().parse_args(words)
    assert vars(ours) == vars(theirs)
    assert "torchrun --nproc-per-node 8 -m centernet2 train" in train.build_parser().epilog


def test_run_is_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    launched: list[Any] = []
    monkeypatch.setattr(train, "launch", lambda work, args: launched.append((work, args)) or 3)
    assert main(["train", "--config-file", "a.yaml"]) == 3
    ((work, args),) = launched
    assert work is train.train_or_evaluate
    assert args.config_file == "a.yaml"


@pytest.mark.parametrize("resume", [False, True])
def test_work_is_training_or_evaluation(resume: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    class Recorder:
        def __init__(self, cfg: str) -> None:
            done.append(cfg)

        def resume_or_load(self, resume: bool) -> None:
            done.append(resume)

        def train(self) -> None:
            done.append("train")

    monkeypatch.setattr(train, "setup", lambda args: "config")
    monkeypatch.setattr(train, "Trainer", Recorder)
    monkeypatch.setattr(
        train, "evaluate_checkpoint", lambda cfg, **options: done.append((cfg, options))
    )
    options = {"resume": resume, "config_file": "a.yaml"}
    train.train_or_evaluate(argparse.Namespace(eval_only=False, **options))
    assert done == ["config", resume, "train"]
    done.clear()
    train.train_or_evaluate(argparse.Namespace(eval_only=True, **options))
    assert done == [("config", {**options, "draw": draw_case})]  # the report draws its images


def test_mistake_in_a_config_is_one_sentence(run: Run) -> None:
    status, _, said = run("train", "--config-file", "absent.yaml", "--num-gpus", "0")
    assert status == 2
    assert said.startswith("error: ")
    assert "absent.yaml" in said
    assert said.count("\n") == 1


def test_evaluation_takes_models_by_name(
    run: Run, model: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[argparse.Namespace] = []
    monkeypatch.setattr(evaluation, "launch", lambda work, args: launched.append(args) or 0)
    words = ["--model", model, "--output", tmp_path, "TEST.AUG.ENABLED", "True"]
    assert run("eval", *words)[0] == 0
    (args,) = launched
    assert args.config_file == str(model / "config.yaml")
    assert args.opts == [
        *("MODEL.WEIGHTS", str(model / "model_final.pth")),
        *("OUTPUT_DIR", str(tmp_path)),
        *("TEST.AUG.ENABLED", "True"),
    ]
    assert args.eval_only
    assert set(vars(argument_parser().parse_args([]))) <= set(vars(args))


def test_evaluation_of_no_model_is_one_sentence(run: Run) -> None:
    status, _, said = run("eval", "--model", "cats")
    assert status == 2
    assert said.startswith("error: there is no model 'cats'")


@pytest.mark.slow
def test_evaluation_of_the_shipped_model_on_real_photos(
    run: Run, shared_data: Any, tmp_path: Any
) -> None:
    folder = shared_data / "penn_fudan"
    data = json.loads((folder / "val.json").read_text())
    data["images"] = data["images"][:3]
    kept = {image["id"] for image in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in kept]
    (tmp_path / "val.json").write_text(json.dumps(data))
    words = ["--val", tmp_path / "val.json", folder / "images", "--output", tmp_path / "out"]
    assert run("eval", "--model", "pedestrian", *words, "DATALOADER.NUM_WORKERS", "0")[0] == 0
    metrics = json.loads((tmp_path / "out" / "metrics_eval.json").read_text())
    assert metrics["results"]["bbox"]["AP50"] > 80
