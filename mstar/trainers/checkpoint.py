"""A training checkpoint: a folder that `from_pretrained` loads, plus what training needs to go on exactly.

The latter is in a folder of its own, under names that no loader takes for weights (vLLM reads every
`*.safetensors` beside a model's): `training_state/moments.tensors` holds Adam's moments by parameter name, in
the safetensors format, `training_state/progress.json` the learning rate and how far the lesson has come.
Checkpoints of version 0.1.0 have the same in `training_state.safetensors` and `training_state.json`.
"""

import dataclasses
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mstar.errors import UserError
from mstar.models.adapters import save_adapter
from mstar.models.loading import save_model
from mstar.models.probe import Probe, write_probe
from mstar.stored_names import TRAINING_STATE
from mstar.trainers import Progressed
from mstar.trainers.policy import Policy

MOMENTS, PROGRESS = f"{TRAINING_STATE}/moments.tensors", f"{TRAINING_STATE}/progress.json"
OLD_MOMENTS, OLD_PROGRESS = f"{TRAINING_STATE}.safetensors", f"{TRAINING_STATE}.json"
OLD_RANDOM_STATE = "random_state"
"""Beside the moments in old checkpoints; of no use now."""


@dataclass(frozen=True)
class TrainingState:
    """Where training stands."""

    progressed: Progressed
    learning_rate: float
    """Of the last step; 0 before the first."""
    moments: dict[str, dict[str, Tensor]]
    """Per parameter name Adam's `step`, `exp_avg` and `exp_avg_sq`; empty for a new optimizer."""


def save_checkpoint(folder: Path, policy: Policy, state: TrainingState, probe: Probe | None = None) -> None:
    """Write everything into a folder that does not exist yet."""
    save_policy(folder, policy, probe)
    tensors = {
        f"{name}/{kind}": moment.contiguous()
        for name, kinds in state.moments.items()
        for kind, moment in kinds.items()
    }
    save_file(tensors, folder / MOMENTS)
    save_progress(folder, state.progressed, state.learning_rate)


def save_policy(folder: Path, policy: Policy, probe: Probe | None = None) -> None:
    """What `from_pretrained` loads, what tells whether it is loaded well, and a folder for the rest."""
    (folder / MOMENTS).parent.mkdir(parents=True)
    if policy.base is None:
        save_model(folder, policy.model)
    else:
        save_adapter(folder, policy.model, policy.base)
    policy.encoder.tokenizer.save_pretrained(folder)
    policy.encoder.image_processor.save_pretrained(folder)
    for name, contents in policy.processor_files.items():
        (folder / name).write_bytes(contents)
    if probe:
        write_probe(folder, probe)


def save_progress(folder: Path, progressed: Progressed, learning_rate: float) -> None:
    facts = {"learning_rate": learning_rate, "progressed": dataclasses.asdict(progressed)}
    (folder / PROGRESS).write_text(json.dumps(facts) + "\n", encoding="utf-8")


def load_training_state(folder: Path) -> TrainingState:
    """What `save_checkpoint` left. UserError where a checkpoint has no state to go on from."""
    old = (folder / OLD_PROGRESS).exists()
    try:
        facts = json.loads((folder / (OLD_PROGRESS if old else PROGRESS)).read_text(encoding="utf-8"))
        tensors = load_file(folder / (OLD_MOMENTS if old else MOMENTS))
        tensors.pop(OLD_RANDOM_STATE, None)
        return TrainingState(Progressed(**facts["progressed"]), facts["learning_rate"], by_name(tensors))
    except (FileNotFoundError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(
            f"{folder} holds no training state ({error}); train.inherit=weights starts without one"
        ) from None


def by_name(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Moments as a TrainingState has them, from a file's `name/kind`."""
    moments: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        name, _, kind = key.rpartition("/")
        moments.setdefault(name, {})[kind] = tensor
    return moments


def fitting_moments(
    state: TrainingState, trained: Mapping[str, Tensor], frozen: Collection[str], folder: Path
) -> dict[str, dict[str, Tensor]]:
    """The moments that go on in a model with these parameters; those of frozen ones are left behind.

    UserError where one has no parameter or another shape, or where none is left after a training: the names
    have changed, and an optimizer that silently starts anew is not the one that was asked for. A trained
    parameter without moments begins anew: it was frozen, or never had a gradient, and Adam counts steps for
    each parameter on its own.
    """
    kept = {name: kinds for name, kinds in state.moments.items() if name not in frozen}
    fitting = {
        name: kinds
        for name, kinds in kept.items()
        if name in trained and kinds["exp_avg"].shape == trained[name].shape
    }
    strangers = sorted(kept.keys() - fitting.keys())
    if strangers or (state.progressed.train_step and not fitting):
        first = f"; the first that do not are of {strangers[0]}" if strangers else ""
        raise UserError(
            f"the Adam moments in {folder} fit the model's parameters by name and shape in {len(fitting)} of "
            f"{len(trained)} cases{first}; train.inherit=weights starts the optimizer anew"
        )
    return fitting
