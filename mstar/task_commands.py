"""The commands with which a pipeline begins a run and each of its turns; a person starts `mstar run` instead.

Imports are late here, as in cli.py.
"""

from typing import Annotated

import typer

from mstar.stage_commands import ExecutorInput, Iteration, RunPath, read_outputs

ConfigSource = Annotated[
    str, typer.Argument(metavar="CONFIG", help="The YAML file of the run, its address at s3://, or its text.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one setting; may be repeated."),
]
Shards = Annotated[int, typer.Option("--shards", min=1, max=1000, help="Machines that share a stage.")]


def prepare(
    config: ConfigSource,
    overrides: Overrides = None,
    more_overrides: Annotated[
        str, typer.Option("--overrides", metavar="JSON", help="The same as one JSON list.", hidden=True)
    ] = "[]",
    iterations: Annotated[
        int, typer.Option("--iterations", min=0, help="Turns of the loop; 0 leaves what the config says.")
    ] = 0,
    at_most: Annotated[
        int | None, typer.Option("--at-most", min=1, help="Refuse a run of more turns.", hidden=True)
    ] = None,
    shards: Shards = 1,
    executor_input: ExecutorInput = None,
) -> None:
    """Write the folder of a run whose stages are started one by one, with `mstar generate` and the others."""
    from mstar.config_file import load_config
    from mstar.progress import build_progress, opening
    from mstar.starting import look_at, write_start
    from mstar.turns import check_turns, parse_overrides, shares_of

    outputs = read_outputs(executor_input)
    counted = [f"iterations.count={iterations}"] if iterations else []
    settings = load_config(config, [*(overrides or []), *parse_overrides(more_overrides), *counted])
    check_turns(settings, at_most)
    progress = build_progress()
    progress.note(opening(settings.name, settings.output))
    started = look_at(settings, progress, trains_here=False)
    with started.storage.hold():
        write_start(started)
    print(f"run: {settings.output}", flush=True)
    if outputs is not None:
        found = {"run": settings.output, "shares": shares_of(shards)}
        outputs.write(found, {})


def begin(run: RunPath, iteration: Iteration, executor_input: ExecutorInput = None) -> None:
    """Say whether a turn of the loop is next, finished, or not in the run."""
    from mstar.starting import open_run
    from mstar.turns import begin as look

    outputs = read_outputs(executor_input)
    found = look(open_run(run), iteration)
    print(found.reason, flush=True)
    if outputs is not None:
        outputs.write({"skip": found.skip}, {"temperature": found.temperature})


TASK_COMMANDS = (prepare, begin)
