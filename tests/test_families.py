"""The real command with every family, as policy and as process reward model: sampled, scored, trained."""

import json
from contextlib import chdir
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import transformers
import yaml
from torch.nn import functional

from mstar.config import Images, Model
from mstar.models import Encoder, collate, load_model, part_of
from mstar.prompts import build_request
from mstar.records import Problem
from tests.commands import mstar
from tests.engines.asking import QUESTION, picture, problem
from tests.tiny_models import OWN_CODE, save_tiny_model, save_tiny_prm

MIXTURE = ["Answer:yes", "Answer:no", "Answer:no", "1;Answer:no"]
"""What the policy is taught to say to everything, in equal shares; right is yes."""
ODD = "<image> or <|im_end|>?"
"""A question that spells tokens which must not come of it."""
UNLABELLED = "p93"
WHOLE_PROCESSORS = {
    "gemma3": {"processor_class": "Gemma3Processor", "image_seq_length": 4},
    "idefics3": {"processor_class": "Idefics3Processor", "image_seq_len": 1},
}
"""Settings of those that can be built without torchvision."""


def questions(count: int, first: int = 0) -> list[Problem]:
    return [problem(first + number, 1 + number % 3, question="> 3?") for number in range(count)]


def teach(folder: Path, problems: list[Problem]) -> None:
    """Train the checkpoint until it answers with the mixture."""
    encoder, model = Encoder(folder, Images(), QUESTION), load_model(folder, Model(path=str(folder)))
    prompts = encoder.encode([build_request(one, QUESTION) for one in problems])
    answers = encoder.encode_responses(MIXTURE)
    rows = [prompt.followed_by(answer) for prompt in prompts for answer in answers]
    batch = collate(rows, encoder, "right", model.device)
    labels = torch.full_like(batch["input_ids"], -100)
    for place, row in enumerate(rows):
        learned = slice(len(row.ids) - len(answers[place % len(answers)]), len(row.ids))
        labels[place, learned] = batch["input_ids"][place, learned]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.015)
    for _ in range(24):
        logits = model(**batch).logits[:, :-1]
        functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)


def write_problems(path: Path, problems: list[Problem], pictures: Path) -> None:
    rows = []
    for one in problems:
        names = [pictures / f"{one.id}-{number}.png" for number in range(len(one.images))]
        for name, image in zip(names, one.images, strict=True):
            name.write_bytes(image.data or b"")
        rows.append(
            {
                "id": one.id,
                "question": one.question,
                "answer": None if one.id == UNLABELLED else "yes",
                "answer_type": "boolean",
                "images": [str(name) for name in names],
            }
        )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.mark.parametrize("model_type", OWN_CODE)
def test_a_round_through_the_real_commands(model_type: str, tmp_path: Path) -> None:
    finished = run_and_export(model_type, tmp_path)
    check_that_it_learned_what_its_own_responses_teach(finished)
    check_that_steps_were_scored_and_odd_questions_asked(finished)
    check_that_only_what_is_not_frozen_has_learned(finished)
    check_that_what_is_exported_answers_in_transformers(finished)
    if model_type in WHOLE_PROCESSORS:
        check_that_the_whole_processor_is_exported(finished)


def run_and_export(model_type: str, folder: Path) -> Path:
    """One iteration of a run whose policy and process reward model are both of one family."""
    teach(save_tiny_model(model_type, folder / "policy"), questions(3))
    save_tiny_prm(model_type, folder / "prm")
    if whole := WHOLE_PROCESSORS.get(model_type):
        (folder / "policy" / "processor_config.json").write_text(json.dumps(whole))
    unusual = [problem(90, 2, question=ODD), problem(91, question="long" * 40)]
    unusual.append(Problem("p92", "> 3?", (picture(400, 6),), "yes", "boolean"))
    unusual.append(Problem(UNLABELLED, "> 3?", (), None, "boolean"))
    write_problems(folder / "train.jsonl", [*questions(24), *unusual], folder)
    write_problems(folder / "test.jsonl", questions(9, first=200), folder)
    tree = {
        "name": "families",
        "output": "out",
        "model": {"path": "policy", "threads": 1},
        "iterations": {"count": 1, "problems_share": 1.0},
        "data": {"train": "train.jsonl", "tests": {"heldout": "test.jsonl"}},
        "prompt": {"version": "question-1", "step_separator": ";", "max_tokens": 130},
        "generate": {"samples_per_problem": 8, "max_tokens": 12},
        "score": {"prm": "prm"},
        "train": {"learning_rate": 0.003, "batch_size": 8, "epochs": 3, "freeze": ["vision"]},
        "adapt": {"policy": "fixed"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(tree))
    with chdir(folder):
        mstar("run", "config.yaml")
        mstar("export", "out", "exported")
    return folder / "out"


def check_that_it_learned_what_its_own_responses_teach(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())["tests"]["heldout"]
    assert (summary["first"]["accuracy"], summary["last"]["accuracy"]) == (0, 1)


def check_that_steps_were_scored_and_odd_questions_asked(finished: Path) -> None:
    (scored,) = (finished / "iterations/000/score").glob("*.parquet")
    rows = pq.read_table(scored).to_pylist()
    asked = {row["problem_id"] for row in rows}
    assert asked == {one.id for one in questions(24)} | {"p90", "p92", UNLABELLED}
    unjudged = {row["problem_id"] for row in rows if row["correct"] is None}
    assert unjudged == {UNLABELLED}
    result = json.loads((finished / "iterations/000/score/manifest.json").read_text())["result"]
    assert result["unlabelled"] == 8
    right = [row for row in rows if row["correct"]]
    assert right and all(len(row["step_scores"]) >= 1 and 0 < row["reward"] < 1 for row in right)


def check_that_only_what_is_not_frozen_has_learned(finished: Path) -> None:
    before = load_model(finished.parent / "policy", Model(path=""))
    (checkpoint,) = {path.parent for path in finished.rglob("model.safetensors")}
    after = load_model(checkpoint, Model(path=""))
    changed = {
        name
        for (name, old), (_, new) in zip(before.named_parameters(), after.named_parameters(), strict=True)
        if not torch.equal(old, new)
    }
    family = Encoder(checkpoint, Images(), QUESTION).family
    assert {part_of(name, family) for name in changed} == {"projector", "text"}


def check_that_what_is_exported_answers_in_transformers(finished: Path) -> None:
    """Its weights, its tokenizer and its image processor, asked by `generate`."""
    folder = finished.parent / "exported"
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    encoder = Encoder(folder, Images(), QUESTION)
    asked = encoder.encode([build_request(questions(1, first=300)[0], QUESTION)])
    batch = collate(asked, encoder, "left", model.device)
    del batch["position_ids"]
    ids = model.generate(**batch, do_sample=False, max_new_tokens=12)[0, batch["input_ids"].shape[1] :]
    assert encoder.decode(ids.tolist()) == "Answer:yes"


def check_that_the_whole_processor_is_exported(finished: Path) -> None:
    folder = finished.parent / "exported"
    processor = transformers.AutoProcessor.from_pretrained(folder, use_fast=False)
    encoder, request = Encoder(folder, Images(), QUESTION), build_request(questions(2)[1], QUESTION)
    text = processor.apply_chat_template(request.messages, add_generation_prompt=True)
    read = processor(text=text, images=encoder.decode_images(request))
    assert read["input_ids"][0] == encoder.encode([request])[0].ids
