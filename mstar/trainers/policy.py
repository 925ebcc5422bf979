"""The policy as the trainer holds it: tokens, weights, optimizer, and which parts of it learn."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mstar.config import Config, Model
from mstar.config_train import Train
from mstar.models import Encoder, Family, load_model, part_of, prepare_for_packs
from mstar.models.adapters import adapter_weights, add_adapter, base_of, is_adapter, read_adapter
from mstar.models.loading import load_processor_files, load_weights
from mstar.seeds import derive_seed
from mstar.trainers.learning import Learner
from mstar.trainers.losses import ModelWithLoss, response_loss


@dataclass(frozen=True)
class Policy:
    """A checkpoint that is being trained."""

    encoder: Encoder
    model: Any
    learner: Learner
    processor_files: Mapping[str, bytes]
    """Settings of a whole processor, which go along unread."""
    base: Model | None = None
    """What an adapter that is being trained stands on; None where the weights themselves learn."""


def open_policy(folder: Path, config: Config) -> Policy:
    """The checkpoint in a folder with a new optimizer, in training mode.

    With `train.lora` only an adapter learns: a new one over a model's weights, or the one in the folder.
    """
    encoder = Encoder(folder, config.images, config.prompt, config.model.revision)
    has_adapter = config.train.lora.rank is not None
    if has_adapter:
        model = load_with_adapter(folder, encoder.family, config)
    else:
        model = load_model(folder, config.model, torch.float32)
        freeze(model, encoder.family, config.train)
    if config.train.packing:
        prepare_for_packs(model, encoder)
    if config.train.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    forward = ModelWithLoss(model, response_loss, getattr(torch, config.model.dtype))
    files, base = load_processor_files(folder, config.model.revision), config.model if has_adapter else None
    return Policy(encoder, model, Learner(model, forward, config.train), files, base)


def freeze(model: nn.Module, family: Family, config: Train) -> None:
    """Keep the parts that `train.freeze` names as they are."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(part_of(name, family) not in config.freeze)


def load_with_adapter(folder: Path, family: Family, config: Config) -> Any:
    """A base in `model.dtype`, frozen, and its adapter in float32."""
    if is_adapter(folder):
        model = load_weights(base_of(folder, config.model), config.model)
        read_adapter(model, folder, trainable=True)
    else:
        model = load_weights(folder, config.model)
        torch.manual_seed(derive_seed(config.seed, "adapter"))  # in every process the same matrices
        add_adapter(model, family, config.train)
    for parameter in adapter_weights(model).values():
        parameter.data = parameter.data.float()
    return model
