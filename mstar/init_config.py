"""`mstar init`: look at a model and at problem files, and write a commented config that fits them.

How it looks is in looking.py, what fits the size of the data is decided in sizing.py; here it becomes text,
in which every value that differs from its default comes with the reason.
"""

import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from mstar.addresses import is_address
from mstar.config_file import parse_config
from mstar.datasets import Reading, open_problems
from mstar.errors import UserError
from mstar.looking import LookedAtModel, LookedAtProblems, look_at_model, look_at_problems, read_separator
from mstar.sizing import FEWEST_FOR_A_SWEEP, GOOD_REACH, LEAST_REACH, Sizes, fit_sizes, fit_sweep
from mstar.wording import counted
from mstar.yaml_text import parse_yaml

LARGE_MODEL = 10**9
"""Parameters from which fewer responses are decoded at once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command was given."""

    model: str
    train: str
    validation: str | None
    tests: tuple[str, ...]
    prm: str | None
    output: Path
    columns: Mapping[str, str] = field(default_factory=dict)
    """The user's own names of columns, by mstar's."""


@dataclass(frozen=True, slots=True)
class Looked:
    """Everything that the config is made from."""

    model: LookedAtModel
    train: LookedAtProblems
    validation: LookedAtProblems | None
    tests: dict[str, LookedAtProblems]
    separator: str | None
    """Of the process reward model."""
    has_gpu: bool


def write_config(wanted: Wanted) -> list[str]:
    """Write the config, and tell in lines what was found. Raises UserError, and never replaces a file."""
    if wanted.output.exists():
        raise UserError(f"{wanted.output} exists already; name another --output or move it away")
    looked = look(wanted)
    text = compose(wanted, looked)
    parse_config(parse_yaml(text), str(wanted.output))
    try:
        with wanted.output.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(
            f"{wanted.output} cannot be written ({error.strerror}); name another --output"
        ) from None
    files = {"train": looked.train, "validation": looked.validation, **looked.tests}
    found = [f"{name}: {one}" for name, one in files.items() if one]
    return [
        f"model: {looked.model}",
        *found,
        *_advice(looked),
        f"wrote {wanted.output}; mstar run {wanted.output} starts it",
    ]


def _advice(looked: Looked) -> list[str]:
    """What has to be put right in the files before the run, which would refuse them."""
    measuring = [*([looked.validation] if looked.validation else []), *looked.tests.values()]
    bad = [one for one in (looked.train, *measuring) if one.bad]
    lines = [f"mstar problems check {bad[0].path} names the bad rows; a run needs none"] if bad else []
    lines += [
        f"{one.path} has no row that can be used; if its columns have names of their own, tell them with "
        "--column question=NAME"
        for one in bad[:1]
        if one.bad == one.read
    ]
    lines += [
        f"{one.path} has {counted(one.unlabelled, 'problems')} without an answer, and a run measures with "
        "answered ones only: take them out"
        for one in measuring
        if one.unlabelled
    ]
    if looked.train.unlabelled and looked.train.unlabelled >= looked.train.problems - looked.train.bad:
        lines.append(f"{looked.train.path} has no answers at all; a run needs some to learn from")
    return lines


def look(wanted: Wanted) -> Looked:
    """Look at the model and the files."""
    reading = Reading(columns=wanted.columns)
    if not wanted.tests and wanted.validation is None:
        held_out = _held_out(len(open_problems(wanted.train, reading)))
        raise UserError(
            f"there is nothing to measure on; take about {held_out} problems out of {wanted.train} into a "
            "file of their own and name it with --test"
        )
    return Looked(
        look_at_model(wanted.model),
        look_at_problems(wanted.train, reading),
        look_at_problems(wanted.validation, reading) if wanted.validation else None,
        {name: look_at_problems(path, reading) for name, path in name_tests(wanted.tests).items()},
        read_separator(wanted.prm) if wanted.prm else None,
        Path("/dev/nvidia0").exists(),
    )


def name_tests(paths: Sequence[str]) -> dict[str, str]:
    """A name for every test set, from its file."""
    names: dict[str, str] = {}
    for path in paths:
        name = _slug(_stem(path)) or "test"
        names[name if name not in names else f"{name[:48]}-{len(names) + 1}"] = path
    return names


def compose(wanted: Wanted, looked: Looked) -> str:
    """The config's text."""
    sizes = fit_sizes(looked.train.problems, looked.model.parameters)
    stem = _stem(wanted.train) if wanted.output.stem == "config" else wanted.output.stem
    name = _slug(stem).replace("_", "-") or "run"
    head = [
        f"# Written by mstar init for {wanted.model!r} ({looked.model}).",
        "# What is not here has its default: mstar config CONFIG prints it, mstar config --schema says why.",
        f"name: {_scalar(name)}",
        f"output: runs/{name}  # below the folder in which mstar run is started",
    ]
    parts = (_model(wanted, looked), _iterations(looked, sizes), _data(wanted, looked), _prompt(looked))
    more = (_generate(looked), _score(wanted), _train(sizes, looked), _evaluate(looked, sizes))
    return "\n".join([*head, *(line for part in (*parts, *more) for line in part)]) + "\n"


def _model(wanted: Wanted, looked: Looked) -> list[str]:
    path = _address(wanted.model, wanted.output) if looked.model.family else _scalar(wanted.model)
    if looked.has_gpu:
        return [f"model: {{path: {path}, device: cuda, dtype: bfloat16}}  # a GPU was found"]
    return ["# No GPU was found here; on one, add device: cuda, dtype: bfloat16.", f"model: {{path: {path}}}"]


def _iterations(looked: Looked, sizes: Sizes) -> list[str]:
    problems = looked.train.problems
    each = math.ceil(problems * sizes.problems_share)
    return [
        f"# {each} of {problems} problems each: enough to learn from, and a better policy soon.",
        f"iterations: {{count: {sizes.iterations}, problems_share: {sizes.problems_share:g}}}",
    ]


def _data(wanted: Wanted, looked: Looked) -> list[str]:
    lines = ["data:", f"  train: {_address(wanted.train, wanted.output)}  # {looked.train}"]
    if wanted.validation and looked.validation:
        lines.append(f"  validation: {_address(wanted.validation, wanted.output)}  # {looked.validation}")
    else:
        held_out = _held_out(looked.train.problems)
        lines.append(
            f"  # No validation file: about {held_out} problems, taken out of train, would let the run"
        )
        lines.append("  # choose its temperature (--validation).")
    lines.append("  tests:  # the first is measured after every iteration")
    for name, found in looked.tests.items():
        lines.append(f"    {_scalar(name)}: {_address(found.path, wanted.output)}  # {found}")
    if not looked.tests and wanted.validation:
        address = _address(wanted.validation, wanted.output)
        lines.append(
            "    # The temperature is chosen on the same ones: a test set of its own (--test) says more."
        )
        lines.append(f"    validation: {address}")
    if wanted.columns:
        lines.append("  columns:  # what mstar's keys are called in these files")
        lines += [f"    {key}: {_scalar(name)}" for key, name in wanted.columns.items()]
    return lines


def _prompt(looked: Looked) -> list[str]:
    if looked.separator is None:
        return []
    separator = json.dumps(looked.separator)
    return [
        "# What the process reward model reads its scores at.",
        f"prompt: {{step_separator: {separator}}}",
    ]


def _generate(looked: Looked) -> list[str]:
    settings, reasons = [], []
    if looked.model.parameters is None or looked.model.parameters >= LARGE_MODEL:
        settings.append("rows_in_flight: 64")
        reasons.append("# Responses decoded at once; as many as the memory holds.")
    if looked.model.positions is not None and looked.model.positions < 4096:
        settings.append(f"max_tokens: {max(1, looked.model.positions // 2)}")
        reasons.append(f"# The model has {looked.model.positions} positions, for prompt and response.")
    return [*reasons, f"generate: {{{', '.join(settings)}}}"] if settings else []


def _score(wanted: Wanted) -> list[str]:
    if wanted.prm is None:
        return []
    is_here = Path(wanted.prm).is_dir() or is_address(wanted.prm)
    return [f"score: {{prm: {_address(wanted.prm, wanted.output) if is_here else _scalar(wanted.prm)}}}"]


def _train(sizes: Sizes, looked: Looked) -> list[str]:
    reach = f"{sizes.steps * sizes.learning_rate:.0e}"
    lines = [
        f"# About {sizes.steps} optimizer steps; learning rate x steps is {reach}. A policy hardly changes",
        f"# below {LEAST_REACH:.0e}, runs that learned had {GOOD_REACH:.0e}. Halve the rate if it falls.",
        f"train: {{learning_rate: {sizes.learning_rate:.1e}, batch_size: {sizes.batch_size}}}",
    ]
    if looked.train.with_images:
        lines.insert(2, "# The vision tower stays as it is; train.freeze: [] trains it too.")
    return lines


def _evaluate(looked: Looked, sizes: Sizes) -> list[str]:
    problems = looked.validation.problems if looked.validation else 0
    if problems < FEWEST_FOR_A_SWEEP:
        why = f"{counted(problems, 'validation problems')} cannot tell temperatures apart"
        return [f"# {why}; from {FEWEST_FOR_A_SWEEP} on they can.", "adapt: {policy: fixed}"]
    sweep = fit_sweep(problems, math.ceil(looked.train.problems * sizes.problems_share))
    grid, samples = list(sweep.temperatures), sweep.samples_per_problem
    policy = "reward_pass_at_k" if looked.separator is not None else "pass_at_k"
    return [
        f"# A sweep, after every second iteration, samples {len(grid) * problems * samples} responses:",
        "# the finest grid that costs at most half of what sampling for training does.",
        f"evaluate: {{temperatures: {grid}, samples_per_problem: {samples}}}",
        f"adapt: {{policy: {policy}}}",
    ]


def _held_out(problems: int) -> int:
    return max(1, min(250, problems // 5))


def _stem(path: str) -> str:
    """The last name of a path or an address, without its ending."""
    return PurePosixPath(path).stem


def _address(path: str, config: Path) -> str:
    """How a config names a path: relative to its own folder where it lies below that. Addresses stay."""
    if is_address(path):
        return _scalar(path)
    folder, absolute = config.absolute().parent, Path(os.path.abspath(path))
    return _scalar(str(absolute.relative_to(folder) if absolute.is_relative_to(folder) else absolute))


def _scalar(text: str) -> str:
    plain = re.fullmatch(r"[A-Za-z/.][\w./-]*", text) and parse_yaml(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)


def _slug(text: str) -> str:
    """As much of a text as may be in a name."""
    return re.sub(r"[^a-z0-9_]+", "-", text.lower())[:40].strip("-_")
