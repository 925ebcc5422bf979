"""`mstar verify` on a real run that somebody spoils: every damage is named by file, and the remedy works."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mstar.inventory import Finding
from mstar.records import from_json
from mstar.storage import build_storage
from mstar.verification import Verified, verify
from tests.commands import mstar
from tests.smoke import fingerprints, smoke_arguments

SCORE, TRAIN = "iterations/000/score", "iterations/000/train"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A finished run to spoil."""
    return shutil.copytree(finished, tmp_path / "run")


def look_at(run: Path) -> Verified:
    return verify(str(run), build_storage(str(run)))


def wrong(found: Verified) -> list[tuple[str, str]]:
    return [(one.state, one.key) for one in found.findings if one.state in ("damaged", "missing")]


def one_of(run: Path, pattern: str) -> Path:
    return next(path for path in sorted(run.glob(pattern)) if path.is_file())


def flip(path: Path) -> None:
    """One bit, as a disk does: neither size nor times say so."""
    times, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_a_whole_run_has_nothing_wrong(run: Path) -> None:
    done = mstar("verify", str(run))
    assert "nothing is damaged or missing" in done.stdout
    found = from_json(Verified, mstar("verify", str(run), "--json").stdout)
    listed = [
        entry["size"]
        for manifest in run.rglob("manifest.json")
        for entry in json.loads(manifest.read_text())["files"].values()
    ]
    assert found == Verified(str(run), len(listed), sum(listed), ())
    assert len(listed) > 20


SPOILED = {
    "a flipped bit in a part": (f"{SCORE}/part-00000-*", flip, "damaged"),
    "a part cut short": (f"{SCORE}/part-00000-*", cut, "damaged"),
    "a part gone": ("iterations/001/evaluate/test-heldout/part-*", Path.unlink, "missing"),
    "a flipped bit in weights": (f"{TRAIN}/checkpoint-*/model.safetensors", flip, "damaged"),
    "a checkpoint's file gone": (f"{TRAIN}/checkpoint-*/config.json", Path.unlink, "missing"),
    "a manifest cut short": (f"{SCORE}/manifest.json", cut, "damaged"),
    "a manifest gone": (f"{SCORE}/manifest.json", Path.unlink, "missing"),
    "the manifest of a decision gone": ("iterations/001/adapt/manifest.json", Path.unlink, "missing"),
    "a state gone": ("iterations/001/state.json", Path.unlink, "missing"),
    "a state cut short": ("iterations/001/state.json", cut, "damaged"),
    "the inputs' identities gone": ("inputs.json", Path.unlink, "missing"),
    "the inputs' identities cut short": ("inputs.json", cut, "damaged"),
    "the configuration gone": ("run.yaml", Path.unlink, "missing"),
}


@pytest.mark.parametrize(("pattern", "spoil", "state"), SPOILED.values(), ids=SPOILED)
def test_what_is_spoiled_is_named_and_nothing_else(
    run: Path, pattern: str, spoil: Callable[[Path], None], state: str
) -> None:
    path = one_of(run, pattern)
    spoil(path)
    found = look_at(run)
    assert wrong(found) == [(state, path.relative_to(run).as_posix())]
    assert not found.is_whole
    assert all(one.reason and one.remedy for one in found.findings if one.state == state)


def test_a_configuration_that_is_no_yaml_is_named(run: Path) -> None:
    (run / "run.yaml").write_text("name: [")
    assert wrong(look_at(run)) == [("damaged", "run.yaml")]


def reason_of(found: Verified, key: str) -> str:
    (finding,) = (one for one in found.findings if one.key == key)
    return finding.reason


def test_an_edited_manifest_no_longer_fits_what_was_made_from_it(run: Path) -> None:
    edit(run / SCORE / "manifest.json", '"correct": ', '"correct": 1')
    found = look_at(run)
    assert wrong(found) == [("damaged", "iterations/000/select/manifest.json")]
    assert "it was made with inputs.score = " in reason_of(found, "iterations/000/select/manifest.json")


def test_another_policy_than_was_trained_is_named(run: Path) -> None:
    edit(run / TRAIN / "manifest.json", '"examples": ', '"examples": 1')
    made_from_it = {key for _, key in wrong(look_at(run))}
    expected = ("000/evaluate", "000/adapt", "001/generate", "001/train")
    assert made_from_it == {f"iterations/{place}/manifest.json" for place in expected}


def test_an_edited_state_is_not_what_was_decided(run: Path) -> None:
    edit(run / "iterations/001/state.json", '"temperature": ', '"temperature": 1')
    found = look_at(run)
    assert ("damaged", "iterations/001/state.json") in wrong(found)
    assert "is not what iterations/000/adapt decided" in reason_of(found, "iterations/001/state.json")
    assert "temperature" in reason_of(found, "iterations/001/generate/manifest.json")


def test_another_setting_in_the_configuration_is_named_with_both_values(run: Path) -> None:
    edit(run / "run.yaml", "keep_per_problem: 2", "keep_per_problem: 3")
    found = look_at(run)
    assert {key for _, key in wrong(found)} == {f"iterations/00{n}/select/manifest.json" for n in (0, 1)}
    reason = reason_of(found, "iterations/000/select/manifest.json")
    assert reason == "it was made with select.keep_per_problem = 2, and the run has 3"


def test_a_result_that_is_none_is_named(run: Path) -> None:
    path = run / "iterations/001/adapt/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"result": {"iteration": "none"}}))
    assert ("damaged", "iterations/001/adapt/manifest.json") in wrong(look_at(run))


def test_leftovers_are_orphans_and_the_users_files_are_unknown(run: Path) -> None:
    (run / SCORE / "begun.json").write_text("{}")
    (run / SCORE / "part-00000-000000000000.parquet").write_text("left")
    (run / TRAIN / "checkpoint-000000000000").mkdir()
    (run / TRAIN / "checkpoint-000000000000" / "model.safetensors").write_text("left")
    (run / "notes.txt").write_text("mine")
    found = look_at(run)
    assert found.is_whole
    assert [(one.state, one.key, one.bytes) for one in found.findings] == [
        ("orphaned", f"{SCORE}/begun.json", 2),
        ("orphaned", f"{SCORE}/part-00000-000000000000.parquet", 4),
        ("orphaned", f"{TRAIN}/checkpoint-000000000000", 4),
        ("unknown", "notes.txt", 4),
    ]


def test_a_policy_that_went_on_purpose_is_not_missed(run: Path) -> None:
    folder = next((run / TRAIN).glob("checkpoint-*/"))
    shutil.rmtree(folder)
    assert not look_at(run).is_whole
    (run / TRAIN / "removed.json").write_text(f'{{"{folder.name}": "superseded"}}')
    assert look_at(run).findings == ()


def under_way(run: Path) -> None:
    """As a run that was killed in iteration 1's score: its manifest and what came later are not there."""
    stage = run / "iterations/001/score"
    manifest = json.loads((stage / "manifest.json").read_text())
    begun = {"fingerprint": manifest["fingerprint"], "version": manifest["version"]}
    (stage / "begun.json").write_text(json.dumps(begun))
    (stage / "manifest.json").unlink()
    for later in ("select", "train", "evaluate", "evaluate-rest", "adapt"):
        shutil.rmtree(run / "iterations/001" / later, ignore_errors=True)
    shutil.rmtree(run / "iterations/002")


def test_a_stage_under_way_is_no_damage_but_its_parts_are_read(run: Path) -> None:
    under_way(run)
    found = look_at(run)
    assert found.is_whole
    assert [(one.state, one.key) for one in found.findings] == [("under way", "iterations/001/score")]
    part = one_of(run, "iterations/001/score/part-*")
    flip(part)
    assert wrong(look_at(run)) == [("damaged", part.relative_to(run).as_posix())]


def test_what_the_findings_advise_makes_the_run_whole(run: Path, finished: Path, problems: Path) -> None:
    """Of every kind that a start repairs one, all at once."""
    flip(one_of(run, f"{SCORE}/part-00000-*"))
    flip(one_of(run, f"{TRAIN}/checkpoint-*/model.safetensors"))
    one_of(run, "iterations/001/evaluate/test-heldout/part-*").unlink()
    cut(run / "iterations/001/select/manifest.json")
    cut(run / "iterations/001/state.json")
    (run / "inputs.json").unlink()
    done = mstar("verify", str(run), check=False)
    assert done.returncode == 1
    assert "; 1 damaged" not in done.stdout and "4 damaged, 2 missing" in done.stdout
    follow(run, look_at(run).findings)
    mstar(*smoke_arguments(problems, run))
    assert look_at(run).findings == ()
    assert fingerprints(run) == fingerprints(finished)


def follow(run: Path, findings: tuple[Finding, ...]) -> None:
    for finding in findings:
        assert "start mstar run again" in finding.remedy
        if finding.remedy.startswith("delete it and"):
            (run / finding.key).unlink()


def test_no_run_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "none"):
        done = mstar("verify", str(place), check=False)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"{place} is not a run" in line
