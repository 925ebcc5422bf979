"""`mstar datasets`: published sets as problem files, and training problems that stand in test sets.

Imports are late here, as in cli.py.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mstar.datasets.contamination import Kind
    from mstar.presets import Preset
    from mstar.presets.provenance import Written

datasets_app = typer.Typer(
    no_args_is_help=True, help="Published data sets, and what of them overlaps.", rich_markup_mode=None
)
Drop = Annotated[
    str | None,
    typer.Option(
        "--drop",
        metavar="KIND",
        help="Leave out training problems that stand in a test set: exact; near (and exact); or image (both, "
        "and other questions about an image that is near).",
    ),
]


@datasets_app.command(name="list")
def list_presets() -> None:
    """The presets: what each is made of, where it is published, under which licence."""
    from mstar.presets import PRESETS

    for preset in PRESETS.values():
        print(f"{preset.name}: {preset.summary}")
        for published in preset.sets:
            print(f"  {published.title}: {published.address} ({published.paper})")
            print(f"    licence: {published.licence}")


@datasets_app.command()
def prepare(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A preset; see mstar datasets list.")],
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="ADDRESS",
            help="Folder, s3:// or hf:// address of the set; SET=ADDRESS where there are several.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", metavar="FOLDER", help="Folder or s3:// address to write to; NAME if left out."
        ),
    ] = None,
    drop: Drop = None,
) -> None:
    """Write a preset's train, validation and test files, with their images and where they are from."""
    from mstar.presets.preparing import prepare as write_preset
    from mstar.progress import build_progress

    preset, folder = named_preset(name), output or name
    done = write_preset(preset, addresses_of(preset, sources or []), folder, kind_of(drop), build_progress())
    print(settings_of(done.files, folder), end="")


@datasets_app.command()
def contamination(
    train: Annotated[str, typer.Argument(metavar="TRAIN", help="Training problems.")],
    tests: Annotated[list[str], typer.Argument(metavar="TEST...", help="Test sets.")],
    drop: Drop = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            metavar="FOLDER",
            help="Folder or s3:// address where all matches, and with --drop the rest, go.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="KEY=NAME", help="Your own name of a column; may be repeated."),
    ] = None,
) -> None:
    """Count training problems that stand in test sets, exactly or nearly. Exit code 1 if there are some."""
    from mstar.datasets import Reading, parse_columns
    from mstar.presets.comparing import compare_files

    reading = Reading(columns=parse_columns(columns or []))
    found = compare_files(train, tests, reading, kind_of(drop), output)
    for line in found.lines:
        print_line(line)
    if found.repeated and drop is None:
        raise typer.Exit(1)


def named_preset(name: str) -> "Preset":
    from mstar.errors import UserError
    from mstar.presets import PRESETS

    if name not in PRESETS:
        raise UserError(f"there is no preset {name}; it must be one of {', '.join(PRESETS)}")
    return PRESETS[name]


def addresses_of(preset: "Preset", given: Sequence[str]) -> dict[str, str]:
    """The address of each set, from SET=ADDRESS, or from ADDRESS where there is one set."""
    from mstar.errors import UserError

    names, found = [published.name for published in preset.sets], dict[str, str]()
    for text in given:
        name, equals, address = text.partition("=")
        if not equals or name not in names:
            name, address = names[0], text
        if name in found or not address or (address == text and len(names) > 1):
            raise UserError(
                f"--from is {text}; write SET=ADDRESS, once for each set; the sets of {preset.name} are "
                f"{', '.join(names)}"
            )
        found[name] = address
    return found


def kind_of(text: str | None) -> "Kind | None":
    from mstar.datasets.contamination import KINDS
    from mstar.errors import UserError

    if text is not None and text not in KINDS:
        raise UserError(f"--drop is {text}; it must be one of {', '.join(KINDS)}")
    return next((kind for kind in KINDS if kind == text), None)


def settings_of(files: "Mapping[str, Written]", output: str) -> str:
    """The section of a configuration that uses these files; its first test set is the one that every
    iteration is measured on.
    """
    import yaml

    from mstar.presets.writing import place_of

    paths = {name.removesuffix(".jsonl"): place_of(output, name) for name in files}
    paths.pop("rest", None)
    data: dict[str, object] = {name: paths.pop(name) for name in ("train", "validation") if name in paths}
    data["tests"] = {name: paths[name] for name in sorted(paths, key=lambda name: name != "heldout")}
    if any(file.placed_images for file in files.values()):
        data["columns"] = {"question": "question"}  # so that <image> is read as the place of one
    text: str = yaml.safe_dump({"data": data}, sort_keys=False, allow_unicode=True)
    return text


def print_line(line: str) -> None:
    from mstar.datasets.values import printable

    print(printable(line), flush=True)
