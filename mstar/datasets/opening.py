"""open_problems: find out what is at a path and open it.

A file is told by its ending and, for tables and `.json`, by its columns or keys. A folder is a Hugging Face
dataset (saved to disk, or a snapshot from the hub) or a folder of Parquet files. Splits are never mixed:
where a folder holds several, the message says how to name one.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath
from weakref import WeakValueDictionary

from mstar.addresses import is_address, scheme_of
from mstar.config_storage import StorageSettings
from mstar.datasets.files import DataFile, Folder, LocalFile, LocalFolder, NotThere, Part, Reading, is_shown
from mstar.datasets.formats import BY_NAME, known_format
from mstar.datasets.formats.mathv360k import MATHV360K
from mstar.datasets.formats.mathvista import MATHVISTA
from mstar.datasets.index import load_index, stamps_of
from mstar.datasets.json_rows import first_keys, open_document, open_lines
from mstar.datasets.own_columns import own_columns
from mstar.datasets.problem_file import ProblemFile
from mstar.datasets.rows import OWN_ROWS, Format
from mstar.datasets.table_rows import ArrowRows, ParquetRows, column_names, split_columns
from mstar.datasets.tsv_rows import TsvRows, open_tsv
from mstar.errors import UserError

KINDS = (
    "problems are a .jsonl file, a .parquet file, a .csv file, a folder of .parquet files, a Hugging Face "
    "dataset folder, MathV360K's .json or MathVista's .json, or another set that docs/datasets.md names"
)
PLACES = "they lie in a folder, in a bucket at s3://bucket/key, or on a hub at hf://datasets/owner/name"
PART_NAME = re.compile(r"(?P<split>.+?)-\d+-of-\d+")
SPLIT_NAMES = frozenset(
    {"train", "training", "validation", "valid", "val", "dev", "test", "testing", "testmini", "eval"}
)


AS_IT_IS = Reading()
OPENED: WeakValueDictionary[str, ProblemFile] = WeakValueDictionary()
"""What this process has open, by path, for as long as somebody uses it."""


def open_problems(path: str | Path, reading: Reading = AS_IT_IS) -> ProblemFile:
    """The problems at a path or an address, UserError if there are none; `*` in a name means several Parquet
    files.

    Who opens what another still uses need not read again the problems that are in memory.
    """
    place = str(path) if is_address(path) else str(Path(path).absolute())
    try:
        problems = open_found(path, find(path, reading.storage), own_columns(reading.columns))
        problems.storage = reading.storage
        known = OPENED.get(place)
        if known is not None and (known.stamps, known.format.name) == (problems.stamps, problems.format.name):
            problems.held = known.held
        else:
            OPENED[place] = problems
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); check its name and permissions"
        ) from error
    if problems.format.split_key:
        raise UserError(
            f"{path} holds several splits; problems are one split; write a file of each with "
            "`mstar datasets prepare`"
        )
    if not len(problems):
        raise UserError(f"{path} holds no problems; at least one row is needed; check how it was written")
    return problems


def find(path: str | Path, storage: StorageSettings) -> Folder | list[DataFile]:
    """The folder, the file, or the files that a name with `*` stands for; NotThere where there are none."""
    match scheme_of(path):
        case None:
            found = find_on_disk(Path(path))
        case "s3":
            found = find_in_bucket(str(path), storage)
        case "hf":
            found = find_in_hub(str(path))
        case _:
            raise UserError(f"{path} is of no known kind; {PLACES}; {KINDS}")
    if found is None:
        raise NotThere(f"{path} does not exist; {KINDS}; correct the path")
    return found


def find_on_disk(path: Path) -> Folder | list[DataFile] | None:
    if path.is_dir():
        return LocalFolder(path)
    if path.exists():
        return [LocalFile(path)]
    parts = sorted(filter(is_shown, path.parent.glob(path.name))) if "*" in path.name else []
    return [LocalFile(part) for part in parts] or None


def find_in_bucket(address: str, storage: StorageSettings) -> Folder | list[DataFile] | None:
    try:
        from mstar.datasets.bucket_files import find_address
    except ModuleNotFoundError:
        raise UserError(f"{address} needs a client: pip install 'mstar[s3]'") from None
    return find_address(address, storage)


def find_in_hub(address: str) -> Folder | list[DataFile]:
    try:
        from mstar.datasets.hub_files import find_on_hub

        return find_on_hub(address)
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise UserError(f"{address} needs the hub's library: pip install 'mstar[hub]'") from None


def open_found(path: str | Path, found: Folder | list[DataFile], own: Format) -> ProblemFile:
    """By the ending of a file, and by what is in a folder; `own` is the format of no known data set."""
    if not isinstance(found, list):
        return open_folder(path, found, own)
    if len(found) > 1:
        return open_tables(path, found, own)
    [file] = found
    match file.name.suffix.lower():
        case ".jsonl":
            index = load_index(path, stamps_of([file]))
            lines = index.json_rows(file) if index else open_lines(file)
            return ProblemFile(path, known_format(first_keys(lines), own), [lines], file.name.stem, index)
        case ".tsv" | ".csv":
            return open_table_of_text(path, file, own)
        case ".parquet":
            return open_tables(path, [file], own)
        case ".json":
            return open_json(path, file, own)
    raise UserError(f"{path} is of no known kind; {KINDS}")


def open_table_of_text(path: str | Path, file: DataFile, own: Format) -> ProblemFile:
    index = load_index(path, stamps_of([file]))
    rows = TsvRows(file, *index.places()) if index else open_tsv(file)
    format = known_format(rows.columns, own)
    split_columns(file, rows.columns, format)
    return ProblemFile(path, format, [rows], file.name.stem, index)


def open_json(path: str | Path, file: DataFile, own: Format) -> ProblemFile:
    """A list of chats, or an object of problems, as data sets are published; told apart by their keys."""
    named = file.name.stem
    if index := load_index(path, stamps_of([file])):
        format = BY_NAME[index.origin["format"]]
        return ProblemFile(path, format, [index.json_rows(file)], named, index)
    rows, keys = open_document(file)
    format = known_format(keys | ({"pid"} if rows.pids else set()), own)
    if format is not own:
        return ProblemFile(path, format, [rows], named)
    if "conversations" in keys:
        return ProblemFile(path, MATHV360K, [rows], named)
    if {"question", "question_type"} <= keys:
        return ProblemFile(path, MATHVISTA, [rows], named)
    if not len(rows):
        return ProblemFile(path, OWN_ROWS, [rows], named)
    raise UserError(
        f"{path} is neither MathV360K's list (conversations) nor MathVista's object (question_type); "
        f"its keys are {', '.join(sorted(keys)) or 'none'}; write other problems as .jsonl, one a line"
    )


def open_folder(path: str | Path, folder: Folder, own: Format) -> ProblemFile:
    names = list(filter(is_shown, folder.names()))
    if splits := saved_splits(names):
        if len(splits) > 1:
            raise several_splits(folder, splits)
        return open_folder(path, folder.below(splits[0]), own)
    if streams := saved_streams(folder, names):
        return open_tables(path, streams, own, folder.name)
    for place in ("", "data/"):
        parts = [name for name in names if re.fullmatch(rf"{place}[^/]*\.parquet", name)]
        splits = sorted({split_name(PurePosixPath(part)) for part in parts})
        if len(splits) > 1:
            raise several_splits(folder, [place + split_pattern(split, parts) for split in splits])
        if parts:
            return open_tables(path, [folder.file(part) for part in parts], own, folder.name)
    held = ", ".join([name for name in names if "/" not in name][:8])
    raise UserError(f"{folder} holds no problems that can be read; {KINDS}; it holds {held or 'nothing'}")


def saved_splits(names: Sequence[str]) -> list[str]:
    """The splits of a folder that `DatasetDict.save_to_disk` wrote; none if it is something else."""
    if "state.json" in names:
        return []
    return [name.removesuffix("/state.json") for name in names if name.endswith("/state.json")]


def saved_streams(folder: Folder, names: Sequence[str]) -> list[DataFile]:
    """The Arrow files of a folder that `Dataset.save_to_disk` wrote, without caches beside them."""
    if "state.json" not in names:
        streams = [name for name in names if re.fullmatch(r"(?!cache-)[^/]*\.arrow", name)]
        return [folder.file(name) for name in streams]
    state = folder.file("state.json")
    try:
        streams = [entry["filename"] for entry in json.loads(state.local().read_text())["_data_files"]]
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(
            f"{state} names no data files; it must list them under _data_files; save the data set again"
        ) from error
    try:
        return [folder.file(name) for name in streams]
    except FileNotFoundError as error:
        raise UserError(
            f"{error.filename} is missing though {state} names it; copy the whole folder again"
        ) from error


def split_name(part: PurePath) -> str:
    """The split that a Parquet file says it belongs to, "" if it does not say."""
    numbered = PART_NAME.match(part.stem)
    return numbered["split"] if numbered else part.stem if part.stem.lower() in SPLIT_NAMES else ""


def split_pattern(split: str, parts: Sequence[str]) -> str:
    mine = [name for name in map(PurePosixPath, parts) if split_name(name) == split]
    return mine[0].name if len(mine) == 1 else f"{split}-*.parquet"


def several_splits(folder: Folder, names: Sequence[str]) -> UserError:
    choices = " or ".join(f"{folder}/{name}" for name in names)
    return UserError(f"{folder} holds several splits; problems are one split; give {choices}")


def open_tables(path: str | Path, files: Sequence[DataFile], own: Format, named: str = "") -> ProblemFile:
    """Parquet or Arrow files as one; the columns of the first say which format they all have."""
    format = known_format(column_names(files[0]), own)
    parts: list[Part] = [
        ArrowRows(file, format) if file.name.suffix == ".arrow" else ParquetRows(file, format)
        for file in files
    ]
    source = named or split_name(files[0].name) or files[0].name.stem
    return ProblemFile(path, format, parts, source)
