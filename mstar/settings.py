"""What every section of the configuration and every setting in it is made of (see config.py)."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict


@dataclass(frozen=True, slots=True)
class Effect:
    """Which stages leave other files when a setting has another value; none: it may change in a begun run."""

    stages: tuple[str, ...] = ()
    by_content: bool = False
    """The setting is an address: what lies there is part of fingerprints, the address itself may change."""
    before: Any = None
    """What runs did that were begun before the setting existed, where that is not its default."""
    per_stage: bool = False
    """A later stage may take another value, as it can go on from files of either; one in hand may not."""


def changes(*stages: str, before: Any = None, per_stage: bool = False) -> Effect:
    """The effect of a setting on the files of these stages."""
    return Effect(stages, before=before, per_stage=per_stage)


FREE = Effect()
BY_CONTENT = Effect(by_content=True)


class Section(BaseModel):
    """What all sections share: frozen, no unknown keys, no NaN, no silent conversions."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        strict=True,
        use_attribute_docstrings=True,
        defer_build=True,
    )
