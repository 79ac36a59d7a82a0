from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from centernet2.engine import Checkpointer, load_weights_file
from centernet2.engine.ema import ModelEma
from centernet2.errors import UserError


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def test_interrupted_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = nn.Linear(2, 2)
    checkpointer = Checkpointer(net, str(tmp_path))
    checkpointer.save("model", iteration=1)
    old = (tmp_path / "model.pth").read_bytes()

    def interrupted(_: Any, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupted)
    for name in ("model", "other"):
        with pytest.raises(KeyboardInterrupt):
            checkpointer.save(name, iteration=2)
    assert (tmp_path / "model.pth").read_bytes() == old
    assert (tmp_path / "last_checkpoint").read_text() == "model.pth"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model.pth"]


def test_weights_alone_are_not_what_a_resumed_run_starts_from(tmp_path: Path) -> None:
    checkpointer = Checkpointer(nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_0000001", iteration=1)
    checkpointer.save_weights("model_best", iteration=1)
    assert checkpointer.get_checkpoint_file().endswith("model_0000001.pth")
    assert set(load_weights_file(tmp_path / "model_best.pth")) == {"model", "iteration"}


class Part:
    """Something with state, as a trainer has."""

    def state_dict(self) -> dict[str, int]:
        return {"value": 3}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.loaded = state


def test_only_a_resumed_run_reads_the_weights_in_training(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    ema = ModelEma(net, decay=0.5)
    with torch.no_grad():
        net.weight.add_(1)
    ema.update()
    average, raw = ema.state_dict()["weight"].clone(), net.weight.detach().clone()
    Checkpointer(net, str(tmp_path), ema=ema, trainer=Part()).save("model", iteration=0)

    deployed = nn.Linear(2, 2)
    Checkpointer(deployed).load(str(tmp_path / "model.pth"))
    assert torch.equal(deployed.weight, average)

    resumed = nn.Linear(2, 2)
    resumed_ema = ModelEma(resumed, decay=0.5)
    part = Part()
    Checkpointer(resumed, str(tmp_path), ema=resumed_ema, trainer=part).load(
        str(tmp_path / "model.pth")
    )
    assert torch.equal(resumed.weight, raw)
    assert torch.equal(resumed_ema.state_dict()["weight"], average)
    assert part.loaded == {"value": 3}

    without = nn.Linear(2, 2)
    Checkpointer(without, str(tmp_path), trainer=Part()).load(str(tmp_path / "model.pth"))
    assert torch.equal(without.weight, raw)


@pytest.mark.parametrize("name", ["evil.pth", "evil.pkl"])
def test_code_in_a_file_is_refused_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    content = {"model": {"weight": Evil()}, "__author__": "somebody"}
    if name.endswith(".pth"):
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=f"{name}: refused, because it holds Python objects"):
        load_weights_file(path)
    assert not (tmp_path / "pwned").exists()


def test_model_zoo_pickle(tmp_path: Path) -> None:
    path = tmp_path / "zoo.pkl"
    weights = {"weight": np.ones((2, 2), dtype=np.float32), "bias": np.zeros(2, dtype=np.float32)}
    path.write_bytes(pickle.dumps({"model": weights, "__author__": "zoo"}, protocol=2))
    net = nn.Linear(2, 2)
    Checkpointer(net).load(str(path))
    assert torch.equal(net.weight, torch.ones(2, 2))


def test_caffe2_pickle_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "old.pkl"
    blobs = {"conv1_w": np.ones(1), "conv1_w_momentum": np.ones(1)}
    path.write_bytes(pickle.dumps({"blobs": blobs}))
    loaded = load_weights_file(path)
    assert set(loaded["model"]) == {"conv1_w"}
    assert loaded["matching_heuristics"]


def test_safetensors(tmp_path: Path) -> None:
    net, other = nn.Linear(2, 2), nn.Linear(2, 2)
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    Checkpointer(other).load(str(tmp_path / "model.safetensors"))
    assert torch.equal(other.weight, net.weight)


def test_bare_state_dict(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    torch.save(net.state_dict(), tmp_path / "bare.pth")
    assert set(load_weights_file(tmp_path / "bare.pth")["model"]) == {"weight", "bias"}


@pytest.mark.parametrize("name", ["cut.pth", "cut.pkl", "cut.safetensors"])
def test_damaged_file(tmp_path: Path, name: str) -> None:
    torch.save({"model": {"weight": torch.ones(1000)}}, tmp_path / "whole.pth")
    (tmp_path / name).write_bytes((tmp_path / "whole.pth").read_bytes()[:1000])
    with pytest.raises(UserError, match=name):
        load_weights_file(tmp_path / name)


def test_list_instead_of_weights(tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list instead of named weights"):
        load_weights_file(tmp_path / "list.pth")


def test_absent_weights() -> None:
    with pytest.raises(UserError, match=r"no weights file nowhere\.pth; check MODEL\.WEIGHTS"):
        Checkpointer(nn.Linear(1, 1)).load("nowhere.pth")


def test_absent_last_checkpoint(tmp_path: Path) -> None:
    checkpointer = Checkpointer(nn.Linear(1, 1), str(tmp_path), trainer=Part())
    checkpointer.tag_last_checkpoint("model_0000009.pth")
    with pytest.raises(UserError, match=r"last_checkpoint names model_0000009\.pth, which is abse"):
        checkpointer.load(checkpointer.get_checkpoint_file())


def test_empty_path_keeps_random_weights() -> None:
    net = nn.Linear(1, 1)
    before = net.weight.clone()
    assert Checkpointer(net).load("") == {}
    assert torch.equal(net.weight, before)
