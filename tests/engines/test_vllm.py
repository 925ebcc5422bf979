"""The engine `vllm`: what it samples, against the engine `transformers` with the same weights.

`make test-vllm` runs these in an environment that has vLLM. An engine takes half a minute to start, so most
tests share one with the quick start's first policy.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mstar.config import Config
from mstar.config_file import load_config
from mstar.config_train import Lora
from mstar.engines import Chunk, Sampling, build_engine
from mstar.engines.probe import expect
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm import VllmEngine, by_image
from mstar.engines.vllm_adapter import ROOMS, merged_folder, smallest_room
from mstar.errors import UnusableRequest, UserError
from mstar.metrics import Metrics
from mstar.metrics_server import MetricsServer
from mstar.models import collate
from mstar.prompts import Request
from mstar.stages import GENERATE
from mstar.starting import open_run, start_run
from mstar.trainers import Progressed
from mstar.trainers.checkpoint import TrainingState, save_checkpoint
from mstar.trainers.policy import Policy, open_policy
from mstar.trainers.probing import probe_policy
from tests.conftest import BASE, QUICKSTART
from tests.engines.asking import GREEDY, MIXED, SHORT, ask, generate, heldout, picture, problem
from tests.serving import free_port
from tests.test_metrics import scrape
from tests.tiny_models import save_tiny_model

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="needs vLLM, which make test-vllm installs"
    ),
    pytest.mark.filterwarnings("default"),  # vLLM's imports warn
]
MakeConfig = Callable[..., Config]
WARM = Sampling(samples_per_problem=4, temperature=1.0, top_p=1.0, max_tokens=60)
SMALL = {"cache_gib": 1.0}
FAMILIES = (
    "qwen3_vl",
    "internvl",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("qwen2_vl", "qwen2_5_vl")),
)


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config(
        QUICKSTART / "quickstart.yaml", ["generate.engine=vllm", "vllm.cache_gib=1", "model.threads=1"]
    )


@pytest.fixture(scope="module")
def vllm(config: Config) -> Iterator[VllmEngine]:
    with VllmEngine(BASE, config) as engine:
        yield engine


@pytest.fixture(scope="module")
def transformers(config: Config) -> TransformersEngine:
    return TransformersEngine(BASE, config)


def save_model(model_type: str, folder: Path) -> Path:
    """With the smallest heads that vLLM has an attention for on a CPU, and what its own processor needs."""
    save_tiny_model(model_type, folder, num_attention_heads=1, num_key_value_heads=1)
    if model_type == "internvl":
        facts = {"processor_class": "InternVLProcessor", "image_seq_length": 1}
        (folder / "processor_config.json").write_text(json.dumps(facts))
    return folder


def test_greedy_texts_and_tokens_are_those_of_transformers(
    vllm: VllmEngine, transformers: TransformersEngine
) -> None:
    found = generate(vllm, heldout(128), GREEDY)
    assert found == generate(transformers, heldout(128), GREEDY)
    assert len({own[0].text for own in found}) > 8


def test_a_trained_internvl_loads_as_it_was_saved(make_config: MakeConfig, tmp_path: Path) -> None:
    """vLLM builds its processor by the settings that came along."""
    model = save_model("internvl", tmp_path / "model")
    config = make_config(
        model={"path": str(model), "threads": 1},
        images={"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28},
        prompt={"version": "question-1", "max_tokens": 300},
        vllm=SMALL,
    )
    policy = save_policy(tmp_path / "policy", open_policy(model, config), config)
    with VllmEngine(policy, config) as engine:
        found = generate(engine, MIXED, SHORT)
    assert found == generate(TransformersEngine(policy, config), MIXED, SHORT)


def save_policy(folder: Path, policy: Policy, config: Config) -> Path:
    """A checkpoint as a trainer leaves it."""
    learner, state = policy.learner, TrainingState(Progressed(0), 0.0, {})
    save_checkpoint(folder, policy, state, probe_policy(policy, learner.forward, learner.device, config))
    return folder


def test_a_trained_checkpoint_loads_as_it_lies_in_its_run(
    finished: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its weights are compared by what training noted; nothing of the engine is left in the end."""

    def load_once_more(*given: object) -> None:
        raise AssertionError("the policy went through transformers")

    [policy] = (finished / "iterations/001/train").glob("checkpoint-*")
    assert (policy / "training_state").is_dir()
    before = set(children())
    with monkeypatch.context() as patch:
        patch.setattr("mstar.engines.probe.load_model", load_once_more)
        built = build_engine(config, policy)
    with built as engine:
        assert isinstance(engine, VllmEngine)
        found = generate(engine, heldout(128), GREEDY)
        processes, log = engine.process.processes, engine.process.log
        assert len(processes) > 1 and log.exists()
        assert engine.longest == engine.encoder.config.text_config.max_position_embeddings
    assert not any(one.is_running() for one in processes)
    left = [one for one in children() if one not in before]
    assert not [one for one in left if "resource_tracker" not in " ".join(one.cmdline())]
    assert not log.exists()
    assert found == generate(TransformersEngine(policy, config), heldout(128), GREEDY)


def children() -> list[Any]:
    import psutil

    found: list[Any] = psutil.Process().children(recursive=True)
    return found


@pytest.mark.parametrize("longest", [1, 3, 9])
def test_truncation_is_that_of_transformers(
    vllm: VllmEngine, transformers: TransformersEngine, longest: int
) -> None:
    """Also where the end token is the last one that is allowed."""
    requests, sampling = heldout(24), replace(GREEDY, max_tokens=longest)
    found = generate(vllm, requests, sampling)
    assert found == generate(transformers, requests, sampling)
    ends = [replace(GREEDY, max_tokens=len(own[0].tokens)) for own in generate(vllm, requests[:4], GREEDY)]
    for request, just_enough in zip(requests, ends, strict=False):
        [[whole]] = generate(vllm, [request], just_enough)
        assert not whole.truncated and whole.tokens[-1] in vllm.ends


def test_a_response_goes_on_from_its_prefix(vllm: VllmEngine) -> None:
    requests = heldout(6)
    for request, [whole] in zip(requests, generate(vllm, requests, GREEDY), strict=True):
        cuts = {1, len(whole.tokens) // 2, len(whole.tokens) - 1}
        prefixes = [vllm.encoder.decode(whole.tokens[:cut]) for cut in sorted(cuts)]
        rest = generate(vllm, [replace(request, prefix=prefix) for prefix in prefixes], GREEDY)
        for prefix, cut, [one] in zip(prefixes, sorted(cuts), rest, strict=True):
            assert prefix + one.text == whole.text
            assert one.tokens == whole.tokens[cut:]


def test_logprobs_are_those_of_transformers_at_temperature_1(
    vllm: VllmEngine, transformers: TransformersEngine
) -> None:
    """Whatever they were sampled with, and what is never sampled has no share in them."""
    requests = heldout(6)
    for request, own in zip(requests, generate(vllm, requests, Sampling(3, 1.4, 0.9, 12, True)), strict=True):
        [prompt] = transformers.encoder.encode([request])
        for one in own:
            row = prompt.followed_by(list(one.tokens))
            with torch.no_grad():
                batch = collate([row], transformers.encoder, "right", torch.device("cpu"))
                logits = transformers.model(**batch).logits[0, len(prompt.ids) - 1 : -1]
            logits[:, transformers.banned_ids] = -torch.inf
            expected = torch.log_softmax(logits, -1)[range(len(one.tokens)), list(one.tokens)]
            assert one.logprobs == pytest.approx(expected.tolist(), abs=1e-3)
    assert generate(vllm, heldout(1), WARM)[0][0].logprobs is None


def test_the_same_seed_gives_the_same_and_another_another(vllm: VllmEngine) -> None:
    requests = heldout(16)
    first, again = generate(vllm, requests, WARM), generate(vllm, requests, WARM)
    same = sum(one == other for one, other in zip(first, again, strict=True))
    assert same >= 15  # up to rounding
    reseeded = [replace(one, seed=one.seed + 1000) for one in requests]
    assert generate(vllm, reseeded, WARM) != first
    assert all(len(own) == 4 for own in first)
    assert sum(len({one.text for one in own}) > 1 for own in first) > 4


def test_chunks_are_in_flight_together_and_come_back_in_order(vllm: VllmEngine) -> None:
    requests, taken = heldout(40), []

    def chunks() -> Iterator[Chunk]:
        for number, start in enumerate(range(0, 40, 8)):
            taken.append(number)
            yield Chunk(requests[start : start + 8] if number != 2 else [], WARM)

    results = vllm.generate(chunks())
    assert taken == []
    first = next(results)
    assert len(taken) > 1
    found = [first, *results]
    assert [len(part) for part in found] == [8, 8, 0, 8, 8]
    alone = [generate(vllm, requests[start : start + 8], WARM) for start in (0, 8, 24, 32)]
    pairs = zip([*found[:2], *found[3:]], alone, strict=True)
    equal = [one == other for part, own in pairs for one, other in zip(part, own, strict=True)]
    assert sum(equal) >= 31  # up to rounding


def test_what_was_left_in_flight_does_not_disturb(vllm: VllmEngine) -> None:
    abandoned = vllm.generate([Chunk(heldout(8), WARM), Chunk(heldout(8), GREEDY)])
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    assert generate(vllm, heldout(3), GREEDY) == generate(vllm, heldout(3), GREEDY)


def test_several_greedy_samples_are_one(vllm: VllmEngine) -> None:
    [[one, other]] = generate(vllm, heldout(1), replace(GREEDY, samples_per_problem=2))
    assert one == other


def test_samples_follow_the_models_probabilities(vllm: VllmEngine, transformers: TransformersEngine) -> None:
    request, temperature, top_p, samples = heldout(1)[0], 1.5, 0.9, 2000
    [prompt] = transformers.encoder.encode([request])
    with torch.no_grad():
        batch = collate([prompt], transformers.encoder, "right", torch.device("cpu"))
        logits = transformers.model(**batch).logits[0, -1]
    logits[transformers.banned_ids] = -torch.inf
    ranked, order = torch.softmax(logits / temperature, -1).sort(descending=True)
    ranked[ranked.cumsum(0) - ranked >= top_p] = 0
    expected = dict(zip(order.tolist(), (ranked / ranked.sum()).tolist(), strict=True))
    drawn = [one.tokens[0] for one in generate(vllm, [request], Sampling(samples, temperature, top_p, 1))[0]]
    assert len(set(drawn)) > 1
    for token in set(drawn):
        share, chance = drawn.count(token) / samples, expected[token]
        assert abs(share - chance) < 5 * (chance * (1 - chance) / samples) ** 0.5 + 1e-3, token


def test_requests_about_one_image_follow_each_other() -> None:
    first, second = picture(28, 28, 1), picture(28, 28, 2)
    images = [(first,), (second,), (), (replace(first),), (first, second), (second,), ()]
    asked = [Request(str(number), [], own) for number, own in enumerate(images)]
    assert by_image(asked) == [0, 3, 1, 5, 2, 6, 4]


def test_a_prompt_that_leaves_no_room_is_named(vllm: VllmEngine) -> None:
    long = ask(problem(5, 3, question="1+" * 260))
    with pytest.raises(
        UnusableRequest, match="p5 has a prompt of 526 tokens, and the model has 512 positions"
    ):
        vllm.check(long)
    vllm.check(ask(problem(6, 3)))


def test_its_metrics_are_on_the_port_of_the_stage(vllm: VllmEngine) -> None:
    generate(vllm, heldout(4), GREEDY)
    with MetricsServer(Metrics("strips", 2), "strips").serve(free_port()) as port:
        found = scrape(port)
    [tokens] = [value for (name, labels), value in found.items()
                if name == "vllm:generation_tokens_total" and ("run", "strips") in labels]  # fmt: skip
    assert tokens > 0
    labels = {name for (series, own) in found for name, _ in own if series == "vllm:num_requests_running"}
    assert labels == {"run", "model_name", "engine"}


def test_a_family_that_is_not_compared_is_refused(config: Config, tmp_path: Path) -> None:
    policy = save_tiny_model("gemma3", tmp_path / "gemma3")
    with pytest.raises(UserError, match="of type gemma3, for which vLLM has not been compared"):
        build_engine(config, policy)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_families_read_images_as_in_training(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Token for token and pixel for pixel, with limits that differ from the checkpoint's; and they answer
    alike.
    """
    folder = save_model(model_type, tmp_path / "model")
    limits = {"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28}
    config = make_config(images=limits, vllm=SMALL, prompt={"version": "question-1", "max_tokens": 300})
    requests = [
        *MIXED,
        ask(replace(problem(5), images=(picture(100, 61), picture(300, 200), picture(30, 28)))),
    ]
    with VllmEngine(folder, config) as engine:
        rows = engine.encoder.encode(requests)
        for request, row in zip(requests, rows, strict=True):
            ids, pixels = as_vllm_reads(engine, request)
            assert ids == row.ids
            assert len(pixels) == len(row.pixels)
            for own, expected in zip(pixels, row.pixels, strict=True):
                torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-5)
        found = generate(engine, requests, SHORT)
        hot = [one for own in generate(engine, requests, Sampling(64, 2.0, 1.0, 16)) for one in own]
    assert found == generate(TransformersEngine(folder, config), requests, SHORT)
    assert len({own[0].text for own in found}) > 2
    assert {token for one in hot for token in one.tokens}.isdisjoint(engine.banned)


def as_vllm_reads(engine: VllmEngine, request: Request) -> tuple[list[int], list[torch.Tensor]]:
    """The tokens of a prompt, and the pixels of its images; vLLM moves the last step, their scale, into the
    model.
    """
    renderer, encoder = engine.process.engine.renderer, engine.encoder
    [ids] = encoder.plain_text.prompt_ids([request.messages])
    prompt: dict[str, Any] = {"prompt_token_ids": ids}
    if request.images:
        prompt["multi_modal_data"] = {"image": encoder.decode_images(request)}
    [read] = renderer.render_cmpl([prompt], skip_mm_cache=True)
    items = read["mm_kwargs"]["image"] if request.images else []
    name = "pixel_values_flat" if items and "pixel_values_flat" in items[0] else "pixel_values"
    pixels = [item[name].data for item in items]
    if engine.process.engine.model_config.multimodal_config.mm_device_do_normalize:
        pixels = [scaled(own, encoder.image_processor) for own in pixels]
    return read["prompt_token_ids"], pixels


def scaled(pixels: torch.Tensor, image_processor: Any) -> torch.Tensor:
    """With mean and deviation equal for all channels, as in the tiny models that do not have another."""
    [mean], [deviation] = set(image_processor.image_mean), set(image_processor.image_std)
    return (pixels.float() / 255 - mean) / deviation


@pytest.mark.parametrize(
    "signal, expected", [("kill", "(has lost a process|has failed)"), ("suspend", "no token for 3 s")]
)
def test_a_dead_and_a_hanging_engine_are_one_line(
    signal: str, expected: str, config: Config, tmp_path: Path
) -> None:
    folder = save_model("qwen3_vl", tmp_path / "model")
    with VllmEngine(folder, config) as engine:
        processes = engine.process.processes
        engine.process.stalled_seconds = 3
        getattr(processes[0], signal)()
        with pytest.raises(UserError, match=f"{expected}.*start the same command again"):
            generate(engine, MIXED, SHORT)
        log = engine.process.log
    assert not any(one.is_running() for one in processes)
    assert log.exists()
    log.unlink()


def refused(folder: Path, config: Config) -> str:
    """The one line, without the log that it names."""
    with pytest.raises(UserError) as caught:
        VllmEngine(folder, config)
    line, _, log = str(caught.value).partition("; its log: ")
    assert "\n" not in line
    if log:
        os.unlink(log)
    return line


def test_a_model_that_vllm_does_not_know_is_one_line(config: Config, tmp_path: Path) -> None:
    folder = save_model("qwen3_vl", tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"architectures": ["NoSuchModel"]}))
    assert "['NoSuchModel'] are not supported" in refused(folder, config)


def test_memory_that_does_not_suffice_is_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    folder = save_model("qwen3_vl", tmp_path / "model")
    line = refused(folder, make_config(vllm={"cache_gib": 1e-6}))
    assert "memory" in line and line.endswith(
        "vllm.gpu_memory_share and vllm.cache_gib say how much it takes"
    )


def test_other_weights_are_refused(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the probe expects is here another checkpoint's, as if vLLM had loaded that."""
    other = save_model("qwen3_vl", tmp_path / "other")
    folder = save_model("qwen3_vl", tmp_path / "model")
    weights = other / "model.safetensors"
    swap_two_layers(weights)
    monkeypatch.setattr("mstar.engines.vllm.expect", lambda policy, *rest: expect(other, *rest))
    assert "with other weights" in refused(folder, config)


def test_other_weights_than_training_noted_are_refused(config: Config, tmp_path: Path) -> None:
    folder = save_policy(tmp_path / "policy", open_policy(BASE, config), config)
    swap_two_layers(folder / "model.safetensors")
    line = refused(folder, config)
    assert line.startswith(f"vLLM runs policy {folder} with other weights than training left there")
    assert "from those in its probe.json, and 0.02 is allowed" in line


def swap_two_layers(path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    first, second = (f"model.language_model.layers.{number}.mlp.up_proj.weight" for number in (0, 1))
    weights[first], weights[second] = weights[second], weights[first]
    save_file(weights, path, metadata={"format": "pt"})


def test_weights_that_do_not_fit_are_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model("qwen3_vl", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["model.language_model.strange.weight"] = weights.pop("model.language_model.norm.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks model.language_model.norm.weight" in refused(folder, make_config(vllm=SMALL))
    unverified = make_config(vllm=SMALL | {"verify_weights": False})
    assert "no module or parameter named 'strange'" in refused(folder, unverified)


def test_logits_that_are_not_finite_are_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_model("qwen3_vl", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.full_like(weights["lm_head.weight"], 3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with VllmEngine(folder, make_config(vllm=SMALL | {"verify_weights": False})) as engine:
        for sampling in (GREEDY, WARM):
            with pytest.raises(UserError, match="answers problem p0 with logits that are not finite"):
                generate(engine, MIXED[:1], sampling)


def test_another_device_than_vllm_was_built_for_is_refused(config: Config, tmp_path: Path) -> None:
    elsewhere = config.model_copy(update={"model": config.model.model_copy(update={"device": "cuda"})})
    unverified = elsewhere.model_copy(
        update={"vllm": config.vllm.model_copy(update={"verify_weights": False})}
    )
    assert refused(BASE, unverified).startswith(
        "model.device is cuda, and the vLLM that is installed runs on"
    )


def test_shards_sample_a_run_and_a_stalled_one_goes_on(make_config: MakeConfig, tmp_path: Path) -> None:
    """By the real command: one shard's vLLM hangs and is ended; started for all, all parts are there."""
    import psutil

    folder = save_model("qwen3_vl", tmp_path / "model")
    sizes = {"samples_per_problem": 2, "max_tokens": 200, "problems_per_chunk": 4, "rows_in_flight": 2}
    config = make_config(
        model={"path": str(folder), "threads": 1},
        generate={"engine": "vllm", **sizes},
        vllm=SMALL | {"stalled_seconds": 5.0},
    )
    start_run(config)
    stage = [sys.executable, "-m", "mstar", "generate", "--run", config.output, "--iteration", "0", "--shard"]
    with subprocess.Popen([*stage, "1/2"], stderr=subprocess.PIPE, text=True) as hanging:
        stages = Path(config.output) / "iterations/000/generate"
        while not list(stages.glob("part-*")):
            assert hanging.poll() is None
            time.sleep(0.1)
        for process in psutil.Process(hanging.pid).children(recursive=True):
            if "EngineCore" in process.name():
                process.suspend()
        _, said = hanging.communicate(timeout=120)
    assert hanging.returncode == 2
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: vLLM has given no token for 5 s (vllm.stalled_seconds) and was ended")
    Path(last.rpartition(" ")[2]).unlink()
    subprocess.run(stage[:-1], check=True)
    sampled = open_run(config.output).result(GENERATE, 0)
    assert sampled.responses == 2 * sampled.problems == 2 * round(160 * 0.125)


def save_adapter(folder: Path, model: Path, config: Config, **train: Any) -> Path:
    """A checkpoint of an adapter whose random matrices change what the model says."""
    section = config.train.model_copy(update={"lora": Lora(rank=4), **train})
    policy = open_policy(model, config.model_copy(update={"train": section}))
    torch.manual_seed(5)
    for parameter in policy.learner.trained.values():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_policy(folder, policy, config)


@pytest.mark.parametrize("frozen", [("vision", "projector"), ()])
def test_an_adapter_says_the_same_beside_its_base_or_merged(
    config: Config, tmp_path: Path, frozen: tuple[str, ...]
) -> None:
    """One of the text model is not merged; one that reads images otherwise is."""
    policy = save_adapter(tmp_path / "policy", BASE, config, freeze=frozen)
    with VllmEngine(policy, config) as engine:
        assert (engine.process.engine.vllm_config.lora_config is not None) == bool(frozen)
        found = generate(engine, heldout(64), GREEDY)
    expected = generate(TransformersEngine(policy, config), heldout(64), GREEDY)
    same = sum(one == other for one, other in zip(found, expected, strict=True))
    assert same >= 63  # sums in another order
    assert found != generate(TransformersEngine(BASE, config), heldout(64), GREEDY)
    assert not [path for path in merged_folder().rglob("*") if path.is_file()]


@pytest.mark.parametrize("model_type", [pytest.param("qwen3_vl", marks=pytest.mark.slow), *FAMILIES[1:]])
def test_every_family_takes_an_adapter(make_config: MakeConfig, tmp_path: Path, model_type: str) -> None:
    model = save_model(model_type, tmp_path / "model")
    own = make_config(
        model={"path": str(model), "threads": 1},
        images={"min_pixels": 4 * 28 * 28, "max_pixels": 6 * 28 * 28},
        prompt={"version": "question-1", "max_tokens": 300},
        vllm=SMALL,
    )
    policy = save_adapter(tmp_path / "policy", model, own)
    with VllmEngine(policy, own) as engine:
        found = generate(engine, MIXED, SHORT)
    assert found == generate(TransformersEngine(policy, own), MIXED, SHORT)
    assert found != generate(TransformersEngine(model, own), MIXED, SHORT)


def test_the_ranks_that_there_is_room_for_are_vllms() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == ROOMS
    assert [smallest_room(rank) for rank in (1, 2, 512, 513)] == [1, 8, 512, None]
