"""open_problems: find out what is at a path and open it.

A file is told by its ending and, for tables and `.json`, by its columns or keys. A folder is a Hugging Face
dataset (saved to disk, or a snapshot from the hub) or a folder of Parquet files. Splits are never mixed:
where a folder holds several, the message says how to name one.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from mstar.datasets.index import load_index
from mstar.datasets.json_rows import open_document, open_lines
from mstar.datasets.mathv360k import MATHV360K
from mstar.datasets.mathvista import MATHVISTA
from mstar.datasets.problem_file import Part, ProblemFile
from mstar.datasets.rows import OWN_ROWS, Format
from mstar.datasets.table_rows import ArrowRows, ParquetRows, column_names
from mstar.errors import UserError

KINDS = (
    "problems are a .jsonl file, a .parquet file, a folder of .parquet files, a Hugging Face dataset folder, "
    "MathV360K's .json or MathVista's .json"
)
PART_NAME = re.compile(r"(?P<split>.+?)-\d+-of-\d+")
SPLIT_NAMES = frozenset(
    {"train", "training", "validation", "valid", "val", "dev", "test", "testing", "testmini", "eval"}
)


OPENED: WeakValueDictionary[Path, ProblemFile] = WeakValueDictionary()
"""What this process has open, by path, for as long as somebody uses it."""


def open_problems(path: str | Path) -> ProblemFile:
    """The problems at a path, UserError if there are none; `*` in a name means several Parquet files.

    Who opens what another still uses need not read again the problems that are in memory.
    """
    path = Path(path)
    try:
        problems = open_path(path)
        known = OPENED.get(path.absolute())
        if known is not None and known.stamps == problems.stamps:
            problems.held = known.held
        else:
            OPENED[path.absolute()] = problems
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its name and permissions"
        ) from error
    if not len(problems):
        raise UserError(f"{path} holds no problems; at least one row is needed; check how it was written")
    return problems


def open_path(path: Path) -> ProblemFile:
    if path.is_dir():
        return open_folder(path)
    if not path.exists():
        if "*" in path.name and (parts := sorted(path.parent.glob(path.name))):
            return open_tables(path, parts)
        raise UserError(f"{path} does not exist; {KINDS}; correct the path")
    match path.suffix.lower():
        case ".jsonl":
            index = load_index(path, [path])
            lines = index.json_rows(path) if index else open_lines(path)
            return ProblemFile(path, OWN_ROWS, [lines], path.stem, index)
        case ".parquet":
            return open_tables(path, [path])
        case ".json":
            return open_json(path)
    raise UserError(f"{path} is of no known kind; {KINDS}")


def open_json(path: Path) -> ProblemFile:
    """MathV360K's list of chats or MathVista's object of problems, told apart by the keys of their rows."""
    if index := load_index(path, [path]):
        format = {format.name: format for format in (MATHV360K, MATHVISTA)}[index.origin["format"]]
        return ProblemFile(path, format, [index.json_rows(path)], path.stem, index)
    rows, keys = open_document(path)
    if "conversations" in keys:
        return ProblemFile(path, MATHV360K, [rows], path.stem)
    if {"question", "question_type"} <= keys:
        return ProblemFile(path, MATHVISTA, [rows], path.stem)
    if not len(rows):
        return ProblemFile(path, OWN_ROWS, [rows], path.stem)
    raise UserError(
        f"{path} is neither MathV360K's list (conversations) nor MathVista's object (question_type); "
        f"its keys are {', '.join(sorted(keys)) or 'none'}; write other problems as .jsonl, one a line"
    )


def open_folder(folder: Path) -> ProblemFile:
    if splits := saved_splits(folder):
        if len(splits) > 1:
            raise several_splits(folder, [folder / split for split in splits])
        return open_folder(folder / splits[0])
    if streams := saved_streams(folder):
        return open_tables(folder, streams)
    for place in (folder, folder / "data"):
        if parts := sorted(place.glob("*.parquet")):
            splits = sorted({split_name(part) for part in parts})
            if len(splits) > 1:
                raise several_splits(folder, [place / split_pattern(split, parts) for split in splits])
            return open_tables(folder, parts)
    held = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8])
    raise UserError(f"{folder} holds no problems that can be read; {KINDS}; it holds {held or 'nothing'}")


def saved_splits(folder: Path) -> list[str]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote; none if it is something else."""
    return (
        sorted(state.parent.name for state in folder.glob("*/state.json"))
        if not (folder / "state.json").exists()
        else []
    )


def saved_streams(folder: Path) -> list[Path]:
    """The Arrow files of a folder that `Dataset.save_to_disk` wrote, without caches beside them."""
    state = folder / "state.json"
    if not state.exists():
        return sorted(file for file in folder.glob("*.arrow") if not file.name.startswith("cache-"))
    try:
        streams = [folder / entry["filename"] for entry in json.loads(state.read_text())["_data_files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{state} names no data files; it must list them under _data_files; save the data set again"
        ) from error
    for stream in streams:
        if not stream.exists():
            raise UserError(f"{stream} is missing though {state} names it; copy the whole folder again")
    return streams


def split_name(part: Path) -> str:
    """The split that a Parquet file says it belongs to, "" if it does not say."""
    numbered = PART_NAME.match(part.stem)
    return numbered["split"] if numbered else part.stem if part.stem.lower() in SPLIT_NAMES else ""


def split_pattern(split: str, parts: Sequence[Path]) -> str:
    mine = [part.name for part in parts if split_name(part) == split]
    return mine[0] if len(mine) == 1 else f"{split}-*.parquet"


def several_splits(folder: Path, choices: Sequence[Path]) -> UserError:
    return UserError(
        f"{folder} holds several splits; problems are one split; give {' or '.join(map(str, choices))}"
    )


def open_tables(path: Path, files: Sequence[Path]) -> ProblemFile:
    """Parquet or Arrow files as one; the columns of the first say which format they all have."""
    format = table_format(column_names(files[0]))
    parts: list[Part] = [
        ArrowRows(file, format) if file.suffix == ".arrow" else ParquetRows(file, format) for file in files
    ]
    named = path.resolve().name if path.is_dir() else split_name(files[0]) or files[0].stem
    return ProblemFile(path, format, parts, named)


def table_format(columns: Sequence[str]) -> Format:
    return MATHVISTA if {"pid", "question_type"} <= set(columns) else OWN_ROWS
