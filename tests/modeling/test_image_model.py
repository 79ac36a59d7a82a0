from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.modeling import META_ARCH_REGISTRY

import centernet2.modeling  # noqa: F401  (registers the models)
from centernet2.modeling.image_model import ImageModel

MEAN, STD = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]


@pytest.mark.parametrize("in_checkpoints", [False, True])
def test_statistics_are_of_channels(in_checkpoints: bool) -> None:
    model = ImageModel(MEAN, STD, in_checkpoints)
    assert list(model.state_dict()) == (["pixel_mean", "pixel_std"] if in_checkpoints else [])
    assert model.device == torch.device("cpu")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 3, 4, 5))
    expected = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    for given, wanted in ((pixels, expected), (pixels[0], expected[0])):
        found = model.normalised(torch.from_numpy(given).float()).numpy()
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_every_meta_architecture_here_is_one() -> None:
    ours = [model for _, model in META_ARCH_REGISTRY if model.__module__.startswith("centernet2")]
    assert len(ours) >= 5
    assert all(issubclass(model, ImageModel) for model in ours)
