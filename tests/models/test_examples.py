"""The example configs of real models, and the page that tells of them. That they are right is tested with
every other shipped config.
"""

from pathlib import Path

import pytest

from mstar.config_file import load_config
from mstar.models import FAMILIES
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text()
EXAMPLES = sorted((ROOT / "examples" / "models").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_told_of_and_names_a_model_on_a_hub(path: Path) -> None:
    config = load_config(path)
    assert f"(../examples/models/{path.name})" in PAGE
    assert config.model.path.count("/") == 1 and config.output == f"runs/{path.stem}"
    (figures,) = [line for line in PAGE.splitlines() if f"[{path.stem}]" in line]
    cells = [cell.strip().removesuffix(" billion") for cell in figures.split("|")]
    said = " ".join(line.removeprefix("# ") for line in path.read_text().splitlines()[:4])
    sampling, token, after, peak, saved = (cells[place] for place in (3, 4, 5, 6, 8))
    for figure in (
        f"{sampling} of weights",
        f"{token} for each",
        f"{after} after",
        f"{peak} at",
        f"{saved} on",
    ):
        assert figure in said


def test_every_family_is_told_of() -> None:
    assert all(f"`{model_type}`" in PAGE for model_type in FAMILIES)
