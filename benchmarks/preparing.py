"""Preparing a large preset with duplicates checked: how long it takes, and how much memory.

    python benchmarks/preparing.py [--problems 360000] [--images 40000] [--folder FOLDER]

Makes a data set in MathV360K's form (chats about JPEG files of 640 x 480 pixels, drawings on grounds like
photographs) and a test set in MathVista's of 1,000 problems, of which 100 repeat a training problem exactly
and 100 nearly: other spacing, and the image saved anew. Then a process of its own prepares both, as `mstar
datasets prepare --drop near` does; all 200 have to be found, and no others. Data that are in the folder
already are used as they are.
"""

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw

from mstar.presets.catalogue import MATHV360K
from mstar.presets.preparing import draw

TESTS, REPEATED = 1_000, 100
SIZE, GROUND = (640, 480), (5120, 3840)
IMAGES_PER_TASK = 250
MAX_MINUTES, MAX_GIBIBYTES = 15, 2

PREPARE = """
import json, resource, sys, time
from pathlib import Path
from mstar.presets.catalogue import MATHV360K, MATHVISTA, Preset
from mstar.presets.preparing import prepare
from mstar.progress import QUIET
folder, output = map(Path, sys.argv[1:])
started, worked = time.perf_counter(), time.process_time()
addresses = {name: str(folder / name) for name in ("mathv360k", "mathvista")}
preset = Preset("benchmark", "", MATHV360K, (MATHVISTA,))
done = prepare(preset, addresses, str(output), "near", QUIET)
print(json.dumps({
    "seconds": time.perf_counter() - started, "CPU seconds": time.process_time() - worked,
    "found": done.matches["mathvista"], "dropped": done.dropped,
    "GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
}))
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=360_000)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as scratch:
        folder = asked.folder or Path(scratch)
        if not (folder / "mathvista").exists():
            started = time.perf_counter()
            make(folder, asked.problems, asked.images)
            print(f"made {asked.problems:,} problems with {asked.images:,} images", end=" ")
            print(f"in {time.perf_counter() - started:.0f} s", flush=True)
        found = prepare(folder, Path(scratch))
    minutes, worked = found["seconds"] / 60, found["CPU seconds"] / 60
    print(f"prepared in {minutes:.1f} minutes ({worked:.1f} of CPU), at most {found['GiB']:.2f} GiB")
    print(f"found {found['found']}, dropped {found['dropped']}")
    repeated = [found["found"].get(kind) for kind in ("exact", "near")]
    assert repeated == [REPEATED, REPEATED], "duplicates were missed or made up"
    assert found["seconds"] <= MAX_MINUTES * 60 and found["GiB"] <= MAX_GIBIBYTES, "the bar is not reached"


def prepare(folder: Path, scratch: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", PREPARE, str(folder), str(scratch / "prepared")]
    environment = {**os.environ, "MSTAR_CACHE": str(scratch / "cache")}
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(printed)
    return found


def make(folder: Path, problems: int, images: int) -> None:
    """Both sets; the last thing that is there is the folder of the second."""
    chats = folder / "mathv360k"
    tasks = [
        range(first, min(first + IMAGES_PER_TASK, images)) for first in range(0, images, IMAGES_PER_TASK)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_images, [chats / "data_images"] * len(tasks), tasks))
    rows = ",\n".join(json.dumps(chat(number, images)) for number in range(problems))
    (chats / "train_samples_all_tuning.json").write_text(f"[{rows}]")
    table = pa.Table.from_pylist(list(mathvista(problems, images)))
    (folder / "mathvista").mkdir()
    pq.write_table(table, folder / "mathvista" / "testmini-00000-of-00001.parquet")


def write_images(folder: Path, numbers: range) -> None:
    for number in numbers:
        path = folder / image_name(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(picture(number), 90))


def image_name(number: int) -> str:
    return f"Set{number % 24}/images/{number}.jpg"


def picture(number: int) -> Image.Image:
    """A drawing on a piece of the ground, another for each number."""
    chance = random.Random(number)
    left, top = (chance.randrange(GROUND[axis] - SIZE[axis]) for axis in (0, 1))
    image = ground().crop((left, top, left + SIZE[0], top + SIZE[1]))
    corners = [(chance.randrange(20, 620), chance.randrange(20, 460)) for _ in range(4)]
    ImageDraw.Draw(image).polygon(corners, outline="black", width=3)
    return image


@cache
def ground() -> Image.Image:
    """Noise of several scales, as in photographs."""
    chance, image = np.random.default_rng(0), Image.new("RGB", GROUND)
    for cells, strength in ((32, 1.0), (128, 0.5), (1600, 0.15)):
        noise = chance.integers(0, 256, (cells * 3 // 4, cells, 3), np.uint8)
        layer = Image.fromarray(noise).resize(GROUND, Image.Resampling.BILINEAR)
        image = Image.blend(image, layer, strength)
    return image


def encoded(image: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return file.getvalue()


def chat(number: int, images: int) -> dict[str, object]:
    turns = [{"from": "human", "value": f"<image>\nQuestion: {question(number)}"}]
    turns.append({"from": "gpt", "value": f"The answer is {number % 997}"})
    return {"id": f"identity_{number}", "image": image_name(number % images), "conversations": turns}


def question(number: int) -> str:
    words = random.Random(number).choices(
        ("angle", "side", "area", "bar", "sum", "length", "of", "and"), k=12
    )
    return f"What is the {' '.join(words)} of figure {number}, to the nearest whole number?"


def mathvista(problems: int, images: int) -> Iterator[dict[str, object]]:
    """Problems of the test set; the first repeat rows that are trained on, and not drawn to be held out."""
    repeated = random.Random(0).sample(list(draw(MATHV360K, problems, None).train), 2 * REPEATED)
    for pid in range(TESTS):
        text, image = question(problems + pid), encoded(picture(images + pid), 90)
        if pid < 2 * REPEATED:
            text, image = question(repeated[pid]), encoded(picture(repeated[pid] % images), 90)
        if REPEATED <= pid < 2 * REPEATED:
            text, image = f" {text.upper()} ", encoded(Image.open(io.BytesIO(image)), 60)
        yield {
            "pid": str(pid),
            "question": text,
            "image": f"images/{pid}.jpg",
            "decoded_image": {"bytes": image, "path": None},
            "choices": None,
            "unit": None,
            "precision": None,
            "answer": str(pid),
            "question_type": "free_form",
            "answer_type": "integer",
            "query": text,
            "metadata": {"source": "made"},
        }


if __name__ == "__main__":
    main()
