from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from centernet2.engine import Trainer, evaluate_checkpoint, load_weights_file, setup
from centernet2.engine.diagnostics import NonFiniteLossError, OutOfMemoryError
from centernet2.errors import UserError


def run(args: Any, resume: bool = False) -> tuple[Trainer, list[dict[str, float]]]:
    """Train and return the trainer with the losses of each step."""
    trainer = Trainer(setup(args))
    losses = []
    step = trainer._trainer.run

    def recording(*a: Any, **k: Any) -> Any:
        result = step(*a, **k)
        losses.append(result.losses)
        return result

    trainer._trainer.run = recording
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer, losses


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in trainer.checkpointer.model.state_dict().items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.EMA.ENABLED", True, "SOLVER.AMP.ENABLED", True),
        ("DATALOADER.NUM_WORKERS", 2, "SOLVER.EMA.ENABLED", True, "SEED", -1),
        (
            "DATALOADER.SAMPLER_TRAIN",
            "ClassAwareSampler",
            "INPUT.CUSTOM_AUG",
            "EfficientDetResizeCrop",
            "INPUT.TRAIN_SIZE",
            64,
            "INPUT.SCALE_RANGE",
            "(0.7, 1.0)",
        ),
    ],
)
def test_resumed_run_equals_uninterrupted_run_bit_by_bit(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, options: tuple[object, ...]
) -> None:
    options = ("MODEL.META_ARCHITECTURE", "TinyNoisyDetector", *options)
    first, head = run(tiny.arguments(tmp_path, "SOLVER.TRAIN_ITER", 5, *options))
    resumed, tail = run(tiny.arguments(tmp_path, *options), resume=True)
    whole_args = tiny.arguments(tmp_path / "whole", *options, "SEED", first.seed)
    whole, losses = run(whole_args)

    assert len(head) == 5
    assert head + tail == losses
    assert_same(weights(resumed), weights(whole))
    if whole.ema is not None:
        assert_same(resumed.ema.state_dict(), whole.ema.state_dict())
        assert resumed.ema.updates == 8
    rates = [g["lr"] for g in whole.optimizer.param_groups]
    assert [g["lr"] for g in resumed.optimizer.param_groups] == rates


def test_training_learns_and_evaluates(tiny: ModuleType, tiny_data: Path, tmp_path: Path) -> None:
    args = tiny.arguments(
        tmp_path, "SOLVER.MAX_ITER", 60, "SOLVER.STEPS", (50,), "SOLVER.IMS_PER_BATCH", 6,
        "DATASETS.TEST", ("tiny",), "TEST.EVAL_PERIOD", 20,
        "SOLVER.CHECKPOINT_PERIOD", 10, "SOLVER.CHECKPOINT_KEEP", 2,
    )  # fmt: skip
    trainer, losses = run(args)

    assert sum(losses[-1].values()) < 0.7 * sum(losses[0].values())
    assert trainer._last_eval_results["bbox"]["AP"] > 0
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == [
        "model_0000039.pth",
        "model_0000049.pth",
        "model_best.pth",
        "model_final.pth",
    ]
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    rows = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    assert {row["iteration"] for row in rows} >= set(range(59))
    evaluations = [row["bbox/AP"] for row in rows if row["iteration"] in (19, 39, 59)]
    best = json.loads((tmp_path / "model_best.json").read_text())
    assert best["value"] == max(evaluations)
    assert list(tmp_path.glob("events.out.tfevents*"))
    for name in ("config.yaml", "environment.txt", "runs.json"):
        assert (tmp_path / name).stat().st_size > 0


def test_first_run_continues_rotation_and_best_after_resume(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_KEEP", 2,
               "DATASETS.TEST", ("tiny",), "TEST.EVAL_PERIOD", 2)  # fmt: skip
    run(tiny.arguments(tmp_path, "SOLVER.TRAIN_ITER", 5, *options))
    (tmp_path / "model_best.json").write_text(
        json.dumps({"iteration": 1, "metric": "bbox/AP", "value": 101.0})
    )
    before = (tmp_path / "model_best.pth").read_bytes()
    run(tiny.arguments(tmp_path, *options), resume=True)

    kept = sorted(p.name for p in tmp_path.glob("model_0*.pth"))
    assert kept == ["model_0000003.pth", "model_0000005.pth"]
    assert (tmp_path / "model_best.pth").read_bytes() == before


def test_a_new_run_leaves_files_of_an_earlier_one(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    old = tmp_path / "model_0000001.pth"
    old.write_bytes(b"old")
    run(tiny.arguments(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_KEEP", 1,
                       "SOLVER.TRAIN_ITER", 1))  # fmt: skip
    assert old.read_bytes() == b"old"


def test_ema_is_evaluated_saved_and_deployed(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.EMA.ENABLED", True, "SOLVER.EMA.DECAY", 0.9, "SOLVER.EMA.WARMUP_ITERS", 0)
    seen: list[dict[str, torch.Tensor]] = []

    class Watching(Trainer):
        @classmethod
        def test(cls, cfg: Any, model: Any, *args: Any, **kwargs: Any) -> Any:
            seen.append({k: v.clone() for k, v in model.state_dict().items()})
            return super().test(cfg, model, *args, **kwargs)

    trainer = Watching(setup(tiny.arguments(tmp_path, *options, "DATASETS.TEST", ("tiny",))))
    trainer.resume_or_load(resume=False)
    in_training = trainer.train()
    saved = load_weights_file(tmp_path / "model_final.pth")
    average = trainer.ema.state_dict()

    assert_same(seen[-1], average)
    assert_same(saved["model"], average)
    assert_same(saved["train_model"], weights(trainer))
    assert not torch.equal(average["box.weight"], weights(trainer)["box.weight"])
    args = tiny.arguments(tmp_path, *options, "DATASETS.TEST", ("tiny",), "MODEL.WEIGHTS",
                          tmp_path / "model_final.pth", flags=("--eval-only",))  # fmt: skip
    assert repr(evaluate_checkpoint(setup(args))) == repr(in_training)  # NaN is not equal to NaN
    written = json.loads((tmp_path / "metrics_eval.json").read_text())
    assert written["results"]["bbox"]["AP"] == pytest.approx(in_training["bbox"]["AP"])


def test_nan_names_loss_iteration_images_and_leaves_weights(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    args = tiny.arguments(
        tmp_path, "MODEL.META_ARCHITECTURE", "TinyBreakingDetector",
        "SOLVER.ACCUMULATION_STEPS", 2, "SOLVER.REFERENCE_IMS_PER_BATCH", 16,
    )  # fmt: skip
    trainer = Trainer(setup(args))
    snapshots = []
    step = trainer._trainer.run

    def recording(*a: Any, **k: Any) -> Any:
        snapshots.append(weights(trainer))
        return step(*a, **k)

    trainer._trainer.run = recording
    with pytest.raises(NonFiniteLossError) as caught:
        trainer.train()
    message = str(caught.value)

    assert f"at iteration {trainer.iter} " in message
    assert "loss_box = nan" in message
    assert "loss_cls" not in message
    assert "003.png" in message
    named = message.split("Images: ")[1].split("\n")[0]
    assert named.count(".png") == 2  # the micro-batch that failed, not the whole step
    assert f"learning rate {trainer.optimizer.param_groups[0]['lr']:.3g}" in message
    assert "try SOLVER.BASE_LR 0.0125" in message
    assert_same(weights(trainer), snapshots[-1])


def test_out_of_memory_says_what_to_turn_down(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(tiny.TinyDetector, "_losses", fail)
    trainer = Trainer(setup(tiny.arguments(tmp_path)))
    with pytest.raises(OutOfMemoryError) as caught:
        trainer.train()
    message = str(caught.value)
    assert "iteration 0: 2 images per process" in message
    assert "pixels" in message
    for key in ("SOLVER.IMS_PER_BATCH (now 2", "INPUT.MIN_SIZE_TRAIN (now 40 to 56)",
                "INPUT.MAX_SIZE_TRAIN (now 80)", "SOLVER.AMP.ENABLED True"):  # fmt: skip
        assert key in message


def test_other_runtime_errors_pass_unchanged(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(tiny.TinyDetector, "_losses", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        Trainer(setup(tiny.arguments(tmp_path))).train()


@pytest.mark.parametrize("option", ["DATASETS.TRAIN", "DATASETS.TEST"])
def test_wrong_number_of_classes_is_told_before_the_first_step(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path, option: str
) -> None:
    args = tiny.arguments(tmp_path, "MODEL.META_ARCHITECTURE", "GeneralizedRCNN",
                          option, ("tiny",))  # fmt: skip
    with pytest.raises(UserError) as caught:
        Trainer(setup(args))
    message = str(caught.value)
    assert "MODEL.ROI_HEADS.NUM_CLASSES is 80" in message
    assert "'tiny' has 2 classes (box, disc)" in message


@pytest.mark.parametrize("workers", [0, 1])
def test_image_that_is_gone_is_named(workers: int, tiny: ModuleType, tmp_path: Path) -> None:
    tiny.write_data(tmp_path / "data", images=3)
    tiny.register_data(tmp_path / "data", "tiny_with_gap")
    (tmp_path / "data" / "001.png").unlink()
    options = ("DATASETS.TRAIN", ("tiny_with_gap",), "DATALOADER.NUM_WORKERS", workers)
    args = tiny.arguments(tmp_path / "out", *options)
    Trainer(setup(args)).train()
    log = (tmp_path / "out" / "log.txt").read_text()
    assert log.count("001.png cannot be used: No such file") == 1
    assert log.count("Images that could not be used: 1 (") == 1
    args = tiny.arguments(tmp_path / "out", *options, "DATALOADER.MAX_BROKEN_IMAGES", 0)
    with pytest.raises(UserError, match=r"001\.png cannot be used: No such file"):
        Trainer(setup(args)).train()


def test_finished_run_only_evaluates(tiny: ModuleType, tiny_data: Path, tmp_path: Path) -> None:
    options = ("DATASETS.TEST", ("tiny",))
    first, _ = run(tiny.arguments(tmp_path, *options))
    again, losses = run(tiny.arguments(tmp_path, *options), resume=True)
    assert losses == []
    assert repr(again._last_eval_results) == repr(first._last_eval_results)


def test_reset_iter_keeps_weights_and_starts_the_schedule_anew(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    first, _ = run(tiny.arguments(tmp_path))
    trainer = Trainer(setup(tiny.arguments(tmp_path, "SOLVER.RESET_ITER", True)))
    trainer.resume_or_load(resume=True)
    assert trainer.start_iter == 0
    assert_same(weights(trainer), weights(first))
    assert not trainer.optimizer.state


def test_evaluation_without_weights_is_refused(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    args = tiny.arguments(tmp_path, "DATASETS.TEST", ("tiny",), flags=("--eval-only",))
    with pytest.raises(UserError, match=r"MODEL\.WEIGHTS"):
        evaluate_checkpoint(setup(args))


def test_bfloat16_trains_on_cpu(tiny: ModuleType, tiny_data: Path, tmp_path: Path) -> None:
    kinds = []

    class Watching(tiny.TinyDetector):
        def _features(self, image: torch.Tensor) -> torch.Tensor:
            features = super()._features(image)
            kinds.append(self.cls(features).dtype)
            return features

    trainer = Trainer(setup(tiny.arguments(tmp_path, "SOLVER.AMP.ENABLED", True)))
    trainer.checkpointer.model.__class__ = Watching
    trainer.train()
    assert set(kinds) == {torch.bfloat16}
