"""The optimizers of `train.optimizer`, and their state in the names of checkpoints.

Both are AdamW and keep `step`, `exp_avg` and `exp_avg_sq` of each parameter. With 8 bits (bitsandbytes, arXiv
2110.02861) the moments of matrices with 4096 numbers or more are codes, whose blocks of 256 have a scale each
(`exp_avg_scale`, `exp_avg_sq_scale`); smaller ones stay in float32.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from mstar.config_train import Train
from mstar.errors import UserError

Moments = dict[str, Tensor]
"""Of one parameter, by kind."""
NAMES_OF_8_BIT = {
    "state1": "exp_avg",
    "state2": "exp_avg_sq",
    "absmax1": "exp_avg_scale",
    "absmax2": "exp_avg_sq_scale",
}
"""What bitsandbytes calls them, and we."""


def build_optimizer(parameters: Iterable[Tensor], config: Train) -> Optimizer:
    """The optimizer of `train.optimizer`. UserError where its package is not installed."""
    options: dict[str, Any] = {
        "lr": config.learning_rate,
        "betas": config.betas,
        "weight_decay": config.weight_decay,
    }
    if config.optimizer == "adamw":
        return torch.optim.AdamW(parameters, **options)
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError:
        raise UserError(
            "train.optimizer is adamw_8bit, which needs bitsandbytes, and that is not installed: pip install "
            "'mstar[8bit]', or take adamw"
        ) from None
    optimizer: Optimizer = AdamW8bit(list(parameters), **options)
    return optimizer


def read_moments(optimizer: Optimizer, parameters: Mapping[str, Tensor]) -> dict[str, Moments]:
    """The state of each parameter that has had a gradient, by name."""
    held = {name: optimizer.state[one] for name, one in parameters.items() if one in optimizer.state}
    if isinstance(optimizer, torch.optim.AdamW):
        return {name: dict(state) for name, state in held.items()}
    return {
        name: {
            "step": torch.tensor(float(state["step"])),
            **{ours: state[theirs] for theirs, ours in NAMES_OF_8_BIT.items() if theirs in state},
        }
        for name, state in held.items()
    }


def write_moments(optimizer: Any, parameters: Mapping[str, Tensor], moments: Mapping[str, Moments]) -> None:
    """Take over state that `read_moments` has given; parameters without some begin anew."""
    if isinstance(optimizer, torch.optim.AdamW):
        held = {index: moments[name] for index, name in enumerate(parameters) if name in moments}
        optimizer.load_state_dict({"state": held, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    codes = {"qmap1": optimizer.name2qmap["dynamic"], "qmap2": optimizer.name2qmap["udynamic"]}
    for name, parameter in parameters.items():
        if name in moments:
            kinds = moments[name]
            state = {theirs: kinds[ours] for theirs, ours in NAMES_OF_8_BIT.items() if ours in kinds}
            state |= codes if "absmax1" in state else {}
            optimizer.state[parameter] = {
                "step": int(kinds["step"]),
                **{kind: tensor.to(parameter.device) for kind, tensor in state.items()},
            }
