"""The quick start over several seeds: runs them one after the other and prints the table of the README.

Intervals are over seeds: mean plus and minus the 95 % quantile of Student's t times the standard error.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from check_quickstart import accuracy_after

ROOT = Path(__file__).parent.parent
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""97.5 % quantiles by number of seeds."""


def main(seeds: list[int]) -> None:
    summaries = [run(seed) for seed in seeds]
    print("\n| seed | test set | start | end | gain |\n|---|---|---|---|---|")
    for seed, summary in zip(seeds, summaries, strict=True):
        for name, test in summary["tests"].items():
            first, last = test["first"]["accuracy"], test["last"]["accuracy"]
            print(f"| {seed} | {name} | {first:.1%} | {last:.1%} | {last - first:+.1%} |")
    for name in summaries[0]["tests"]:
        gains = [
            s["tests"][name]["last"]["accuracy"] - s["tests"][name]["first"]["accuracy"] for s in summaries
        ]
        print(f"{name}: gain {interval(gains)}, min {min(gains):+.1%}, max {max(gains):+.1%}")
    for seed, summary in zip(seeds, summaries, strict=True):
        folder = ROOT / "runs" / f"quickstart-{seed}"
        curve = [accuracy_after(folder, "heldout", i) for i in (None, *range(summary["iterations"]))]
        temperatures = [choice["temperature"] for choice in summary["temperatures"]]
        print(f"seed {seed}: heldout {' '.join(f'{100 * share:.1f}' for share in curve)}; {temperatures=};")
        share = summary["overhead_share"]
        print(f"  {summary['wall_clock_seconds']:.0f} s, {share:.1%} of it outside engine and trainer")
        print(f"  peak memory {summary['peak_memory_bytes'] / 2**30:.2f} GiB")


def run(seed: int) -> dict[str, Any]:
    folder = ROOT / "runs" / f"quickstart-{seed}"
    config = ROOT / "examples" / "quickstart" / "quickstart.yaml"
    command = [sys.executable, "-m", "mstar", "run", str(config)]
    subprocess.run([*command, "--set", f"seed={seed}", "--set", f"output={folder}"], check=True)
    return dict(json.loads((folder / "summary.json").read_text()))


def interval(values: list[float]) -> str:
    middle = statistics.mean(values)
    if len(values) not in STUDENT:
        return f"{middle:+.1%}"
    reach = STUDENT[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{middle:+.1%} [{middle - reach:+.1%}, {middle + reach:+.1%}]"


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [11, 12, 13, 14, 15])
