"""The published sets that are known, and the presets that are made of them.

A set's files are looked for under these names, in this order, at its address; names with `*` stand for all
parts of a split. Licences are those that the publishers state, at the places that docs/datasets.md names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["train", "validation", "test"]
MSTAR_TRAIN, MSTAR_VALIDATION, MSTAR_HELDOUT = 180_000, 250, 750
"""Problems of MathV360K: half are trained on, others measured, few choose temperatures (arXiv 2412.17451)."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split of a set. `rows` filters by the keys of its rows, `sources` by a problem's source."""

    role: Role
    names: tuple[str, ...]
    rows: Mapping[str, str] = field(default_factory=dict)
    """For files that hold several splits."""
    sources: frozenset[str] = frozenset()
    suffix: str = ""
    """Of the test set's name, where a set has several."""


@dataclass(frozen=True, slots=True, eq=False)
class PublishedSet:
    """`archives` are zip files with its images, for where these are not unpacked."""

    name: str
    title: str
    address: str
    licence: str
    paper: str
    splits: tuple[Split, ...]
    archives: tuple[str, ...] = ()
    drawn_validation: int = 0
    """Problems that are drawn from its training split, where it has no validation split."""
    drawn_heldout: int = 0


@dataclass(frozen=True, slots=True)
class Preset:
    """`train` gives training and validation problems, the test splits of `tests` the test sets."""

    name: str
    summary: str
    train: PublishedSet | None
    tests: tuple[PublishedSet, ...]
    most_train: int | None = None
    """Training problems; what is left over is written beside them."""

    @property
    def sets(self) -> tuple[PublishedSet, ...]:
        return tuple(dict.fromkeys([*([self.train] if self.train else []), *self.tests]))


def parquet(split: str) -> tuple[str, ...]:
    """A split's Parquet files, in a folder `data` or not."""
    return f"data/{split}-*.parquet", f"{split}-*.parquet", f"{split}.parquet"


MATHV360K = PublishedSet(
    name="mathv360k",
    title="MathV360K",
    address="hf://datasets/Zhiqiang007/MathV360K",
    licence="none stated on the hub; see the source, and those of the 24 sets it is made of",
    paper="arXiv 2406.17294",
    splits=(Split("train", ("train_samples_all_tuning.json",)),),
    archives=("data_images.zip",),
    drawn_validation=MSTAR_VALIDATION,
    drawn_heldout=MSTAR_HELDOUT,
)
MATHVISTA = PublishedSet(
    name="mathvista",
    title="MathVista",
    address="hf://datasets/AI4Math/MathVista",
    licence="CC BY-SA 4.0; images as their own sources state",
    paper="arXiv 2310.02255",
    splits=(
        Split("test", (*parquet("testmini"), "testmini.json", "data/testmini.json", "annot_testmini.json")),
    ),
    archives=("images.zip",),
)
M3COT = PublishedSet(
    name="m3cot",
    title="M3CoT",
    address="hf://datasets/LightChen2333/M3CoT",
    licence="CC BY-SA 4.0",
    paper="arXiv 2405.16473",
    splits=(
        Split("train", (*parquet("train"), "train.jsonl", "data/train.jsonl")),
        Split("validation", (*parquet("validation"), "dev.jsonl", "data/dev.jsonl")),
        Split("test", (*parquet("test"), "test.jsonl", "data/test.jsonl")),
    ),
)
MMSTAR_FILES = ("mmstar.parquet", *parquet("val"), "MMStar.tsv")
MMSTAR = PublishedSet(
    name="mmstar",
    title="MMStar",
    address="hf://datasets/Lin-Chen/MMStar",
    licence="see the source",
    paper="arXiv 2403.20330",
    splits=(
        Split("test", MMSTAR_FILES),
        Split(
            "test",
            MMSTAR_FILES,
            sources=frozenset({"instance reasoning", "logical reasoning"}),
            suffix="-reasoning",
        ),
    ),
)
MMBENCH_FILES = (
    "en/dev-*.parquet",
    *parquet("dev"),
    *parquet("validation"),
    "MMBench_DEV_EN.tsv",
    "MMBench_DEV_EN_V11.tsv",
    "mmbench_dev_en_20231003.tsv",
)
MMBENCH = PublishedSet(
    name="mmbench",
    title="MMBench (English, dev)",
    address="hf://datasets/lmms-lab/MMBench",
    licence="see the source",
    paper="arXiv 2307.06281",
    splits=(
        Split("test", MMBENCH_FILES),
        Split(
            "test",
            MMBENCH_FILES,
            sources=frozenset({"attribute_reasoning", "logic_reasoning", "relation_reasoning"}),
            suffix="-reasoning",
        ),
    ),
)
AI2D = PublishedSet(
    name="ai2d",
    title="AI2D",
    address="hf://datasets/lmms-lab/ai2d",
    licence="see the source",
    paper="arXiv 1603.07396",
    splits=(Split("test", (*parquet("test"), "AI2D_TEST.tsv", "questions/*.json")),),
)
SCIENCEQA = PublishedSet(
    name="scienceqa",
    title="ScienceQA",
    address="hf://datasets/derek-thomas/ScienceQA",
    licence="CC BY-SA 4.0 on the hub; see the source",
    paper="arXiv 2209.09513",
    splits=(
        Split("train", (*parquet("train"), "problems.json"), {"split": "train"}),
        Split("validation", (*parquet("validation"), "problems.json"), {"split": "val"}),
        Split("test", (*parquet("test"), "problems.json"), {"split": "test"}),
    ),
)
GEOMETRY3K = PublishedSet(
    name="geometry3k",
    title="Geometry3K",
    address="hf://datasets/hiyouga/geometry3k",
    licence="MIT on the hub; see the source",
    paper="arXiv 2105.04165",
    splits=(
        Split("train", (*parquet("train"), "train/*/data.json")),
        Split("validation", (*parquet("validation"), "val/*/data.json")),
        Split("test", (*parquet("test"), "test/*/data.json")),
    ),
)
GEO170K = PublishedSet(
    name="geo170k",
    title="Geo170K (GeoQA+ and Geometry3K, reworded)",
    address="hf://datasets/Luckyjhg/Geo170K",
    licence="none stated on the hub; see the source",
    paper="arXiv 2312.11370",
    splits=(Split("train", (*parquet("qa_tuning"), "qa_tuning.json")),),
    archives=("images.zip",),
    drawn_validation=MSTAR_VALIDATION,
    drawn_heldout=MSTAR_HELDOUT,
)
GEOQA = PublishedSet(
    name="geoqa",
    title="GeoQA (on the hub 8,000 problems with values as answers)",
    address="hf://datasets/leonardPKU/GEOQA_R1V_Train_8K",
    licence="see the source",
    paper="arXiv 2105.14517",
    splits=(Split("train", (*parquet("train"), "GeoQA3/json/*.json", "json/*.json")),),
    drawn_validation=MSTAR_VALIDATION,
    drawn_heldout=MSTAR_HELDOUT,
)
SETS = (
    MATHV360K,
    MATHVISTA,
    M3COT,
    MMSTAR,
    MMBENCH,
    AI2D,
    SCIENCEQA,
    GEOMETRY3K,
    GEO170K,
    GEOQA,
)


def alone(published: PublishedSet) -> Preset:
    """The preset of one set with its own splits."""
    has_train = any(split.role == "train" for split in published.splits)
    return Preset(published.name, published.title, published if has_train else None, (published,))


PRESETS: dict[str, Preset] = {
    "m-star": Preset(
        "m-star",
        "MathV360K and the five test sets of the M-STaR paper",
        MATHV360K,
        (MATHVISTA, M3COT, MMSTAR, MMBENCH, AI2D),
        most_train=MSTAR_TRAIN,
    ),
    **{published.name: alone(published) for published in SETS},
}
