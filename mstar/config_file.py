"""From a config's text to the checked configuration, and one clear line for every mistake on the way.

`load_config` reads it (config_source.py), applies `--set` overrides, and makes input paths absolute: they are
relative to the file's own folder, so a config can be run from anywhere. `parse_config` checks a tree of plain
values. A mistake becomes a `UserError` with the key, its value, the rule, and the nearest known key where a
key is not one.
"""

import difflib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import ValidationError

from mstar.config import Config
from mstar.config_source import Source, parse_mapping, read_source
from mstar.errors import UserError
from mstar.inputs import looks_like_hub_id
from mstar.yaml_text import dump_yaml, parse_yaml


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The checked configuration of a YAML file (its path, its address in a bucket, or its text), with
    `section.key=value` overrides and input paths made absolute.
    """
    found = read_source(source)
    tree = parse_mapping(found)
    for override in overrides:
        _apply_override(tree, override)
    return _resolve_paths(parse_config(tree, found.origin), found)


def parse_config(tree: dict[str, Any], origin: str) -> Config:
    """Check a tree of plain values; `origin` is the file that the message names. Raises UserError."""
    try:
        return Config.model_validate_json(_as_json(tree, origin))
    except ValidationError as error:
        raise UserError(_explain(error, origin)) from None


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML."""
    return dump_yaml(config.model_dump(mode="json"))


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise UserError(f"--set {override} has no value; write --set section.key=value")
    *sections, last = key.split(".")
    for section in sections:
        below = tree.setdefault(section, {})
        if not isinstance(below, dict):
            raise UserError(f"--set {override}: {section} is not a section; see mstar config --schema")
        tree = below
    try:
        tree[last] = parse_yaml(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"--set {override}: the value is not YAML; quote it") from None


def _as_json(tree: dict[str, Any], origin: str) -> str:
    """JSON is what pydantic's strict mode takes lists for tuples from; YAML's dates and NaN are refused on
    the way.
    """

    def refuse(value: object) -> str:
        raise UserError(
            f"{origin}: {value!r} is a {type(value).__name__}; use text, numbers, true, false, null, lists"
        )

    try:
        return json.dumps(tree, allow_nan=False, default=refuse)
    except ValueError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{origin}: {_find_nonfinite(tree)} is not a finite number; write an ordinary number; quote text"
        ) from None
    except (TypeError, RecursionError):
        raise UserError(f"{origin}: keys must be plain text and nested at most a few levels") from None


def _find_nonfinite(tree: object, key: str = "") -> str:
    if isinstance(tree, dict):
        found = (_find_nonfinite(value, f"{key}.{name}".lstrip(".")) for name, value in tree.items())
        return next(filter(None, found), "")
    if isinstance(tree, list):
        return next(filter(None, (_find_nonfinite(value, key) for value in tree)), "")
    return f"{key}: {tree}" if isinstance(tree, float) and (tree != tree or abs(tree) == float("inf")) else ""


def _explain(error: ValidationError, origin: str) -> str:
    """One line per mistake, five at most."""
    mistakes = error.errors(include_url=False, include_context=False)
    lines = [f"{origin}: {_explain_one(mistake)}" for mistake in mistakes[:5]]
    if len(mistakes) > 5:
        lines.append(f"{origin}: and {len(mistakes) - 5} more")
    return "\n".join(lines)


def _explain_one(mistake: Any) -> str:
    location = [str(part) for part in mistake["loc"]]
    key = ".".join(location)
    if mistake["type"] == "extra_forbidden":
        return f"{key} is not a setting; {_nearest_key(location)}"
    if mistake["type"] == "missing":
        return f"{key} is missing; every run needs it"
    rule = mistake["msg"].removeprefix("Value error, ")
    if mistake["type"] == "value_error":
        return f"{key}: {rule}" if key else rule
    if mistake["type"] == "string_pattern_mismatch":
        explain = _explain_address if "^http" in rule else _explain_name
        return explain(location, mistake["input"])
    return f"{key} is {mistake['input']!r}; {rule[0].lower()}{rule[1:]}{_hint(mistake)}"


def _explain_name(location: Sequence[str], name: str) -> str:
    """A name that would become part of a path: what is wrong with it, and one that would do."""
    is_key = location[-1] == "[key]"
    what = f"{'.'.join(location[:-2])} has the name {name!r}" if is_key else f"{location[-1]} is {name!r}"
    letters = "lower-case letters, digits, dashes" + (" and underscores" if is_key else "")
    near = re.sub(r"[^a-z0-9_]+" if is_key else r"[^a-z0-9]+", "-", name.lower()).strip("-_")[:53].strip("-_")
    remedy = f"write {near}" if near else "choose another"
    return f"{what}; it must be of {letters}, begin and end with a letter or digit, at most 53; {remedy}"


def _explain_address(location: Sequence[str], address: str) -> str:
    """What may be a password is not repeated."""
    shown = re.sub(r"//.*@", "//...@", address)
    remedy = "write http://host:port or https://host; user and password come from the environment alone"
    return f"{'.'.join(location)} is {shown!r}; it must be the address of a server; {remedy}"


def _hint(mistake: Any) -> str:
    """What to write instead: YAML's types are guessed from how a value looks."""
    value, wanted = mistake["input"], mistake["type"]
    if wanted == "string_type" and isinstance(value, int | float):
        return "; put it in quotes"
    if wanted not in ("float_type", "int_type") or not isinstance(value, str):
        return ""
    try:
        return f"; write {float(value):g} without quotes"
    except ValueError:
        return ""


def _nearest_key(location: list[str]) -> str:
    section: Any = Config
    for part in location[:-1]:
        below = section.model_fields.get(part)
        section = _section_in(below.annotation) if below else section
    known = list(section.model_fields)
    everywhere = {name: f"{top}.{name}" for top in Config.model_fields for name in _keys_below(top)}
    name = location[-1]
    if name in everywhere:
        return f"did you mean {everywhere[name]}?"
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"did you mean {'.'.join([*location[:-1], near[0]])}?"
    elsewhere = difflib.get_close_matches(name, everywhere, n=1, cutoff=0.8)
    return f"did you mean {everywhere[elsewhere[0]]}?" if elsewhere else f"known here: {', '.join(known)}"


def _section_in(kind: Any) -> Any:
    """The section that a setting holds, by itself or in a list."""
    return next((_section_in(one) for one in get_args(kind) if one is not ...), kind)


def _keys_below(top: str) -> list[str]:
    return list(getattr(Config.model_fields[top].annotation, "model_fields", ()))


def _resolve_paths(config: Config, source: Source) -> Config:
    resolve = source.resolve
    data = config.data.model_copy(
        update={
            "train": resolve("data.train", config.data.train),
            "validation": resolve("data.validation", config.data.validation)
            if config.data.validation
            else None,
            "tests": {name: resolve(f"data.tests.{name}", text) for name, text in config.data.tests.items()},
        }
    )
    model = config.model.model_copy(update={"path": _resolve_model(source, "model.path", config.model.path)})
    prm = config.score.prm and _resolve_model(source, "score.prm", config.score.prm)
    score = config.score.model_copy(update={"prm": prm})
    return config.model_copy(update={"data": data, "model": model, "score": score})


def _resolve_model(source: Source, key: str, path: str) -> str:
    """What is no folder beside the file may be the id of a model on a hub."""
    is_on_hub = looks_like_hub_id(path) and not source.has(path)
    return path if is_on_hub else source.resolve(key, path)
