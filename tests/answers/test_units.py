"""The table of units: no spelling means two units, and whoever adds a unit finds out about a slip at once."""

from collections import Counter
from importlib.resources import files

from mstar.answers.units import conversion, read_unit

ROWS = [
    line.split()
    for line in (files("mstar.answers") / "units.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def test_every_spelling_is_one_unit() -> None:
    spellings = Counter(spelling for _, symbol, _, *others in ROWS for spelling in (symbol, *others))
    assert len(ROWS) > 50 and not [spelling for spelling, count in spellings.items() if count > 1]
    for _, symbol, _, *others in ROWS:
        for spelling in (symbol, *others):
            assert read_unit(f"{spelling}/w") == f"{symbol}/w", spelling


def test_every_kind_has_a_unit_of_size_one_and_converts() -> None:
    bases = {kind: symbol for kind, symbol, size, *_ in ROWS if size == "1"}
    for kind, symbol, size, *_ in ROWS:
        assert (kind == "-") == (size == "-")
        assert kind == "-" or conversion(bases[kind], symbol) is not None
