"""Has a quick start run learned what it should? Reads its summary.json; exit code 1 if not.

What is asked of one run is a little less than of the mean over seeds, which `make seeds` measures.
"""

import json
import sys
from pathlib import Path

MIN_GAIN, MAX_STEP, MIN_SIX_TERMS_GAIN, MAX_OVERHEAD = 0.20, 0.20, 0.10, 0.03
MAX_BYTES = 3 << 30


def main(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    heldout = [
        accuracy_after(folder, "heldout", iteration) for iteration in (None, *range(summary["iterations"]))
    ]
    steps = [later - earlier for earlier, later in zip(heldout, heldout[1:], strict=False)]
    gains = {
        name: test["last"]["accuracy"] - test["first"]["accuracy"] for name, test in summary["tests"].items()
    }
    checks = {
        f"heldout rose by {gains['heldout']:.1%}": gains["heldout"] >= MIN_GAIN,
        f"its largest step was {max(steps):.1%}": max(steps) <= MAX_STEP,
        f"over {len(steps)} iterations": len(steps) >= 4,
        f"six_terms rose by {gains['six_terms']:.1%}": gains["six_terms"] >= MIN_SIX_TERMS_GAIN,
        f"distorted rose by {gains['distorted']:.1%}": gains["distorted"] > 0,
        f"peak memory {summary['peak_memory_bytes'] / 2**30:.2f} GiB": summary["peak_memory_bytes"]
        <= MAX_BYTES,
    }
    for said, holds in checks.items():
        print(f"{'ok  ' if holds else 'FAIL'} {said}")
    if not all(checks.values()):
        sys.exit(1)


def accuracy_after(folder: Path, test: str, iteration: int | None) -> float:
    stage = "start/evaluate" if iteration is None else f"iterations/{iteration:03d}/evaluate"
    report = json.loads((folder / stage / "manifest.json").read_text())["result"]
    return float(report["tests"][test]["accuracy"]["value"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
