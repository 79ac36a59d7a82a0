"""The command line: what it prints, where, and how it ends."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from safetensors.torch import load_file

import load_published
from centernet2.engine import build_cfg

CONFIG = str(Path(__file__).resolve().parents[2] / "configs" / "CenterNet2_R50_1x.yaml")
NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.WIDTH_PER_GROUP", "4",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "16",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "4",
    "MODEL.FPN.OUT_CHANNELS", "32",
    "MODEL.ROI_BOX_HEAD.FC_DIM", "8",
]  # fmt: skip


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return build_model(build_cfg(CONFIG, NARROW)).state_dict()


def run(weights: object, *options: str, opts: tuple[str, ...] = ()) -> int:
    arguments = ["--config-file", CONFIG, "--weights", str(weights), *options]
    return load_published.main([*arguments, "--opts", *NARROW, *opts])


def test_a_file_that_fits(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"model": {f"module.{k}": v for k, v in state.items()}}, tmp_path / "x.pth")
    output = tmp_path / "folder" / "y.safetensors"
    assert run(tmp_path / "x.pth", "--output", str(output)) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert f"x.pth fits: it holds all {len(state)} weights of the model." in printed.out
    total = next(line for line in printed.out.splitlines() if line.startswith("total"))
    assert total.split()[1:] == [str(len(state)), str(len(state)), "0", "0", "0"]
    assert f"wrote {output} (" in printed.out
    written = load_file(output)
    assert all(torch.equal(written[name], value) for name, value in state.items())

    assert run(output) == 0


def test_a_file_that_differs(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = [name for name in state if name.startswith("roi_heads.box_head.0")]
    for name in gone:
        del state[name]
    state["proposal_generator.centernet_head.agn_hm.weight"] = torch.zeros(1, 5, 3, 3)
    state["extra"] = torch.zeros(1)
    state["roi_heads.box_predictor.1.freq_weight"] = torch.zeros(80)
    torch.save(state, tmp_path / "x.pth")
    output = tmp_path / "y.safetensors"
    assert run(tmp_path / "x.pth", "--output", str(output)) == 2
    printed = capsys.readouterr()
    assert f"missing: {len(gone)}\n  {gone[0]}\n" in printed.out
    assert "agn_hm.weight (1, 5, 3, 3) in the file, (1, 32, 3, 3) in the model\n" in printed.out
    assert "unexpected: 1\n  extra\n" in printed.out
    assert "entries of older files): 1\n  roi_heads.box_predictor.1.freq_weight" in printed.out
    assert "x.pth differs from" in printed.out
    assert printed.err.startswith(f"error: {output} is not written, because")
    assert not output.exists()

    assert run(tmp_path / "x.pth") == 1


def test_weights_beyond_the_model_do_not_keep_it_from_being_written(
    state: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "x.pth")
    assert run(tmp_path / "x.pth", "--output", str(tmp_path / "y.safetensors")) == 1
    assert "extra" not in load_file(tmp_path / "y.safetensors")


def test_long_lists_are_cut_unless_asked_for(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({k: v for k, v in state.items() if k.startswith("backbone")}, tmp_path / "x.pth")
    rest = sum(not k.startswith("backbone") for k in state)
    assert run(tmp_path / "x.pth") == 1
    assert f"  and {rest - 10} more (--all lists them)" in capsys.readouterr().out
    assert run(tmp_path / "x.pth", "--all") == 1
    printed = capsys.readouterr().out
    assert "more (" not in printed
    assert all(f"  {k}\n" in printed for k in state if not k.startswith("backbone"))


def test_warnings_are_sentences_on_the_error_output(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, tmp_path / "x.pth")
    changes = ("MODEL.ROI_HEADS.NUM_CLASSES", "3", "INPUT.FORMAT", "RGB")
    assert run(tmp_path / "x.pth", opts=changes) == 1
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("warning: the numbers of classes disagree: the file is for 80")
    assert lines[1].startswith("warning: INPUT.FORMAT is RGB, but MODEL.PIXEL_MEAN")
    assert "re-initialised (number of classes): 3\n" in printed.out


def test_statistics_alone_do_not_change_the_exit_code(
    state: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, tmp_path / "x.pth")
    assert run(tmp_path / "x.pth", opts=("INPUT.FORMAT", "RGB")) == 0
    assert capsys.readouterr().err.startswith("warning: INPUT.FORMAT")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.pth", "There is no weights file"),
        ("page.pth", "cannot be read as a checkpoint"),
        ("other.pth", "is of another architecture"),
    ],
)
def test_mistakes_are_one_sentence(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.pth").write_text("<html>")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    assert run(tmp_path / name) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("error: ") and said in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_mistake_in_the_config_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("x.pth", opts=("MODEL.NO_KEY", "1")) == 2
    assert "there is no key MODEL.NO_KEY" in capsys.readouterr().err
