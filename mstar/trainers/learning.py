"""The optimizer's side of training: for any model, and any loss that one forward computes.

Every label weighs the same in a batch's loss, however it is cut into micro-batches. Weights are kept in
float32: at learning rates of 1e-6 an update is lost in bfloat16.
"""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import nn

from mstar.config_train import Train
from mstar.errors import UserError
from mstar.trainers import Progressed
from mstar.trainers.optimizers import Moments, build_optimizer, read_moments, write_moments
from mstar.trainers.rows import MicroBatch


class Learner:
    """A model in training and its optimizer."""

    def __init__(self, model: nn.Module, forward: nn.Module, config: Train) -> None:
        """`model` has the parameters, whose names checkpoints use; those that require no gradient stay as
        they are. `forward` is what computes a summed loss with it: a ModelWithLoss, or a wrapper around one.
        """
        self.config = config
        self.forward = forward.train()
        parameters = dict(model.named_parameters())
        self.trained = {name: tensor for name, tensor in parameters.items() if tensor.requires_grad}
        self.frozen = parameters.keys() - self.trained.keys()
        self.device = next(iter(self.trained.values())).device
        self.optimizer = build_optimizer(self.trained.values(), config)

    def restore(self, moments: Mapping[str, Moments]) -> None:
        """Take over moments, named as `moments` names them; parameters without some begin anew."""
        write_moments(self.optimizer, self.trained, moments)

    def moments(self) -> dict[str, Moments]:
        """Adam's `step`, `exp_avg` and `exp_avg_sq` by parameter name."""
        return read_moments(self.optimizer, self.trained)

    def step(self, micro_batches: Iterable[MicroBatch], learned: int, before: Progressed) -> Progressed:
        """One optimizer step on the mean loss over a batch's labels, of which there are `learned`."""
        train_step = before.train_step + 1
        loss, padded, total = self.accumulate(micro_batches, learned)
        norm = torch.nn.utils.clip_grad_norm_(self.trained.values(), self.config.max_grad_norm)
        refuse_nonfinite(train_step, loss, float(norm), self.config)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(train_step, self.config)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return advance(before, loss, learned, padded, total)

    def accumulate(self, micro_batches: Iterable[MicroBatch], learned: float) -> tuple[float, int, int]:
        """Add a batch's gradients; returns its mean loss, its padding and all its tokens."""
        loss = torch.zeros((), dtype=torch.float64, device=self.device)  # read once: reading waits for a GPU
        padded = total = 0
        for batch in micro_batches:
            inputs = {name: tensor.to(self.device) for name, tensor in batch.inputs.items()}
            share = self.forward(inputs, batch.labels.to(self.device)) / learned
            if share.requires_grad:  # rows without an image reach no trained part where the text is frozen
                share.backward()
            loss += share.detach()
            padded += batch.padded_tokens
            total += batch.total_tokens
        return float(loss), padded, total


def advance(before: Progressed, loss: float, learned: int, padded: int, total: int) -> Progressed:
    """How far a lesson has come after one more step, on a batch of so many labels and tokens."""
    return Progressed(
        train_step=before.train_step + 1,
        steps_done=before.steps_done + 1,
        loss=loss,
        first_loss=loss if before.first_loss is None else before.first_loss,
        response_tokens=before.response_tokens + learned,
        padded_tokens=before.padded_tokens + padded,
        total_tokens=before.total_tokens + total,
    )


def refuse_nonfinite(train_step: int, loss: float, norm: float, config: Train) -> None:
    """A step on such a gradient would make every weight NaN."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        raise UserError(
            f"the loss is {loss} and its gradient's norm {norm} at train step {train_step}; both must be "
            f"finite; train.learning_rate is {config.learning_rate:g}: start a run with a lower one"
        )


def learning_rate_at(train_step: int, config: Train) -> float:
    """Linear warm-up, then constant. `train_step` counts from 1."""
    return config.learning_rate * min(1.0, train_step / config.warmup_steps if config.warmup_steps else 1.0)
