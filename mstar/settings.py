"""What every section of the configuration and every setting in it is made of (see config.py)."""

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


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

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True, defer_build=True)

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """With the strings below the fields as their descriptions: read from the source here and not by
        pydantic, as it takes longer than half of all that a configuration needs.
        """
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema)["properties"]
        for section in reversed(cls.__mro__[: cls.__mro__.index(Section)]):
            for name, description in _strings_below_fields(section):
                properties[name]["description"] = description
        return schema


def _strings_below_fields(section: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(inspect.getsource(section)).body
    assert isinstance(definition, ast.ClassDef)
    for pair in pairwise(definition.body):
        match pair:
            case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                yield name, inspect.cleandoc(text)
