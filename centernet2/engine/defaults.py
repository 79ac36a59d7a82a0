"""From the command line to a checked, frozen config."""

from __future__ import annotations

import argparse
import logging

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.engine import DefaultTrainer, default_argument_parser
from detectron2.utils import comm

from centernet2.config import add_centernet_config, resolve_renamed_keys
from centernet2.data.datasets import register_custom
from centernet2.engine.config_files import merge_file, merge_overrides
from centernet2.engine.custom_data import (
    add_data_options,
    data_overrides,
    prepare_custom_data,
    split_validation,
)
from centernet2.engine.data_folder import find_data
from centernet2.engine.logs import start_logs
from centernet2.engine.once import in_each_process, in_main_process
from centernet2.engine.run_files import save_run_files
from centernet2.engine.run_lock import claim_folder
from centernet2.engine.storage import check_writable, writing_told
from centernet2.errors import UserError

__all__ = ["argument_parser", "build_cfg", "check_batch", "choose_device", "setup"]

logger = logging.getLogger(__name__)

_EXAMPLES = """
examples:
  one GPU, or the CPU where there is none:
    python train_net.py --config-file configs/CenterNet2_R50_1x.yaml
  eight GPUs:
    python train_net.py --config-file configs/CenterNet2_R50_1x.yaml --num-gpus 8
  a smaller batch with the learning rate scaled to it:
    python train_net.py --config-file FILE SOLVER.IMS_PER_BATCH 4 SOLVER.AUTO_SCALE_LR True
  mixed precision, averaged weights, two batches per step:
    python train_net.py --config-file FILE SOLVER.AMP.ENABLED True SOLVER.EMA.ENABLED True \\
        SOLVER.ACCUMULATION_STEPS 2
  continue after an interruption (Ctrl-C and SIGTERM save first):
    python train_net.py --config-file FILE --resume OUTPUT_DIR output/run
  evaluate:
    python train_net.py --config-file FILE --eval-only MODEL.WEIGHTS output/run/model_best.pth
  your own data in COCO's format: classes, their number and masks are read from the files
    python train_net.py --config-file FILE --data train.json images/ --val val.json images/ \\
        OUTPUT_DIR output/mine
  or a folder in COCO's, YOLO's (also its data.yaml), Pascal VOC's or LabelMe's format
    python train_net.py --config-file FILE --data folder/ OUTPUT_DIR output/mine
  two machines (the same URL on both):
    python train_net.py --config-file FILE --num-gpus 8 --num-machines 2 --machine-rank 0 \\
        --dist-url tcp://ADDRESS_OF_MACHINE_0:29500
  torchrun works too, and two processes on the CPU:
    torchrun --nproc-per-node 8 train_net.py --config-file FILE
    python train_net.py --config-file FILE --num-cpu-procs 2

exit codes: 0 done, 2 a mistake in config or data, 3 a loss became NaN or infinite,
4 out of memory, 5 OUTPUT_DIR cannot be written any more, 6 a process of the run
was lost, 130 / 143 stopped by Ctrl-C / SIGTERM with the state saved.
Every config key is described in docs/CONFIG.md.
"""


def argument_parser() -> argparse.ArgumentParser:
    """Detectron2's command line, with ``--num-cpu-procs`` and a free port by default."""
    parser = default_argument_parser(epilog=_EXAMPLES)
    parser.description = "Train or evaluate a detector described by a config file."
    parser.set_defaults(dist_url="auto")
    parser.add_argument(
        "--num-cpu-procs",
        type=int,
        default=0,
        metavar="N",
        help="train on the CPU with N processes per machine, instead of on GPUs",
    )
    add_data_options(parser)
    return parser


def build_cfg(config_file: str = "", overrides: list[str] | None = None) -> CfgNode:
    """Detectron2's and CenterNet2's keys with a file and overrides merged; not frozen.

    Args:
        config_file: YAML; "" for the defaults.
        overrides: KEY, VALUE, KEY, VALUE, ...

    The data sets of DATASETS.CUSTOM are registered, unread.

    Raises:
        UserError: see :mod:`centernet2.engine.config_files`.
    """
    cfg = get_cfg()
    add_centernet_config(cfg)
    if config_file:
        merge_file(cfg, config_file)
    merge_overrides(cfg, overrides or [])
    register_custom(cfg)
    return resolve_renamed_keys(cfg)


def setup(args: argparse.Namespace) -> CfgNode:
    """Read the config, choose the device, start the logs and save the run's description.

    Args:
        args: of :func:`argument_parser`.

    Returns:
        The frozen config.

    Raises:
        UserError: for any mistake in files, keys or values.
    """
    data, overrides = data_overrides(args)
    cfg = build_cfg(args.config_file, [*overrides, *data])
    in_each_process(lambda: check_writable(cfg.OUTPUT_DIR))
    if not args.eval_only:
        in_main_process(lambda: claim_folder(cfg.OUTPUT_DIR))
    with writing_told(cfg.OUTPUT_DIR, "give the command again"):
        return _complete(cfg, args)


def _complete(cfg: CfgNode, args: argparse.Namespace) -> CfgNode:
    start_logs(cfg.OUTPUT_DIR)
    find_data(cfg, args)
    if args.data and not cfg.DATASETS.CUSTOM.VAL_JSON:
        split_validation(cfg, args.val_fraction)
    prepare_custom_data(cfg, evaluation=args.eval_only)
    choose_device(cfg, on_cpu=args.num_gpus == 0 or args.num_cpu_procs > 0)
    cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
    if not args.eval_only:
        check_batch(cfg)
        torch.backends.cudnn.benchmark = cfg.CUDNN_BENCHMARK
    cfg.freeze()
    if comm.is_main_process():
        save_run_files(cfg, evaluation=args.eval_only)
    return cfg


def choose_device(cfg: CfgNode, on_cpu: bool = False) -> None:
    """Put MODEL.DEVICE on what the machine has, in place.

    Args:
        on_cpu: the command line asked for the CPU.

    Raises:
        UserError: if a device is named that the machine lacks.
    """
    wanted = cfg.MODEL.DEVICE
    if not wanted.startswith("cuda"):
        return
    if on_cpu:
        cfg.MODEL.DEVICE = "cpu"
        logger.info("Running on the CPU, as the command line asks.")
    elif not torch.cuda.is_available():
        if wanted != "cuda":
            raise UserError(f"MODEL.DEVICE is {wanted}, but PyTorch finds no GPU; set it to cpu.")
        cfg.MODEL.DEVICE = "cpu"
        logger.info("No GPU that PyTorch can use: running on the CPU (MODEL.DEVICE cpu).")
    elif wanted != "cuda" and int(wanted.partition(":")[2]) >= torch.cuda.device_count():
        raise UserError(
            f"MODEL.DEVICE is {wanted}, but this machine has {torch.cuda.device_count()} GPUs."
        )


def check_batch(cfg: CfgNode) -> None:
    """Compare the images per step with those that the learning rate was chosen for.

    With SOLVER.AUTO_SCALE_LR the rate is scaled in proportion, in place, and the reference set to
    the new batch, so that the saved config does not scale again; otherwise a warning is logged.

    Raises:
        UserError: if SOLVER.ACCUMULATION_STEPS is below 1.
    """
    solver = cfg.SOLVER
    if solver.ACCUMULATION_STEPS < 1:
        raise UserError(
            f"SOLVER.ACCUMULATION_STEPS is {solver.ACCUMULATION_STEPS}; it must be at least 1."
        )
    batch = solver.IMS_PER_BATCH * solver.ACCUMULATION_STEPS
    reference = solver.REFERENCE_IMS_PER_BATCH
    if reference <= 0 or batch == reference:
        return
    scaled = solver.BASE_LR * batch / reference
    if solver.AUTO_SCALE_LR:
        logger.info(
            "SOLVER.BASE_LR %g (for %d images per step) scaled to %g for %d.",
            solver.BASE_LR,
            reference,
            scaled,
            batch,
        )
        solver.BASE_LR_END *= batch / reference
        solver.BASE_LR = scaled
        solver.REFERENCE_IMS_PER_BATCH = batch
        return
    logger.warning(
        "SOLVER.BASE_LR %g was chosen for %d images per step, but this run takes %d: consider "
        "SOLVER.BASE_LR %g, or SOLVER.AUTO_SCALE_LR True (SOLVER.REFERENCE_IMS_PER_BATCH %d says "
        "that the rate is meant for this batch).",
        solver.BASE_LR,
        reference,
        batch,
        scaled,
        batch,
    )
