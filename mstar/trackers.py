"""MLflow, W&B and TensorBoard, each by its own library, behind one small interface.

A tracker takes the figures of one finished stage at a time. Building one may ask a server, and every method
may; who calls them bears that they fail or hang (see tracking.py). Servers and secrets are named by the
libraries' own environment variables and by nothing else.
"""

import json
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from mstar.errors import UserError
from mstar.evaluation import REST
from mstar.fingerprints import effects, flat
from mstar.rundir import RunDir
from mstar.stages import STAGE_NAMES, stage_prefix
from mstar.storage import read_text, write_text

IDENTITY = "tracking/id"
"""Where a run keeps what its trackers know it by: its own wherever it lies and whatever its settings are."""
RUN_TAG = "mstar.run"
NEEDED_VARIABLES = {
    "mlflow": ("MLFLOW_TRACKING_URI",),
    "wandb": ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_MODE"),
    "tensorboard": (),
}
"""Environment variables of which one must be set, or the library cannot know where figures go."""
MOST_METRICS, MOST_PARAMETERS = 1000, 100
"""What one request to MLflow may hold."""

WANDB_SECONDS = 10.0
"""The longest that W&B waits for its server at a start and at an end: a command cannot end before that. What
was not sent lies on the disk, where `wandb sync` finds it.
"""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one finished stage amounted to, by name: `<stage>/<key of metrics.jsonl>`."""

    folder_name: str
    iteration: int | None
    finished: float
    """Seconds since the epoch."""
    values: dict[str, float]

    @property
    def place(self) -> str:
        return stage_prefix(self.folder_name, self.iteration)

    @property
    def step(self) -> int:
        """The iteration; the start is -1."""
        return -1 if self.iteration is None else self.iteration

    @property
    def number(self) -> int:
        """Rises from stage to stage over the whole run."""
        names = (*STAGE_NAMES, REST)
        return (self.step + 1) * len(names) + names.index(self.folder_name)


class Tracker(Protocol):
    def log(self, figures: Figures) -> None:
        """Take in a finished stage."""

    def finish(self, report: Path) -> None:
        """The run has come to its end; `report` is its page."""

    def close(self) -> None:
        """Nothing more comes from this process."""


def check_trackers(names: Sequence[str]) -> None:
    """Raise UserError for the first tracker that cannot work here: its library or its address is missing."""
    for name in names:
        if find_spec(name) is None:
            raise UserError(
                f"tracking.to has {name}, which is not installed; pip install 'mstar[{name}]', or take it out"
            )
        needed = NEEDED_VARIABLES[name]
        if needed and not any(variable in os.environ for variable in needed):
            raise UserError(
                f"tracking.to has {name}, but the environment does not say where to; set "
                f"{' or '.join(needed)} (see docs/tracking.md), or take it out"
            )


def build_tracker(name: str, run: RunDir) -> Tracker:
    """The tracker of that name, which goes on with what it has of the run already."""
    match name:
        case "mlflow":
            return MlflowTracker(run)
        case "wandb":
            return WandbTracker(run)
        case "tensorboard":
            return TensorboardTracker(run)
        case _:
            raise ValueError(f"there is no tracker {name}")


def run_identity(run: RunDir) -> str:
    """Made at the first need; the first of several processes decides."""
    write_text(run.storage, IDENTITY, os.urandom(8).hex() + "\n", replace=False)
    return read_text(run.storage, IDENTITY).strip()


def parameters(run: RunDir) -> dict[str, Any]:
    """The settings of a run by dotted key."""
    return flat(run.config.model_dump(mode="json"), set(effects()))


class MlflowTracker:
    """A run in MLflow, found again by a tag. Its parameters are those of its first start."""

    def __init__(self, run: RunDir) -> None:
        from mlflow import MlflowClient

        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells of every retry
        self._client = MlflowClient()
        identity, name = run_identity(run), run.config.tracking.project
        experiment = self._client.get_experiment_by_name(name)
        place = experiment.experiment_id if experiment else self._client.create_experiment(name)
        known = self._client.search_runs([place], f"tags.`{RUN_TAG}` = '{identity}'")
        tags = {RUN_TAG: identity}
        tracked = known[0] if known else self._client.create_run(place, run_name=run.config.name, tags=tags)
        self._id = tracked.info.run_id
        if known:
            self._client.update_run(self._id, status="RUNNING")
        self._log_parameters(run, tracked.data.params)

    def _log_parameters(self, run: RunDir, known: dict[str, str]) -> None:
        """Those that are not there yet: MLflow refuses another value."""
        from mlflow.entities import Param

        missing = [
            Param(key, value if isinstance(value, str) else json.dumps(value))
            for key, value in parameters(run).items()
            if key not in known
        ]
        for first in range(0, len(missing), MOST_PARAMETERS):
            self._client.log_batch(self._id, params=missing[first : first + MOST_PARAMETERS])

    def log(self, figures: Figures) -> None:
        """The last value goes last, and says whether the stage is there already."""
        from mlflow.entities import Metric

        history = self._client.get_metric_history(self._id, list(figures.values)[-1])
        if any(point.step == figures.step for point in history):
            return
        milliseconds = round(figures.finished * 1000)
        metrics = [Metric(key, value, milliseconds, figures.step) for key, value in figures.values.items()]
        for first in range(0, len(metrics), MOST_METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + MOST_METRICS])

    def finish(self, report: Path) -> None:
        self._client.log_artifact(self._id, str(report))
        self._client.set_terminated(self._id)

    def close(self) -> None:
        """Whatever was taken in has been sent."""


class WandbTracker:
    """A run in W&B under the run's own id. A stage always has the same step, so that what several processes
    have left on the disk fits together.
    """

    def __init__(self, run: RunDir) -> None:
        import wandb

        self._identity = run_identity(run)
        self._run = wandb.init(
            project=run.config.tracking.project,
            id=self._identity,
            name=run.config.name,
            resume="allow",
            config=parameters(run),
            allow_val_change=True,
            settings=wandb.Settings(
                console="off",
                silent=True,
                login_timeout=1,
                init_timeout=WANDB_SECONDS,
                finish_timeout=WANDB_SECONDS,
                x_transaction_log_flush_interval=0.1,
            ),
        )
        self._run.define_metric("*", step_metric="iteration")

    def log(self, figures: Figures) -> None:
        """Returns when W&B has written the stage to its own file: what is in memory goes with a kill."""
        size = self._written()
        self._run.log({**figures.values, "iteration": figures.step}, step=figures.number, commit=True)
        deadline = time.monotonic() + WANDB_SECONDS
        while self._written() == size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"nothing was written to {self._run.settings.sync_file}")
            time.sleep(0.02)

    def _written(self) -> int:
        file = Path(self._run.settings.sync_file)
        return file.stat().st_size if file.exists() else 0

    def finish(self, report: Path) -> None:
        import wandb

        page = wandb.Artifact(f"report-{self._identity}", type="report")
        page.add_file(str(report))
        self._run.log_artifact(page)

    def close(self) -> None:
        self._run.finish()


class TensorboardTracker:
    """One event file per stage, below `tensorboard/` in the run. TensorBoard reads them in the order of their
    names, and a stage that is there already keeps its file.
    """

    def __init__(self, run: RunDir) -> None:
        self._storage = run.storage

    def log(self, figures: Figures) -> None:
        from tensorboard.summary import Writer

        with self._storage.scratch() as folder:
            writer = Writer(str(folder))
            for key, value in figures.values.items():
                writer.add_scalar(key, value, figures.step, wall_time=figures.finished)
            writer.close()
            (events,) = folder.iterdir()
            name = f"events.out.tfevents.{figures.number:08d}.{figures.folder_name}"
            self._storage.publish(events, f"tensorboard/{name}")

    def finish(self, report: Path) -> None:
        """TensorBoard has no place for a page."""

    def close(self) -> None:
        """Every stage's file was closed on its own."""
