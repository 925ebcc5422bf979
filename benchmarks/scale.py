"""A large problem file: how long a stage command waits for it, and how much memory it takes.

    python benchmarks/scale.py [FOLDER]

Makes 200,000 problems with 50,000 images of 64 x 64 pixels, as JSONL, in a folder (a temporary one if none is
named; one that has them already is used as it is). Then processes of their own open the file as a stage
command does (identity, ids, sources, a few rows): with nothing remembered, again, and after one image was
edited.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mstar.content_hashes import SETTLED_SECONDS

PROBLEMS, IMAGES, IMAGES_PER_FOLDER = 200_000, 50_000, 1_000
WIDTH = 64
MAX_SECONDS, MAX_MEBIBYTES = 2.0, 600

OPEN = """
import json, resource, sys, time
import pyarrow.parquet
started = time.perf_counter()
from mstar.datasets import open_problems
file = open_problems(sys.argv[1])
opened = time.perf_counter()
identity = file.identity
known = time.perf_counter()
assert len(file.ids) == len(file.sources) == len(file)
problems = file.read(range(0, len(file), len(file) // 64))
done = time.perf_counter()
print(json.dumps({
    "identity": identity, "open": opened - started, "identity_s": known - opened, "rows": done - known,
    "total": done - started, "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch)
        problems = folder / "train.jsonl"
        if not problems.exists():
            started = time.perf_counter()
            write_set(folder)
            print(
                f"made {PROBLEMS:,} problems with {IMAGES:,} images in {time.perf_counter() - started:.0f} s"
            )
            time.sleep(SETTLED_SECONDS + 1)
        cache = Path(scratch) / "cache"
        cold, warm = measure("nothing remembered", problems, cache), measure("again", problems, cache)
        edit(folder / image_name(IMAGES // 2))
        edited = measure("after one image was edited", problems, cache)
    assert cold["identity"] == warm["identity"] != edited["identity"]
    for found in (warm, edited):
        assert found["total"] < MAX_SECONDS and found["MiB"] < MAX_MEBIBYTES, "the bar is not reached"


def measure(name: str, problems: Path, cache: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", OPEN, str(problems)]
    environment = {**os.environ, "MSTAR_CACHE": str(cache)}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(printed)
    parts = (
        f"open {found['open']:.2f}, identity {found['identity_s']:.2f}, ids and 64 rows {found['rows']:.2f}"
    )
    print(f"{name}: {found['total']:.2f} s ({parts}), at most {found['MiB']:.0f} MiB")
    return found


def write_set(folder: Path) -> None:
    """The images, and the problems about them: four to an image."""
    for number, data in enumerate(pictures()):
        path = folder / image_name(number)
        if number % IMAGES_PER_FOLDER == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with (folder / "train.jsonl").open("w") as file:
        for row in rows():
            file.write(json.dumps(row) + "\n")


def image_name(number: int) -> str:
    return f"images/{number // IMAGES_PER_FOLDER:02}/{number:05}.png"


def rows() -> Iterator[dict[str, object]]:
    choices = random.Random(0)
    for number in range(PROBLEMS):
        left, right = choices.randrange(1000), choices.randrange(1000)
        yield {
            "id": f"problem-{number:06}",
            "question": f"How many squares are there, with {left} more in row {right}?",
            "image": image_name(number * IMAGES // PROBLEMS),
            "answer": str(left + right),
            "answer_type": "number",
            "source": ("bars", "grids", "lines")[number % 3],
        }


def pictures() -> Iterator[bytes]:
    """PNG files: one of a few patterns each, its number in the first pixels, so that no two are equal."""
    choices = random.Random(0)
    patterns = [bytes(choices.choices((0, 255), k=WIDTH * WIDTH)) for _ in range(16)]
    for number in range(IMAGES):
        pixels = number.to_bytes(4, "big") + patterns[number % len(patterns)][4:]
        yield png(pixels)


def png(gray: bytes) -> bytes:
    """A gray picture as a file; written by hand, because 50,000 of them take a library half a minute."""
    lines = b"".join(b"\0" + gray[start : start + WIDTH] for start in range(0, len(gray), WIDTH))
    size = WIDTH.to_bytes(4, "big")
    chunks = ((b"IHDR", size + size + b"\x08\0\0\0\0"), (b"IDAT", zlib.compress(lines, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(map(chunk, *zip(*chunks, strict=True)))


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")


def edit(image: Path) -> None:
    """Another picture in place of one."""
    gray = bytearray(random.Random(time.time_ns()).randbytes(WIDTH * WIDTH))
    image.write_bytes(png(bytes(gray)))


if __name__ == "__main__":
    main()
