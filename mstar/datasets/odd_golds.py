"""Golds and choices that are unusual and yet harm no judgement: `problems check` names them."""

from collections.abc import Iterator

from mstar.answers import Expected
from mstar.answers.choices import read_contents
from mstar.answers.cleaning import clean
from mstar.answers.golds import read_golds
from mstar.answers.units import read_unit
from mstar.records import Problem


def odd_golds(problem: Problem) -> list[str]:
    """What is unusual about a problem's gold and choices."""
    if problem.answer is None or not (problem.choices or problem.unit or problem.other_answers):
        return []
    return list(oddities(problem.expected))


def oddities(expected: Expected) -> Iterator[str]:
    """What is unusual about a gold and its choices, each in a few words."""
    if expected.choices:
        yield from _odd_choices(expected.choices)
    if expected.other_answers or expected.answer_type == "choice":
        golds = read_golds(expected)
        if len(set(golds)) < len(golds):
            yield "its accepted answers hold one twice"
        if expected.answer_type == "choice" and isinstance(golds[0], str):
            yield f"its answer is the letters {golds[0]}, all of which a response must name"
    if expected.unit and read_unit(clean(expected.unit)) is None:
        yield f"its unit {expected.unit!r} is not known, so that only answers without a unit agree"


def _odd_choices(choices: tuple[str, ...]) -> Iterator[str]:
    contents = [content.spelling for content in read_contents(choices)]
    folded = [content.casefold() for content in contents]
    letters = [chr(ord("A") + place) for place in range(len(contents))]
    for place, content in enumerate(contents):
        for earlier in range(folded.index(folded[place]), place):
            pair = f"choices {letters[earlier]} and {letters[place]}"
            if contents[earlier] == content:
                yield f"{pair} are both {choices[place]!r}"
            elif folded[earlier] == folded[place]:
                yield f"{pair} differ in case only: {choices[earlier]!r}"
        if len(content) == 1 and content.upper() in letters and content.upper() != letters[place]:
            yield f"choice {letters[place]} is the letter {content!r}, which names choice {content.upper()}"
