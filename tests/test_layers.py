"""A module imports only what is below it, as CONTRIBUTING.md has it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from mstar.stages import STAGE_NAMES
from tests.conftest import ROOT

MODULES = {
    "generate": "generation",
    "score": "scoring",
    "select": "selection",
    "train": "training",
    "evaluate": "evaluation",
    "adapt": "adaptation",
}


def test_nothing_imports_what_is_above_it() -> None:
    (line,) = re.findall(r"^ *(cli > .*)\.$", (ROOT / "CONTRIBUTING.md").read_text(), re.M)
    layers = [part.split(", ") for part in line.split(" > ")]
    height = {name: -place for place, names in enumerate(layers) for name in names}
    height |= {MODULES[name]: height["stages"] for name in STAGE_NAMES}
    del height["stages"]  # the six; the module of this name says what they have in common
    wrong, seen = [], set()
    for path in sorted(ROOT.glob("mstar/**/*.py")):
        own = path.relative_to(ROOT / "mstar").with_suffix("").parts[0]
        seen.add(own)
        wrong += [
            f"{path.relative_to(ROOT)} imports {other}"
            for other in imported(path)
            if height.get(other, -99) > height.get(own, 99)
        ]
    assert height.keys() <= seen
    assert wrong == []


def imported(path: Path) -> Iterator[str]:
    """Modules and packages of ours, by the first name below `mstar`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mstar."):
            yield str(node.module).split(".")[1]
