"""`mstar generate`, `score` and `select` against ms-swift's `swift sample`.

The same problems, the same model and as many responses, from the first command to the file of responses:

    python benchmarks/sampling_peers.py SWIFT    (the command, in an environment of its own: make swift)

`swift sample` is given less to do: it judges nothing and keeps everything. It knows Qwen3-VL's vocabulary by
heart, so a plugin tells it the quick start's image token, and to use the model's own chat template. Its best
number of problems at once is found first. One thread each.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pairs import compare, timed

from mstar.config import Config
from mstar.datasets.images import read_bytes
from mstar.generation import iteration_parts
from mstar.models.loading import load_config
from mstar.response_parts import read_responses
from mstar.rundir import RunDir
from mstar.starting import open_run

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart"
SHIM = Path(__file__).parent.parent / "tests" / "torchvision_shim"
PAIRS = 5
AT_ONCE = (1, 25, 125, 250)
"""Problems that `swift sample` takes at once; 1 is its default. It leaves out what is no whole batch."""
PROCESSOR = {
    "processor_config.json": {"processor_class": "Qwen3VLProcessor"},
    "video_preprocessor_config.json": {"video_processor_type": "Qwen3VLVideoProcessor"},
}
"""What its loader wants of a model beside what ours has."""
PLUGIN = """
from swift.template.base import Template
from swift.template.templates.qwen import Qwen2VLTemplate, Qwen3VLTemplate

for template in (Qwen2VLTemplate, Qwen3VLTemplate):
    template.image_token_id, template.video_token_id = {image}, {video}
begin = Template.__init__

def with_own_chat_template(self, *arguments, **options):
    begin(self, *arguments, **options)
    self.template_backend = "jinja"

Template.__init__ = with_own_chat_template
"""


def main() -> None:
    swift = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = prepare(folder)
        write_peer_inputs(run, folder)
        ours = partial(sample_ours, run)
        theirs = {size: partial(sample_swift, swift, folder, run.config, size) for size in AT_ONCE}
        seconds = {size: timed(side) for size, side in theirs.items()}
        best = min(seconds, key=seconds.__getitem__)
        tried = ", ".join(f"{size}: {one:.0f} s" for size, one in seconds.items())
        print(f"swift sample by problems at once: {tried}; {best} from here on", flush=True)
        compare(("mstar", "swift sample"), (ours, theirs[best]), PAIRS)
        for side, texts in (("mstar", our_texts(run)), ("swift sample", swift_texts(folder))):
            print(f"{side}: {len(texts)} responses of {sum(map(len, texts)) / len(texts):.1f} characters")


def prepare(folder: Path) -> RunDir:
    """The quick start's run, before its first iteration."""
    output = str(folder / "run")
    settings = ["--set", f"output={output}", "--set", "model.threads=1"]
    start(["mstar", "prepare", str(QUICKSTART / "quickstart.yaml"), *settings])
    return open_run(output)


def start(command: Sequence[str], **own: str) -> None:
    """A command, which is to succeed; what it says is shown where it does not."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"} | own
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}")


def sample_ours(run: RunDir) -> None:
    """From nothing: what an earlier round has sampled goes first."""
    shutil.rmtree(Path(run.config.output) / "iterations" / "000", ignore_errors=True)
    for verb in ("generate", "score", "select"):
        start(["mstar", verb, "--run", run.config.output, "--iteration", "0"])


def sample_swift(swift: str, folder: Path, config: Config, size: int) -> None:
    options: dict[str, object] = {
        "model": folder / "model",
        "model_type": "qwen3_vl",
        "template": "qwen3_vl",
        "external_plugins": folder / "plugin.py",
        "dataset": folder / "problems.jsonl",
        "dataset_shuffle": "false",
        "sampler_engine": "transformers",
        "torch_dtype": "float32",
        "num_return_sequences": config.generate.samples_per_problem,
        "num_sampling_batch_size": size,
        "engine_kwargs": json.dumps({"max_batch_size": size * config.generate.samples_per_problem}),
        "max_new_tokens": config.generate.max_tokens,
        "temperature": config.generate.temperature,
        "output_dir": folder,
        "output_file": "swift.jsonl",
        "override_exist_file": "true",
    }
    words = (word for name, value in options.items() for word in (f"--{name}", str(value)))
    start([swift, "sample", *words], PYTHONPATH=str(SHIM))


def write_peer_inputs(run: RunDir, folder: Path) -> None:
    """The problems, images and model as `swift sample` reads them, and the plugin with our vocabulary."""
    problems = [problem for part in iteration_parts(run, 0) for problem in part.problems.read(part.rows)]
    with (folder / "problems.jsonl").open("w") as file:
        for number, problem in enumerate(problems):
            picture = folder / f"{number}.png"
            picture.write_bytes(read_bytes(problem.images[0]))
            asked = {"role": "user", "content": f"<image>{problem.question}"}
            messages = [asked, {"role": "assistant", "content": problem.answer}]
            file.write(json.dumps({"messages": messages, "images": [str(picture)]}) + "\n")
    policy = Path(run.config.model.path)
    shutil.copytree(policy, folder / "model")
    for name, kind in PROCESSOR.items():
        (folder / "model" / name).write_text(json.dumps(kind))
    config = load_config(policy, None)
    plugin = PLUGIN.format(image=config.image_token_id, video=config.video_token_id)
    (folder / "plugin.py").write_text(plugin)


def our_texts(run: RunDir) -> list[str]:
    files = sorted((Path(run.config.output) / "iterations" / "000" / "generate").glob("*.parquet"))
    return [response.text for file in files for response in read_responses(file)]


def swift_texts(folder: Path) -> list[str]:
    lines = (folder / "swift.jsonl").read_text().splitlines()
    return [json.loads(line)["messages"][-1]["content"] for line in lines]


if __name__ == "__main__":
    main()
