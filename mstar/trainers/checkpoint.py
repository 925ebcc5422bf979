"""A training checkpoint: a folder that `from_pretrained` loads, plus what training needs to go on exactly.

`training_state.safetensors` holds Adam's moments by parameter name and torch's random state,
`training_state.json` the step count, the learning rate and how far this iteration's batches are done.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from mstar.errors import UserError
from mstar.models import Encoder

TENSORS, FACTS = "training_state.safetensors", "training_state.json"
RANDOM_STATE = "random_state"


@dataclass(frozen=True)
class TrainingState:
    """Where training stands."""

    train_step: int
    batches_done: int
    """Optimizer steps of the present iteration that are behind; equals all of them in a finished checkpoint.
    """
    learning_rate: float
    moments: dict[str, dict[str, Tensor]]
    """Per parameter name Adam's `step`, `exp_avg` and `exp_avg_sq`; empty for a new optimizer."""
    random_state: Tensor | None


def save_checkpoint(folder: Path, model: Any, encoder: Encoder, state: TrainingState) -> None:
    """Write everything into a folder that does not exist yet."""
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    tensors = {
        f"{name}/{kind}": moment for name, kinds in state.moments.items() for kind, moment in kinds.items()
    }
    if state.random_state is not None:
        tensors[RANDOM_STATE] = state.random_state
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    facts = {
        "train_step": state.train_step,
        "batches_done": state.batches_done,
        "learning_rate": state.learning_rate,
    }
    (folder / FACTS).write_text(json.dumps(facts) + "\n")


def load_training_state(folder: Path) -> TrainingState:
    """What `save_checkpoint` left. UserError where a checkpoint has no state to go on from."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        tensors = load_file(folder / TENSORS)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{folder} holds no training state ({error}); train.inherit=weights starts without one"
        ) from None
    random_state = tensors.pop(RANDOM_STATE, None)
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition("/")
        moments.setdefault(name, {})[kind] = tensor
    return TrainingState(**facts, moments=moments, random_state=random_state)
