"""What a stage was made from, as one flat table: `settings` by dotted key, and `inputs` such as the policy.

Which settings change a stage's files is said in one place, on the fields of config.py; here it is read. A
stage whose recorded table differs from the present one was made from something else. A setting that is newer
than the record passes with the value that runs had before it existed.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from mstar.config import Config
from mstar.settings import Effect, Section

Fingerprint = dict[str, Any]
OLD_MARK = "code"
"""Version 0.1.0 recorded itself here, and identities of inputs in other forms than today's."""


@cache
def effects() -> dict[str, Effect]:
    """The effect of every setting, by dotted key."""
    return dict(_effects_below(Config, ""))


def _effects_below(section: type[BaseModel], prefix: str) -> Iterator[tuple[str, Effect]]:
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from _effects_below(field.annotation, f"{prefix}{name}.")
            continue
        declared = [one for one in field.metadata if isinstance(one, Effect)]
        if len(declared) != 1:
            raise TypeError(f"setting {prefix}{name} must say once which stages' files it changes")
        yield prefix + name, declared[0]


def settings_of(config: Config, stage: str) -> Fingerprint:
    """The settings that change a stage's files, by dotted key."""
    values = flat(config.model_dump(mode="json"), set(effects()))
    return {key: values[key] for key, effect in effects().items() if stage in effect.stages}


def may_change(key: str) -> bool:
    """True where a begun run accepts another value: no file of its finished stages depends on it, or what
    they left serves the next ones all the same.
    """
    owner = next((name for name in effects() if key == name or key.startswith(f"{name}.")), None)
    return owner is not None and (not effects()[owner].stages or effects()[owner].per_stage)


def before(key: str) -> Any:
    """What runs did before this setting existed; its default where nothing else is declared."""
    declared = effects()[key].before
    return default_of(key) if declared is None else _as_json(declared)


def changed(recorded: Mapping[str, Any], present: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Where two fingerprints differ: (dotted key, recorded, present)."""
    is_old = OLD_MARK in recorded
    old = flat(recorded, set(present))
    for key, value in present.items():
        if key in old:
            yield from differences(old[key], value, key)
        elif is_old:
            continue
        elif key not in effects():
            yield key, None, value
        elif value != before(key):
            yield key, before(key), value
    gone = [] if is_old else [key for key in old if key not in present and key not in effects()]
    yield from ((key, old[key], None) for key in gone)


def flat(tree: Mapping[str, Any], leaves: set[str], prefix: str = "") -> Fingerprint:
    """A tree of plain values by dotted key; what stands at one of `leaves` is not taken apart."""
    table: Fingerprint = {}
    for name, value in tree.items():
        key = prefix + name
        if isinstance(value, dict) and key not in leaves:
            table |= flat(value, leaves, f"{key}.")
        else:
            table[key] = value
    return table


def differences(old: Any, new: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two trees of plain values differ: (dotted key, old, new)."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else str(name))
    elif old != new:
        yield key, old, new


def default_of(key: str) -> Any:
    section: type[BaseModel] = Config
    *parents, name = key.split(".")
    for parent in parents:
        annotation = section.model_fields[parent].annotation
        assert isinstance(annotation, type)
        section = annotation
    return _as_json(section.model_fields[name].get_default(call_default_factory=True))


def _as_json(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
