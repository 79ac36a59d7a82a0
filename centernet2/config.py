"""Every configuration key that CenterNet2 adds to Detectron2's, each with a one-line comment.

``docs/CONFIG.md`` is generated from the comments in this file, ``config_triplets.py`` and
``config_points.py`` (``python tools/config_doc.py``), so a key is documented exactly once.
"""

from __future__ import annotations

from detectron2.config import CfgNode as CN
from detectron2.projects.point_rend import add_pointrend_config

from centernet2.config_points import add_points_config
from centernet2.config_triplets import add_triplets_config

__all__ = ["RENAMED_KEYS", "add_centernet_config"]

# Spellings of the published release on the left, Detectron2's own on the right. Both load; when
# an old spelling is set, `resolve_renamed_keys` copies its value to the new one.
RENAMED_KEYS = {
    "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CAT": "MODEL.ROI_BOX_HEAD.FED_LOSS_NUM_CLASSES",
    "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT": "MODEL.ROI_BOX_HEAD.FED_LOSS_FREQ_WEIGHT_POWER",
}


def add_centernet_config(cfg: CN) -> None:
    """Add the keys of CenterNet2 to a Detectron2 config, in place.

    The keys of Detectron2's project PointRend come along: its mask head can be a part of the model.

    Args:
        cfg: a config from :func:`detectron2.config.get_cfg`.
    """
    add_pointrend_config(cfg)
    _add_first_stage(cfg)
    _add_second_stage(cfg)
    _add_backbones(cfg)
    add_triplets_config(cfg)
    add_points_config(cfg)
    _add_input(cfg)
    _add_custom_data(cfg)
    _add_data_loader(cfg)
    _add_training(cfg)


def _add_first_stage(cfg: CN) -> None:
    cfg.MODEL.CENTERNET = CN()
    c = cfg.MODEL.CENTERNET
    # --- structure ---
    # Number of foreground classes of the per-class heatmaps (unused with ONLY_PROPOSAL)
    c.NUM_CLASSES = 80
    # Pyramid levels that the head runs on, fine to coarse
    c.IN_FEATURES = ["p3", "p4", "p5", "p6", "p7"]
    # Stride of each level of IN_FEATURES, in pixels
    c.FPN_STRIDES = [8, 16, 32, 64, 128]
    # Initial probability of an object at a cell; sets the bias of the heatmap outputs
    c.PRIOR_PROB = 0.01
    # Normalisation in the towers: "GN", or "" for none
    c.NORM = "GN"
    # Make the last convolution of each tower a modulated deformable one
    c.USE_DEFORMABLE = False
    # Convolutions in the classification tower
    c.NUM_CLS_CONVS = 4
    # Convolutions in the box tower
    c.NUM_BOX_CONVS = 4
    # Convolutions before the two towers, shared by them
    c.NUM_SHARE_CONVS = 0
    # Predict a class-agnostic heatmap (from the box tower)
    c.WITH_AGN_HM = False
    # Leave out the per-class heatmaps: class-agnostic proposals only
    c.ONLY_PROPOSAL = False
    # Use the per-class detections as the proposals of a second stage
    c.AS_PROPOSAL = False

    # --- targets ---
    # Sizes of interest: a level learns boxes whose half diagonal (pixels) lies in its range
    c.SOI = [[0, 80], [64, 160], [128, 320], [256, 640], [512, 10000000]]
    # Overlap that sets the radius of a heatmap peak
    c.HM_MIN_OVERLAP = 0.8
    # Least radius of a heatmap peak, in pixels
    c.MIN_RADIUS = 4
    # Choose extra positives around each centre by their regression loss
    c.MORE_POS = False
    # Upper limit of the regression loss of an extra positive
    c.MORE_POS_THRESH = 0.2
    # Positives of a box have a cost below that of its MORE_POS_TOPK-th best candidate
    c.MORE_POS_TOPK = 9

    # --- losses ---
    # Weight of the heatmap loss at positives
    c.POS_WEIGHT = 1.0
    # Weight of the heatmap loss at negatives
    c.NEG_WEIGHT = 1.0
    # Weight of the box regression loss
    c.REG_WEIGHT = 2.0
    # Exponent of (1 - target) in the heatmap loss
    c.HM_FOCAL_BETA = 4
    # Weight of positives against negatives in the heatmap loss; negative: no such weight
    c.HM_FOCAL_ALPHA = 0.25
    # Focusing exponent of the heatmap loss
    c.LOSS_GAMMA = 2.0
    # Probabilities are clamped to [SIGMOID_CLAMP, 1 - SIGMOID_CLAMP] in the heatmap loss
    c.SIGMOID_CLAMP = 1e-4
    # Ignore negatives with a probability at or above this (missing annotations); <= 0: off
    c.IGNORE_HIGH_FP = -1.0
    # Box regression loss: "giou", "iou" or "linear_iou"
    c.LOC_LOSS_TYPE = "giou"
    # Weigh regression cells equally rather than by their heatmap value
    c.NOT_NORM_REG = True
    # Do not average the number of positives over processes
    c.NO_REDUCE = False

    # --- decoding ---
    # Candidates need a heatmap value above this
    c.INFERENCE_TH = 0.05
    # Keep 3x3 local maxima of the heatmaps instead of non-maximum suppression of boxes
    c.CENTER_NMS = False
    # No suppression at all
    c.NOT_NMS = False
    # IoU threshold of the suppression while training
    c.NMS_TH_TRAIN = 0.6
    # IoU threshold of the suppression at test time
    c.NMS_TH_TEST = 0.6
    # Candidates per level before the suppression while training
    c.PRE_NMS_TOPK_TRAIN = 1000
    # Boxes per image after the suppression while training
    c.POST_NMS_TOPK_TRAIN = 100
    # Candidates per level before the suppression at test time
    c.PRE_NMS_TOPK_TEST = 1000
    # Boxes per image after the suppression at test time
    c.POST_NMS_TOPK_TEST = 100


def _add_second_stage(cfg: CN) -> None:
    c = cfg.MODEL.ROI_BOX_HEAD
    # Multiply class probabilities by the proposal's score (and take the square root)
    c.MULT_PROPOSAL_SCORE = False
    # Sigmoid instead of softmax classification (known to newer Detectron2 itself)
    c.USE_SIGMOID_CE = False
    # Initial probability of a class with USE_SIGMOID_CE; sets the bias of the class scores
    c.PRIOR_PROB = 0.01
    # Equalization loss: spare the tail classes as negatives (needs USE_SIGMOID_CE)
    c.USE_EQL_LOSS = False
    # Classes in fewer training images than this are tail classes for USE_EQL_LOSS
    c.EQL_FREQ_CAT = 200
    # Or the tail is this many classes of fewest training images; 0: by EQL_FREQ_CAT
    c.EQL_NUM_RAREST = 0
    # Federated loss: sigmoid loss over a sampled subset of classes (needs USE_SIGMOID_CE)
    c.USE_FED_LOSS = False
    # Size of the subset of classes of the federated loss
    c.FED_LOSS_NUM_CLASSES = 50
    # Draw that subset for every image by itself instead of once an iteration
    c.FED_LOSS_PER_IMAGE = False
    # Negatives are sampled in proportion to their image count to this power
    c.FED_LOSS_FREQ_WEIGHT_POWER = 0.5
    # Published spelling of FED_LOSS_NUM_CLASSES; -1: not set
    c.FED_LOSS_NUM_CAT = -1
    # Published spelling of FED_LOSS_FREQ_WEIGHT_POWER; -1: not set
    c.FED_LOSS_FREQ_WEIGHT = -1.0
    # JSON of [{id, image_count}]; "": from the training sets. The default counts for lvis_v1 alone
    c.CAT_FREQ_PATH = "datasets/lvis/lvis_v1_train_cat_info.json"


def _add_backbones(cfg: CN) -> None:
    cfg.MODEL.MOBILENETV2 = CN()
    c = cfg.MODEL.MOBILENETV2
    # Width multiplier of MobileNetV2
    c.WIDTH_MULT = 1.0
    # Normalisation: "BN", "FrozenBN", "SyncBN", "GN"
    c.NORM = "BN"
    # Feature maps to return: "res2" (stride 4) to "res5" (stride 32), "res4a" (16), "last" (32)
    c.OUT_FEATURES = ["res3", "res4", "res5"]

    cfg.MODEL.STRIDE4_FPN = CN()
    c = cfg.MODEL.STRIDE4_FPN
    # Channels where maps of strides 16, 8 and 4 are joined: with ResNet [256, 128, 64]
    c.CHANNELS = [64, 32, 24]
    # Normalisation behind each join: "BN", "SyncBN", "FrozenBN"
    c.NORM = "BN"
    # Split the 3x3 convolutions behind each join into depth-wise and point-wise ones
    c.SEPARABLE_CONV = False

    cfg.MODEL.MOBILENETV3 = CN()
    c = cfg.MODEL.MOBILENETV3
    # Maps to return: "c2" (stride 4) to "c5" (stride 32), "n2" to "n4" of its neck
    c.OUT_FEATURES = ["c3", "c4", "c5"]

    cfg.MODEL.MOBILE_CENTERNET = CN()
    c = cfg.MODEL.MOBILE_CENTERNET
    # Number of classes of the heatmaps of MobileCenterNet
    c.NUM_CLASSES = 80

    cfg.MODEL.DLA = CN()
    c = cfg.MODEL.DLA
    # Layers of DLA: 34 or 60
    c.NUM_LAYERS = 34
    # Normalisation: "BN", "FrozenBN", "SyncBN", "GN"
    c.NORM = "BN"
    # Feature maps of build_dla_backbone; "dla2" (stride 4) alone unless MS_OUTPUT
    c.OUT_FEATURES = ["dla2"]
    # Up-sample the maps of build_dla_backbone by deformable aggregation
    c.USE_DLA_UP = True
    # Let build_dla_backbone return several strides instead of joining all at stride 4
    c.MS_OUTPUT = False
    # Feature maps that build_dlaup_backbone aggregates, fine to coarse
    c.DLAUP_IN_FEATURES = ["dla3", "dla4", "dla5"]
    # Convolutions of build_dlaup_backbone: "conv" (1x1) or "dcn" (deformable 3x3)
    c.DLAUP_NODE = "conv"

    cfg.MODEL.BIFPN = CN()
    c = cfg.MODEL.BIFPN
    # Levels of the pyramid, three of them from the backbone (builders named p35 always have 3)
    c.NUM_LEVELS = 5
    # Layers of the pyramid, each top-down and bottom-up
    c.NUM_BIFPN = 6
    # Normalisation in the pyramid: "GN", "BN", "SyncBN", or "" for none
    c.NORM = "GN"
    # Channels of all levels
    c.OUT_CHANNELS = 160
    # Split 3x3 convolutions into depth-wise and point-wise ones (not in the fcos builders)
    c.SEPARABLE_CONV = False

    cfg.MODEL.DECONV = CN()
    c = cfg.MODEL.DECONV
    # Channels of build_deconv_resnet_backbone after each doubling: plain as published [256] * 3
    c.CHANNELS = [256, 128, 64]
    # A deformable convolution in front of each doubling
    c.DEFORMABLE = True

    cfg.MODEL.HOURGLASS = CN()
    c = cfg.MODEL.HOURGLASS
    # Hourglasses behind each other: 2 for Hourglass-104, 1 for Hourglass-52
    c.NUM_STACKS = 2
    # Channels at stride 4 and after each halving; the number of entries is that of the levels + 1
    c.DIMS = [256, 256, 384, 384, 384, 512]
    # Residual blocks at the same places
    c.BLOCKS = [2, 2, 2, 2, 2, 4]
    # Channels of the 7x7 convolution at stride 2
    c.STEM_CHANNELS = 128
    # Normalisation: "BN", "FrozenBN", "SyncBN", "GN"
    c.NORM = "BN"


def _add_input(cfg: CN) -> None:
    # Boxes may stick out of a cropped image; their centres are moved inside for the targets
    cfg.INPUT.NOT_CLAMP_BOX = False
    # "EfficientDetResizeCrop", "KeypointCrop", "PointsCrop"; "ResizeShortestEdge", "": Detectron2's
    cfg.INPUT.CUSTOM_AUG = ""
    # Side in pixels of the square that EfficientDetResizeCrop, KeypointCrop and PointsCrop make
    cfg.INPUT.TRAIN_SIZE = 640
    # Longer side of a test image in pixels, where TEST_INPUT_TYPE is "square"
    cfg.INPUT.TEST_SIZE = 640
    # Least and greatest random scale of EfficientDetResizeCrop
    cfg.INPUT.SCALE_RANGE = (0.1, 2.0)
    # Least and greatest window over TRAIN_SIZE (PointsCrop: longer side), and the step between
    cfg.INPUT.CROP_SCALES = (0.6, 1.3, 0.1)
    # Pixels between the window's centre and the image's sides, where there is room
    cfg.INPUT.CROP_BORDER = 128
    # Brightness, contrast and saturation are random by up to this share in training; 0: off
    cfg.INPUT.COLOR_JITTER = 0.0
    # Standard deviation of random light along the colours' principal components; 0: off
    cfg.INPUT.LIGHTING = 0.0
    # Train on the boxes of crowds like on any other
    cfg.INPUT.KEEP_CROWDS = False
    # Size of test images: "default" (MIN_SIZE_TEST, MAX_SIZE_TEST) or "square" (TEST_SIZE)
    cfg.INPUT.TEST_INPUT_TYPE = "default"


def _add_custom_data(cfg: CN) -> None:
    cfg.DATASETS.CUSTOM = CN()
    c = cfg.DATASETS.CUSTOM
    # COCO-format annotations of the data set "custom_train" (--data sets it); "": no such data set
    c.TRAIN_JSON = ""
    # Folder that the file names in TRAIN_JSON are relative to
    c.TRAIN_IMAGES = ""
    # COCO-format annotations of the data set "custom_val" (--val sets it); "": no such data set
    c.VAL_JSON = ""
    # Folder that the file names in VAL_JSON are relative to
    c.VAL_IMAGES = ""
    # Names of the classes of both, in the order of their ids; []: from the annotations
    c.CLASSES = []
    # Id of each class of CLASSES in the annotations; []: from the annotations
    c.CLASS_IDS = []


def _add_data_loader(cfg: CN) -> None:
    # Give each record the place of its data set in DATASETS.TRAIN, as MultiDatasetSampler needs
    cfg.DATALOADER.SOURCE_AWARE = False
    # Share of each data set of DATASETS.TRAIN with MultiDatasetSampler
    cfg.DATALOADER.DATASET_RATIO = [1, 1]
    # Images that may turn out unreadable in a run before it stops (in each process); -1: any number
    cfg.DATALOADER.MAX_BROKEN_IMAGES = 100


def _add_training(cfg: CN) -> None:
    s = cfg.SOLVER
    # "SGD" (with MOMENTUM, NESTEROV), "Adam" or "AdamW"
    s.OPTIMIZER = "SGD"
    # Precision of autocast: "float16", "bfloat16", or "auto" (bfloat16 where the device has it)
    s.AMP.DTYPE = "auto"
    # Batches whose gradients are accumulated for one optimizer step
    s.ACCUMULATION_STEPS = 1
    # Steps with NaN or infinite losses or gradients that are left out before a run ends; -1: all
    s.MAX_BAD_BATCHES = 0
    # Images a step that BASE_LR was chosen for; another batch gives a warning; 0: no check
    s.REFERENCE_IMS_PER_BATCH = 16
    # Scale BASE_LR by (batch / REFERENCE_IMS_PER_BATCH) instead of warning
    s.AUTO_SCALE_LR = False
    # Compute activations of blocks again in the backward pass rather than keep them: less memory
    s.ACTIVATION_CHECKPOINTING = False
    # Number of periodic checkpoints kept (the best and the final one are always kept); 0: all
    s.CHECKPOINT_KEEP = 3
    # Iterations between lines of progress, TensorBoard points and JSON log entries
    s.LOG_PERIOD = 20
    # Start at iteration 0 after loading a checkpoint
    s.RESET_ITER = False
    # Stop at this iteration with the schedule unchanged; < 0: run to MAX_ITER
    s.TRAIN_ITER = -1
    s.EMA = CN()
    # Keep an exponential moving average of the weights, evaluated and saved
    s.EMA.ENABLED = False
    # Decay of the moving average per optimizer step
    s.EMA.DECAY = 0.9998
    # Steps over which the decay grows towards DECAY
    s.EMA.WARMUP_ITERS = 2000
    # Metric whose best value keeps model_best.pth; "": segm/AP with masks, else bbox/AP
    cfg.TEST.BEST_METRIC = ""
    # Most views, of equal size, that test-time augmentation shows the model at once
    cfg.TEST.AUG.VIEWS_PER_BATCH = 4
    # --eval-only writes report.html beside the results of data sets in COCO's format
    cfg.TEST.REPORT = True
    # What --eval-only, the demo and the Python interface compute in: float32, bfloat16 or float16
    cfg.TEST.PRECISION = "float32"


def resolve_renamed_keys(cfg: CN) -> CN:
    """Copy values set under a published spelling to Detectron2's key, in place.

    Args:
        cfg: a config after all files and overrides are merged.

    Returns:
        The same config.
    """
    for old, new in RENAMED_KEYS.items():
        value = _get(cfg, old)
        if isinstance(value, (int, float)) and value >= 0:
            section, _, key = new.rpartition(".")
            setattr(_get(cfg, section), key, value)
    return cfg


def _get(cfg: CN, dotted: str) -> object:
    node = cfg
    for part in dotted.split("."):
        node = node[part]
    return node
