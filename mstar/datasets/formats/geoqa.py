"""GeoQA and GeoQA+ in the forms they are passed around in: Geo170K's chats, problems with solutions, and the
authors' own folder.

Geo170K (arXiv 2312.11370) is `qa_tuning` of G-LLaVA: chats like MathV360K's, without ids, whose answer is
worked out before it is stated. The second form (GEOQA_R1V) has `problem` and `solution`, the answer in
`<answer>` tags. Rows of both have no ids and are known by their place. The third (GeoQA3) has a file for each
question in `json`, whose `label` counts the choices from 0, and the picture of the same name in `image`.
"""

import re
from pathlib import PurePosixPath

from mstar.answers import extract
from mstar.datasets.formats.choices import contents_in, embedded, letter_of
from mstar.datasets.formats.mathv360k import answer_type, chosen_letter, clean_question, source_of, turn
from mstar.datasets.rows import Format, Row, row_id

HEADING = re.compile(r"\s*\b(?:Choices|Options):?\s*(?=\(?A[).:])", re.IGNORECASE)
MARKS = r"(?<![A-Za-z])\(?{}[).:]\s*"
REASONING = re.compile(r"^First perform reasoning\b[^\n]*?Answer:\s*xxx\.?\s*", re.IGNORECASE)
TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)


def read_label(row: Row, source: str) -> tuple[str, str]:
    return row_id(row), source_of(row) or source


def convert_chat(row: Row) -> Row:
    """A row of Geo170K in mstar's own keys."""
    asked = clean_question(REASONING.sub("", turn(row, "human").replace("<image>", "").strip()))
    question, choices = split_choices(asked)
    answer = final_answer(turn(row, "gpt"), choices)
    letter = chosen_letter(answer or "", choices)
    if letter is None:
        question, choices = asked, ()
    return {
        "id": row_id(row),
        "question": question,
        "image": row.get("image"),
        "choices": list(choices),
        "answer": letter or answer,
        "answer_type": "choice" if letter else value_type(answer),
        "source": source_of(row),
    }


def split_choices(question: str) -> tuple[str, tuple[str, ...]]:
    """The question without its choices, and their contents, from "Choices: A: ... B: ..."."""
    headings = list(HEADING.finditer(question))
    contents = contents_in(question[headings[-1].end() :], MARKS) if headings else ()
    return (question[: headings[-1].start()].strip(), contents) if contents else (question, ())


def final_answer(solution: str, choices: tuple[str, ...]) -> str | None:
    """The letter or the value that a worked-out solution ends with."""
    return extract(solution, "choice" if choices else "number", choices) or extract(solution, "text", ())


def convert_problem(row: Row) -> Row:
    """A row with `problem` and `solution` in mstar's own keys."""
    solution = row.get("solution")
    tagged = TAGGED.search(solution) if isinstance(solution, str) else None
    answer = tagged[1].strip() if tagged else solution
    problem = row.get("problem")
    return {
        "id": row_id(row),
        "question": clean_question(problem) if isinstance(problem, str) else problem,
        "image": embedded(row.get("image")) or row.get("image"),
        "answer": answer,
        "answer_type": value_type(answer),
    }


def question_in(document: Row, place: str) -> Row:
    """What a file of the folder `json` holds, in mstar's own keys; `place` is where that file is."""
    path = PurePosixPath(place)
    return {
        "id": str(document.get("id", path.stem)),
        "question": document.get("subject"),
        "image": str(path.parent.parent / "image" / f"{path.stem}.png"),
        "choices": document.get("choices"),
        "answer": letter_of(document.get("label")),
        "answer_type": "choice",
    }


def value_type(answer: object) -> str:
    """A number where it is one, else a formula."""
    kind = answer_type(answer) if isinstance(answer, str) else "number"
    return "expression" if kind == "text" else kind


GEO170K = Format(
    name="Geo170K",
    version=1,
    marks=frozenset({"image", "conversations"}),
    known=frozenset({"image", "conversations", "data_source"}),
    required=(("conversations",),),
    label_columns=("image",),
    label=read_label,
    convert=convert_chat,
    image_folder="images",
    numbered=True,
)

GEOQA = Format(
    name="GeoQA",
    version=1,
    marks=frozenset({"image", "problem", "solution"}),
    known=frozenset({"image", "problem", "solution"}),
    required=(("problem",), ("solution",)),
    image_columns=frozenset({"image"}),
    label=read_label,
    convert=convert_problem,
    numbered=True,
)
