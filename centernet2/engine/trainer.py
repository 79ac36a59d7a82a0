"""The trainer: Detectron2's DefaultTrainer with what a long run needs."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase, create_ddp_model
from detectron2.engine import hooks as detectron2_hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluator, print_csv_format
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from centernet2.engine import test_time_augmentation as tta
from centernet2.engine.activation_checkpointing import checkpoint_activations
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import check_num_classes, check_test_sets
from centernet2.engine.data_loader import build_train_loader
from centernet2.engine.diagnostics import (
    NonFiniteLossError,
    OutOfMemoryError,
    is_out_of_memory,
    nonfinite_report,
    out_of_memory_in_test,
    out_of_memory_report,
)
from centernet2.engine.ema import ModelEma
from centernet2.engine.hooks import CheckpointHook, EmaHook, EvaluationHook
from centernet2.engine.optimizer import build_optimizer
from centernet2.engine.precision import amp_dtype
from centernet2.engine.progress import RecentStorage, build_writers
from centernet2.engine.seeding import derive_seed, seed_generators
from centernet2.engine.signals import StopRequest, TrainingInterrupted, stop_on_signals
from centernet2.engine.test_set import build_test_loader
from centernet2.engine.testing import test_on
from centernet2.engine.train_step import NonFiniteLoss, TrainStep
from centernet2.evaluation import build_evaluator

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains and evaluates the model of a config.

    Subclasses override the ``build_*`` methods as with Detectron2's DefaultTrainer. A
    ``build_train_loader`` that returns a loader without ``start_at(seed, batch)`` works too, but
    then a resumed run sees the images in another order.

    Example::

        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=True)
        results = trainer.train()

    Raises:
        UserError: for mistakes in the config or the data, before the first step.
    """

    def __init__(self, cfg: CfgNode) -> None:
        # Not DefaultTrainer's: that one builds what this one replaces.
        TrainerBase.__init__(self)
        self.cfg = cfg
        # The data first: it is cheap, holds most mistakes, and names the classes.
        data_loader = self.build_train_loader(cfg)
        for name in cfg.DATASETS.TRAIN:
            check_num_classes(cfg, name)
        check_test_sets(cfg)
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        seed_generators(derive_seed(self.seed))
        model = self.build_model(cfg)
        if cfg.TEST.AUG.ENABLED:
            tta.build_augmented(cfg, model)  # what it refuses is said now, not after the training
        optimizer = self.build_optimizer(cfg, model)
        self.ema = (
            ModelEma(model, cfg.SOLVER.EMA.DECAY, cfg.SOLVER.EMA.WARMUP_ITERS)
            if cfg.SOLVER.EMA.ENABLED
            else None
        )
        device = torch.device(cfg.MODEL.DEVICE)
        self._trainer = TrainStep(
            _distribute(model, device),
            data_loader,
            optimizer,
            device=device,
            amp_dtype=amp_dtype(cfg),
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = Checkpointer(
            model, cfg.OUTPUT_DIR, ema=self.ema, trainer=weakref.proxy(self)
        )
        self.start_iter = 0
        limit = cfg.SOLVER.TRAIN_ITER
        self.max_iter = cfg.SOLVER.MAX_ITER if limit < 0 else min(limit, cfg.SOLVER.MAX_ITER)
        self._last_eval_results: Mapping[str, Any] = {}
        self._stop = StopRequest()
        self.register_hooks(self.build_hooks())

    def resume_or_load(self, resume: bool = True) -> None:
        """Go on from OUTPUT_DIR's last checkpoint, or load MODEL.WEIGHTS and start anew.

        With SOLVER.RESET_ITER a resumed run takes the weights only and starts at iteration 0.

        Raises:
            UserError: if the file is absent, damaged or unsafe.
        """
        cfg = self.cfg
        if resume and self.checkpointer.has_checkpoint():
            parts: list[str] | None = [] if cfg.SOLVER.RESET_ITER else None
            self.checkpointer.load(self.checkpointer.get_checkpoint_file(), checkpointables=parts)
            if not cfg.SOLVER.RESET_ITER:
                # The checkpoint holds the iteration that had just finished.
                self.start_iter = self.iter + 1
                logger.info("Resuming at iteration %d.", self.start_iter)
                return
        else:
            if resume:
                logger.info("No checkpoint in %s yet: starting anew.", cfg.OUTPUT_DIR)
            elif self.checkpointer.has_checkpoint():
                logger.warning(
                    "%s has checkpoints of an earlier run, which this one will overwrite; "
                    "--resume would continue it.",
                    cfg.OUTPUT_DIR,
                )
            self.checkpointer.load(cfg.MODEL.WEIGHTS, checkpointables=[])
        if self.ema is not None:
            self.ema.reset()

    def train(self) -> Mapping[str, Any]:
        """Train to the last iteration.

        Returns:
            The metrics of the last evaluation (in the main process; empty without DATASETS.TEST).

        Raises:
            TrainingInterrupted: after SIGTERM or Ctrl-C, when the state is saved.
            NonFiniteLossError: if a loss became NaN or infinite; no weight was changed by it.
            OutOfMemoryError: with the keys to turn down.
        """
        start_at = getattr(self.data_loader, "start_at", None)
        if start_at is not None:
            start_at(self.seed, self.start_iter * self.cfg.SOLVER.ACCUMULATION_STEPS)
        elif self.start_iter:
            logger.warning("This data loader cannot resume: images come in a new order.")
        logger.info("Training iterations %d to %d.", self.start_iter, self.max_iter)
        with stop_on_signals() as self._stop, RecentStorage(self.start_iter) as self.storage:
            self.iter = self.start_iter
            self.before_train()
            try:
                self._run_iterations()
            finally:
                self._trainer.close()
                self.after_train()
                broken = getattr(self.data_loader, "broken", None)
                if broken is not None:
                    broken.report()
        return self._last_eval_results

    def _run_iterations(self) -> None:
        if self.start_iter >= self.max_iter:
            logger.info("Nothing left to train: iteration %d is reached.", self.max_iter)
            self.iter = self.max_iter - 1
            self.storage.iter = self.iter
            for hook in self._hooks:
                if isinstance(hook, EvaluationHook):
                    hook.evaluate_now()
            return
        for iteration in range(self.start_iter, self.max_iter):
            self.iter = iteration
            self.before_step()
            stop = self.run_step()
            try:
                self.after_step()
            except TrainingInterrupted as interrupted:
                self._save_and_stop(interrupted.exit_code - 128)
            if stop and iteration + 1 < self.max_iter:
                # Another process may be the one that was told to stop.
                self._save_and_stop(self._stop.signum or 15, wait=True)

    def run_step(self) -> bool:
        """One optimizer step; returns whether some process was asked to stop."""
        step = self._trainer
        try:
            result = step.run(self.iter, self.seed, stop=bool(self._stop.signum))
        except NonFiniteLoss as failure:
            batches = [b for part in comm.all_gather(failure.batches) for b in part]
            lr = max(group["lr"] for group in self.optimizer.param_groups)
            message = nonfinite_report(self.cfg, self.iter, lr, failure.losses, batches, self.model)
            raise NonFiniteLossError(message) from failure
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                out_of_memory_report(self.cfg, self.iter, step.batches, step.device)
            ) from error
        self.storage.put_scalar("data_time", result.data_time)
        self.storage.put_scalar("total_loss", sum(result.losses.values()))
        if len(result.losses) > 1:
            self.storage.put_scalars(**result.losses)
        return result.stop

    def _save_and_stop(self, signum: int, wait: bool = False) -> None:
        for hook in self._hooks:
            if isinstance(hook, CheckpointHook):
                hook.save_now()
        if wait:
            comm.synchronize()  # a process that ends makes launchers end the others
        raise TrainingInterrupted(
            f"Stopped by signal {signum} after iteration {self.iter}; saved to "
            f"{self.cfg.OUTPUT_DIR}. Continue with --resume.",
            signum,
        )

    def state_dict(self) -> dict[str, Any]:
        """All of the run but the weights: what a checkpoint stores under ``trainer``."""
        state: dict[str, Any] = TrainerBase.state_dict(self)
        state["optimizer"] = self.optimizer.state_dict()
        state["grad_scaler"] = self._trainer.scaler.state_dict()
        state["seed"] = self.seed
        if self.ema is not None:
            state["ema_updates"] = self.ema.updates
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        TrainerBase.load_state_dict(self, state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict["grad_scaler"] and self._trainer.scaler.is_enabled():
            self._trainer.scaler.load_state_dict(state_dict["grad_scaler"])
        if self.cfg.SEED >= 0 and state_dict["seed"] != self.cfg.SEED:
            logger.warning(
                "SEED is %d, but this run began with %d, which it keeps.",
                self.cfg.SEED,
                state_dict["seed"],
            )
        self.seed = state_dict["seed"]
        if self.ema is not None:
            if "ema_updates" in state_dict:
                self.ema.updates = state_dict["ema_updates"]
            else:
                self.ema.reset()

    def build_hooks(self) -> list[HookBase | None]:
        """Timing, averaging, schedule, PreciseBN, checkpoints, evaluation, logs: in this order."""
        cfg = self.cfg
        hooks: list[HookBase | None] = [
            detectron2_hooks.IterationTimer(),
            EmaHook(self.ema) if self.ema is not None else None,
            detectron2_hooks.LRScheduler(),
        ]
        if cfg.TEST.PRECISE_BN.ENABLED and get_bn_modules(self.model):
            in_process = cfg.clone()
            in_process.defrost()
            in_process.DATALOADER.NUM_WORKERS = 0
            hooks.append(
                detectron2_hooks.PreciseBN(
                    cfg.TEST.EVAL_PERIOD,
                    self.model,
                    self.build_train_loader(in_process),
                    cfg.TEST.PRECISE_BN.NUM_ITER,
                )
            )
        hooks.append(
            CheckpointHook(
                self.checkpointer, cfg.SOLVER.CHECKPOINT_PERIOD, cfg.SOLVER.CHECKPOINT_KEEP
            )
        )
        if cfg.DATASETS.TEST:
            # After the checkpoint: a failing evaluation loses nothing.
            hooks.append(
                EvaluationHook(
                    self._evaluate, cfg.TEST.EVAL_PERIOD, self.checkpointer, _best_metric(cfg)
                )
            )
        if comm.is_main_process():
            hooks.append(
                detectron2_hooks.PeriodicWriter(self.build_writers(), cfg.SOLVER.LOG_PERIOD)
            )
        return hooks

    def build_writers(self) -> list[EventWriter]:
        """Where metrics go; overridable."""
        return build_writers(self.cfg.OUTPUT_DIR, self.max_iter)

    def _evaluate(self) -> Mapping[str, Any]:
        averaged = self.ema.applied() if self.ema is not None else nullcontext()
        # On the way, the time of test-time augmentation is better spent on training.
        cfg = self.cfg if self.iter + 1 >= self.max_iter else tta.plain_config(self.cfg)
        with averaged:
            self._last_eval_results = self.test(cfg, self.checkpointer.model, stop=self._stop)
        return self._last_eval_results

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: nn.Module,
        evaluators: list[DatasetEvaluator] | None = None,
        *,
        stop: StopRequest | None = None,
    ) -> dict[str, Any]:
        """Evaluate a model on DATASETS.TEST.

        With TEST.AUG.ENABLED it is evaluated plainly and with test-time augmentation, the results
        of which are named as Detectron2 does, "bbox_TTA". In training that is done at the end.

        Args:
            evaluators: one a data set, for the model as it is, without TEST.AUG; default: from
                :meth:`build_evaluator`.
            stop: ends the evaluation early when a signal has come.

        Returns:
            {task: {metric: value}} for one data set, {data set: {task: ...}} for several.

        Raises:
            UserError: if the data or the number of classes do not fit, or TEST.AUG the model.
            TrainingInterrupted: see ``stop``.
        """
        augmented = None
        if evaluators is None:
            evaluators = [cls.build_evaluator(cfg, name) for name in cfg.DATASETS.TEST]
            augmented = tta.build_augmented(cfg, model) if cfg.TEST.AUG.ENABLED else None
        results = {}
        for name, evaluator in zip(cfg.DATASETS.TEST, evaluators):
            loader, too_much = cls.build_test_loader(cfg, name), out_of_memory_in_test(cfg)
            check_num_classes(cfg, name)
            results[name] = test_on(model, loader, evaluator, stop, too_much)
            if augmented is not None:
                own, too_much = tta.augmented_config(cfg), tta.augmented_out_of_memory(cfg)
                loader, evaluator = cls.build_test_loader(own, name), cls.build_evaluator(own, name)
                found = test_on(augmented, loader, evaluator, stop, too_much)
                results[name].update(tta.augmented_results(found))
            if comm.is_main_process():
                logger.info("Results on %s:", name)
                print_csv_format(results[name])
        return results[name] if len(results) == 1 else results

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The model of MODEL.META_ARCHITECTURE, on MODEL.DEVICE."""
        model = build_model(cfg)
        if cfg.SOLVER.ACTIVATION_CHECKPOINTING:
            blocks = checkpoint_activations(model)
            logger.info("Activations of %d blocks are computed twice, not kept.", blocks)
        trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        logger.info(
            "%s on %s: %.1f million parameters, %.1f of them trained.",
            cfg.MODEL.META_ARCHITECTURE,
            cfg.MODEL.DEVICE,
            total / 1e6,
            trained / 1e6,
        )
        return model

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """See :func:`centernet2.engine.optimizer.build_optimizer`."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Any:
        """See :func:`centernet2.engine.data_loader.build_train_loader`."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Any:
        """See :func:`centernet2.engine.test_set.build_test_loader`."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(cls, cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
        """See :func:`centernet2.evaluation.build_evaluator`."""
        return build_evaluator(cfg, dataset_name)


def _distribute(model: nn.Module, device: torch.device) -> nn.Module:
    # Detectron2 passes device_ids even for the CPU, which DistributedDataParallel refuses.
    options = {} if device.type == "cuda" else {"device_ids": None}
    return create_ddp_model(model, broadcast_buffers=False, **options)


def _best_metric(cfg: CfgNode) -> str:
    if cfg.TEST.BEST_METRIC:
        return str(cfg.TEST.BEST_METRIC)
    metric = "segm/AP" if cfg.MODEL.MASK_ON else "bbox/AP"
    several = len(cfg.DATASETS.TEST) > 1
    return f"{cfg.DATASETS.TEST[0]}/{metric}" if several else metric
