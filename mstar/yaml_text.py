"""YAML as configs are written in it: plain values, and the numbers of YAML 1.2, where `1e-5` is one."""

import re
from typing import Any

import yaml


class YamlLoader(yaml.SafeLoader):
    """Reads the numbers of YAML 1.2 too: 1e-5, which version 1.1 takes for text."""


class YamlDumper(yaml.SafeDumper):
    """Quotes the texts that YamlLoader would take for numbers."""


for reader_or_writer in (YamlLoader, YamlDumper):
    reader_or_writer.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str) -> Any:
    """The plain values of a YAML text. Raises yaml.YAMLError, or ValueError for dates that are none."""
    return yaml.load(text, Loader=YamlLoader)


def dump_yaml(tree: Any) -> str:
    """A tree of plain values, its keys in their order."""
    return str(yaml.dump(tree, Dumper=YamlDumper, sort_keys=False, allow_unicode=True, width=120))
