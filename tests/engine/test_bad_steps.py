"""NaN in losses, gradients, weights and images: told by name, and nothing good is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from centernet2.engine import Trainer, load_weights_file, setup
from centernet2.engine.diagnostics import NonFiniteLossError


class Zero(torch.autograd.Function):
    """0 with the gradient NaN, as a root of 0 has."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return torch.full((4,), float("nan"))


class WithAverages(Trainer):
    """Its model has averages of what it saw, which must not become NaN."""

    @classmethod
    def build_model(cls, cfg: Any) -> torch.nn.Module:
        model = Trainer.build_model(cfg)
        model.layers.insert(1, torch.nn.BatchNorm2d(8))
        return model


def trainer_of(tiny: ModuleType, output: Path, *options: object) -> Trainer:
    options = ("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_KEEP", 0, *options)
    return Trainer(setup(tiny.arguments(output, *options)))


def at(trainer: Trainer, iterations: set[int], action: Any) -> None:
    """Do something just before the forward passes of some iterations."""
    forward = trainer._trainer.model.forward

    def watched(batch: Any) -> Any:
        return action(forward, batch) if trainer.iter in iterations else forward(batch)

    trainer._trainer.model.forward = watched  # type: ignore[method-assign]


def nan_loss(forward: Any, batch: Any) -> Any:
    return {**forward(batch), "loss_box": torch.tensor(float("nan"), requires_grad=True)}


def nan_image(forward: Any, batch: Any) -> Any:
    batch[1]["image"] = batch[1]["image"].float()
    batch[1]["image"][0, 3, 4] = float("nan")
    return forward(batch)


def nan_gradient(trainer: Trainer) -> Any:
    def act(forward: Any, batch: Any) -> Any:
        losses = forward(batch)
        losses["loss_box"] = losses["loss_box"] + Zero.apply(trainer.model.box.bias)
        return losses

    return act


def assert_good(output: Path, iterations: int) -> None:
    """The last checkpoint is of so many iterations, and all that are saved are finite."""
    name = (output / "last_checkpoint").read_text()
    assert load_weights_file(output / name)["iteration"] + 1 == iterations
    for file in output.glob("*.pth"):
        for value in load_weights_file(file)["model"].values():
            assert torch.isfinite(value).all()


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(tiny, tmp_path)
    at(trainer, {5}, nan_gradient(trainer))
    with pytest.raises(NonFiniteLossError) as error:
        trainer.train()
    first = str(error.value).splitlines()[0]
    assert first.startswith(
        "Gradients became NaN or infinite while all losses are finite at iteration 5 with learning "
    )
    assert first.endswith(": box.bias.")
    assert str(error.value).count(".png") == 2
    assert all(torch.isfinite(p).all() for p in trainer.model.parameters())
    assert_good(tmp_path, 4)


def test_an_image_that_is_not_finite_is_named(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(tiny, tmp_path)
    at(trainer, {5}, nan_image)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.train()
    message = str(error.value)
    assert "loss_box = nan" in message
    assert "loss_cls = nan" in message
    (line,) = [line for line in message.splitlines() if line.startswith("Pixels were already not")]
    assert line.count(".png") == 1
    assert_good(tmp_path, 4)


def test_weights_that_are_not_finite_are_named_and_not_saved(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    def poison(forward: Any, batch: Any) -> Any:
        with torch.no_grad():
            trainer.model.cls.weight[0, 0] = float("inf")
        return forward(batch)

    options = ("SOLVER.MAX_BAD_BATCHES", -1)  # which no weight is covered by
    trainer = trainer_of(tiny, tmp_path / "a", *options)
    at(trainer, {5}, poison)
    with pytest.raises(NonFiniteLossError, match=r"1 parameters \(cls.weight\) were already not"):
        trainer.train()
    assert_good(tmp_path / "a", 4)

    # Between the step and its checkpoint
    trainer = trainer_of(tiny, tmp_path / "b", *options)
    step = trainer._trainer.run

    def poisoned(iteration: int, *args: Any, **kwargs: Any) -> Any:
        result = step(iteration, *args, **kwargs)
        if iteration == 5:
            with torch.no_grad():
                trainer.model.box.bias[1] = float("nan")
        return result

    trainer._trainer.run = poisoned  # type: ignore[method-assign]
    with pytest.raises(NonFiniteLossError, match=r"\(box.bias\).* They are not saved"):
        trainer.train()
    assert_good(tmp_path / "b", 4)


def test_a_forward_pass_that_fails_on_bad_weights_names_them(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    def fail(forward: Any, batch: Any) -> Any:
        with torch.no_grad():
            trainer.model.cls.weight.fill_(float("nan"))
        raise AssertionError("boxes contain NaN")

    trainer = trainer_of(tiny, tmp_path)
    at(trainer, {3}, fail)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.train()
    assert "failed at iteration 3 (AssertionError: boxes contain NaN)" in str(error.value)
    assert "(cls.weight)" in str(error.value)
    assert_good(tmp_path, 2)


def test_a_forward_pass_that_fails_on_bad_pixels_names_the_image_and_can_be_left_out(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    def fail(forward: Any, batch: Any) -> Any:
        batch[1]["image"] = batch[1]["image"] / 0.0
        raise AssertionError("Box tensor is wrong")

    trainer = trainer_of(tiny, tmp_path / "a")
    at(trainer, {3}, fail)
    with pytest.raises(NonFiniteLossError) as error:
        trainer.train()
    message = str(error.value)
    assert "failed at iteration 3 (AssertionError: Box tensor is wrong)" in message
    (line,) = [line for line in message.splitlines() if line.startswith("Pixels were already not")]
    assert line.count(".png") == 1
    assert_good(tmp_path / "a", 2)

    trainer = trainer_of(tiny, tmp_path / "b", "SOLVER.MAX_BAD_BATCHES", 1)
    at(trainer, {3}, fail)
    trainer.train()
    assert trainer.bad_steps.count == 1
    assert_good(tmp_path / "b", 8)


def test_a_forward_pass_that_fails_for_another_reason_is_no_bad_step(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    def fail(forward: Any, batch: Any) -> Any:
        raise AssertionError("an information about a nanny")

    trainer = trainer_of(tiny, tmp_path, "SOLVER.MAX_BAD_BATCHES", -1)
    at(trainer, {1}, fail)
    with pytest.raises(AssertionError, match="nanny"):
        trainer.train()


def test_isolated_bad_steps_are_left_out_and_counted(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.MAX_BAD_BATCHES", 2, "SOLVER.MAX_ITER", 10, "SOLVER.EMA.ENABLED", True)
    options = ("SOLVER.CHECKPOINT_PERIOD", 2, *options)
    trainer = WithAverages(setup(tiny.arguments(tmp_path, *options)))
    before: dict[str, torch.Tensor] = {}

    def remember(forward: Any, batch: Any) -> Any:
        before.update({k: v.clone() for k, v in trainer.model.state_dict().items()})
        return nan_image(forward, batch)

    at(trainer, {5}, remember)
    steps = trainer._trainer.run

    def compared(iteration: int, *args: Any, **kwargs: Any) -> Any:
        try:
            return steps(iteration, *args, **kwargs)
        finally:
            if iteration == 5:
                for name, value in trainer.model.state_dict().items():
                    assert torch.equal(value, before[name]), name

    trainer._trainer.run = compared  # type: ignore[method-assign]
    trainer.train()
    assert before
    assert trainer.bad_steps.count == 1
    assert_good(tmp_path, 10)
    log = (tmp_path / "log.txt").read_text()
    assert log.count("This step is left out. Steps that were left out") == 1
    assert log.count("not finite: 1; SOLVER.MAX_BAD_BATCHES allows 2.") == 2  # at once, at the end
    assert '"bad_batches": 1' in (tmp_path / "metrics.json").read_text()


def test_more_than_allowed_end_the_run_also_after_a_resume(
    tiny: ModuleType, tiny_data: Path, tmp_path: Path
) -> None:
    options = ("SOLVER.MAX_BAD_BATCHES", 2)
    trainer = trainer_of(tiny, tmp_path, *options, "SOLVER.TRAIN_ITER", 4)
    at(trainer, {1, 3}, nan_loss)
    trainer.train()
    resumed = trainer_of(tiny, tmp_path, *options)
    resumed.resume_or_load(resume=True)
    assert resumed.bad_steps.count == 2
    at(resumed, {6}, nan_loss)
    with pytest.raises(NonFiniteLossError) as error:
        resumed.train()
    assert "loss_box = nan" in str(error.value)
    assert "not finite: 2; SOLVER.MAX_BAD_BATCHES allows 2." in str(error.value)
    assert_good(tmp_path, 6)


def train_in_two_processes(data: str, output: str) -> int:
    import faults

    options = (
        "MODEL.META_ARCHITECTURE", "TinyBreakingDetector", "SOLVER.MAX_BAD_BATCHES", 5,
        "DATALOADER.ASPECT_RATIO_GROUPING", False, "SOLVER.MAX_ITER", 10,
    )  # fmt: skip
    return faults.train_script(data, output, options, ["--num-cpu-procs", "2"])


@pytest.mark.slow
def test_all_processes_leave_out_the_same_step(
    in_child: Callable[..., Any], tiny_folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    ended = in_child(train_in_two_processes, data=tiny_folder, output=output)
    assert ended.code == 0, ended.text
    logs = [(output / name).read_text() for name in ("log.txt", "log.txt.rank1")]
    for log in logs:
        assert "003.png" in log
    counts = [log.rpartition("that are not finite: ")[2].partition(";")[0] for log in logs]
    assert counts[0] == counts[1]
    assert int(counts[0]) >= 1
    assert_good(output, 10)
