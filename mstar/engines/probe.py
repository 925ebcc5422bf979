"""What another program must make of a policy's weights: as training noted it (models.probe), or else as
transformers finds it now.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mstar.config import Config
from mstar.errors import UserError
from mstar.model_folders import PROBE
from mstar.models import Encoded, Encoder, collate, load_model
from mstar.models.probe import Probe, make_probe, read_probe


def expect(policy: Path, config: Config, encoder: Encoder, banned: Sequence[int]) -> tuple[Probe, bool]:
    """What the policy must say, and whether training has noted that."""
    noted = read_probe(policy, encoder, banned)
    return (noted, True) if noted else (find_out(policy, config, encoder, banned), False)


def find_out(policy: Path, config: Config, encoder: Encoder, banned: Sequence[int]) -> Probe:
    """What transformers makes of the prompts. Its loader also refuses weights that are missing, left over or
    not finite. Holds the whole policy in the memory of `model.device` meanwhile.
    """
    model = load_model(policy, config.model)
    probe = make_probe(partial(_next_logits, model, encoder), encoder, banned, config.model.dtype)
    del model
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return probe


def _next_logits(model: Any, encoder: Encoder, row: Encoded) -> Tensor:
    batch = collate([row], encoder, "right", model.device)
    logits: Tensor = model(**batch, logits_to_keep=1).logits
    return logits[0, -1]


def other_weights(policy: Path, difference: float, allowed: float, is_noted: bool) -> UserError:
    """What is said where the log-probabilities of vLLM are others by that much."""
    differ = f"the log-probabilities of its likeliest tokens differ by {difference:.3g} on average"
    if is_noted:
        return UserError(
            f"vLLM runs policy {policy} with other weights than training left there: {differ} from those in "
            f"its {PROBE}, and {allowed} is allowed; if its files were changed, start mstar run, which "
            f"trains it again (delete {PROBE} where that was meant); else take generate.engine transformers"
        )
    return UserError(
        f"vLLM runs model {policy} with other weights: {differ} from those of transformers, and {allowed} is "
        "allowed; take generate.engine transformers"
    )
