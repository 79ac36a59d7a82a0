"""The configuration keys of the detector ObjectsAsPoints."""

from __future__ import annotations

from detectron2.config import CfgNode as CN

__all__ = ["add_points_config"]


def add_points_config(cfg: CN) -> None:
    """Add the keys of ObjectsAsPoints, in place.

    Human pose is on with Detectron2's ``MODEL.KEYPOINT_ON``; the number of joints is its
    ``MODEL.ROI_KEYPOINT_HEAD.NUM_KEYPOINTS``.

    Args:
        cfg: a config from :func:`detectron2.config.get_cfg`.
    """
    cfg.MODEL.POINTS = CN()
    c = cfg.MODEL.POINTS
    # --- structure of ObjectsAsPoints ---
    # Number of classes of the heatmap
    c.NUM_CLASSES = 80
    # Channels between the two convolutions of a head: 256 (DLA, Hourglass) or 64 (ResNet)
    c.HEAD_CHANNELS = 256
    # Split the 3x3 convolution of a head into a depth-wise and a point-wise one
    c.HEAD_SEPARABLE = False
    # First weights of the heads: "zero_bias" (as DLA), "normal" (ResNet) or "default" (Hourglass)
    c.HEAD_INIT = "zero_bias"

    # --- targets ---
    # Overlap that sets the radius of a heatmap peak
    c.HM_MIN_OVERLAP = 0.7
    # Radius by the right roots; False: wrong sign and divisor, as published
    c.CORRECTED_RADIUS = False
    # Objects of an image that are learnt, the first ones in its annotations: 128, for pose 32
    c.MAX_OBJECTS = 128

    # --- losses ---
    # Probabilities are clamped to [SIGMOID_CLAMP, 1 - SIGMOID_CLAMP] in the heatmap losses
    c.SIGMOID_CLAMP = 1e-4
    # Weight of the loss of the centres' heatmap
    c.HM_WEIGHT = 1.0
    # Weight of the loss of the boxes' sizes
    c.SIZE_WEIGHT = 0.1
    # Weight of the loss of the centres' offsets
    c.OFFSET_WEIGHT = 1.0
    # Weight of the loss of the joints as seen from the centre (MODEL.KEYPOINT_ON)
    c.JOINT_WEIGHT = 1.0
    # Weight of the loss of the joints' heatmaps
    c.JOINT_HM_WEIGHT = 1.0
    # Weight of the loss of the joints' offsets
    c.JOINT_OFFSET_WEIGHT = 1.0

    # --- decoding ---
    # Peaks kept of an image over all classes, and of each joint
    c.TOP_K = 100
    # Least score of a detection
    c.SCORE_THRESH_TEST = 0.0
    # Which joints: "authors" or "tfod" (peaks, by their rules), "regression" (no peaks)
    c.JOINT_MATCH = "authors"
    # A joint's peak needs more than this
    c.JOINT_THRESH = 0.1

    # --- test images ---
    # Fit the image into a square of this side; 0: keep its size, padded to a multiple
    c.TEST_FIXED_SIZE = 0
    # Factors of the image's size; all boxes found are merged
    c.TEST_SCALES = [1.0]
    # Clip boxes to the image; published: as they are
    c.CLIP_BOXES = False
    # Average with the maps of the mirrored image
    c.TEST_MIRROR = False
    # Pairs of joints that a mirror exchanges; []: those of DATASETS.TRAIN
    c.MIRROR_PAIRS = []
    # Soft-NMS with a single one of TEST_SCALES too
    c.NMS = False
    # Scores decay by exp(-iou^2 / NMS_SIGMA)
    c.NMS_SIGMA = 0.5
    # Boxes of less are taken out
    c.NMS_SCORE_THRESH = 0.001
    # IoU from which boxes in several views of TEST.AUG are one (the soft-NMS has no such limit)
    c.NMS_IOU = 0.5
    # Leave copies of boxes that were taken out in the result, as published
    c.NMS_KEEPS_STALE = True
    # Round boxes, joints and scores to 2 decimals, as the published result files (ties)
    c.ROUND_RESULTS = True
