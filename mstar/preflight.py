"""What is looked at before a run writes its first file: are the inputs there, and can they be read?

A mistake found here costs a second; the same mistake found by a stage costs whatever ran before it.
"""

from pathlib import Path

from mstar.config import Config
from mstar.datasets import open_problems
from mstar.errors import UserError


def check_inputs(config: Config) -> None:
    """Raise UserError for the first problem file, model folder or output that cannot be used."""
    _check_model(config.model.path, "model.path")
    if config.score.prm is not None:
        _check_model(config.score.prm, "score.prm")
    for path in (config.data.train, config.data.validation, *config.data.tests.values()):
        if path is not None:
            problems = open_problems(path)
            problems.read([0])
    _check_output(Path(config.output))


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


def _check_output(output: Path) -> None:
    nearest = next(folder for folder in (output, *output.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise UserError(f"output is {output}, but {nearest} is a file; choose another output")
