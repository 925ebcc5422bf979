"""The documents say what the code does: commands, options, settings, files and examples in them exist.

docs/log.md and CHANGELOG.md tell of the past; of them only the links are looked at.
"""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image

from mstar import __version__
from mstar.cli import app
from mstar.config import Config
from mstar.config_file import load_config, parse_config
from mstar.datasets.checking import check_problems
from mstar.yaml_text import parse_yaml
from tests.conftest import ROOT

ALL = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("examples/**/*.md"))]
PRESENT = [path for path in ALL if path.name not in ("log.md", "CHANGELOG.md")]
NAMES = [str(path.relative_to(ROOT)) for path in PRESENT]
FOREIGN = {("model", "generate")}
"""What looks like a setting: the method of transformers."""
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language; "" is for those that name none."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
    return [block for found, block in fenced if found == language]


def commands(text: str, program: str) -> list[list[str]]:
    """The lines of shell blocks that call a program, as arguments."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    parts = [shlex.split(line, comments=True) for line in lines]
    return [part[1:] for part in parts if part[:1] == [program]]


def mentions(text: str) -> list[list[str]]:
    """`mstar ...` in running text."""
    return [shlex.split(found)[1:] for found in re.findall(r"`(mstar [^`\n]+)`", text)]


def find_command(arguments: list[str]) -> tuple[Any, list[str]]:
    """The command that these arguments begin with, and what is left of them."""
    command, rest = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no mstar {' '.join(arguments)}"
        command = command.commands[rest.pop(0)]
    return command, rest


def check_options(arguments: list[str]) -> None:
    command, rest = find_command(arguments)
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    named = {part.split("=")[0] for part in rest if part.startswith("--")}
    assert named <= known, f"mstar {' '.join(arguments)}: {named - known} does not exist"
    for part, value in zip(rest, rest[1:], strict=False):
        if part == "--set":
            check_setting(*value.split("=")[0].split(".")[:2])


def check_setting(section: str, key: str) -> None:
    fields = getattr(Config.model_fields[section].annotation, "model_fields", {})
    assert key in fields, f"{section}.{key} is no setting"


def test_there_are_documents() -> None:
    assert {"README.md", "CONTRIBUTING.md", "docs/problems.md", "docs/answers.md", "docs/runs.md"} <= set(
        NAMES
    )
    assert len(commands(README, "mstar")) >= 5 and len(commands(README, "make")) >= 2
    assert len(blocks(README, "yaml")) >= 1


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_their_options_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    for arguments in (*commands(text, "mstar"), *mentions(text)):
        check_options(arguments)


@pytest.mark.parametrize("arguments", commands(README, "mstar"), ids=" ".join)
def test_the_readmes_commands_are_complete(arguments: list[str]) -> None:
    command, rest = find_command(arguments)
    command.make_context("mstar", rest)


@pytest.mark.parametrize("name", NAMES)
def test_targets_of_make_exist(name: str) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert {"test", "test-s3"} <= set(targets)
    text = (ROOT / name).read_text()
    said = re.findall(r"`make ([a-z0-9-]+)[ `]", text)
    said += [arguments[0] for arguments in commands(text, "make")]
    assert set(said) <= set(targets)


@pytest.mark.parametrize("name", NAMES)
def test_settings_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    sections = "|".join(section for section, field in Config.model_fields.items() if _is_section(field))
    for section, key in set(re.findall(rf"`({sections})\.([a-z_]+)\b", text)) - FOREIGN:
        check_setting(section, key)


def _is_section(field: Any) -> bool:
    return hasattr(field.annotation, "model_fields")


@pytest.mark.parametrize("block", blocks(README, "yaml"))
def test_the_readmes_config_is_one(block: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(block)
    overrides = re.findall(r"--set ([\w.]+=[\w.]+)", block)
    assert load_config(tmp_path / "config.yaml", overrides).name == yaml.safe_load(block)["name"]


def parts_of_configs() -> list[Any]:
    """What the pages show of configs; one other block of YAML is for Prometheus."""
    found = []
    for path in PRESENT:
        parts = [parse_yaml(block) for block in blocks(path.read_text(), "yaml")]
        found += [pytest.param(part, id=f"{path.name} {', '.join(part)}") for part in parts]
    return [one for one in found if "scrape_configs" not in one.values[0]]


def test_there_are_parts_of_configs() -> None:
    assert len(parts_of_configs()) >= 6


@pytest.mark.parametrize("part", parts_of_configs())
def test_parts_of_configs_are_settings(part: dict[str, Any]) -> None:
    data = {"train": "train.jsonl", "validation": "validation.jsonl", "tests": {"test": "test.jsonl"}}
    least = {"name": "least", "output": "out", "model": {"path": "policy"}, "adapt": {"policy": "fixed"}}
    parse_config(least | part | {"data": data | part.get("data", {})}, "a document")


def test_the_readmes_problem_is_one(tmp_path: Path) -> None:
    (row,) = re.findall(r'`(\{"id".*?\})`', README, re.S)
    problem = json.loads(row.replace("\n", " "))
    Image.new("RGB", (60, 40)).save(tmp_path / problem["image"])
    (tmp_path / "problems.jsonl").write_text(json.dumps(problem) + "\n")
    checked = check_problems(tmp_path / "problems.jsonl")
    assert (checked.rows, checked.bad, checked.unknown_keys, checked.images["1"]) == (1, (), {}, 1)


@pytest.mark.parametrize("path", ALL, ids=str)
def test_links_lead_somewhere(path: Path) -> None:
    for target in links(path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def links(text: str) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not target.startswith(("http:", "https:", "#")):
            yield target.split("#")[0]


def test_the_readmes_tree_is_there() -> None:
    (tree,) = [block for block in blocks(README, "") if block.startswith("mstar/")]
    words = [word.rstrip(",") for word in tree.split()]
    named = [word for word in words if word.endswith(("/", ".py", ".md"))]
    assert len(named) > 15
    for one in named:
        assert any((ROOT / place / one).exists() for place in ("", "mstar", "docs")), one


def test_the_pages_keep_to_their_lengths() -> None:
    assert len(README.splitlines()) <= 150 and len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 80


def test_figures_have_their_date_and_their_code() -> None:
    measured = (ROOT / "docs/log.md").read_text().partition("\n## Measurements\n")[2]
    headings = re.findall(r"^### (.+)$", measured.partition("\n### Profiles")[0], re.M)
    assert len(headings) > 9
    date, code = r"[0-9 and]+ [A-Z][a-z]+ 20\d\d\b", r"(\([0-9a-f]{7,}\)|\d+\.\d+\.\d+)"
    assert [heading for heading in headings if not re.fullmatch(f"{date}.* {code}", heading)] == []


def test_the_changelog_knows_this_version() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased" and any(heading.startswith(__version__) for heading in headings)


def test_the_workflow_and_the_hooks_run_what_make_runs() -> None:
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
    steps = workflow["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["id"] for hook in hooks] == ["ruff", "ruff-format", "mypy"]
    assert all(hook["entry"].startswith(".venv/bin/") for hook in hooks)
    assert "make lint" in (ROOT / ".ci/run").read_text() and "make test" in (ROOT / ".ci/run").read_text()
