"""A training checkpoint: a folder that `from_pretrained` loads, plus what training needs to go on exactly.

`training_state.safetensors` holds Adam's moments by parameter name and torch's random state,
`training_state.json` the learning rate and how far the lesson has come.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mstar.errors import UserError
from mstar.models import Encoder
from mstar.trainers import Progressed

TENSORS, FACTS = "training_state.safetensors", "training_state.json"
RANDOM_STATE = "random_state"


@dataclass(frozen=True)
class TrainingState:
    """Where training stands."""

    progressed: Progressed
    learning_rate: float
    """Of the last step; 0 before the first."""
    moments: dict[str, dict[str, Tensor]]
    """Per parameter name Adam's `step`, `exp_avg` and `exp_avg_sq`; empty for a new optimizer."""
    random_state: Tensor


def save_checkpoint(folder: Path, model: Any, encoder: Encoder, state: TrainingState) -> None:
    """Write everything into a folder that does not exist yet."""
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)
    encoder.image_processor.save_pretrained(folder)
    tensors = {
        f"{name}/{kind}": moment for name, kinds in state.moments.items() for kind, moment in kinds.items()
    }
    tensors[RANDOM_STATE] = state.random_state
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / TENSORS)
    facts = {"learning_rate": state.learning_rate, "progressed": dataclasses.asdict(state.progressed)}
    (folder / FACTS).write_text(json.dumps(facts) + "\n")


def load_training_state(folder: Path) -> TrainingState:
    """What `save_checkpoint` left. UserError where a checkpoint has no state to go on from."""
    try:
        facts = json.loads((folder / FACTS).read_text())
        tensors = load_file(folder / TENSORS)
        random_state = tensors.pop(RANDOM_STATE)
    except (FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no training state ({error}); train.inherit=weights starts without one"
        ) from None
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition("/")
        moments.setdefault(name, {})[kind] = tensor
    return TrainingState(Progressed(**facts["progressed"]), facts["learning_rate"], moments, random_state)
