"""The command that shows what Prometheus gets to know of a run."""

from typing import Annotated

import typer

from mstar.errors import UserError


def metrics(
    run: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="Folder or s3:// address of a run.")
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Print names, types, meanings and labels of all metrics.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Delete the run's metrics from the Pushgateway.")
    ] = False,
) -> None:
    """Print the metrics of a run as they stand, in Prometheus's format, or the table of all metrics."""
    if table:
        from mstar.metric_table import say_table

        print(say_table(), end="")
    elif run is None:
        raise UserError("mstar metrics needs a RUN, or --table")
    elif delete:
        _delete(run)
    else:
        _print(run)


def _print(run: str) -> None:
    from prometheus_client import generate_latest

    from mstar.run_metrics import stored_metrics
    from mstar.starting import open_run

    print(generate_latest(stored_metrics(open_run(run))).decode(), end="")


def _delete(run: str) -> None:
    from mstar.pushgateway import ADDRESS, open_gateway
    from mstar.starting import open_run

    with open_gateway(open_run(run).config) as gateway:
        if gateway is None:
            raise UserError(
                f"{run} has no Pushgateway: tracking.pushgateway is null and {ADDRESS} is not set"
            )
        gateway.delete()
        if not gateway.wait():
            raise typer.Exit(1)
        print(f"{run}: its metrics are deleted from {gateway.address}")
