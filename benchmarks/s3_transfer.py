"""How fast a checkpoint goes to a bucket and comes back, against `mc cp` on the same server.

    python benchmarks/s3_transfer.py WORKDIR [--gigabytes 5]

Needs `minio` and `mc` on PATH; everything is made below WORKDIR, which is emptied.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.storage import servers

TRANSFER = """
import os, resource, sys, time
from pathlib import Path
from mstar.config_storage import StorageSettings
from mstar.storage import build_storage
verb, address, cache, source = sys.argv[1:]
storage = build_storage("s3://runs/bench", StorageSettings(endpoint=address, cache=cache))
storage.keys("none/")
if verb == "up":
    with storage.scratch() as path:
        os.rename(source, path)
        start = time.perf_counter()
        storage.publish(path, "checkpoint/model.safetensors", replace=True)
        seconds = time.perf_counter() - start
else:
    start = time.perf_counter()
    with storage.reading("checkpoint/model.safetensors") as path:
        seconds = time.perf_counter() - start
print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    shutil.rmtree(options.workdir, ignore_errors=True)
    (options.workdir / "server").mkdir(parents=True)
    os.environ |= servers.VARIABLES
    server = servers.MinioServer(options.workdir / "server")
    try:
        address = servers.ready(server.port)
        for _ in range(options.rounds):
            compare_transfers(options.workdir, address, int(options.gigabytes * 1e9))
    finally:
        server.stop()
        shutil.rmtree(options.workdir, ignore_errors=True)


def compare_transfers(workdir: Path, address: str, size: int) -> None:
    """One file up and down, by mc and by the storage, each in a process of its own."""
    source, environment = workdir / "source", os.environ | {"MC_HOST_bench": _mc_host(address)}
    make_file(source, size)
    times = {}
    times["mc up"] = timed(["mc", "cp", "--quiet", str(source), "bench/runs/mc/file"], environment)
    times["mc down"] = timed(
        ["mc", "cp", "--quiet", "bench/runs/mc/file", str(workdir / "down")], environment
    )
    (workdir / "down").unlink()
    memory = {}
    for verb in ("up", "down"):
        shutil.rmtree(workdir / "cache", ignore_errors=True)
        (workdir / "cache" / ".scratch").mkdir(parents=True)
        arguments = [sys.executable, "-c", TRANSFER, verb, address, str(workdir / "cache"), str(source)]
        said = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
        times[f"mstar {verb}"], memory[verb] = float(said[0]), int(float(said[1]))
    for verb in ("up", "down"):
        mc, ours = times[f"mc {verb}"], times[f"mstar {verb}"]
        print(
            f"{size / 1e9:.1f} GB {verb}: mstar {ours:.2f} s ({size / ours / 1e6:.0f} MB/s), mc {mc:.2f} s, "
            f"ratio {mc / ours:.2f}, peak memory {memory[verb] / 2**20:.0f} MiB",
            flush=True,
        )


def timed(command: list[str], environment: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def make_file(path: Path, size: int) -> None:
    block = os.urandom(16 << 20)
    with path.open("wb") as file:
        for _ in range(0, size, len(block)):
            file.write(block[: size - file.tell()])


def _mc_host(address: str) -> str:
    return address.replace("http://", f"http://{servers.KEY}:{servers.SECRET}@")


if __name__ == "__main__":
    main()
