"""The policy as the trainer holds it: tokens, weights, optimizer, and which parts of it learn."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mstar.config import Config, Train
from mstar.errors import UserError
from mstar.models import Encoder, load_model
from mstar.trainers.learning import Learner
from mstar.trainers.losses import ModelWithLoss, response_loss


@dataclass(frozen=True)
class Policy:
    """A checkpoint that is being trained."""

    encoder: Encoder
    model: Any
    learner: Learner


def open_policy(folder: Path, config: Config) -> Policy:
    """The checkpoint in a folder with a new optimizer, in training mode."""
    encoder = Encoder(folder, config.images, config.prompt)
    model = load_model(folder, config.model, torch.float32)
    freeze(model, config.train)
    if config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    forward = ModelWithLoss(model, response_loss, getattr(torch, config.model.dtype))
    return Policy(encoder, model, Learner(model, forward, config.train))


def freeze(model: nn.Module, config: Train) -> None:
    """Keep the parts that `train.freeze` names as they are. UserError if nothing is left to learn."""
    for parameter in frozen_parameters(model, config.freeze):
        parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"train.freeze is [{', '.join(config.freeze)}], which leaves nothing of this model to train; "
            "take one of them out"
        )


def frozen_parameters(model: Any, parts: Iterable[str]) -> Iterator[nn.Parameter]:
    """The parameters of these parts of a Qwen-VL model."""
    names = {"vision": ("model.visual.",), "projector": (), "text": ("model.language_model.", "lm_head.")}
    for name, parameter in model.named_parameters():
        part = next(part for part, prefixes in names.items() if name.startswith(prefixes))
        if part == "vision" and ".merger." in name or ".deepstack_merger_list." in name:
            part = "projector"
        if part in parts:
            yield parameter
