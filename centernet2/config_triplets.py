"""The configuration keys of the keypoint detectors CenterNetTriplets and CornerNet."""

from __future__ import annotations

from detectron2.config import CfgNode as CN

__all__ = ["add_triplets_config"]


def add_triplets_config(cfg: CN) -> None:
    """Add the keys of CenterNetTriplets and CornerNet, in place.

    Args:
        cfg: a config from :func:`detectron2.config.get_cfg`.
    """
    cfg.MODEL.TRIPLETS = CN()
    c = cfg.MODEL.TRIPLETS
    # --- structure of CenterNetTriplets and CornerNet ---
    # Number of classes of the heatmaps
    c.NUM_CLASSES = 80
    # Channels in front of the corner and center pooling
    c.POOL_CHANNELS = 128
    # Predict centres and keep a box only if one lies in its central region (never with CornerNet)
    c.CENTRAL_REGION = True
    # Center pooling in the centre branch; False: its convolutions without the pooling
    c.CENTER_POOLING = True
    # Cascade corner pooling; False: corner pooling
    c.CASCADE_POOLING = True
    # Draw the normalisations' first weights from U(0, 1), as in the published training; False: ones
    c.UNIFORM_NORM_INIT = True

    # --- targets ---
    # Overlap that sets the radius of a heatmap peak
    c.HM_MIN_OVERLAP = 0.7
    # Radius by the right roots (CornerNet since 2019); False: wrong sign and divisor (CenterNet)
    c.CORRECTED_RADIUS = False
    # A corner's peak has the standard deviation (2 * radius + 1) / this
    c.CORNER_SIGMA_DIVISOR = 6.0
    # The same of a centre
    c.CENTER_SIGMA_DIVISOR = 5.0

    # --- losses ---
    # Probabilities are clamped to [SIGMOID_CLAMP, 1 - SIGMOID_CLAMP] in the heatmap loss
    c.SIGMOID_CLAMP = 1e-4
    # Weight of the loss that pulls the tags of one object together
    c.PULL_WEIGHT = 0.1
    # Weight of the loss that pushes the tags of different objects apart
    c.PUSH_WEIGHT = 0.1
    # Weight of the offsets' loss
    c.OFFSET_WEIGHT = 1.0
    # Sum the push loss over pairs of an object with itself too, as published (adds a constant)
    c.PUSH_DIAGONAL = True

    # --- decoding ---
    # Peaks kept of each heatmap, over all classes: 70 in CenterNet, 100 in CornerNet
    c.TOP_K = 70
    # Pairs of corners kept of an image
    c.NUM_PAIRS = 1000
    # Corners whose tags differ more are of different objects
    c.TAG_THRESHOLD = 0.5
    # Reject boxes so many resized pixels outside of the image; < 0: never (CornerNet)
    c.BORDER_MARGIN = 5.0
    # Which centre in the region gives its score: "first" in the list, as published, or "best"
    c.CENTER_MATCH = "first"
    # With several TEST_SCALES take the centres of scale 1 alone, as published
    c.CENTERS_OF_SCALE_ONE = True
    # Least score of a detection
    c.SCORE_THRESH_TEST = 0.0

    # --- test images ---
    # Factors of the image's size; all boxes found are merged
    c.TEST_SCALES = [1.0]
    # Look at the mirrored image too
    c.TEST_MIRROR = True
    # Lose the last row (column) of images whose height (width) is 128k - 1 already, as published
    c.PAD_LOSES_LAST_ROW = True

    # --- suppression ---
    # "gaussian", "linear" or "hard"
    c.NMS_METHOD = "gaussian"
    # Scores decay by exp(-iou^2 / NMS_SIGMA) with "gaussian"
    c.NMS_SIGMA = 0.5
    # IoU from which "linear" and "hard" act
    c.NMS_IOU = 0.5
    # Boxes of less are taken out
    c.NMS_SCORE_THRESH = 0.001
    # Move each box to the weighted mean of those that overlap it (multi-scale test)
    c.NMS_MERGE = False
    # Exponent of the weights of NMS_MERGE
    c.NMS_MERGE_EXPONENT = 10.0
    # Leave copies of boxes that were taken out in the result, as published
    c.NMS_KEEPS_STALE = True
    # Move the corners' scores, which weigh NMS_MERGE, along with their boxes; published: False
    c.NMS_CARRIES_SCORES = False
    # Keep detections that score as high as the last of TEST.DETECTIONS_PER_IMAGE, as published
    c.KEEP_TIES = True
    # Round boxes and scores to 2 decimals, as the published result files (ties in the ranking)
    c.ROUND_RESULTS = True
