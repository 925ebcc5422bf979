"""The smoke run in its smallest form, and how two runs are compared."""

import hashlib
import json
from pathlib import Path
from typing import Any

SMOKE = Path(__file__).parent.parent / "examples" / "quickstart" / "smoke.yaml"
VARIES = ("timing.json", "summary.json", "metrics.jsonl", "report.html", "run.yaml")
"""What may differ between two equal runs: times, and paths of the output."""
SMALL = (
    "iterations.problems_share=0.2",
    "generate.max_tokens=40",
    "generate.problems_per_chunk=16",
    "train.batch_size=8",
    "train.checkpoint_every=2",
    "model.threads=1",
    "adapt.min_problems=16",
)


def smoke_arguments(problems: Path | str, output: Path | str, *overrides: str) -> list[str]:
    """`run smoke.yaml` on the problems of this folder."""
    settings = [
        f"output={output}",
        f"data.train={problems}/train.parquet",
        f"data.validation={problems}/validation.parquet",
        f"data.tests={{heldout: {problems}/heldout.parquet}}",
        *SMALL,
        *overrides,
    ]
    return ["run", str(SMOKE), *(part for one in settings for part in ("--set", one))]


def prepare_arguments(problems: Path | str, output: Path | str, *overrides: str) -> list[str]:
    """The same for machines that start one stage after another."""
    return ["prepare", *smoke_arguments(problems, output, *overrides)[1:]]


def fingerprints(output: Path) -> dict[str, str]:
    """The hash of every file that must not vary."""
    paths = [path for path in output.rglob("*") if path.is_file() and "/." not in path.as_posix()]
    kept = [path for path in paths if path.name not in VARIES]
    return {
        path.relative_to(output).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(kept)
    }


def of_first_iteration(files: dict[str, str]) -> dict[str, str]:
    """Those of them that are there when one iteration is finished."""
    kept = ("start/", "iterations/000/", "iterations/001/state.json", "inputs.json")
    return {name: value for name, value in files.items() if name.startswith(kept)}


def result_of(output: Path, iteration: int, stage: str) -> dict[str, Any]:
    """What the manifest of a stage says."""
    manifest = (output / f"iterations/{iteration:03d}/{stage}/manifest.json").read_text()
    found: dict[str, Any] = json.loads(manifest)["result"]
    return found


def file_of(folder: Path, name: str) -> Path:
    """A file by the beginning of its name; the rest says what is in it."""
    (found,) = folder.glob(f"{name}-*.parquet")
    return found
