"""The policy as the trainer holds it: tokens, weights, optimizer, and which parts of it learn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mstar.config import Config
from mstar.config_train import Train
from mstar.models import Encoder, Family, load_model, part_of, refuse_leaks
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
    encoder = Encoder(folder, config.images, config.prompt, config.model.revision)
    model = load_model(folder, config.model, torch.float32)
    if config.train.packing:
        refuse_leaks(model, encoder)
    freeze(model, encoder.family, config.train)
    if config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    forward = ModelWithLoss(model, response_loss, getattr(torch, config.model.dtype))
    return Policy(encoder, model, Learner(model, forward, config.train))


def freeze(model: nn.Module, family: Family, config: Train) -> None:
    """Keep the parts that `train.freeze` names as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, family) not in config.freeze)
