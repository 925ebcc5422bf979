"""Starting a run, or going on with one: what may have changed since, and what is written first.

Nothing is written before everything has been looked at: a refused change leaves the run as it was.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import yaml

from mstar.config import Config
from mstar.config_file import dump_config, parse_config
from mstar.config_storage import FROM_ENVIRONMENT
from mstar.datasets.hub_files import pinned_before
from mstar.errors import UserError
from mstar.fingerprints import before, default_of, differences, effects, flat, may_change
from mstar.inputs import check_model_paths, models, pin_revisions, problem_files
from mstar.preflight import check_inputs, check_trainer
from mstar.progress import QUIET, Progress
from mstar.rundir import INPUTS, RUN, RunDir
from mstar.stage_notes import has_left_something
from mstar.stages import ADAPT, iteration_prefix
from mstar.storage import Storage, build_storage, read_text, write_text


def start_run(config: Config, progress: Progress = QUIET) -> RunDir:
    """Start a run, or take up one that was started with the same configuration."""
    run = look_at(config, progress)
    write_start(run)
    return run


def look_at(config: Config, progress: Progress = QUIET, trains_here: bool = True) -> RunDir:
    """The run as it would be started or taken up; UserError if it cannot be. Nothing is written.

    `trains_here` is false on a machine that only prepares the run: its memory may be small.
    """
    run = take_up(config)
    present, noted, has_begun = contents(run), run.noted_identities(), _has_begun(run.storage)
    if noted and has_begun:
        for key in present:
            run.identity(key)
        if gone := sorted(noted.keys() - present.keys()):
            raise UserError(
                f"{config.output} was started with {gone[0]}, which is not set now; put it back or choose "
                "another output"
            )
        if new := sorted(present.keys() - noted.keys()):
            raise UserError(
                f"{config.output} was started without {new[0]}; take it out or choose another output"
            )
    if trains_here:
        check_trainer(config)
    if noted != present or not has_begun:  # else settings and machine may be others than were looked at
        check_inputs(run, progress, trains_here)
    return run


def take_up(config: Config) -> RunDir:
    """The same by its settings alone: what lies at the addresses of its inputs is not looked at."""
    storage = build_storage(config.output, config.storage)
    started = _started_tree(storage, config.output)
    if started is not None:
        config = _as_started(config, started)
    check_model_paths(config)
    config = pin_revisions(config)
    run = RunDir(storage, config)
    if started is not None:
        _refuse_changes(run, parse_config(started, f"{config.output}/{RUN}"))
    return run


def write_start(run: RunDir) -> None:
    """Note the configuration and the identities of the inputs; what stands there already is not touched."""
    present = contents(run)
    for key, text in ((RUN, dump_config(run.config)), (INPUTS, json.dumps(present, indent=2) + "\n")):
        try:
            is_there = read_text(run.storage, key) == text
        except FileNotFoundError:
            is_there = False
        if not is_there:
            write_text(run.storage, key, text)


def open_run(output: str) -> RunDir:
    """A run that was started before. Where its server is, is said by the environment: run.yaml lies there."""
    started = _started_tree(build_storage(output), output)
    if started is None:
        raise UserError(f"{output} is not a run (it has no run.yaml); start one with mstar run CONFIG")
    config = parse_config(started, f"{output}/{RUN}")
    settings = config.storage.model_copy(update=dict.fromkeys(FROM_ENVIRONMENT))
    return RunDir(build_storage(output, settings), config)


def finished_iterations(run: RunDir) -> int:
    """How many turns of the loop have come to their end. One after the other they do: so the last one is
    looked for in steps that double, and then between two of them.
    """
    above = 1
    while run.is_finished(ADAPT.name, above - 1):
        above *= 2
    return bisect_left(range(above), True, lo=above // 2, key=lambda n: not run.is_finished(ADAPT.name, n))


def planned_iterations(run: RunDir) -> int:
    """How many turns the run has: `iterations.count`, or fewer where `stop` has ended it."""
    done = finished_iterations(run)
    has_stopped = done > 0 and run.result(ADAPT, done - 1).stop
    return done if has_stopped else run.config.iterations.count


def _started_tree(storage: Storage, output: str) -> dict[str, Any] | None:
    """The tree of run.yaml; None without one."""
    try:
        with storage.reading(RUN) as path:
            return parse_started(path.read_bytes(), output)
    except FileNotFoundError:
        return None


def parse_started(text: bytes, output: str) -> dict[str, Any]:
    """The tree of a run.yaml, settings that are newer than it as runs had them before."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        tree = None
    if not isinstance(tree, dict):
        raise UserError(f"{output}/{RUN} is damaged; delete it and start the run again with its config")
    for key in _newer_settings(tree):
        section, _, name = key.rpartition(".")
        tree.setdefault(section, {})[name] = before(key)
    return tree


def _newer_settings(tree: Mapping[str, Any]) -> list[str]:
    present = flat(tree, set(effects()))
    return [key for key, effect in effects().items() if effect.before is not None and key not in present]


def _as_started(config: Config, started: dict[str, Any]) -> Config:
    """The configuration with what a begun run has that this one leaves open.

    That is the pinned commit of a model, and a setting that is newer than the run and has its default.
    """
    tree = config.model_dump(mode="json")
    old, new = flat(started, set(effects())), flat(tree, set(effects()))
    for key, effect in effects().items():
        is_left_open = effect.before is not None and old[key] == before(key) and _is_default(key, new[key])
        if is_left_open:
            section, _, name = key.rpartition(".")
            tree[section][name] = old[key]
    for section, path, revision in (("model", "path", "revision"), ("score", "prm", "prm_revision")):
        ours, theirs = tree[section], started.get(section, {})
        if ours[path] == theirs.get(path) and ours[revision] is None:
            ours[revision] = theirs.get(revision)
    ours, theirs = tree["data"], started.get("data", {})
    ours["tests"] = _as_pinned(ours["tests"], theirs.get("tests") or {})
    ours |= _as_pinned({key: ours[key] for key in ("train", "validation")}, theirs)
    return parse_config(tree, RUN)


def _as_pinned(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Problem files by name, those on a hub at the commits that were pinned."""
    return {name: pinned_before(path, theirs.get(name)) if path else path for name, path in ours.items()}


def _is_default(key: str, value: Any) -> bool:
    return bool(value == default_of(key))


def _refuse_changes(run: RunDir, started: Config) -> None:
    if not _has_begun(run.storage):
        return
    old, new = started.model_dump(mode="json"), run.config.model_dump(mode="json")
    for key, was, now in differences(old, new):
        if not may_change(key):
            raise UserError(
                f"{run.config.output} was started with {key} = {was}, now it is {now}; "
                "put it back or choose another output"
            )
    done, count = finished_iterations(run), run.config.iterations.count
    if count < done:
        raise UserError(
            f"iterations.count is {count}, but {done} iterations of {run.config.output} are finished; "
            f"set it to {done} or more, or choose another output"
        )


def contents(run: RunDir) -> dict[str, str]:
    """The identity of every input by its setting."""
    inputs = [*models(run.config), *problem_files(run.config)]
    return {key: run.content_of(key) for key, _ in inputs}


def _has_begun(storage: Storage) -> bool:
    """True once a stage has left something."""
    return has_left_something(storage, "start") or has_left_something(storage, iteration_prefix(0))
