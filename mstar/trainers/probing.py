"""What a checkpoint's weights say of two short prompts, noted when it is saved (models.probe)."""

import torch
from torch import Tensor, nn

from mstar.config import Config
from mstar.models import Encoded, collate, pack
from mstar.models.probe import Probe, make_probe
from mstar.models.tokens import banned_ids, end_ids
from mstar.trainers.policy import Policy


def probe_policy(policy: Policy, forward: nn.Module, device: torch.device, config: Config) -> Probe:
    """`forward` is the ModelWithLoss of the policy or a wrapper around it, on that device. Where its weights
    are spread over ranks, all of them have to take part.
    """
    encoder = policy.encoder
    vocabulary_size = encoder.config.get_text_config(decoder=True).vocab_size
    banned = banned_ids(encoder, vocabulary_size, end_ids(encoder, policy.model.generation_config))

    def next_logits(row: Encoded) -> Tensor:
        packed = config.train.packing
        inputs = pack([row], encoder, device) if packed else collate([row], encoder, "right", device)
        logits: Tensor = forward(inputs, None)
        return logits[0]

    forward.eval()
    try:
        return make_probe(next_logits, encoder, banned, config.model.dtype)
    finally:
        forward.train()
