"""Whether pods can reach what a config names: a folder of this machine is not theirs."""

from pathlib import PurePosixPath

from mstar.addresses import is_address
from mstar.config import Config
from mstar.errors import UserError
from mstar.inputs import looks_like_hub_id, models, problem_files


def check_reach(config: Config) -> None:
    """UserError for the first place that is neither an address nor in one of `cluster.volumes`."""
    on_hub = [(key, path) for key, path in models(config) if not looks_like_hub_id(path)]
    for key, path in (("output", config.output), *problem_files(config), *on_hub):
        if not is_address(path) and not _is_mounted(config, path):
            raise UserError(
                f"{key} is {path}, a folder or file of this machine, which pods do not see; put it at "
                "s3://bucket/key, or name the volume where it is in cluster.volumes"
            )


def _is_mounted(config: Config, path: str) -> bool:
    return any(PurePosixPath(path).is_relative_to(volume.path) for volume in config.cluster.volumes)
