"""The trainer: Detectron2's DefaultTrainer with what a long run needs."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer, HookBase
from detectron2.engine import hooks as detectron2_hooks
from detectron2.engine.train_loop import TrainerBase
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import build_model
from detectron2.utils import comm
from detectron2.utils.events import EventWriter
from fvcore.nn.precise_bn import get_bn_modules
from torch import nn

from centernet2.engine import test_time_augmentation as tta
from centernet2.engine.activation_checkpointing import checkpoint_activations
from centernet2.engine.bad_steps import BadSteps
from centernet2.engine.checkpoint import Checkpointer
from centernet2.engine.checks import check_num_classes, check_test_sets
from centernet2.engine.data_loader import build_train_loader
from centernet2.engine.diagnostics import (
    OutOfMemoryError,
    is_out_of_memory,
    out_of_memory_report,
)
from centernet2.engine.ema import ModelEma
from centernet2.engine.hooks import CheckpointHook, EmaHook, EvaluationHook, best_metric
from centernet2.engine.loading_processes import LoadingProcessError
from centernet2.engine.once import in_main_process
from centernet2.engine.optimizer import build_optimizer, load_optimizer
from centernet2.engine.precision import amp_dtype
from centernet2.engine.progress import RecentStorage, build_writers
from centernet2.engine.resume import load_newest
from centernet2.engine.run_lock import claim_folder, release_folder
from centernet2.engine.seeding import derive_seed, seed_generators
from centernet2.engine.signals import StopRequest, TrainingInterrupted, stop_on_signals
from centernet2.engine.storage import writing_told
from centernet2.engine.test_set import build_test_loader
from centernet2.engine.testing import test_data_sets
from centernet2.engine.train_step import NonFiniteLoss, TrainStep, distributed
from centernet2.errors import UserError
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
            distributed(model, device),
            data_loader,
            optimizer,
            device=device,
            amp_dtype=amp_dtype(cfg),
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
            keep_buffers=cfg.SOLVER.MAX_BAD_BATCHES != 0,
        )
        self.bad_steps = BadSteps(cfg, self.model, optimizer)
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

        Where the last is absent or damaged, the newest before it that is whole takes its place.
        With SOLVER.RESET_ITER a resumed run takes the weights only and starts at iteration 0.

        Raises:
            UserError: if there are checkpoints but none is whole, or the file of MODEL.WEIGHTS is
                absent, damaged or unsafe.
        """
        cfg = self.cfg
        if resume and not cfg.SOLVER.RESET_ITER and load_newest(self.checkpointer):
            # The checkpoint holds the iteration that had just finished.
            self.start_iter = self.iter + 1
            logger.info("Resuming at iteration %d.", self.start_iter)
            return
        last = self.checkpointer.get_checkpoint_file()
        if resume and last:
            self.checkpointer.load(last, checkpointables=[])
        else:
            if resume:
                logger.info("No checkpoint in %s yet: starting anew.", cfg.OUTPUT_DIR)
            elif last:
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
            NonFiniteLossError: if a loss or gradient became NaN or infinite, oftener than
                SOLVER.MAX_BAD_BATCHES allows; no weight was changed by it.
            OutOfMemoryError: with the keys to turn down.
            StorageError: if OUTPUT_DIR cannot be written any more; the checkpoints stay whole.
        """
        start_at = getattr(self.data_loader, "start_at", None)
        if start_at is not None:
            start_at(self.seed, self.start_iter * self.cfg.SOLVER.ACCUMULATION_STEPS)
        elif self.start_iter:
            logger.warning("This data loader cannot resume: images come in a new order.")
        folder = self.cfg.OUTPUT_DIR
        in_main_process(lambda: claim_folder(folder))
        logger.info("Training iterations %d to %d.", self.start_iter, self.max_iter)
        with stop_on_signals() as self._stop, RecentStorage(self.start_iter) as self.storage:
            self.iter = self.start_iter
            try:
                with writing_told(folder):
                    self.before_train()
                    self._run_iterations()
            finally:
                self._trainer.close()
                self.after_train()
                broken = getattr(self.data_loader, "broken", None)
                if broken is not None:
                    broken.report()
                self.bad_steps.report()
                release_folder(folder)
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
            self.bad_steps.take(self.iter, failure)
            return failure.stop
        except LoadingProcessError:
            if not step.batches:  # nothing of this step has begun
                self._checkpoint_hook().save_finished()
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError(
                    out_of_memory_report(self.cfg, self.iter, step.batches, step.device)
                ) from error
            if isinstance(error, UserError):
                raise
            if not self.bad_steps.explain(self.iter, error, step.batches):
                raise
            return bool(self._stop.signum)
        self.storage.put_scalar("data_time", result.data_time)
        self.storage.put_scalar("total_loss", sum(result.losses.values()))
        if len(result.losses) > 1:
            self.storage.put_scalars(**result.losses)
        return result.stop

    def _save_and_stop(self, signum: int, wait: bool = False) -> None:
        self._checkpoint_hook().save_now()
        if wait:
            comm.synchronize()  # a process that ends makes launchers end the others
        raise TrainingInterrupted(
            f"Stopped by signal {signum} after iteration {self.iter}; saved to "
            f"{self.cfg.OUTPUT_DIR}. Continue with --resume.",
            signum,
        )

    def _checkpoint_hook(self) -> CheckpointHook:
        return next(hook for hook in self._hooks if isinstance(hook, CheckpointHook))

    def state_dict(self) -> dict[str, Any]:
        """All of the run but the weights: what a checkpoint stores under ``trainer``."""
        state: dict[str, Any] = TrainerBase.state_dict(self)
        state["optimizer"] = self.optimizer.state_dict()
        state["grad_scaler"] = self._trainer.scaler.state_dict()
        state["seed"] = self.seed
        state["bad_batches"] = self.bad_steps.count
        if self.ema is not None:
            state["ema_updates"] = self.ema.updates
        return state

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        TrainerBase.load_state_dict(self, state_dict)
        if type(self.iter) is not int or self.iter < 0:
            raise ValueError(f"its iteration is {self.iter!r}")
        load_optimizer(self.optimizer, state_dict["optimizer"])
        if state_dict["grad_scaler"] and self._trainer.scaler.is_enabled():
            self._trainer.scaler.load_state_dict(state_dict["grad_scaler"])
        if self.cfg.SEED >= 0 and state_dict["seed"] != self.cfg.SEED:
            logger.warning(
                "SEED is %d, but this run began with %d, which it keeps.",
                self.cfg.SEED,
                state_dict["seed"],
            )
        self.seed = state_dict["seed"]
        self.bad_steps.count = state_dict.get("bad_batches", 0)
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
                self.checkpointer,
                cfg.SOLVER.CHECKPOINT_PERIOD,
                cfg.SOLVER.CHECKPOINT_KEEP,
                check=self.bad_steps.check_weights,
            )
        )
        if cfg.DATASETS.TEST:
            # After the checkpoint: a failing evaluation loses nothing.
            hooks.append(
                EvaluationHook(
                    self._evaluate, cfg.TEST.EVAL_PERIOD, self.checkpointer, best_metric(cfg)
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
        return test_data_sets(cls, cfg, model, evaluators, stop)

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
