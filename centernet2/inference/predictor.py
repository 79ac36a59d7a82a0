"""A model with its pre-processing: BGR images in, detections out, several at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.data import transforms as T
from detectron2.modeling import build_model
from detectron2.structures import Instances

from centernet2.data.augmentation import build_augmentation
from centernet2.data.views import whole_image_config
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import num_classes
from centernet2.engine.defaults import choose_device
from centernet2.engine.precision import inference_dtype
from centernet2.engine.test_time_augmentation import build_augmented
from centernet2.errors import UserError
from centernet2.inference.results import category_ids
from centernet2.modeling.inference_form import to_inference_form

__all__ = ["TWO_STAGES", "Predictor", "set_score_threshold"]

# Meta-architectures with RoI heads, which alone find masks
TWO_STAGES = ("GeneralizedRCNN", "PanopticFPN")


def set_score_threshold(cfg: CfgNode, threshold: float) -> None:
    """Make the model of a configuration return detections from this score on, in place.

    Every meta-architecture reads its threshold from a key of its own. A proposal generator's
    threshold is left alone: it decides which proposals a second stage sees.

    Args:
        cfg: with the keys of CenterNet2.
        threshold: 0 to 1.
    """
    cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.RETINANET.SCORE_THRESH_TEST = threshold
    cfg.MODEL.TRIPLETS.SCORE_THRESH_TEST = threshold
    cfg.MODEL.POINTS.SCORE_THRESH_TEST = threshold
    if cfg.MODEL.META_ARCHITECTURE == "CenterNetDetector":
        # With an agnostic map the threshold applies to the class map p, while the score is
        # sqrt(p * agnostic) <= sqrt(p).
        agnostic = cfg.MODEL.CENTERNET.WITH_AGN_HM
        cfg.MODEL.CENTERNET.INFERENCE_TH = threshold**2 if agnostic else threshold


class Predictor:
    """Runs a Detectron2 model on images.

    Unlike :class:`detectron2.engine.DefaultPredictor` it takes several images at a time, loads
    weights without running code from them and applies one score threshold to every kind of model.

    Args:
        cfg: ``MODEL.WEIGHTS`` are loaded, the test sizes of ``INPUT`` (TEST_INPUT_TYPE and the keys
            it stands for) and ``INPUT.FORMAT`` applied, as in evaluation. With
            ``TEST.AUG.ENABLED`` each image is looked at in the sizes of ``TEST.AUG`` instead.
            ``MODEL.DEVICE`` "cuda" becomes "cpu" where there is no GPU.
        threshold: least score of a detection; default: as configured.

    Example::

        predictor = Predictor(cfg, threshold=0.5)
        (detections,) = predictor([cv2.imread("street.jpg")])
        print(detections.pred_boxes, detections.scores)
    """

    def __init__(self, cfg: CfgNode, threshold: float | None = None) -> None:
        cfg = cfg.clone()
        cfg.defrost()
        choose_device(cfg)
        if threshold is not None:
            set_score_threshold(cfg, threshold)
        self.cfg = cfg
        self.threshold = threshold
        self.model = build_model(cfg).eval()
        Checkpointer(self.model).load(cfg.MODEL.WEIGHTS)
        to_inference_form(self.model, inference_dtype(cfg))
        shown = cfg
        if cfg.TEST.AUG.ENABLED:
            self.model, shown = build_augmented(cfg, self.model), whole_image_config(cfg)
        self._resize = T.AugmentationList(build_augmentation(shown, is_train=False))
        datasets = (*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN)
        self.metadata = MetadataCatalog.get(datasets[0] if datasets else "__unused")

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return torch.device(self.cfg.MODEL.DEVICE)

    @property
    def usual_batch_size(self) -> int:
        """Images to give at a time where nothing else is said: 1 on the CPU, 8 on a GPU."""
        return 1 if self.device.type == "cpu" else 8

    @property
    def category_ids(self) -> list[int]:
        """Id of each class in COCO results."""
        return category_ids(self.metadata, num_classes(self.cfg))

    @property
    def class_names(self) -> list[str]:
        """Name of each class, from the data set that the configuration names; else "class 0"..."""
        number = num_classes(self.cfg)
        names = list(self.metadata.get("thing_classes", []))
        return names if len(names) == number else [f"class {c}" for c in range(number)]

    @property
    def finds_masks(self) -> bool:
        """Whether detections have masks: one-stage models have none, whatever the key says."""
        model = self.cfg.MODEL
        return bool(model.MASK_ON) and model.META_ARCHITECTURE in TWO_STAGES

    @property
    def finds_joints(self) -> bool:
        """Whether detections have joints."""
        model = self.cfg.MODEL
        able = (*TWO_STAGES, "ObjectsAsPoints")
        return bool(model.KEYPOINT_ON) and model.META_ARCHITECTURE in able

    @torch.inference_mode()
    def __call__(self, images: Sequence[npt.NDArray[np.uint8]]) -> list[Instances]:
        """Detect the objects on images.

        Args:
            images: ``(H, W, 3)`` uint8, BGR (as OpenCV reads them), of any sizes.

        Returns:
            For each image the detections on the CPU, best score first, in pixels of the image:
            ``pred_boxes``, ``scores``, ``pred_classes`` and, with a mask head, ``pred_masks``.

        Raises:
            UserError: the model returns no instances.
        """
        if not images:
            return []
        inputs = [self._prepare(image) for image in images]
        outputs: list[dict[str, Instances]] = [{}] * len(inputs)
        for group in self._groups([tuple(i["image"].shape[1:]) for i in inputs]):
            for place, output in zip(group, self.model([inputs[place] for place in group])):
                outputs[place] = output
        if any("instances" not in output for output in outputs):
            name = self.cfg.MODEL.META_ARCHITECTURE
            raise UserError(f"MODEL.META_ARCHITECTURE {name} returns no instances: not a detector")
        return [self._select(output["instances"].to("cpu")) for output in outputs]

    def _groups(self, sizes: Sequence[tuple[int, ...]]) -> list[list[int]]:
        """Places of the images that the model pads to the same size as it would each alone.

        Padding further would change what is found near the border; so an image's detections do not
        depend on those beside it in a batch.
        """
        backbone = getattr(self.model, "backbone", None)
        step = max(getattr(backbone, "size_divisibility", 0), 1)
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, size in enumerate(sizes):
            groups.setdefault(tuple(-(-side // step) for side in size), []).append(place)
        return list(groups.values())

    def _prepare(self, image: npt.NDArray[np.uint8]) -> dict[str, Any]:
        height, width = image.shape[:2]
        if self.cfg.INPUT.FORMAT == "RGB":
            image = image[:, :, ::-1]
        resized = T.AugInput(image)
        self._resize(resized)
        tensor = torch.from_numpy(np.ascontiguousarray(resized.image.transpose(2, 0, 1)))
        return {"image": tensor, "height": height, "width": width}

    def _select(self, detections: Instances) -> Instances:
        if self.threshold is not None:
            detections = detections[detections.scores >= self.threshold]
        return detections[detections.scores.argsort(descending=True)]
