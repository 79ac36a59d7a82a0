from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d, get_norm
from detectron2.modeling import build_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from centernet2.engine import build_cfg
from centernet2.modeling.inference_form import to_inference_form

REPO = Path(__file__).resolve().parents[2]
SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "MODEL.FPN.OUT_CHANNELS", "32"),
    *("MODEL.ROI_BOX_HEAD.FC_DIM", "16", "MODEL.RESNETS.STEM_OUT_CHANNELS", "8"),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", "16", "MODEL.RESNETS.WIDTH_PER_GROUP", "4"),
]


def _draw_statistics(model: nn.Module) -> None:
    """As after training: fresh normalisations are nearly the identity."""
    for module in model.modules():
        if isinstance(module, (_BatchNorm, FrozenBatchNorm2d)):
            for values in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(values.data, 0.5, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2.0)


@pytest.mark.parametrize(
    ("config", "overrides"),
    [
        ("configs/CenterNet2_R50_1x.yaml", SMALL),
        ("configs/CenterNet-FPN_R50_1x.yaml", SMALL),
        (
            "configs/CenterNet2_R50_1x.yaml",
            [*SMALL, "MODEL.RESNETS.DEFORM_ON_PER_STAGE", "[False, False, True, True]",
             "MODEL.BACKBONE.NAME", "build_p67_resnet_fpn_backbone"],
        ),
        ("configs/CenterNet2_DLA-BiFPN-P3_4x.yaml", ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""]),
        ("configs/small/CenterNet2_MobileNetV2_pennfudan.yaml", SMALL[:6]),
    ],
)  # fmt: skip
def test_results_stay_the_same(config, overrides):
    cfg = build_cfg(str(REPO / config), overrides)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    _draw_statistics(model)
    form = to_inference_form(copy.deepcopy(model))
    norms = [sum(isinstance(x, (_BatchNorm, FrozenBatchNorm2d)) for x in m.modules())
             for m in (model, form)]  # fmt: skip
    assert norms[1] < norms[0]

    maps = []
    image = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        for network in (model, form):
            features = network.backbone(image)
            head = getattr(network.proposal_generator, "centernet_head", None)
            levels = [features[f] for f in network.proposal_generator.in_features]
            maps.append([*levels, *head(levels).boxes])
        for plain, fused in zip(*maps):
            torch.testing.assert_close(
                fused, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max())
            )
        sides = {"height": 128, "width": 160}
        outputs = form([{"image": (image[0] * 50 + 120).clamp(0, 255), **sides}])
    assert len(outputs) == 1


@pytest.mark.parametrize("kind", ["BN", "FrozenBN", "GN"])
@pytest.mark.parametrize("bias", [True, False])
def test_every_place_of_a_norm(kind, bias):
    torch.manual_seed(0)
    held = Conv2d(3, 32, 3, bias=bias, norm=get_norm(kind, 32), activation=torch.relu)
    behind = nn.Sequential(nn.Conv2d(32, 32, 1, bias=bias), get_norm(kind, 32), nn.ReLU())
    alone = nn.Sequential(get_norm(kind, 32), nn.Conv2d(32, 32, 1))
    model = nn.Sequential(held, behind, alone)
    _draw_statistics(model)
    image = torch.randn(2, 3, 9, 8)
    expected = model.eval()(image)
    form = to_inference_form(copy.deepcopy(model))
    torch.testing.assert_close(form(image), expected, rtol=1e-4, atol=1e-4)
    assert (form[0].norm is None) == isinstance(form[1][1], nn.Identity) == (kind != "GN")
    assert type(form[2][0]) is type(model[2][0])


def test_a_norm_of_the_batch_is_left():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False))
    assert isinstance(to_inference_form(model)[1], nn.BatchNorm2d)


def test_first_layer_of_box_heads_is_a_convolution():
    cfg = build_cfg(str(REPO / "configs/CenterNet2_R50_1x.yaml"), SMALL)
    torch.manual_seed(0)
    plain = build_model(cfg).eval().roi_heads
    form = to_inference_form(copy.deepcopy(plain))
    pooled = torch.randn(5, 32, 7, 7).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for before, after in zip(plain.box_head, form.box_head):
            assert [type(m) for m in after][:2] == [nn.Conv2d, nn.Flatten]
            torch.testing.assert_close(after(pooled), before(pooled), rtol=1e-4, atol=1e-5)
            assert after(pooled[:0]).shape == (0, 16)


@pytest.mark.parametrize(
    "config", ["CenterNet2_R50_1x.yaml", "CenterNet-FPN_R50_1x.yaml", "CenterNet2-F_R50_1x.yaml"]
)
def test_lower_precision_stays_inside_the_model(config):
    cfg = build_cfg(str(REPO / "configs" / config), SMALL)
    torch.manual_seed(0)
    model = build_model(cfg)
    form = to_inference_form(model, torch.bfloat16)
    computed = []
    form.backbone.bottom_up.stem.conv1.register_forward_hook(
        lambda _, __, out: computed.append(out.dtype)
    )
    image = torch.randint(256, (3, 128, 160), dtype=torch.uint8)
    with torch.no_grad():
        (found,) = form([{"image": image, "height": 128, "width": 160}])
    assert computed == [torch.bfloat16]
    assert not torch.is_autocast_enabled("cpu")  # nor outside of the model
    instances = found["instances"]
    assert instances.pred_boxes.tensor.dtype == instances.scores.dtype == torch.float32
    assert torch.isfinite(instances.pred_boxes.tensor).all()
