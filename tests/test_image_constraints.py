"""The versions of images: all that mstar asks for is pinned once, at a release that it takes."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = {"cpu": ("s3", "hub", "local", "lora", "deepspeed", "8bit")}
EXTRAS["cuda"] = (*EXTRAS["cpu"], "vllm")


def read_pins(name: str) -> dict[str, str]:
    lines = (ROOT / "components" / name).read_text().splitlines()
    assert lines == sorted(lines)
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def asked(extra: str) -> Iterator[Requirement]:
    for text in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(text)
        if requirement.name != PROJECT["name"]:
            yield requirement


@pytest.mark.parametrize("accelerator", EXTRAS)
def test_what_mstar_asks_for_is_pinned_at_a_release_that_it_takes(accelerator: str) -> None:
    pins = read_pins("constraints.txt")
    own = read_pins(f"constraints-{accelerator}.txt")
    assert not pins.keys() & own.keys()
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    requirements += [one for extra in EXTRAS[accelerator] for one in asked(extra)]
    for requirement in requirements:
        version = (pins | own)[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), requirement
