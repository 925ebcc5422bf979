"""The commands that look after a run that was started: its report and policies, what is damaged, what may go.

Imports are late here, as in cli.py.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from mstar.metrics_commands import metrics
from mstar.stage_commands import ExecutorInput, Page, read_outputs

RunAddress = Annotated[str, typer.Argument(metavar="RUN", help="Folder or s3:// address of a run.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it for programs.")]


def report(run: RunAddress, executor_input: ExecutorInput = None, page: Page = None) -> None:
    """Build report.html, summary.json and metrics.jsonl of a run anew."""
    from mstar.progress import build_progress
    from mstar.report.page import write_report
    from mstar.run_metrics import retire_if_ended
    from mstar.starting import open_run
    from mstar.task_outputs import copy_page, figures_of

    outputs, opened = read_outputs(executor_input), open_run(run)
    summary = write_report(opened)
    print(f"report: {run.rstrip('/')}/report.html", flush=True)
    if page is not None:
        copy_page(opened, page)
    if outputs is not None:
        outputs.write({}, figures_of(summary))
    retire_if_ended(opened, build_progress())


def export(
    run: RunAddress,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write; new or empty.")],
    iteration: Annotated[
        int | None,
        typer.Option("--iteration", min=0, help="The policy after this one, from 0; else the last finished."),
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="The policy most accurate on the first test set.")
    ] = False,
    adapter: Annotated[bool, typer.Option("--adapter", help="Only the adapter, not merged.")] = False,
) -> None:
    """Write a policy of a run as a plain Hugging Face folder, with a model card."""
    from mstar.export import Choice
    from mstar.export import export as export_policy
    from mstar.starting import open_run

    written = export_policy(open_run(run), folder, Choice(iteration, best), adapter)
    size = f"{written.bytes / 1e9:.3f} GB"
    print(f"{written.folder}: the policy after iteration {written.iteration}, {size}")


def verify(
    run: RunAddress, as_json: AsJson = False, executor_input: ExecutorInput = None, page: Page = None
) -> None:
    """Read all that counts in a run, and name what is damaged, missing or left over. Exit code 1 if something
    is damaged or missing.
    """
    from mstar.progress import QUIET, build_progress
    from mstar.records import to_json
    from mstar.storage import build_storage
    from mstar.task_outputs import write_page
    from mstar.verification import say_findings, say_verified
    from mstar.verification import verify as verify_run

    outputs = read_outputs(executor_input)
    found = verify_run(run, build_storage(run), QUIET if as_json else build_progress())
    if as_json:
        print(to_json(found), end="")
    else:
        print("\n".join((*say_findings(found), say_verified(found))), flush=True)
    if page is not None:
        write_page(
            page,
            "\n".join([f"**{say_verified(found)}**", "", *(f"- {line}" for line in say_findings(found))]),
        )
    if outputs is not None:
        outputs.write({}, {"files": found.files, "bytes": found.bytes, "findings": len(found.findings)})
    if not found.is_whole:
        raise typer.Exit(1)


def clean(
    run: RunAddress,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it without asking.")] = False,
) -> None:
    """Delete what does not count in a run: leftovers of killed processes, and checkpoints that
    train.keep_checkpoints does not keep.
    """
    from mstar.cleaning import clean as clean_run
    from mstar.cleaning import plan_cleaning, say_amount
    from mstar.errors import UserError
    from mstar.starting import open_run

    opened = open_run(run)
    planned = plan_cleaning(opened)
    for one in (*planned.left, *planned.deleted):
        print(f"{one.state:11} {one.key}: {one.reason}")
    if not planned.deleted:
        print(f"{run}: there is nothing to delete")
        return
    if dry_run:
        print(f"{run}: {say_amount(planned)} would be deleted")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise UserError(f"nothing is deleted without being asked for; mstar clean {run} --yes does it")
        if not typer.confirm(f"delete {say_amount(planned)} of {run}?"):
            print("nothing was deleted")
            return
    print(f"{run}: {say_amount(clean_run(opened, planned))} deleted")


RUN_COMMANDS = (report, export, verify, clean, metrics)
