"""Data sets on a hub: `hf://datasets/owner/name[@revision][/path]`.

The path is a file of the data set, a folder of it, or a split: `train` stands for the Parquet files of that
split, or for `train.jsonl`. They are fetched whole into the hub library's own cache: a hub is far away and
counts requests, and a run reads its problems in every iteration. So mirrors (HF_ENDPOINT), working offline
(HF_HUB_OFFLINE), logins (HF_TOKEN) and broken downloads are that library's business, and what it left is
read as any folder.
"""

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from mstar.addresses import HUB, scheme_of
from mstar.datasets.files import DataFile, Folder, LocalFile, LocalFolder, NotThere
from mstar.datasets.opening import split_name
from mstar.errors import UserError

ADDRESS = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)(?:@([^/]+))?(?:/(.*))?")
TEXTS = (".jsonl", ".json")
FACTS = ("README.md", ".gitattributes")
"""Small files that data sets have: fetched to learn which commit is meant."""
NO_IMAGES = ("*.parquet", "*.arrow", "*.jsonl", "*.json", "*.csv", "*.zip", "*.tar", "*.gz")
SHOWN = 8


@dataclass(frozen=True, slots=True)
class HubAddress:
    """`revision` is a branch, a tag or a commit; None is the main branch."""

    id: str
    revision: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "HubAddress":
        """UserError where it is none."""
        found = ADDRESS.fullmatch(text)
        if not found:
            raise UserError(
                f"{text} names no data set on a hub; write hf://datasets/owner/name or "
                "hf://datasets/owner/name/split"
            )
        id, revision, path = found.groups()
        return cls(id, unquote(revision) if revision else None, (path or "").strip("/"))

    def __str__(self) -> str:
        revision = f"@{quote(self.revision, safe='')}" if self.revision else ""
        return f"hf://datasets/{self.id}{revision}" + (f"/{self.path}" if self.path else "")


def pin(text: str) -> str:
    """The address with the commit that its branch or tag names today."""
    address = HubAddress.parse(text)
    return str(replace(address, revision=fetch(address, FACTS).name))


def pinned_before(text: str, before: str | None) -> str:
    """What was pinned before, where the address names no revision and is the same otherwise."""
    if before is None or not scheme_of(text) == scheme_of(before) == HUB:
        return text
    ours, theirs = HubAddress.parse(text), HubAddress.parse(before)
    return before if ours == replace(theirs, revision=None) else text


def find_on_hub(text: str) -> Folder | list[DataFile]:
    """The files of the problems at an address, or the folder that `save_to_disk` wrote; fetched now."""
    address = HubAddress.parse(text)
    address = replace(address, revision=fetch(address, FACTS).name)
    names = names_of(address)
    if f"{address.path}/state.json".lstrip("/") in names:
        return LocalFolder(fetch(address, [f"{address.path}/*".lstrip("/")]) / address.path)
    chosen = choose(names, address)
    folder = fetch(address, chosen)
    if chosen[0].endswith(TEXTS):
        beside = PurePosixPath(chosen[0]).parent.as_posix()
        fetch(address, ["*" if beside == "." else f"{beside}/*"], NO_IMAGES)
    return [LocalFile(folder / name) for name in chosen]


def choose(names: Sequence[str], address: HubAddress) -> list[str]:
    """Those of a data set's files that an address means; UserError where it means none, or several sets."""
    sets = defaultdict(list)
    for name in map(PurePosixPath, names):
        if name.suffix in (".parquet", *TEXTS) and not name.name.startswith("."):
            sets[shown(name)].append(name.as_posix())
    wanted = address.path
    if parts := sorted(fnmatch.filter(names, wanted)):
        return parts
    exact = [files for own, files in sets.items() if wanted in (own, *files)]
    below = [own for own in sets if is_meant(PurePosixPath(own), wanted)]
    if exact or len(below) == 1:
        return sorted(exact[0] if exact else sets[below[0]])
    choices = [str(replace(address, path=own)) for own in sorted(below or sets)]
    listed = " or ".join(choices[:SHOWN]) + (f" and {len(choices) - SHOWN} more" if choices[SHOWN:] else "")
    if not sets:
        raise UserError(f"{address} holds no Parquet or JSON files; convert it, see docs/problems.md")
    if below:
        raise UserError(f"{address} holds several sets; problems are one; give {listed}")
    raise NotThere(f"{address} is not there; give {listed}")


def shown(name: PurePosixPath) -> str:
    """How an address names the set that a file belongs to: folder and split; `data` needs no mention."""
    own = (split_name(name) or "") if name.suffix == ".parquet" else name.name
    folder = name.parent if name.parent.name != "data" else name.parent.parent
    return (folder / own).as_posix()


def is_meant(own: PurePosixPath, wanted: str) -> bool:
    """Whether a set is in the folder, or is the split, that is wanted."""
    return not wanted or own.is_relative_to(wanted) or wanted in (own.name, own.stem)


def names_of(address: HubAddress) -> list[str]:
    """The files of a data set at a commit; without a network, those that were fetched before."""
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.hf_api import RepoFile

    if HF_HUB_OFFLINE:
        folder = fetch(address, FACTS)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    with told(address):
        tree = HfApi().list_repo_tree(
            address.id, recursive=True, revision=address.revision, repo_type="dataset"
        )
        return [entry.path for entry in tree if isinstance(entry, RepoFile)]


def fetch(address: HubAddress, patterns: Sequence[str], ignored: Sequence[str] = ()) -> Path:
    """The folder of a commit in the hub library's cache, with the files that match."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    with told(address):
        return Path(
            snapshot_download(
                address.id,
                repo_type="dataset",
                revision=address.revision,
                allow_patterns=list(patterns),
                ignore_patterns=list(ignored),
            )
        )


@contextmanager
def told(address: HubAddress) -> Iterator[None]:
    """One line for whatever the hub library cannot do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith(("huggingface_hub.", "httpx", "httpcore")):
            raise
        reason = next(iter(str(error).split("\n")), "") or type(error).__name__
        raise UserError(
            f"{address} cannot be had from the hub ({reason[:200]}); correct it, check the network, or "
            "set HF_TOKEN if it needs a login"
        ) from None
