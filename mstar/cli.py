"""The command line. Parses first and imports late, so that `mstar --help` answers at once.

Whatever the user can put right ends in one clear line on standard error and exit code 2; see errors.py.
"""

import atexit
import gc
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mstar import __version__
from mstar.dataset_commands import datasets_app
from mstar.pipeline_commands import pipeline_app
from mstar.run_commands import RUN_COMMANDS
from mstar.stage_commands import STAGE_COMMANDS, MetricsPort
from mstar.task_commands import TASK_COMMANDS, ConfigSource, Overrides

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
problems_app = typer.Typer(no_args_is_help=True, help="Look at problem files.", rich_markup_mode=None)
app.add_typer(problems_app, name="problems")
app.add_typer(datasets_app, name="datasets")
app.add_typer(pipeline_app, name="pipeline")
EXTRAS = {
    **dict.fromkeys(("torch", "transformers", "safetensors"), "local"),
    **dict.fromkeys(("kfp", "kubernetes", "urllib3"), "pipelines"),
}
"""What installs a package that commands import late."""
Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="KEY=NAME", help="Your own name of a column, question=problem; may be repeated."
    ),
]
REPORTING = ("triton", "vllm")
"""Packages that print dozens of lines, when all is over, about what has not been freed by then."""


def _print_version(asked: bool) -> None:
    if asked:
        print(f"mstar {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Self-evolving training for multimodal reasoning: a model learns from its own best responses."""


@app.command()
def init(
    model: Annotated[
        str,
        typer.Option("--model", metavar="MODEL", help="Checkpoint folder, or id on a hub."),
    ],
    train: Annotated[str, typer.Option("--train", metavar="FILE", help="Problems to learn from.")],
    validation: Annotated[
        str | None,
        typer.Option("--validation", metavar="FILE", help="Problems that choose the temperature."),
    ] = None,
    tests: Annotated[
        list[str] | None,
        typer.Option(
            "--test", metavar="FILE", help="A test set; may be repeated, the first is the main one."
        ),
    ] = None,
    prm: Annotated[str | None, typer.Option("--prm", metavar="MODEL", help="A process reward model.")] = None,
    output: Annotated[Path, typer.Option("--output", metavar="CONFIG", help="Where to write.")] = Path(
        "config.yaml"
    ),
    columns: Columns = None,
) -> None:
    """Look at a model and at problem files, here or at their addresses, and write a commented config."""
    from mstar.datasets import parse_columns
    from mstar.init_config import Wanted, write_config

    own = parse_columns(columns or [])
    for line in write_config(Wanted(model, train, validation, tuple(tests or ()), prm, output, own)):
        print(line)


@app.command()
def run(
    config: ConfigSource,
    overrides: Overrides = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Run the whole loop, or go on with a run that was interrupted."""
    from mstar.config_file import load_config
    from mstar.progress import build_progress, going_on, opening

    port = [f"tracking.metrics_port={metrics_port}"] if metrics_port else []
    settings = load_config(config, [*(overrides or []), *port])
    if settings.tracking.to:
        from mstar.trackers import check_trackers

        check_trackers(settings.tracking.to)
    progress = build_progress()
    progress.note(opening(settings.name, settings.output))
    from mstar.starting import finished_iterations, look_at, planned_iterations, write_start

    started = look_at(settings, progress)
    with started.storage.hold():
        write_start(started)
        done, planned = finished_iterations(started), planned_iterations(started)
        if place := going_on(started.is_finished, done, planned):
            progress.note(place)
        from mstar.loop import evolve
        from mstar.report.headline import say_headline
        from mstar.run_metrics import open_metrics
        from mstar.tracking import open_tracking

        with (
            open_metrics(started, settings.tracking.metrics_port, progress) as metrics,
            open_tracking(started) as tracking,
        ):
            summary = evolve(started, metrics, tracking, progress)
            progress.note(say_headline(summary))
            print(f"report: {settings.output.rstrip('/')}/report.html", flush=True)


@app.command()
def plan(
    config: ConfigSource,
    overrides: Overrides = None,
    trial: Annotated[
        bool,
        typer.Option("--trial", help="Measure what the run has not: sample and train a little, in a minute."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it for programs.")] = False,
) -> None:
    """Say what a run will take, or what is left of it: responses, tokens, steps, bytes, hours."""
    from mstar.config_file import load_config
    from mstar.plan.forecast import plan_config
    from mstar.plan.table import say_plan
    from mstar.records import to_json

    if trial:
        print("trying out what the run has not measured, for about a minute", file=sys.stderr)
    found = plan_config(load_config(config, overrides or []), trial)
    print(to_json(found) if as_json else "\n".join(say_plan(found)), end="" if as_json else "\n")


for stage_command in STAGE_COMMANDS:
    app.command()(stage_command)


for run_command in (*TASK_COMMANDS, *RUN_COMMANDS):
    app.command()(run_command)


@app.command()
def config(
    path: Annotated[str | None, typer.Argument(metavar="CONFIG", help="The YAML file of a run.")] = None,
    overrides: Overrides = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of all settings.")] = False,
) -> None:
    """Check a config and print it with every default filled in, or print the schema."""
    import json

    from mstar.config import Config
    from mstar.config_file import dump_config, load_config
    from mstar.errors import UserError

    if schema:
        print(json.dumps(Config.model_json_schema(), indent=2))
    elif path is None:
        raise UserError("mstar config needs a CONFIG file, or --schema")
    else:
        print(dump_config(load_config(path, overrides or [])), end="")


@problems_app.command()
def check(
    file: Annotated[
        str,
        typer.Argument(metavar="FILE", help="JSONL, Parquet or a dataset folder, here, at s3:// or hf://."),
    ],
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Also ask this model's processor: folder, hub id or CONFIG."),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="Look into no more rows than these (images, model).")
    ] = None,
    columns: Columns = None,
) -> None:
    """Read a problem file whole, count what is in it, and name every bad row. Exit code 1 if there is one."""
    from rich.console import Console

    from mstar.datasets import Reading, parse_columns
    from mstar.datasets.check_lines import print_check
    from mstar.datasets.checking import check_problems

    reading = Reading(columns=parse_columns(columns or []))
    check_with = None
    if model is not None:
        from mstar.preflight import check_for_model

        check_with = check_for_model(model)
    result = check_problems(file, check_with, sample, reading)
    print_check(result, Console())
    if result.bad:
        raise typer.Exit(1)


@app.command()
def answers(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="JSONL of answer or answers, answer_type, choices, precision, unit, response.",
        ),
    ],
) -> None:
    """Judge the responses of a file; prints its rows with `extracted` and `correct`. Exit code 1 if a row is
    bad.
    """
    from mstar.response_file import judge_file

    counts = judge_file(file, sys.stdout)
    for line in counts.errors:
        print(line, file=sys.stderr)
    print(
        f"{counts.judged} judged, {counts.correct} correct, {counts.timed_out} timed out, "
        f"{counts.failed} failed, {counts.bad} bad",
        file=sys.stderr,
    )
    if counts.bad:
        raise typer.Exit(1)


def main() -> None:
    """The command of `sys.argv`."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, stream=sys.stderr)
    atexit.register(_skip_last_collections)
    _guarded(app)


def _skip_last_collections() -> None:
    """Those of the interpreter's end walk all of torch for a second. torch's optimizers import triton."""
    if sys.modules.keys().isdisjoint(REPORTING):
        gc.freeze()


def _guarded(command: Callable[[], None]) -> None:
    from mstar.errors import UserError

    try:
        command()
    except UserError as error:
        _fail(str(error))
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        _fail(
            f"{error.filename or 'the disk'}: {error.strerror}; put it right and start the same command again"
        )
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":
            raise
        _fail(
            "the device's memory is full; lower generate.rows_in_flight (in a new output), "
            "score.tokens_per_batch or train.tokens_per_micro_batch, or take a larger device"
        )
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(error.name or "")
        if extra is None:
            raise
        _fail(f"{error.name} is not installed; this command needs it: pip install 'mstar[{extra}]'")


def _fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
