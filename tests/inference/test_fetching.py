"""Fetching a model's weights, from a registry of our own or with an npm that is none."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from centernet2.cli.main import main
from centernet2.engine.coco_mobile_weights import _sources
from centernet2.errors import UserError
from centernet2.inference import fetching, npm_package
from centernet2.inference.fetching import PACKAGE, fetch_model
from centernet2.inference.model_files import find_model
from centernet2.inference.npm_package import NpmPackage
from centernet2.inference.zoo import fetched_weights
from centernet2.modeling.mobile_centernet.network import CenterHead, MobileNetV3UNet

_GRAPH, _NUMBERS = PACKAGE.members


def random_weights() -> dict[str, torch.Tensor]:
    """Weights of our own network, in half precision; kernels of all sizes and one of nothing."""
    model = torch.nn.Module()
    model.backbone, model.head = MobileNetV3UNet(), CenterHead(128, 80)
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    for name in state:
        if name.endswith("norm.bias"):
            state[name] = torch.randn(len(state[name])).half()
            weight = name.replace("norm.bias", "weight")
            scale = 10 ** torch.empty(len(state[name]), 1, 1, 1).uniform_(-2, 2)
            state[weight] = (state[weight] * scale).half()
    state["backbone.bottom_up.last.weight"][3] = 0
    return state


def as_graph(state: dict[str, torch.Tensor]) -> tuple[bytes, bytes]:
    """The two files that TensorFlow.js would keep these weights in."""
    entries: list[dict[str, Any]] = [{"name": "axis", "shape": [], "dtype": "int32"}]
    numbers = np.int32(3).tobytes()
    for ours, theirs in _sources():
        array = state[ours].numpy()
        if array.ndim == 4:
            depthwise = theirs.endswith("depthwise_weights")
            array = np.moveaxis(array, (0, 1), (2, 3) if depthwise else (3, 2))
        half = {"dtype": "float16", "original_dtype": "float32"}
        entries.append(
            {"name": theirs, "shape": array.shape, "dtype": "float32", "quantization": half}
        )
        numbers += array.tobytes()
    manifest = [{"paths": [Path(_NUMBERS).name], "weights": entries}]
    return json.dumps({"weightsManifest": manifest}).encode(), numbers


@pytest.fixture(scope="module")
def packed() -> tuple[dict[str, torch.Tensor], dict[str, bytes], bytes]:
    """Random weights, the files that hold them, and the tarball of these."""
    state = random_weights()
    members = dict(zip((_GRAPH, _NUMBERS), as_graph(state)))
    tarball = io.BytesIO()
    with tarfile.open(fileobj=tarball, mode="w:gz", compresslevel=0) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return state, members, tarball.getvalue()


@pytest.fixture
def registry(
    packed: tuple[dict[str, torch.Tensor], dict[str, bytes], bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[dict[str, torch.Tensor]]:
    """A registry on this machine whose package has random weights; no npm; gives the weights."""
    state, members, content = packed
    tarball = tmp_path / "@vladmandic" / "human" / "-" / "human-3.3.6.tgz"
    tarball.parent.mkdir(parents=True)
    tarball.write_bytes(content)
    package = dataclasses.replace(
        PACKAGE,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        members={name: hashlib.sha256(part).hexdigest() for name, part in members.items()},
    )
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setattr(fetching, "PACKAGE", package)
        monkeypatch.setattr(npm_package.shutil, "which", lambda _: None)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        yield state
        server.shutdown()
        thread.join()


def assert_the_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Not a bit differs once factors are back in their kernels, whose norms are near sqrt(2)."""
    fixed = {name for name in expected if "running_" in name}
    assert found.keys() == expected.keys() - fixed
    for name in found.keys() - {name for name in found if name.endswith("norm.weight")}:
        weight, factor = found[name].float(), found.get(name.replace("weight", "norm.weight"))
        if name.endswith(".weight") and factor is not None:
            norms = weight.flatten(1).norm(dim=1)
            assert norms[norms > 0].min() > 0.99
            assert norms.max() < 2.01
            weight = weight * factor.float().view(-1, 1, 1, 1)
        assert torch.equal(weight, expected[name].float()), name


def test_weights_become_ours(
    registry: dict[str, torch.Tensor], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match="once with `centernet2 fetch coco-mobile`"):
        find_model("coco-mobile")
    assert main(["fetch", "coco-mobile"]) == 0
    assert "the weights' own origin states no licence" in capsys.readouterr().out
    config, weights = find_model("coco-mobile")
    assert config.parent.name == "coco-mobile"
    assert weights == str(fetched_weights("coco-mobile"))
    assert_the_same(load_file(weights), registry)

    written = fetched_weights("coco-mobile").stat()
    assert main(["fetch", "coco-mobile"]) == 0
    assert capsys.readouterr().out.endswith("is there already\n")
    assert fetched_weights("coco-mobile").stat() == written


@pytest.mark.parametrize("part", ["tarball", "member"])
def test_another_content_is_refused(
    part: str,
    registry: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    package: NpmPackage = fetching.PACKAGE
    if part == "tarball":
        package = dataclasses.replace(package, sha256="0" * 64)
    else:
        package = dataclasses.replace(package, members={**package.members, _GRAPH: "0" * 64})
    monkeypatch.setattr(fetching, "PACKAGE", package)
    assert main(["fetch", "coco-mobile", "--output", str(tmp_path / "w.safetensors")]) == 2
    said = capsys.readouterr().err
    assert "is not the expected one (sha256 " in said
    assert "nothing was kept" in said
    assert not list(tmp_path.glob("*.safetensors"))
    assert not fetched_weights("coco-mobile").exists()


def test_a_larger_file_is_not_read_to_its_end(
    registry: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    package: NpmPackage = dataclasses.replace(fetching.PACKAGE, size=1000)
    monkeypatch.setattr(fetching, "PACKAGE", package)
    with pytest.raises(
        UserError, match=r"tarball of @vladmandic/human@3\.3\.6 is not the expected"
    ):
        fetch_model("coco-mobile")


def test_no_registry_is_one_sentence(
    registry: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    assert main(["fetch", "coco-mobile"]) == 2
    assert "human-3.3.6.tgz cannot be fetched" in capsys.readouterr().err
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "file:///etc")
    assert main(["fetch", "coco-mobile"]) == 2
    assert "must be an http or https address" in capsys.readouterr().err


def test_failing_npm_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    npm.chmod(0o755)
    monkeypatch.setattr(npm_package.shutil, "which", lambda _: str(npm))
    with pytest.raises(UserError, match=r"npm cannot fetch .*ENOTFOUND.*check the network"):
        fetch_model("coco-mobile", tmp_path / "w.safetensors")


def test_npm_packs_into_a_folder_that_goes(
    registry: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """npm's part played by a script that takes the same words."""
    npm, log = tmp_path / "npm", tmp_path / "log"
    tarball = tmp_path / "@vladmandic" / "human" / "-" / "human-3.3.6.tgz"
    npm.write_text(f'#!/bin/sh\necho "$@" > {log}\npwd >> {log}\ncp {tarball} v-human.tgz\n')
    npm.chmod(0o755)
    monkeypatch.setattr(npm_package.shutil, "which", lambda _: str(npm))
    target = fetch_model("coco-mobile", tmp_path / "w.safetensors", keep=tmp_path / "kept")
    for name, sha256 in fetching.PACKAGE.members.items():
        content = (tmp_path / "kept" / Path(name).name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == sha256
    assert_the_same(load_file(target), registry)
    said, folder = log.read_text().splitlines()
    assert said == "pack @vladmandic/human@3.3.6 --ignore-scripts --loglevel=error"
    assert not Path(folder).exists()


def test_unknown_model() -> None:
    with pytest.raises(UserError, match="no model 'cats' to fetch"):
        fetch_model("cats")
