"""Whether a turn of the loop is to be done: what a pipeline asks before it starts the turn's tasks.

A pipeline has room for a fixed number of turns, while a run has as many as `iterations.count`, or fewer where
`stop` has ended it; and a pipeline that is started again finds turns that are finished.
"""

import json
from dataclasses import dataclass
from typing import Literal

from mstar.config import Config
from mstar.errors import UserError
from mstar.rundir import RunDir
from mstar.starting import finished_iterations, planned_iterations

State = Literal["to do", "finished", "not in the run"]


@dataclass(frozen=True, slots=True)
class Outlook:
    """What `begin` found of a turn."""

    iteration: int
    state: State
    temperature: float
    """Sampling temperature of the turn; of the last one, where the run has no such turn."""

    @property
    def skip(self) -> bool:
        """Whether its stages have nothing to do."""
        return self.state != "to do"

    @property
    def reason(self) -> str:
        said = f"temperature {self.temperature:g}" if self.state == "to do" else self.state
        return f"iteration {self.iteration}: {said}"


def begin(run: RunDir, iteration: int) -> Outlook:
    """Look whether a turn is finished, left out, or next; UserError where an earlier one is not finished."""
    done, planned = finished_iterations(run), planned_iterations(run)
    if done < iteration < planned:
        raise UserError(f"iteration {iteration} needs iteration {done}, which is not finished; do that first")
    state: State = "finished" if iteration < done else "to do" if iteration < planned else "not in the run"
    return Outlook(iteration, state, run.state(min(iteration, planned - 1)).temperature)


def shares_of(shards: int) -> tuple[str, ...]:
    """The shares of so many machines."""
    return tuple(f"{number}/{shards}" for number in range(1, shards + 1))


def check_iteration(run: RunDir, iteration: int | None) -> None:
    """UserError where a run has no such turn, whose responses nothing would ever train on."""
    if iteration is None:
        return
    done, planned = finished_iterations(run), planned_iterations(run)
    if iteration < max(done, planned):
        return
    if planned < run.config.iterations.count:
        raise UserError(
            f"--iteration is {iteration}, and stop.stale_sweeps ended {run.config.output} after iteration "
            f"{planned - 1}; for more iterations begin a run without it"
        )
    raise UserError(
        f"--iteration is {iteration}, and the last one of {run.config.output} is {planned - 1}; prepare it "
        "again with a larger iterations.count"
    )


def last_iteration(run: RunDir) -> int:
    """The last iteration of a run that has come to its end; UserError where some are left."""
    done, planned = finished_iterations(run), planned_iterations(run)
    if done < planned:
        raise UserError(
            f"{run.config.output}: {done} of {planned} iterations are finished; do the rest first"
        )
    return done - 1


def check_turns(config: Config, at_most: int | None) -> None:
    """UserError where a run has more turns than a pipeline has room for."""
    if at_most is not None and config.iterations.count > at_most:
        raise UserError(
            f"iterations.count is {config.iterations.count}, and this pipeline has room for {at_most} turns; "
            "compile it with a larger cluster.turns, or lower iterations.count"
        )


def parse_overrides(text: str) -> list[str]:
    """A JSON list of `section.key=value`, as the form of a pipeline has it."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise UserError(f'the overrides are {text}; write a JSON list such as ["generate.temperature=0.7"]')
    return found
