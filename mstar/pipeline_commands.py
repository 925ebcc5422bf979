"""`mstar pipeline`: runs on Kubeflow Pipelines, from compiling to their logs. Needs the extra `pipelines`.

Imports are late here, as in cli.py.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from mstar.task_commands import Overrides

if TYPE_CHECKING:
    from mstar.config_cluster import Cluster
    from mstar.kubeflow.server import Server

pipeline_app = typer.Typer(
    no_args_is_help=True, help="Runs on Kubeflow Pipelines; see docs/kubeflow.md.", rich_markup_mode=None
)
Config = Annotated[
    str | None,
    typer.Argument(metavar="[CONFIG]", help="A config whose section `cluster` counts; its defaults without."),
]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Name or id of a pipeline run.")]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="URL", help="Kubeflow's API server; else KF_PIPELINES_ENDPOINT."),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", help="Where your runs are, on a server of many users; else KFP_NAMESPACE."),
]


@pipeline_app.command(name="compile")
def compile_command(
    config: Config = None,
    overrides: Overrides = None,
    output: Annotated[Path, typer.Option("--output", metavar="FOLDER", help="Where to write.")] = Path("."),
) -> None:
    """Write the pipelines as YAML, as the UI takes them."""
    from mstar.kubeflow.compiling import compile_pipelines

    for place in compile_pipelines(_cluster(config, overrides), output):
        print(place)


@pipeline_app.command()
def upload(
    config: Config = None, overrides: Overrides = None, host: Host = None, namespace: Namespace = None
) -> None:
    """Put the pipelines where the UI shows them, as their newest versions."""
    from mstar.kubeflow.compiling import compile_pipelines

    cluster, server = _cluster(config, overrides), _connect(host, namespace)
    with TemporaryDirectory() as folder:
        for place in compile_pipelines(cluster, Path(folder)):
            print(f"{place.stem}: version {server.upload(place.stem, place)}", flush=True)


@pipeline_app.command()
def start(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="The config of the run.")],
    overrides: Overrides = None,
    host: Host = None,
    namespace: Namespace = None,
    experiment: Annotated[str, typer.Option("--experiment", help="The group in the UI.")] = "mstar",
    account: Annotated[
        str | None,
        typer.Option("--service-account", help="As whom the pods run; the server's default without."),
    ] = None,
) -> None:
    """Start a run on the cluster, or go on with one."""
    from mstar.config_file import dump_config, load_config
    from mstar.kubeflow.compiling import compile_pipeline
    from mstar.kubeflow.reach import check_reach

    settings = load_config(config, overrides or [])
    check_reach(settings)
    server = _connect(host, namespace)
    cluster = settings.cluster.model_copy(update={"turns": settings.iterations.count})
    values = {"config": dump_config(settings), "overrides": [], "iterations": 0, "shards": cluster.shards}
    with TemporaryDirectory() as folder:
        place = Path(folder) / "mstar-evolve.yaml"
        compile_pipeline("mstar-evolve", cluster, place)
        run_id = server.start(settings.name, place, values, experiment, account)
    print(f"{settings.name}: started as {run_id}\n{server.page_of(run_id)}", flush=True)


@pipeline_app.command()
def status(run: Run, host: Host = None, namespace: Namespace = None) -> None:
    """Say how far a run is, task by task. Exit code 1 if it has failed."""
    found = _connect(host, namespace).find(run)
    print(f"{found.display_name} {found.run_id}: {found.state or 'PENDING'}")
    details = found.run_details.task_details if found.run_details else None
    for task in sorted(details or [], key=lambda one: str(one.create_time)):
        if task.display_name:
            print(f"  {task.state or 'PENDING':10} {task.display_name}")
    if found.state == "FAILED":
        raise typer.Exit(1)


@pipeline_app.command()
def logs(
    run: Run,
    stage: Annotated[str | None, typer.Option("--stage", metavar="VERB", help="Only of this stage.")] = None,
    host: Host = None,
    namespace: Namespace = None,
) -> None:
    """Print what the pods of a run have said, as long as they are kept."""
    from mstar.kubeflow.pods import read_logs

    server = _connect(host, namespace)
    for pod, text in read_logs(server.find(run).run_id, server.address.namespace or "kubeflow", stage):
        print(f"== {pod}\n{text}", end="", flush=True)


@pipeline_app.command()
def cancel(run: Run, host: Host = None, namespace: Namespace = None) -> None:
    """End a run's pods; what is finished is kept, and the run goes on when it is started again."""
    server = _connect(host, namespace)
    found = server.find(run)
    server.cancel(found.run_id)
    print(f"{found.display_name} {found.run_id}: canceled")


def _connect(host: str | None, namespace: str | None) -> "Server":
    from mstar.kubeflow.server import Address, Server

    return Server(Address.find(host, namespace))


def _cluster(config: str | None, overrides: list[str] | None) -> "Cluster":
    from mstar.config_cluster import Cluster
    from mstar.config_file import load_config
    from mstar.errors import UserError

    if config is not None:
        return load_config(config, overrides or []).cluster
    if overrides:
        raise UserError(f"--set {overrides[0]} needs a CONFIG that it overrides")
    return Cluster()
