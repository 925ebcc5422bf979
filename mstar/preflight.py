"""What is looked at before a run writes its first file: are the inputs there, can the model read them, does
what comes fit into memory and onto the disk, and can training get anywhere?

A mistake found here costs seconds; the same mistake found by a stage costs whatever ran before it. What may
be meant so is a note; what cannot end well is an error. A run that has begun on the same inputs is not looked
at again.
"""

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from mstar.addresses import is_address
from mstar.config import Config, Images, Prompt
from mstar.config_file import load_config
from mstar.config_storage import StorageSettings
from mstar.datasets import Reading
from mstar.datasets.checking import ModelCheck, check_problems
from mstar.datasets.overlap import shared_problems
from mstar.errors import UnusableRequest, UserError
from mstar.inputs import looks_like_hub_id, missing_model, problem_files
from mstar.model_folders import fetched, local_policy
from mstar.progress import Progress
from mstar.prompts import build_request
from mstar.records import Problem
from mstar.resources import check_resources
from mstar.rundir import RunDir
from mstar.sizing import too_few_steps
from mstar.wording import counted

if TYPE_CHECKING:
    from mstar.models import Encoder

LOOKED_INTO = 20_000
"""Of larger files so many rows are read with their images, the same ones every time."""
STORED_LOOKED_INTO = 1_000
"""The same in a bucket, where each image has to be fetched."""
MODEL_SAMPLE = 1_000
"""Of larger files so many rows are tried with the model's own processor."""
SHOWN = 3
WORTH_SAYING = 5_000
"""Problems of a file that takes long enough to look at."""


def check_inputs(run: RunDir, progress: Progress, trains_here: bool = True) -> None:
    """Raise UserError for the first input that cannot be used; tell what may go wrong otherwise."""
    config = run.config
    encoder = load_encoder(config)
    for doubt in check_resources(config, encoder, run.storage.free_bytes(), trains_here):
        progress.note(doubt)
    ask = ask_model(encoder)
    for key, path in problem_files(config):
        _check_problems(run, key, path, ask, progress)
        _check_labels(run, key, path, progress)
    _tell_shared_problems(run, progress)
    if warning := too_few_steps(config, len(run.problems(config.data.train))):
        progress.note(warning)


def check_trainer(config: Config) -> None:
    """Raise UserError where the trainer, or what it runs on, is not here: only after hours of sampling would
    it be missed.
    """
    if config.train.trainer != "single":
        from mstar.trainers import build_trainer

        build_trainer(config)


def load_encoder(config: Config) -> "Encoder":
    """The policy's own processor and tokenizer; the weights are not needed."""
    from mstar.models import Encoder

    policy = local_policy(config, weights=False)
    return Encoder(policy, config.images, config.prompt, config.model.revision)


def ask_model(encoder: "Encoder") -> ModelCheck:
    """What a model says of problems."""

    def reason(problem: Problem) -> str | None:
        try:
            encoder.check(build_request(problem, encoder.prompt))
        except UnusableRequest as error:
            return error.reason
        return None

    return reason


def check_for_model(name: str) -> ModelCheck:
    """The same for a model's folder, its id on a hub, or the config of a run, with its prompt and limits."""
    if name.endswith((".yaml", ".yml")):
        return ask_model(load_encoder(load_config(Path(name))))
    from mstar.models import Encoder

    if is_address(name):
        folder = fetched(name, StorageSettings(), weights=False)
    elif Path(name).is_dir() or looks_like_hub_id(name):
        folder = Path(name)
    else:
        raise missing_model("--model", name)
    return ask_model(Encoder(folder, Images(), Prompt()))


class ModelReader:
    """Tries the problems of one file with the model: a sample, and all that look long."""

    def __init__(self, ask: ModelCheck, longest: int, total: int) -> None:
        self.ask = ask
        self.longest = longest
        self.total = total
        self.tried = 0
        self.unusable: dict[str, str] = {}

    def check(self, problem: Problem) -> None:
        """Note what the model says of a problem."""
        is_long = len(problem.question) > self.longest
        if not is_long and zlib.crc32(problem.id.encode()) % max(1, self.total) >= MODEL_SAMPLE:
            return
        self.tried += 1
        if reason := self.ask(problem):
            self.unusable[problem.id] = reason


def _check_problems(run: RunDir, key: str, path: str, ask: ModelCheck, progress: Progress) -> None:
    """Bad rows are an error; rows that only this model cannot read are told, or an error where it says so."""
    total = len(run.problems(path))
    if total >= WORTH_SAYING:
        progress.note(f"looking at the {total:,} problems of {key}")
    reader = ModelReader(ask, run.config.prompt.max_tokens, total)
    sample = STORED_LOOKED_INTO if is_address(path) else LOOKED_INTO
    found = check_problems(path, reader.check, sample, Reading.of(run.config))
    if bad := found.bad:
        shown = "; ".join(f"{flaw}" for flaw in bad[:SHOWN])
        raise UserError(
            f"{key} {path} has {counted(len(bad), 'bad rows')}, and a run needs none: {shown[:600]}; "
            f"mstar problems check {path} lists them all"
        )
    if found.advice:
        progress.note(f"{key}: {found.advice}")
    if reader.tried < total:
        progress.note(f"{key}: the model's processor was tried on {reader.tried} of {total} problems")
    if reader.unusable:
        shown = "; ".join(f"{id} {reason}" for id, reason in list(reader.unusable.items())[:SHOWN])
        said = f"{key}: the model cannot read {counted(len(reader.unusable), 'problems')}: {shown[:600]}"
        if run.config.data.unusable == "stop":
            raise UserError(f"{said}; correct them, or set data.unusable to skip")
        progress.note(f"{said}; left out")


def _check_labels(run: RunDir, key: str, path: str, progress: Progress) -> None:
    """Training problems may be unlabelled, as long as some are not; the others measure, and need answers."""
    unlabelled, total = len(run.problems(path).unlabelled), len(run.problems(path))
    if key != "data.train" and unlabelled:
        raise UserError(
            f"{key} {path} has {counted(unlabelled, 'problems')} without an answer, and accuracy needs one "
            "for each; take them out"
        )
    if unlabelled == total:
        raise UserError(f"{key} {path} has no answers at all; at least some problems need one to learn from")
    if unlabelled:
        progress.note(f"{key}: {unlabelled} of {total} problems have no answer; they are sampled, not judged")


def _tell_shared_problems(run: RunDir, progress: Progress) -> None:
    """A test set that holds training problems measures memory."""
    train = run.problems(run.config.data.train)
    for key, path in problem_files(run.config):
        if key == "data.train":
            continue
        shared = shared_problems(train, run.problems(path))
        if shared:
            example = f"{shared[0][1]} is {shared[0][0]} in data.train"
            progress.note(
                f"{key} shares {counted(len(shared), 'problems')} with data.train ({example}): it measures "
                "what was learned by heart; take them out of one of the two"
            )
