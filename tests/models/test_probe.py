"""What tells one policy's weights from another's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.config import Config
from mstar.engines.probe import find_out
from mstar.inputs import model_identity
from mstar.model_folders import PROBE
from mstar.models import Encoder
from mstar.models.probe import TOKENS, Expected, Probe, read_probe, write_probe
from tests.conftest import BASE

MakeConfig = Callable[..., Config]


@pytest.fixture(scope="module")
def probe(small: Config) -> Probe:
    return find_out(BASE, small, encoder_of(small), [4])


@pytest.fixture(scope="module")
def small() -> Config:
    from tests.conftest import parse_small

    return parse_small(model={"path": str(BASE)})


def encoder_of(config: Config) -> Encoder:
    return Encoder(BASE, config.images, config.prompt)


def test_it_tells_other_weights_from_rounding(probe: Probe, make_config: MakeConfig) -> None:
    narrow = make_config(model={"path": str(BASE), "dtype": "bfloat16"})
    rounded = find_out(BASE, narrow, encoder_of(narrow), [4])
    for one, other in zip(probe.expected, rounded.expected, strict=True):
        assert len(one.tokens) == TOKENS and 4 not in one.tokens
        assert one.difference(one.logprobs) == 0
        found = dict(zip(other.tokens, other.logprobs, strict=True))
        shared = [place for place, token in enumerate(one.tokens) if token in found]
        differences = [abs(one.logprobs[place] - found[one.tokens[place]]) for place in shared]
        assert 0 < sum(differences) / len(differences) < probe.tolerance("bfloat16")
    assert len(probe.expected[1].prompt) > len(probe.expected[0].prompt)


def test_it_allows_for_the_coarser_arithmetic(probe: Probe) -> None:
    assert probe.tolerance("float32") < probe.tolerance("bfloat16")
    coarse = Probe(probe.expected, "bfloat16", probe.maker)
    assert coarse.tolerance("float32") == probe.tolerance("bfloat16")


def test_it_comes_back_as_it_was_written(probe: Probe, small: Config, tmp_path: Path) -> None:
    write_probe(tmp_path, probe)
    assert read_probe(tmp_path, encoder_of(small), [4]) == probe
    assert (tmp_path / PROBE).stat().st_size < 4096


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"expected": [{"id": 1}]}', '{"expected": 3}'])
def test_a_damaged_one_is_none(small: Config, tmp_path: Path, text: str) -> None:
    (tmp_path / PROBE).write_text(text)
    assert read_probe(tmp_path, encoder_of(small), [4]) is None


def test_one_of_other_settings_is_none(probe: Probe, make_config: MakeConfig, tmp_path: Path) -> None:
    """Of images, and of what is banned; and where it says nothing, or in an arithmetic that is not known."""
    larger = make_config(images={"min_pixels": 200 * 200, "max_pixels": 200 * 200})
    assert read_probe(tmp_path, encoder_of(larger), [4]) is None
    write_probe(tmp_path, probe)
    assert read_probe(tmp_path, encoder_of(larger), [4]) is None
    encoder = encoder_of(make_config())
    assert read_probe(tmp_path, encoder, [probe.expected[0].tokens[0]]) is None
    empty = tuple(Expected(one.id, one.prompt, (), ()) for one in probe.expected)
    for useless in (Probe(empty, probe.dtype, ""), Probe(probe.expected, "float8", "")):
        write_probe(tmp_path, useless)
        assert read_probe(tmp_path, encoder, [4]) is None


def test_a_prompt_that_is_too_long_is_left_out(probe: Probe, make_config: MakeConfig, tmp_path: Path) -> None:
    config = make_config(prompt={"version": "question-1", "max_tokens": 16})
    assert len(probe.expected[0].prompt) < 16 < len(probe.expected[1].prompt)
    found = find_out(BASE, config, encoder_of(config), [4])
    assert found.expected == probe.expected[:1]
    write_probe(tmp_path, found)
    assert read_probe(tmp_path, encoder_of(config), [4]) == found


def test_it_is_no_part_of_a_models_identity(probe: Probe, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "any"}))
    before = model_identity("model.path", str(tmp_path), None)
    write_probe(tmp_path, probe)
    assert model_identity("model.path", str(tmp_path), None) == before
