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

OBJECT = "runs/bench/checkpoint/model.safetensors"
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
        os.link(source, path)
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
        make_file(options.workdir / "source", int(options.gigabytes * 1e9))
        for number in range(options.rounds):
            compare_transfers(options.workdir, address, number % 2 == 0)
    finally:
        server.stop()
        shutil.rmtree(options.workdir, ignore_errors=True)


def compare_transfers(workdir: Path, address: str, mc_first: bool) -> None:
    """One file up, and the same object down, by mc and by the storage, each in a process of its own. Before
    each of them the disk has written what it owes, so that nobody waits for another's bytes.
    """
    environment = os.environ | {"MC_HOST_bench": _mc_host(address)}
    source, down, cache = workdir / "source", workdir / "down", workdir / "cache"
    commands = {"up": [str(source), f"bench/{OBJECT}"], "down": [f"bench/{OBJECT}", str(down)]}
    size = source.stat().st_size
    for verb, places in commands.items():
        seconds = {}
        for who in ("mc", "mstar") if mc_first else ("mstar", "mc"):
            shutil.rmtree(cache, ignore_errors=True)
            down.unlink(missing_ok=True)
            (cache / ".scratch").mkdir(parents=True)
            os.sync()
            if who == "mc":
                seconds[who] = timed(["mc", "cp", "--quiet", *places], environment)
            else:
                arguments = [sys.executable, "-c", TRANSFER, verb, address, str(cache), str(source)]
                said = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.split()
                seconds[who], memory = float(said[0]), int(float(said[1]))
        print(
            f"{size / 1e9:.1f} GB {verb}: mstar {seconds['mstar']:.2f} s "
            f"({size / seconds['mstar'] / 1e6:.0f} MB/s), mc {seconds['mc']:.2f} s, "
            f"ratio {seconds['mc'] / seconds['mstar']:.2f}, peak memory {memory / 2**20:.0f} MiB, "
            f"{'mc' if mc_first else 'mstar'} first, load {os.getloadavg()[0]:.1f}",
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
