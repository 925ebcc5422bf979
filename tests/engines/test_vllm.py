"""The engine `vllm`: what it samples, against the engine `transformers` with the same weights.

`make test-vllm` runs these and the other test_vllm_*.py in an environment that has vLLM. An engine takes half
a minute to start, so the tests in this file share one with the last policy of a smoke run.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from mstar.config import Config
from mstar.engines import Chunk, Sampling, build_engine
from mstar.engines.probe import expect
from mstar.engines.transformers import TransformersEngine
from mstar.engines.vllm import VllmEngine, by_image
from mstar.engines.vllm_adapter import ROOMS, smallest_room
from mstar.errors import UnusableRequest, UserError
from mstar.metrics import Metrics
from mstar.metrics_server import MetricsServer
from mstar.model_folders import PROBE
from mstar.models import collate
from mstar.prompts import Request
from tests.engines.asking import GREEDY, WARM, ask, generate, heldout, picture, problem
from tests.engines.vllm_policies import NEEDS_VLLM, config, swap_two_layers
from tests.serving import free_port
from tests.test_metrics import scrape
from tests.tiny_models import save_tiny_model

__all__ = ["config"]
pytestmark = NEEDS_VLLM


@pytest.fixture(scope="module")
def policy(finished: Path) -> Path:
    """A checkpoint as it lies in its run."""
    [policy] = (finished / "iterations/001/train").glob("checkpoint-*")
    assert (policy / "training_state").is_dir()
    return policy


@pytest.fixture(scope="module")
def vllm(config: Config, policy: Path) -> Iterator[VllmEngine]:
    """Its weights are compared by what training noted; nothing of the engine is left in the end, and no
    socket once it has started.
    """

    def load_once_more(*given: object) -> None:
        raise AssertionError("the policy went through transformers")

    before = set(children())
    with tempfile.TemporaryDirectory() as folder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("mstar.engines.probe.load_model", load_once_more)
            patch.setattr(tempfile, "tempdir", folder)
            built = build_engine(config, policy)
        with built as engine:
            assert isinstance(engine, VllmEngine)
            processes, log = engine.process.processes, engine.process.log
            assert len(processes) > 1 and list(Path(folder).iterdir()) == [log]
            yield engine
        assert not list(Path(folder).iterdir())
    assert not any(one.is_running() for one in processes)
    left = [one for one in children() if one not in before]
    assert not [one for one in left if "resource_tracker" not in " ".join(one.cmdline())]


def children() -> list[Any]:
    import psutil

    found: list[Any] = psutil.Process().children(recursive=True)
    return found


@pytest.fixture(scope="module")
def transformers(config: Config, policy: Path) -> TransformersEngine:
    return TransformersEngine(policy, config)


def test_greedy_texts_and_tokens_are_those_of_transformers(
    vllm: VllmEngine, transformers: TransformersEngine
) -> None:
    found = generate(vllm, heldout(128), GREEDY)
    assert found == generate(transformers, heldout(128), GREEDY)
    assert len({own[0].text for own in found}) > 8


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
    assert vllm.longest == vllm.encoder.config.text_config.max_position_embeddings


def test_its_metrics_are_on_the_port_of_the_stage(vllm: VllmEngine) -> None:
    generate(vllm, heldout(4), GREEDY)
    with MetricsServer(Metrics("strips", 2), "strips").serve(free_port()) as port:
        found = scrape(port)
    [tokens] = [value for (name, labels), value in found.items()
                if name == "vllm:generation_tokens_total" and ("run", "strips") in labels]  # fmt: skip
    assert tokens > 0
    labels = {name for (series, own) in found for name, _ in own if series == "vllm:num_requests_running"}
    assert labels == {"run", "model_name", "engine"}


def test_a_family_that_vllm_reads_otherwise_is_refused(config: Config, tmp_path: Path) -> None:
    policy = save_tiny_model("gemma3", tmp_path / "gemma3")
    with pytest.raises(UserError, match="of type gemma3, whose images' tokens see each other"):
        build_engine(config, policy)


def test_other_weights_are_refused(vllm: VllmEngine, policy: Path, config: Config, tmp_path: Path) -> None:
    """What transformers finds in a checkpoint without notes is here another's, as if vLLM had loaded that."""
    other = shutil.copytree(policy, tmp_path / "other")
    (other / PROBE).unlink()
    vllm._verify(*expect(other, config, vllm.encoder, vllm.banned))
    swap_two_layers(other / "model.safetensors")
    with pytest.raises(UserError, match=r"with other weights: .* from those of transformers, and 0\.02 is"):
        vllm._verify(*expect(other, config, vllm.encoder, vllm.banned))


def test_the_ranks_that_there_is_room_for_are_vllms() -> None:
    from vllm.config.lora import MaxLoRARanks

    assert get_args(MaxLoRARanks) == ROOMS
    assert [smallest_room(rank) for rank in (1, 2, 512, 513)] == [1, 8, 512, None]
