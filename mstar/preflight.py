"""What is looked at before a run writes its first file: are the inputs there, can the model read them, does
what comes fit into memory and onto the disk, and can training get anywhere?

A mistake found here costs seconds; the same mistake found by a stage costs whatever ran before it. What may
be meant so is a note; what cannot end well is an error. A run whose inputs have not changed since is not
looked at again.
"""

import zlib
from pathlib import Path

from mstar.config import Config
from mstar.datasets import check_problems, shared_problems
from mstar.errors import UnusableRequest, UserError
from mstar.inputs import problem_files
from mstar.progress import Progress
from mstar.prompts import build_request
from mstar.records import Problem
from mstar.resources import check_resources
from mstar.rundir import RunDir
from mstar.sizing import too_few_steps
from mstar.wording import counted

LOOKED_INTO = 20_000
"""Of larger files so many rows are read with their images, the same ones every time."""
MODEL_SAMPLE = 1_000
"""Of larger files so many rows are tried with the model's own processor."""
SHOWN = 3


def check_inputs(run: RunDir, progress: Progress) -> None:
    """Raise UserError for the first input that cannot be used; tell what may go wrong otherwise."""
    config = run.config
    _check_model(config.model.path, "model.path")
    if config.score.prm is not None:
        _check_model(config.score.prm, "score.prm")
    for warning in check_resources(config, Path(config.output)):
        progress.note(warning)
    reader = ModelReader(config)
    for key, path in problem_files(config):
        _check_problems(run, key, path, reader, progress)
        _check_labels(run, key, path, progress)
    _tell_shared_problems(run, progress)
    if warning := too_few_steps(config, len(run.problems(config.data.train))):
        progress.note(warning)


class ModelReader:
    """Tries problems with the policy's own processor and tokenizer; the weights are not needed."""

    def __init__(self, config: Config) -> None:
        from mstar.models import Encoder

        self.config = config
        self.encoder = Encoder(Path(config.model.path), config.images, config.prompt, config.model.revision)
        self.begin(0)

    def begin(self, total: int) -> None:
        """A new file of so many problems."""
        self.total = total
        self.tried = 0
        self.unusable: dict[str, str] = {}

    def check(self, problem: Problem) -> None:
        """Note what the model says of a problem, if it is one of the sample or looks long."""
        is_long = len(problem.question) > self.config.prompt.max_tokens
        if not is_long and zlib.crc32(problem.id.encode()) % max(1, self.total) >= MODEL_SAMPLE:
            return
        self.tried += 1
        try:
            self.encoder.check(build_request(problem, self.config.prompt))
        except UnusableRequest as error:
            self.unusable[problem.id] = error.reason


def refuse_a_file(output: str) -> None:
    """UserError where a file is in the way of the run's folder."""
    folders = (Path(output), *Path(output).absolute().parents)
    nearest = next(folder for folder in folders if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"output is {output}, but {nearest} is a file; choose another output")


def _check_problems(run: RunDir, key: str, path: str, reader: ModelReader, progress: Progress) -> None:
    """Bad rows are an error; rows that only this model cannot read are told, or an error where it says so."""
    total = len(run.problems(path))
    reader.begin(total)
    bad = check_problems(path, reader.check, sample=LOOKED_INTO).bad
    if bad:
        shown = "; ".join(f"{flaw}" for flaw in bad[:SHOWN])
        raise UserError(
            f"{key} {path} has {counted(len(bad), 'bad rows')}, and a run needs none: {shown[:600]}; "
            f"mstar problems check {path} lists them all"
        )
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


def _check_model(path: str, key: str) -> None:
    """A path must be a checkpoint folder; what looks like `owner/name` is left to the hub."""
    folder = Path(path)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{key} is {path}, a folder without config.json; name one that save_pretrained has written"
            )
    elif folder.is_absolute() or path.startswith(".") or path.count("/") != 1 or key != "model.path":
        raise UserError(
            f"{key} is {path}, which does not exist; name a checkpoint folder or the id of a model on a hub"
        )
