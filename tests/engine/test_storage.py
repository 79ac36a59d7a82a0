"""Full disks, folders that may not be written: real ones, in a child with mounts of its own."""

from __future__ import annotations

import contextlib
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from centernet2.engine import Trainer, evaluate_checkpoint, launch, load_weights_file, setup


def check_saved(output: Path) -> int:
    """Every file left is whole; returns how many iterations the last checkpoint has."""
    for file in output.glob("*.pth"):
        load_weights_file(file)
    assert not list(output.glob(".*.tmp"))
    name = (output / "last_checkpoint").read_text()
    return int(load_weights_file(output / name)["iteration"]) + 1


def one_sentence(text: str) -> str:
    (sentence,) = [line for line in text.splitlines() if line.startswith("error: ")]
    # Python prints the end of TensorBoard's own thread, which is not ours to silence
    others = text.partition("Exception in thread")[2]
    assert text.count("Traceback (most recent") == others.count("Traceback (most recent") <= 1
    return sentence


# ---------------------------------------------------------------- scenarios, run in children


def fill_the_disk(disk: str) -> int:
    import faults
    import tiny_train

    faults.mount_disk(Path(disk))
    output = Path(disk, "out")
    options = ("SOLVER.MAX_ITER", 60, "SOLVER.CHECKPOINT_PERIOD", 3, "SOLVER.CHECKPOINT_KEEP", 0)
    code = faults.train(tiny_train.arguments(output, *options))
    done = check_saved(output)
    print("SAVED", done)
    # What is told to be done about it
    for old in sorted(output.glob("model_*.pth"))[:-1]:
        old.unlink()
    more = tiny_train.arguments(output, *options, "SOLVER.TRAIN_ITER", done + 4)
    assert faults.train(more, resume=True) == 0
    assert check_saved(output) == done + 4
    return code


def forbid_large_files(output: str) -> int:
    import tiny_train

    class Limited(Trainer):
        def before_train(self) -> None:
            super().before_train()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, 15_000))

    args = tiny_train.arguments(Path(output))
    return launch(lambda parsed: Limited(setup(parsed)).train(), args)


def close_the_folder(output: str) -> int:
    import faults
    import tiny_train

    class Closing(Trainer):
        def before_step(self) -> None:
            super().before_step()
            if self.iter == 3:
                Path(output).chmod(0o555)

    faults.drop_rights()
    code = faults.train(tiny_train.arguments(output, "SOLVER.CHECKPOINT_PERIOD", 2), Closing)
    Path(output).chmod(0o755)
    return code


def read_only(folder: str, evaluation: bool) -> int:
    import faults
    import tiny_train

    faults.mount_disk(Path(folder), flags=faults.READ_ONLY)
    flags = ("--eval-only",) if evaluation else ()
    args = tiny_train.arguments(Path(folder, "out"), "DATASETS.TEST", ("tiny",), flags=flags)
    if evaluation:
        return launch(lambda parsed: evaluate_checkpoint(setup(parsed)), args)
    return int(faults.train(args))


def no_permission(output: str) -> int:
    import faults
    import tiny_train

    faults.drop_rights()
    return int(faults.train(tiny_train.arguments(Path(output))))


def fill_the_disk_before_an_evaluation(disk: str, weights: str) -> int:
    import faults
    import tiny_train

    def main(parsed: Any) -> None:
        cfg = setup(parsed)
        with open(Path(disk, "filler"), "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))
        evaluate_checkpoint(cfg)

    assert faults.train(tiny_train.arguments(Path(weights), "SOLVER.MAX_ITER", 1)) == 0
    faults.mount_disk(Path(disk))
    options = ("DATASETS.TEST", ("tiny",), "MODEL.WEIGHTS", Path(weights, "model_final.pth"))
    args = tiny_train.arguments(Path(disk, "out"), *options, flags=("--eval-only",))
    return launch(main, args)


# ------------------------------------------------------------------------------------- tests


@pytest.mark.slow
def test_a_full_disk_ends_with_a_sentence_and_whole_checkpoints(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = in_child(fill_the_disk, disk=disk)
    assert ended.code == 5, ended.text
    sentence = one_sentence(ended.text)
    done = int(ended.text.split("SAVED ")[1].split()[0])
    assert f"{disk}/out/model_{done + 2:07d}.pth cannot be written: No space left" in sentence
    assert "MiB are free). Make room there, then continue with --resume" in sentence
    assert f"goes on from model_{done - 1:07d}.pth" in sentence


def test_files_that_may_not_grow_end_with_a_sentence(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    ended = in_child(forbid_large_files, output=tmp_path / "out")
    assert ended.code == 5, ended.text
    assert "model_0000003.pth cannot be written: File too large" in one_sentence(ended.text)
    assert "start anew: no checkpoint had been saved" in one_sentence(ended.text)
    assert not list((tmp_path / "out").glob("*.pth"))


def test_a_folder_that_may_no_longer_be_written_ends_with_a_sentence(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    ended = in_child(close_the_folder, output=tmp_path)
    assert ended.code == 5, ended.text
    assert "model_0000003.pth" in one_sentence(ended.text)
    assert "cannot be written: Permission denied. Allow writing there, then" in ended.text
    assert check_saved(tmp_path) == 2


@pytest.mark.parametrize("evaluation", [False, True])
def test_a_read_only_folder_is_told_before_anything_is_done(
    evaluation: bool, tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    folder = tmp_path / "kept"
    folder.mkdir()
    ended = in_child(read_only, folder=folder, evaluation=evaluation)
    assert ended.code == 2, ended.text
    assert one_sentence(ended.text) == (
        f"error: OUTPUT_DIR {folder}/out cannot be written: Read-only file system; "
        "allow writing there, or name another folder with OUTPUT_DIR."
    )


def test_a_folder_without_permission_is_told_before_anything_is_done(
    tmp_path: Path, in_child: Callable[..., Any]
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o555)
    for output in (folder, folder / "out"):
        ended = in_child(no_permission, output=output)
        assert ended.code == 2, ended.text
        assert f"OUTPUT_DIR {output} cannot be written: Permission" in one_sentence(ended.text)
    assert not list(folder.iterdir())


def test_a_file_in_place_of_the_folder_is_told(
    tiny: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").write_text("mine")
    for output in (tmp_path / "out", tmp_path / "out" / "deeper"):
        assert launch(lambda parsed: setup(parsed), tiny.arguments(output)) == 2
        assert f"OUTPUT_DIR {output} cannot be written: " in capsys.readouterr().err
    assert (tmp_path / "out").read_text() == "mine"


def test_a_full_disk_in_an_evaluation_is_told(tmp_path: Path, in_child: Callable[..., Any]) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    ended = in_child(fill_the_disk_before_an_evaluation, disk=disk, weights=tmp_path / "trained")
    assert ended.code == 5, ended.text
    assert "No space left on device" in one_sentence(ended.text)
    assert one_sentence(ended.text).endswith("Make room there, then give the command again.")
