"""Models in a bucket: those of a folder, fetched once for all processes of a machine."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.config import Config
from mstar.config_file import dump_config
from mstar.errors import UserError
from mstar.inputs import identity_of_model
from mstar.model_folders import fetched, local_policy, local_prm, open_model
from mstar.prm import ProcessRewardModel
from mstar.starting import look_at
from tests.commands import mstar
from tests.conftest import BASE
from tests.storage.faults import proxy
from tests.storage.uploads import Uploads

MakeConfig = Callable[..., Config]


@pytest.fixture
def stored(uploads: Uploads, prm_folder: Path, make_config: MakeConfig) -> tuple[Config, Config]:
    """The same configuration with models in folders, and in a bucket."""
    for folder, name in ((BASE, "policy"), (prm_folder, "prm")):
        for path in folder.iterdir():
            uploads.put(f"{name}/{path.name}", path.read_bytes())
    uploads.put("policy/README.md", b"of no use")
    uploads.put("policy/original/weights.bin", b"of no use either")
    local = make_config(model={"path": str(BASE)}, score={"prm": str(prm_folder)})
    addresses = {
        "model": local.model.model_copy(update={"path": f"{uploads.address}/policy"}),
        "score": local.score.model_copy(update={"prm": f"{uploads.address}/prm"}),
    }
    return local, local.model_copy(update=addresses)


def as_a_new_process() -> None:
    """Forget what this one has at hand."""
    fetched.cache_clear()
    open_model.cache_clear()


def test_they_are_those_of_the_folders(stored: tuple[Config, Config]) -> None:
    local, config = stored
    for key in ("model.path", "score.prm"):
        assert identity_of_model(config, key) == identity_of_model(local, key)
    names = {path.name for path in BASE.iterdir() if not path.name.startswith(("README", "."))}
    assert {path.name for path in local_policy(config).iterdir()} == names
    assert not list(local_policy(config, weights=False).glob("*.safetensors"))
    assert (local_policy(config) / "model.safetensors").read_bytes() == (
        BASE / "model.safetensors"
    ).read_bytes()
    assert ProcessRewardModel(local_prm(config), config).separator == ";"


def test_what_is_in_the_cache_is_not_fetched_again(stored: tuple[Config, Config], moto: str) -> None:
    _, config = stored
    size = (BASE / "model.safetensors").stat().st_size
    with proxy(moto) as counting:
        storage = config.storage.model_copy(update={"endpoint": counting.address})
        config = config.model_copy(update={"storage": storage})
        moved = []
        for _ in range(2):
            as_a_new_process()
            before = counting.sent_bytes
            assert identity_of_model(config, "model.path")
            assert local_policy(config).is_dir()
            moved.append(counting.sent_bytes - before)
    assert size < moved[0] < 2 * size
    assert moved[1] < size / 10


def test_contents_of_equal_size_are_another_model(stored: tuple[Config, Config], uploads: Uploads) -> None:
    _, config = stored
    before = identity_of_model(config, "model.path")
    weights = bytearray((BASE / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    uploads.put("policy/model.safetensors", bytes(weights))
    as_a_new_process()
    assert identity_of_model(config, "model.path") != before


@pytest.mark.slow
def test_stages_leave_what_they_leave_with_models_in_folders(
    stored: tuple[Config, Config], tmp_path: Path
) -> None:
    left = []
    for number, config in enumerate(stored):
        output = tmp_path / str(number)
        path = tmp_path / f"{number}.yaml"
        path.write_text(dump_config(config.model_copy(update={"output": str(output)})))
        mstar("prepare", str(path))
        for stage in ("generate", "score"):
            mstar(stage, "--run", str(output), "--iteration", "0")
        files = [output / "inputs.json", *sorted((output / "iterations/000").glob("*/manifest.json"))]
        left.append([file.read_text() for file in files])
    assert left[0] == left[1]
    assert len(left[0]) == 3


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("s3://runs/no/model", "without config.json; name one that save_pretrained has written"),
        ("s3://no-such-bucket/model", "there is no such bucket; create it, or correct its name"),
        ("gs://runs/model", "which does not exist; name a checkpoint folder, one at s3://bucket/prefix"),
    ],
)
@pytest.mark.parametrize("key", ["model.path", "score.prm"])
def test_a_model_that_is_not_there_is_one_line(
    uploads: Uploads, make_config: MakeConfig, key: str, path: str, said: str
) -> None:
    section, _, name = key.partition(".")
    config = make_config()
    changed = getattr(config, section).model_copy(update={name: path})
    with pytest.raises(UserError, match=said):
        look_at(config.model_copy(update={section: changed}))
