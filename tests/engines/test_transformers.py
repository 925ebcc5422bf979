"""The engine against transformers' own `generate`, and against the probabilities that it must sample from."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from mstar.config import Config
from mstar.config_file import load_config
from mstar.engines import Chunk, Sampling
from mstar.engines.choosing import choose
from mstar.engines.transformers import TransformersEngine
from mstar.errors import UnusableRequest, UserError
from mstar.models import FAMILIES, collate
from mstar.prompts import Request
from tests.conftest import BASE, QUICKSTART
from tests.engines.asking import (
    GREEDY,
    MIXED,
    SHORT,
    WARM,
    ask,
    generate,
    generate_with_transformers,
    heldout,
    picture,
    problem,
    texts,
)
from tests.tiny_models import save_tiny_model

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def quickstart() -> TransformersEngine:
    return TransformersEngine(BASE, load_config(QUICKSTART / "quickstart.yaml", []))


def test_greedy_texts_are_those_of_generate(quickstart: TransformersEngine) -> None:
    requests = heldout(12)
    found = texts(quickstart, requests, GREEDY)
    assert found == generate_with_transformers(quickstart, requests)
    assert len({own[0] for own in found}) > 2


@pytest.mark.parametrize("model_type", FAMILIES)
def test_families_and_images_mix_in_one_batch(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    engine = TransformersEngine(save_tiny_model(model_type, tmp_path / "model"), make_config())
    found = texts(engine, MIXED, SHORT)
    assert found == generate_with_transformers(engine, MIXED, 16)
    assert len({own[0] for own in found}) == len(MIXED)


def test_layers_with_a_sliding_window(make_config: MakeConfig, tmp_path: Path) -> None:
    kinds = ["sliding_attention", "full_attention"]
    window = {"use_sliding_window": True, "sliding_window": 6, "layer_types": kinds}
    engine = TransformersEngine(save_tiny_model("internvl", tmp_path / "slides", **window), make_config())
    plain = TransformersEngine(save_tiny_model("internvl", tmp_path / "plain"), make_config())
    found = texts(engine, MIXED, SHORT)
    assert found == generate_with_transformers(engine, MIXED, 16)
    assert found != texts(plain, MIXED, SHORT)
    rows = texts(engine, MIXED, WARM)
    assert rows == [texts(engine, [one], WARM)[0] for one in MIXED]


def test_a_model_that_keeps_state_is_refused_by_name(make_config: MakeConfig, tmp_path: Path) -> None:
    text = {"model_type": "lfm2", "layer_types": ["conv", "full_attention"], "block_multiple_of": 16}
    folder = save_tiny_model("internvl", tmp_path / "model", **text)
    with pytest.raises(UserError, match="lfm2 has layers of kind conv"):
        TransformersEngine(folder, make_config())


def test_samples_follow_the_models_probabilities(make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model("qwen3_vl", tmp_path / "model"), make_config())
    one, temperature, samples = ask(problem(7, 4)), 1.5, 4000
    drawn = generate(engine, [one], Sampling(samples, temperature, 1.0, 1))[0]
    expected = torch.softmax(_first_logits(engine, one) / temperature, -1)
    _assert_shares([draw.tokens[0] for draw in drawn], expected)


def test_a_nucleus_keeps_the_likeliest_tokens(make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model("qwen3_vl", tmp_path / "model"), make_config())
    one, samples, top_p = ask(problem(7, 4)), 4000, 0.6
    drawn = [own.tokens[0] for own in generate(engine, [one], Sampling(samples, 1.0, top_p, 1))[0]]
    probabilities = torch.softmax(_first_logits(engine, one), -1)
    ranked, order = probabilities.sort(descending=True)
    size = int((ranked.cumsum(0) < top_p).sum()) + 1
    kept = torch.zeros_like(probabilities)
    kept[order[:size]] = ranked[:size] / ranked[:size].sum()
    assert 1 < size < len(kept)
    assert set(drawn) == set(order[:size].tolist())
    _assert_shares(drawn, kept)


def _first_logits(engine: TransformersEngine, request: Request) -> torch.Tensor:
    """Of a plain full forward, without what is never sampled."""
    batch = collate(engine.encoder.encode([request]), engine.encoder, "right", engine.model.device)
    with torch.no_grad():
        logits: torch.Tensor = engine.model(**batch).logits[0, -1]
    logits[engine.banned_ids] = -torch.inf
    return logits


def _assert_shares(drawn: list[int], expected: torch.Tensor) -> None:
    for token in set(drawn):
        share, chance = drawn.count(token) / len(drawn), float(expected[token])
        assert abs(share - chance) < 5 * (chance * (1 - chance) / len(drawn)) ** 0.5 + 1e-3, token


@pytest.mark.parametrize("model_type", ["qwen3_vl", "internvl"])
def test_logprobs_are_those_of_a_full_forward(
    model_type: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    engine = TransformersEngine(save_tiny_model(model_type, tmp_path / "model"), make_config())
    sampling = Sampling(3, 1.4, 0.9, 12, logprobs=True)
    for request, own in zip(MIXED, generate(engine, MIXED, sampling), strict=True):
        prompt = engine.encoder.encode([request])[0]
        for one in own:
            row = prompt.followed_by(list(one.tokens))
            batch = collate([row], engine.encoder, "right", engine.model.device)
            with torch.no_grad():
                logits = engine.model(**batch).logits[0]
            logits[:, engine.banned_ids] = -torch.inf
            places = range(len(prompt.ids) - 1, len(row.ids) - 1)
            expected = torch.log_softmax(logits[list(places)], -1)[range(len(one.tokens)), list(one.tokens)]
            assert one.logprobs == pytest.approx(expected.tolist(), abs=1e-4)


def test_no_logprobs_unless_asked(quickstart: TransformersEngine) -> None:
    assert generate(quickstart, heldout(1), WARM)[0][0].logprobs is None


def test_a_response_goes_on_from_its_prefix(quickstart: TransformersEngine) -> None:
    requests = heldout(8)
    for request, [whole] in zip(requests, generate(quickstart, requests, GREEDY), strict=True):
        for cut in {1, len(whole.tokens) // 2, len(whole.tokens) - 1}:
            prefix = quickstart.encoder.decode(whole.tokens[:cut])
            [[rest]] = generate(quickstart, [replace(request, prefix=prefix)], GREEDY)
            assert prefix + rest.text == whole.text
            assert rest.tokens == whole.tokens[cut:]


def test_the_same_chunk_gives_the_same_and_another_seed_another(quickstart: TransformersEngine) -> None:
    requests = heldout(6)
    reseeded = [replace(one, seed=one.seed + 100) for one in requests]
    first, again, other = (generate(quickstart, asked, WARM) for asked in (requests, requests, reseeded))
    assert first == again != other
    assert all(len(own) == 4 for own in first)


def test_a_row_does_not_depend_on_its_neighbours(make_config: MakeConfig, tmp_path: Path) -> None:
    """Neither on who is in the batch, nor on how chunks are cut into batches, nor on how many samples."""
    requests, warm = heldout(6), replace(WARM, max_tokens=24)
    whole = texts(TransformersEngine(BASE, make_config()), requests, warm)
    assert len({tuple(own) for own in whole}) == 6
    for section in ({"rows_in_flight": 3}, {"rows_in_flight": 8}, {"tokens_per_prefill": 30}):
        cut = TransformersEngine(BASE, make_config(generate=section))
        assert texts(cut, requests, warm) == whole
        assert texts(cut, list(reversed(requests)), warm) == list(reversed(whole))
        assert texts(cut, requests[2:3], replace(warm, samples_per_problem=2)) == [whole[2][:2]]


def test_a_row_does_not_depend_on_when_others_end(
    quickstart: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = texts(quickstart, heldout(6), WARM)
    monkeypatch.setattr("mstar.engines.transformers.WORTH_DROPPING", -1.0)
    assert texts(quickstart, heldout(6), WARM) == dropped


def test_chunks_are_taken_when_their_turn_comes(quickstart: TransformersEngine) -> None:
    taken: list[int] = []

    def chunks() -> Iterator[Chunk]:
        for number in range(3):
            taken.append(number)
            yield Chunk(heldout(2), GREEDY)

    results = quickstart.generate(chunks())
    assert taken == []
    next(results)
    assert taken == [0]
    assert len(list(results)) == 2


def test_an_empty_chunk(quickstart: TransformersEngine) -> None:
    assert generate(quickstart, [], WARM) == []


def test_banned_tokens_never_appear(make_config: MakeConfig, tmp_path: Path) -> None:
    engine = TransformersEngine(save_tiny_model("qwen3_vl", tmp_path / "model"), make_config())
    tokenizer = engine.encoder.tokenizer
    named = tokenizer.convert_tokens_to_ids(["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|pad|>"])
    nameless = range(len(tokenizer), len(tokenizer) + 3)
    assert {*named, *nameless} <= set(engine.banned_ids.tolist())
    assert tokenizer.eos_token_id not in engine.banned_ids
    logits = _first_logits(engine, MIXED[0]).repeat(2000, 1)
    edge = torch.linspace(0, 1 - 2.0**-24, 2000)
    chosen = choose(logits, engine.banned_ids, Sampling(1, 2.0, 1.0, 1), edge).tokens
    assert not torch.isin(chosen, engine.banned_ids).any()


def test_rounding_does_not_choose_what_has_no_probability() -> None:
    """The share next to 1 of a sum just below 1 rounds to the sum itself."""
    logits = torch.zeros(1, 1000).uniform_(-4, 4, generator=torch.Generator().manual_seed(0))
    edge = torch.tensor([1 - 2.0**-24])
    for cut in range(1, 1000):
        banned = torch.arange(cut, 1000)
        assert choose(logits, banned, Sampling(1, 1.0, 1.0, 1), edge).tokens < cut


def test_a_narrow_nucleus_is_greedy(quickstart: TransformersEngine) -> None:
    narrow = generate(quickstart, heldout(4), Sampling(1, 1.0, 1e-6, 60))
    assert narrow == generate(quickstart, heldout(4), GREEDY)


def test_truncated_is_said_and_tokens_are_given(quickstart: TransformersEngine) -> None:
    for own in generate(quickstart, heldout(3), Sampling(2, 1.0, 1.0, 1)):
        assert all(one.truncated and len(one.tokens) == 1 for one in own)
    for own in generate(quickstart, heldout(3), GREEDY):
        assert own[0].tokens == tuple(quickstart.encoder.encode_responses([own[0].text])[0])


def test_the_default_prompt_asks_for_steps(make_config: MakeConfig, tmp_path: Path) -> None:
    from mstar.config import Prompt
    from mstar.prompts import build_request

    engine = TransformersEngine(save_tiny_model("qwen2_5_vl", tmp_path / "model"), make_config(prompt={}))
    one = replace(problem(3, 2), choices=("8", "9"), answer_type="choice", answer="A")
    request = build_request(one, Prompt(), 3)
    assert request.messages[0]["content"][1]["text"] == (
        "value?\n(A) 8\n(B) 9\n\nWork it out in short steps, one step a line. "
        "End with a line that holds nothing but the result: Answer: <letter of the choice>"
    )
    assert texts(engine, [request], SHORT) == generate_with_transformers(engine, [request], 16)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_bfloat16_on_a_cpu(model_type: str, make_config: MakeConfig, tmp_path: Path) -> None:
    folder = save_tiny_model(model_type, tmp_path / "model")
    config = make_config(model={"path": str(folder), "dtype": "bfloat16"})
    engine = TransformersEngine(folder, config)
    assert engine.model.dtype == torch.bfloat16
    one = Sampling(1, 0.0, 1.0, 1, logprobs=True)
    for request in MIXED:
        [[found]] = generate(engine, [request], one)
        assert [[found.text]] == generate_with_transformers(engine, [request], max_tokens=1)
        logits = _first_logits(engine, request).float()
        assert found.logprobs == pytest.approx([float(torch.log_softmax(logits, -1).max())], abs=0.1)


def test_a_check_reads_for_the_chunk_that_follows(quickstart: TransformersEngine) -> None:
    requests = heldout(4)
    expected = texts(quickstart, heldout(4), WARM)
    for one in requests:
        quickstart.check(one)
    assert all(quickstart.reader.kept[id(one)].images for one in requests)
    assert texts(quickstart, requests, WARM) == expected
    assert texts(quickstart, heldout(2), WARM) == expected[:2]
    assert not any(id(one) in quickstart.reader.kept for one in requests)


def test_pixels_are_held_within_bounds(
    quickstart: TransformersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = texts(quickstart, heldout(6), WARM)
    [row] = quickstart.encoder.encode(heldout(1))
    limit = 3 * sum(pixels.nbytes for pixels in row.pixels)
    monkeypatch.setattr("mstar.engines.reading.HELD_BYTES", limit)
    requests = heldout(6)
    for one in requests:
        quickstart.check(one)
    assert texts(quickstart, requests, WARM) == expected
    held = [kept.row.is_whole for kept in quickstart.reader.kept.values()]
    assert True in held and False in held
    assert quickstart.reader.bytes <= limit


@pytest.mark.parametrize("most", [64, 128, 16_384])
def test_a_prefill_keeps_to_its_tokens(make_config: MakeConfig, most: int) -> None:
    """In rows of similar length, padding included; one row alone may have more."""
    engine = TransformersEngine(BASE, make_config(generate={"tokens_per_prefill": most}))
    sizes: list[torch.Size] = []

    def note(module: object, given: object, named: dict[str, torch.Tensor]) -> None:
        sizes.append(named["input_ids"].shape)

    engine.model.register_forward_pre_hook(note, with_kwargs=True)
    requests = heldout(12)
    longest = max(len(row.ids) for row in engine.encoder.encode(requests))
    generate(engine, requests, SHORT)
    prefills = [size for size in sizes if size[1] > 1]
    assert sum(size[0] for size in prefills) == len(requests)
    assert all(size.numel() <= max(most, longest) for size in prefills)
    assert (len(prefills) == 1) == (most == 16_384)


def test_a_prompt_that_is_too_long_is_named(make_config: MakeConfig) -> None:
    engine = TransformersEngine(BASE, make_config(prompt={"version": "question-1", "max_tokens": 40}))
    long = ask(problem(5, 3, question="1+" * 30))
    engine.check(ask(problem(6, 3)))
    with pytest.raises(UnusableRequest, match=r"p5 has a prompt of 66 tokens, and prompt.max_tokens is 40"):
        engine.check(long)
    with pytest.raises(UnusableRequest, match="p5"):
        generate(engine, [long], GREEDY)


def test_an_image_that_the_processor_refuses_is_named(quickstart: TransformersEngine) -> None:
    thin = ask(replace(problem(8), images=(picture(1000, 4),)))
    with pytest.raises(UnusableRequest, match="p8 has an image that .* refuses .*aspect ratio"):
        quickstart.check(thin)


def test_a_folder_without_weights_is_refused(make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="does not load"):
        TransformersEngine(tmp_path, make_config())


def test_logits_that_are_not_finite_are_one_line(make_config: MakeConfig, tmp_path: Path) -> None:
    """Weights can be finite and still too large to multiply."""
    folder = save_tiny_model("qwen3_vl", tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = torch.full_like(weights["lm_head.weight"], 3e38)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    engine = TransformersEngine(folder, make_config())
    for sampling in (GREEDY, WARM):
        with pytest.raises(UserError, match=r"answers problem p0 with logits that are not finite"):
            generate(engine, MIXED[:1], sampling)
