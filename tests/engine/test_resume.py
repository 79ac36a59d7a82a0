"""Going on from what is whole, whatever became of the rest of the folder."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from centernet2.engine import Trainer, build_cfg, load_weights_file, setup
from centernet2.engine.resume import resumable_files
from centernet2.errors import UserError

OPTIONS = ("SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.CHECKPOINT_KEEP", 0)


def train(args: Any, resume: bool = False) -> Trainer:
    trainer = Trainer(setup(args))
    trainer.resume_or_load(resume=resume)
    trainer.train()
    return trainer


@pytest.fixture(scope="module")
def trained(tiny: ModuleType, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of which 6 of 8 iterations are done, with checkpoints after 2, 4 and 6."""
    tiny.register_data(tiny_folder)
    folder = tmp_path_factory.mktemp("trained")
    train(tiny.arguments(folder, *OPTIONS, "SOLVER.TRAIN_ITER", 7))
    (folder / "model_final.pth").unlink()
    (folder / "last_checkpoint").write_text("model_0000005.pth")
    return folder


@pytest.fixture(scope="module")
def whole(tiny: ModuleType, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without any interruption."""
    folder = tmp_path_factory.mktemp("whole")
    train(tiny.arguments(folder, *OPTIONS))
    return folder


def started(tiny: ModuleType, folder: Path, *options: object) -> Trainer:
    trainer = Trainer(setup(tiny.arguments(folder, *OPTIONS, *options)))
    trainer.resume_or_load(resume=True)
    return trainer


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5000])


def lose_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    weights = torch.load(path, weights_only=True)["model"]["cls.weight"].numpy().tobytes()
    data[data.index(weights) + 100] ^= 4
    path.write_bytes(bytes(data))


def changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = torch.load(path, weights_only=True)
        change(content)
        torch.save(content, path)

    return damage


def momentum_of_another_shape(content: dict[str, Any]) -> None:
    content["trainer"]["optimizer"]["state"][0]["momentum_buffer"] = torch.ones(3)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "absent": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut short": cut,
    "noise": lambda path: path.write_bytes(os.urandom(20_000)),
    "a bit lost": lose_a_bit,
    "weights alone": changed(lambda c: c.pop("trainer")),
    "no optimizer": changed(lambda c: c["trainer"].pop("optimizer")),
    "no iteration": changed(lambda c: c["trainer"].pop("iteration")),
    "iteration in words": changed(lambda c: c["trainer"].update(iteration="six")),
    "other hooks": changed(lambda c: c["trainer"].update(hooks={"CheckpointHook": 3})),
    "momentum of another shape": changed(momentum_of_another_shape),
    "other parameters": changed(lambda c: c["trainer"]["optimizer"].update(param_groups=[])),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_last_checkpoint_is_told_and_the_one_before_it_taken(
    kind: str, tiny: ModuleType, tiny_data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    DAMAGE[kind](folder / "model_0000005.pth")
    trainer = started(tiny, folder)
    assert trainer.start_iter == 4
    log = (folder / "log.txt").read_text()
    assert "model_0000005.pth" in log
    assert "going on from model_0000003.pth" in log


@pytest.mark.slow
def test_what_it_goes_on_with_is_the_run_that_was_never_interrupted(
    tiny: ModuleType, tiny_data: Path, trained: Path, whole: Path, tmp_path: Path
) -> None:
    for kind in ("cut short", "momentum of another shape"):
        folder = shutil.copytree(trained, tmp_path / kind)
        DAMAGE[kind](folder / "model_0000005.pth")
        train(tiny.arguments(folder, *OPTIONS), resume=True)
        first, second = (load_weights_file(f / "model_final.pth") for f in (folder, whole))
        for name, value in second["model"].items():
            assert torch.equal(first["model"][name], value), name


def test_nothing_whole_is_one_sentence_and_no_new_start(
    tiny: ModuleType, tiny_data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    for path in folder.glob("*.pth"):
        cut(path)
    with pytest.raises(UserError) as error:
        started(tiny, folder)
    assert str(error.value).startswith(f"{folder}/model_0000005.pth cannot be read as a checkpoint")
    assert "leave --resume out to start anew" in str(error.value)


def test_another_number_of_classes_is_no_damage(
    tiny: ModuleType, tiny_data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")

    def other(content: dict[str, Any]) -> None:
        content["model"] = {f"elsewhere.{k}": v for k, v in content["model"].items()}

    changed(other)(folder / "model_0000005.pth")
    with pytest.raises(UserError, match="of another architecture"):
        started(tiny, folder)


@pytest.mark.parametrize("tag", [None, b"", b"\0\0\0\0", b"\xff\xfe\n", b"../../x.pth", b"a\nb"])
def test_a_torn_last_checkpoint_file_costs_nothing(
    tag: bytes | None, tiny: ModuleType, tiny_data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    (folder / "last_checkpoint").unlink()
    if tag is not None:
        (folder / "last_checkpoint").write_bytes(tag)
    assert started(tiny, folder).start_iter == 6
    assert "going on from model_0000005.pth" in (folder / "log.txt").read_text()


def test_torn_records_cost_nothing(
    tiny: ModuleType, tiny_data: Path, trained: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    for name in ("runs.json", "config.yaml", "environment.txt", "metrics.json"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-9])
    for content in ("", "[1", "[]", '{"metric": "bbox/AP"}', '{"metric": "bbox/AP", "value": "x"}'):
        (folder / "model_best.json").write_text(content)
        options = ("DATASETS.TEST", ("tiny",), "SOLVER.TRAIN_ITER", 6)
        assert started(tiny, folder, *options).start_iter == 6


def test_a_config_cut_short_anywhere_is_read_or_one_sentence(trained: Path, tmp_path: Path) -> None:
    text = (trained / "config.yaml").read_text()
    path = tmp_path / "torn.yaml"
    said = []
    for end in range(0, len(text), 211):
        path.write_text(text[:end])
        try:
            build_cfg(str(path))
        except UserError as error:
            said.append(str(error))
    assert said
    assert all(str(path) in sentence and "\n" not in sentence for sentence in said)


def test_the_order_comes_from_numbers_not_from_the_clock(tmp_path: Path) -> None:
    names = ["model_0000009.pth", "model_0000099.pth", "model_0000199.pth", "model_best.pth"]
    for age, name in enumerate([*names, "model_final.pth", "other.pth"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (10**9 - age, 10**9 - age))
    folder = str(tmp_path)
    assert resumable_files(folder, "model_0000099.pth") == names[1::-1]
    assert resumable_files(folder, "model_final.pth") == ["model_final.pth", *names[2::-1]]
    assert resumable_files(folder, "") == ["model_final.pth", *names[2::-1]]
    assert resumable_files(str(tmp_path / "absent"), "") == []


def test_a_clock_that_goes_back_changes_nothing(
    tiny: ModuleType, tiny_data: Path, trained: Path, whole: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    folder = shutil.copytree(trained, tmp_path / "run")
    now = time.time()
    for age, path in enumerate(sorted(folder.glob("*.pth"))):
        os.utime(path, (now + 1e6 - age, now + 1e6 - age))  # of the future, the newest first
    calls = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: now - 3600.0 * next(calls))
    trainer = train(tiny.arguments(folder, *OPTIONS), resume=True)
    assert trainer.start_iter == 6
    first, second = (load_weights_file(f / "model_final.pth") for f in (folder, whole))
    for name, value in second["model"].items():
        assert torch.equal(first["model"][name], value), name


@pytest.mark.parametrize(
    "name", ["my run", "\u4e2d\u6587 \u00e9t\u00e9 \U0001f600", 'a\'b "c" #d', "17"]
)
def test_folders_of_any_name(name: str, tiny: ModuleType, tiny_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / name / "out put"
    options = ("DATASETS.TEST", ("tiny",))
    train(tiny.arguments(folder, *OPTIONS, *options, "SOLVER.TRAIN_ITER", 2))
    assert started(tiny, folder, *options).start_iter == 2
    assert str(folder) == build_cfg(str(folder / "config.yaml")).OUTPUT_DIR
    for file in ("log.txt", "metrics.json", "runs.json", "model_best.json", "model_final.pth"):
        assert (folder / file).stat().st_size > 0
