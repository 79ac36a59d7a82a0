"""Published checkpoints in every form that trainers write, with the published names."""

from __future__ import annotations

import collections
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from safetensors.torch import save_file

import centernet2  # noqa: F401  (registers the models)
from centernet2.engine import Checkpointer, build_cfg, load_weights_file
from centernet2.errors import UserError

REPO = Path(__file__).resolve().parents[2]
LISTS = REPO / "tests" / "data" / "published_state_dicts"
# The names are those of the full depth; widths are cut down where a key allows it
NARROW = [
    "MODEL.DEVICE", "cpu",
    "MODEL.RESNETS.RES2_OUT_CHANNELS", "32",
    "MODEL.RESNETS.WIDTH_PER_GROUP", "4",
    "MODEL.RESNETS.STEM_OUT_CHANNELS", "4",
    "MODEL.FPN.OUT_CHANNELS", "32",
    "MODEL.BIFPN.OUT_CHANNELS", "32",
    "MODEL.ROI_BOX_HEAD.FC_DIM", "8",
]  # fmt: skip
State = dict[str, torch.Tensor]


def narrow_cfg(name: str) -> CfgNode:
    return build_cfg(str(REPO / "configs" / f"{name}.yaml"), NARROW)


@pytest.fixture(scope="module")
def published(request: pytest.FixtureRequest) -> tuple[CfgNode, State]:
    """A config and random weights under the published names."""
    cfg = narrow_cfg(request.param)
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, value in build_model(cfg).state_dict().items():
        drawn = torch.rand(value.shape, generator=generator) * 8
        state[name] = value if name.startswith("pixel_") else drawn.to(value.dtype)
    assert set(state) == set(json.loads((LISTS / f"{request.param}.json").read_text()))
    return cfg, state


def wrong(state: State) -> State:
    return {name: torch.zeros_like(value) for name, value in state.items()}


def prefixed(state: State) -> State:
    return {f"module.{name}": value for name, value in state.items()}


def bare(state: State, path: Path) -> None:
    torch.save(collections.OrderedDict(state), path)


def data_parallel(state: State, path: Path) -> None:
    torch.save({"model": prefixed(state)}, path)


def state_dict_beside_meta(state: State, path: Path) -> None:
    torch.save({"meta": {"epoch": 3, "classes": ["a"]}, "state_dict": prefixed(state)}, path)


def ema_beside_model(state: State, path: Path) -> None:
    torch.save({"model": wrong(state), "ema_state": state, "iteration": 5}, path)


def wrapped_ema(state: State, path: Path) -> None:
    averages = {"module": {f"_orig_mod.{k}": v for k, v in state.items()}}
    torch.save({"model": prefixed(wrong(state)), "model_ema": averages}, path)


def trained_parts_averaged(state: State, path: Path) -> None:
    """An average of the parameters alone, as d2go keeps it."""
    averaged = {n for n in state if "running" not in n and "pixel" not in n}
    plain = {n: torch.zeros_like(v) if n in averaged else v for n, v in state.items()}
    torch.save({"model": plain, "ema_state": {n: state[n] for n in averaged}}, path)


def in_training(state: State, path: Path) -> None:
    """What Detectron2 saves on the way, where NumPy computed the learning rates."""
    optimizer = {
        "state": {0: {"momentum_buffer": torch.ones(3)}},
        "param_groups": [{"lr": np.float64(0.02), "params": [0], "nesterov": np.bool_(False)}],
    }
    scheduler = {
        "last_epoch": np.int64(9),
        "base_lrs": [np.float32(0.02)],
        "milestones": collections.Counter([3]),
        "lrs": np.array([0.1, 0.2]),
    }
    torch.save(
        {"model": state, "optimizer": optimizer, "scheduler": scheduler, "iteration": 9}, path
    )


def before_zip_files(state: State, path: Path) -> None:
    torch.save({"model": state}, path, _use_new_zipfile_serialization=False)


def model_zoo(protocol: int) -> Callable[[State, Path], None]:
    def write(state: State, path: Path) -> None:
        arrays = {name: value.numpy() for name, value in state.items()}
        content = {"model": arrays, "__author__": "a model zoo"}
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    return write


def safetensors(state: State, path: Path) -> None:
    save_file(state, path)


FORMS: dict[str, tuple[str, Callable[[State, Path], None]]] = {
    "bare": ("pth", bare),
    "DataParallel": ("pth", data_parallel),
    "state_dict": ("pth", state_dict_beside_meta),
    "ema_state": ("pth", ema_beside_model),
    "model_ema": ("pth", wrapped_ema),
    "partial EMA": ("pth", trained_parts_averaged),
    "in training": ("pth", in_training),
    "old PyTorch": ("pth", before_zip_files),
    "pickle": ("pkl", model_zoo(2)),
    "new pickle": ("pkl", model_zoo(5)),
    "safetensors": ("safetensors", safetensors),
}


# Some models have no narrow form: their lists are read in one form
LARGE = ("DLA", "X101")
CASES = [
    pytest.param(path.stem, form, marks=[pytest.mark.slow] if large else [])
    for path in sorted(LISTS.glob("*.json"))
    for large in [any(part in path.stem for part in LARGE)]
    for form in (["in training"] if large else FORMS)
]


@pytest.mark.parametrize(("published", "form"), CASES, indirect=["published"])
def test_published_names_load_bit_by_bit(
    published: tuple[CfgNode, State],
    form: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cfg, state = published
    ending, write = FORMS[form]
    path = tmp_path / f"published.{ending}"
    write(state, path)
    model = build_model(cfg)
    checkpointer = Checkpointer(model)
    with caplog.at_level(logging.WARNING):
        checkpointer.load(str(path), checkpointables=[])
    path.unlink()  # pytest keeps its folders for a while
    assert not caplog.records
    match = checkpointer.match
    assert match is not None
    assert match.complete and not match.unexpected and not match.aside.left_over
    assert len(match.matched) == len(state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_what_else_a_file_holds_stays_beside_the_weights(tmp_path: Path) -> None:
    in_training({"a": torch.ones(2)}, tmp_path / "x.pth")
    loaded = load_weights_file(tmp_path / "x.pth")
    assert set(loaded) == {"model", "optimizer", "scheduler", "iteration"}
    assert loaded["scheduler"]["last_epoch"] == 9
    assert loaded["scheduler"]["lrs"].tolist() == [0.1, 0.2]
    assert isinstance(loaded["optimizer"]["param_groups"][0]["lr"], np.float64)
    assert loaded["model"]["a"].tolist() == [1, 1]


def test_versions_of_modules_survive_the_prefixes(tmp_path: Path) -> None:
    """Layers that were renamed ask the file for the version that wrote it."""
    net = torch.nn.Sequential(torch.nn.BatchNorm1d(2))
    torch.save({"model": torch.nn.DataParallel(net).state_dict()}, tmp_path / "x.pth")
    weights = load_weights_file(tmp_path / "x.pth")["model"]
    assert weights._metadata["0"] == {"version": 2}


def test_one_name_without_the_prefix_keeps_it_on_all(tmp_path: Path) -> None:
    weights = {"module.a": torch.ones(1), "b": torch.ones(1)}
    torch.save(weights, tmp_path / "x.pth")
    assert set(load_weights_file(tmp_path / "x.pth")["model"]) == set(weights)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": {}}, "holds no named weights that are known here; it has: nothing"),
        ({"epoch": 3, "weights": [1]}, "it has: epoch, weights"),
        ({"model": {"a": torch.ones(1), "b": "text"}}, "it has: a, b"),
        (torch.ones(3), "holds a Tensor instead of named weights"),
    ],
)
def test_a_file_without_weights_is_one_sentence(content: Any, said: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=said):
        load_weights_file(tmp_path / "x.pth")


class Logger:
    """Something of a training program that is not installed here."""


def test_objects_of_the_training_program_are_named(tmp_path: Path) -> None:
    torch.save({"model": {"a": torch.ones(1)}, "logger": Logger()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"refused, .*\(it refers to [\w.]*test_weights_file\.Logg"):
        load_weights_file(tmp_path / "x.pth")


@pytest.mark.parametrize("name", ["page.pth", "page.pkl", "page.safetensors"])
def test_a_web_page_in_place_of_a_download_is_not_called_harmful(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("<!DOCTYPE html><title>404</title>")
    with pytest.raises(UserError, match=f"{name} cannot be read as a checkpoint") as error:
        load_weights_file(tmp_path / name)
    assert "\n" not in str(error.value)
    assert "trust" not in str(error.value)


@pytest.mark.parametrize("name", ["x.pth", "x.pkl"])
def test_arrays_of_objects_are_refused(name: str, tmp_path: Path) -> None:
    content = {"model": {"a": np.array([{}, None])}, "__author__": "somebody"}
    if name.endswith(".pth"):
        torch.save(content, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(content))
    with pytest.raises(UserError, match=r"refused, .*\(it holds an array of the type 'O8'"):
        load_weights_file(tmp_path / name)


def packed(path: Path, **parts: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(f"archive/{name.replace('_', '.')}", content)
    return path


def test_a_file_packed_to_fill_the_memory_is_refused(tmp_path: Path) -> None:
    bomb = packed(tmp_path / "x.pth", data_pkl=bytes(30_000_000), version=b"3")
    assert bomb.stat().st_size < 100_000
    with pytest.raises(UserError, match=r"x\.pth: refused, because it would grow to 29 MiB"):
        load_weights_file(bomb)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.eye(3).to_sparse(),
        lambda: torch.eye(3).to_sparse_csr(),
        lambda: torch.empty(3, device="meta"),
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
    ],
    ids=["sparse", "rows", "meta", "quantised"],
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_tensors_without_plain_values_are_refused(
    make: Callable[[], torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"model": {"a": make()}}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"x\.pth holds no named weights|x\.pth cannot be read"):
        load_weights_file(tmp_path / "x.pth")
