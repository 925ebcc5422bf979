"""MathV360K's rows (arXiv 2406.17294), chats of one question and one answer, become rows of ours.

The question loses the image tag and what belongs to the prompt (the hint about the form of the answer, the
word "Question:"); its choices become a list. The answer is read from the second turn. The file gives no
answer types: they are read off the answer, and what is neither a choice, yes or no, nor a number is text.
"""

import re

from mstar.answers import AnswerType, Expected
from mstar.answers.golds import read_golds
from mstar.datasets.formats.choices import LETTERS, contents_in
from mstar.datasets.rows import BadRow, Format, Row, read_id
from mstar.datasets.values import quote

HINT = re.compile(r"^Hint:[^\n]*?\bat the end\.\s*", re.IGNORECASE)
QUESTION = re.compile(r"^Question:\s*", re.IGNORECASE)
CHOICES = re.compile(r"\n?[ \t]*\b(?:Choices|Options):\s*(?=\(A\))", re.IGNORECASE)
ANSWER = re.compile(
    r"^(?:so |thus |therefore,? )?(?:the )?(?:final )?(?:correct )?answer(?: is\b|\s*:)\s*:?\s*",
    re.IGNORECASE,
)
LETTER = re.compile(r"^\(?([A-Z])\)?[.:]?$")


def read_label(row: Row, source: str) -> tuple[str, str]:
    return read_id(row), source_of(row) or source


def source_of(row: Row) -> str:
    """The top folder of the image path, such as Geometry3K; "" for a question without an image."""
    image = row.get("image")
    top, slash, _ = image.removeprefix("./").partition("/") if isinstance(image, str) else ("", "", "")
    return top if slash else ""


def convert(row: Row) -> Row:
    """A row of MathV360K in mstar's own keys; BadRow where the two turns are not there."""
    asked, answered = turn(row, "human"), turn(row, "gpt")
    question, choices = split_choices(clean_question(asked))
    answer = clean_answer(answered)
    chosen = chosen_letter(answer, choices)
    if chosen is None:
        question, choices = clean_question(asked), ()
    ours = {key: row[key] for key in ("id", "image") if key in row}
    return ours | {
        "question": question,
        "choices": list(choices),
        "answer": chosen or answer,
        "answer_type": "choice" if chosen else answer_type(answer),
        "source": source_of(row),
    }


def turn(row: Row, speaker: str) -> str:
    """What the first turn of a speaker says."""
    turns = row.get("conversations")
    for entry in turns if isinstance(turns, list) else ():
        match entry:
            case {"from": str() as name, "value": str() as value} if name == speaker:
                return value
    id = row.get("id")
    reason = f'conversations is {quote(turns)}; it needs a turn {{"from": "{speaker}", "value": "..."}}'
    raise BadRow([reason], id if isinstance(id, str) else None)


def clean_question(text: str) -> str:
    text = text.replace("<image>", "").strip()
    return QUESTION.sub("", HINT.sub("", text)).strip()


def split_choices(question: str) -> tuple[str, tuple[str, ...]]:
    """The question without its choices, and their contents, from "Choices: (A) ... (B) ..."."""
    headings = list(CHOICES.finditer(question))
    if not headings:
        return question, ()
    stem, listed = question[: headings[-1].start()], question[headings[-1].end() :]
    contents = contents_in(listed, r"(?<!\S)\({}\)")
    return (stem.strip(), contents) if contents else (question, ())


def clean_answer(text: str) -> str:
    """The answer without "The answer is", and without the full stop of that sentence."""
    answer = ANSWER.sub("", text.strip()).strip()
    return answer[:-1].rstrip() if answer.endswith(".") and answer.count(".") == 1 else answer


def chosen_letter(answer: str, choices: tuple[str, ...]) -> str | None:
    """The letter of the choice that the answer names by letter, by content or by both, if any."""
    letter = LETTER.match(answer)
    if letter:
        named = letter[1]
    else:
        contents = zip(LETTERS, choices, strict=False)
        names = [name for name, content in contents if is_content(answer, name, content)]
        named = names[0] if len(names) == 1 else ""
    return named if named and choices and is_gold(named, "choice", choices) else None


def is_content(answer: str, letter: str, content: str) -> bool:
    return answer.removeprefix(f"({letter})").strip().casefold() == content.casefold()


def answer_type(answer: str) -> AnswerType:
    if answer.lower() in ("yes", "no"):
        return "boolean"
    return "number" if is_gold(answer, "number", ()) else "text"


def is_gold(answer: str, answer_type: AnswerType, choices: tuple[str, ...]) -> bool:
    try:
        read_golds(Expected(answer, answer_type, choices))
    except ValueError:
        return False
    return True


MATHV360K = Format(
    name="MathV360K",
    marks=frozenset({"id", "conversations"}),
    known=frozenset({"id", "image", "conversations"}),
    required=(("id",), ("conversations",)),
    label_columns=("id", "image"),
    label=read_label,
    convert=convert,
    image_folder="data_images",
)
