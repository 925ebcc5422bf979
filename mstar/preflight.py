"""What is looked at before a run writes its first file: are the inputs there, and can they be read?

A mistake found here costs a second; the same mistake found by a stage costs whatever ran before it.
"""

from collections.abc import Iterator
from pathlib import Path

from mstar.config import Config
from mstar.datasets import check_problems, open_problems
from mstar.errors import UserError
from mstar.progress import Progress
from mstar.rundir import RunDir

FULLY_CHECKED = 20_000
"""Files of up to this many problems are read whole, images included; of larger ones only the first row."""
SHOWN = 3


def check_inputs(run: RunDir, progress: Progress) -> None:
    """Raise UserError for the first model folder, problem file or output that cannot be used."""
    config = run.config
    _check_model(config.model.path, "model.path")
    if config.score.prm is not None:
        _check_model(config.score.prm, "score.prm")
    for key, path in _problem_files(config):
        _check_problems(key, path)


def _problem_files(config: Config) -> Iterator[tuple[str, str]]:
    yield "data.train", config.data.train
    if config.data.validation is not None:
        yield "data.validation", config.data.validation
    for name, path in config.data.tests.items():
        yield f"data.tests.{name}", path


def _check_problems(key: str, path: str) -> None:
    file = open_problems(path)
    if len(file) > FULLY_CHECKED:
        file.read([0])
        return
    bad = check_problems(path).bad
    if bad:
        shown = "; ".join(f"{flaw}" for flaw in bad[:SHOWN])
        raise UserError(
            f"{key} {path} has {len(bad)} bad rows, and a run needs none: {shown[:600]}; "
            f"mstar problems check {path} lists them all"
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


def refuse_a_file(output: str) -> None:
    """UserError where a file is in the way of the run's folder."""
    folders = (Path(output), *Path(output).absolute().parents)
    nearest = next(folder for folder in folders if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"output is {output}, but {nearest} is a file; choose another output")
