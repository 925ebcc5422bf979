"""The forms in which data sets are published: one module each turns rows of one into rows of ours.

`known_format` tells which one a table or a file is, by its columns or keys.
"""

from collections.abc import Collection

from mstar.datasets.formats.ai2d import AI2D
from mstar.datasets.formats.geometry3k import GEOMETRY3K
from mstar.datasets.formats.geoqa import GEO170K, GEOQA
from mstar.datasets.formats.m3cot import M3COT
from mstar.datasets.formats.mathv360k import MATHV360K
from mstar.datasets.formats.mathvista import MATHVISTA
from mstar.datasets.formats.mmbench import LETTERED
from mstar.datasets.formats.mmstar import MMSTAR
from mstar.datasets.formats.scienceqa import SCIENCEQA, SCIENCEQA_JSON
from mstar.datasets.rows import OWN_ROWS, Format

FORMATS = (MATHVISTA, MATHV360K, M3COT, SCIENCEQA_JSON, SCIENCEQA, MMSTAR)
"""Told by names that nobody else has."""
LOOSE_FORMATS = (LETTERED, GEO170K, AI2D, GEOMETRY3K, GEOQA)
"""Told by names that a user's own files may have too: not where the configuration names a column of one."""
BY_NAME = {format.name: format for format in (*FORMATS, *LOOSE_FORMATS)}


def known_format(names: Collection[str], own: Format) -> Format:
    """The published format of a file with these columns or keys; `own` where it is none."""
    is_own = not (set(own.own_names.values()) - OWN_ROWS.known).isdisjoint(names)
    candidates = FORMATS if is_own else (*FORMATS, *LOOSE_FORMATS)
    return next((format for format in candidates if format.marks <= set(names)), own)
