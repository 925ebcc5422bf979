"""The README.md of an exported policy: what it is, what was measured, and how it is to be asked.

Every figure comes from the typed results of the run; what was not measured is said to be not measured.
"""

import re
from pathlib import Path

from mstar import __version__
from mstar.config import Config
from mstar.prompts import REASONING_1
from mstar.records import Estimate, Report
from mstar.report.history import History, read_history
from mstar.rundir import RunDir

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")


def write_card(path: Path, run: RunDir, iteration: int, adapter: bool = False) -> None:
    """Write the card of the policy after `iteration`; `adapter`: what is described is that alone."""
    history = read_history(run)
    parts = [
        _front_matter(run.config, adapter),
        _opening(run.config, iteration),
        *_adapter(run.config, adapter),
        _accuracies(run.config, history, iteration),
        _training(history, iteration),
        _asking(run.config),
    ]
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _front_matter(config: Config, adapter: bool) -> str:
    """What a hub reads; a base model that is a folder has no name there."""
    base = [f"base_model: {config.model.path}"] if _is_on_hub(config) else []
    library = "peft" if adapter else "transformers"
    lines = [f"library_name: {library}", "pipeline_tag: image-text-to-text", *base]
    return "\n".join(["---", *lines, "---"])


def _opening(config: Config, iteration: int) -> str:
    revision = f" (revision {config.model.revision})" if config.model.revision else ""
    start = f"`{config.model.path}`{revision}" if _is_on_hub(config) else "a checkpoint in a folder"
    return (
        f"# {config.name}, after iteration {iteration}\n\n"
        f"A vision-language model that was trained on its own best responses by mstar {__version__}: the "
        f"policy after iteration {iteration} (counted from 0) of run `{config.name}`, which started from "
        f"{start}. Its license is that of the model it started from."
    )


def _adapter(config: Config, adapter: bool) -> list[str]:
    """How an adapter was made, and what the folder holds of it."""
    lora = config.train.lora
    if lora.rank is None:
        return []
    targets = "all linear layers" if lora.targets is None else f"`{'`, `'.join(lora.targets)}`"
    made = (
        f"It was trained as an adapter (LoRA of rank {lora.rank}, alpha {lora.scale_numerator:g}, dropout "
        f"{lora.dropout:g}) of {targets} outside the frozen parts"
    )
    if not adapter:
        return [f"{made}, and is merged with its base here, in float32."]
    where = f"`{config.model.path}`" if _is_on_hub(config) else "the model that the run started from"
    return [
        f"{made}. This folder holds the adapter alone, as peft writes it: `AutoPeftModel.from_pretrained` "
        f"loads it with its base, {where}, and vLLM takes it as a LoRA of that model."
    ]


def _accuracies(config: Config, history: History, iteration: int) -> str:
    """Per test set the model that the run started from, and this one."""
    first, own = history.start.report, history.iterations[iteration].report
    lines = [
        "## Accuracy",
        "",
        "Greedy, with 95 % intervals; measured during the run, on its own test sets.",
        "",
        "| test set | before | this model |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {_accuracy(first, name)} | {_accuracy(own, name)} |" for name in config.data.tests]
    return "\n".join(lines)


def _training(history: History, iteration: int) -> str:
    lines = [
        "## Training",
        "",
        "| iteration | temperature | responses | correct | learned | optimizer steps | loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for turn in history.iterations[: iteration + 1]:
        sampled, scored, trained = turn.sampled, turn.scored, turn.trained
        cells = [
            str(turn.iteration),
            "" if turn.temperature is None else f"{turn.temperature:g}",
            str(sampled.responses) if sampled else "",
            str(scored.correct) if scored else "",
            str(trained.examples) if trained else "",
            str(trained.train_steps) if trained else "",
            f"{trained.loss:.4f}" if trained and trained.loss is not None else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _asking(config: Config) -> str:
    """What the model saw in training, so that it can be asked the same way."""
    wording = REASONING_1 if config.prompt.version == "reasoning-1" else "{question}"
    images = config.images
    bounds = [
        f"{name} {value} pixels"
        for name, value in (("at least", images.min_pixels), ("at most", images.max_pixels))
        if value is not None
    ]
    limits = f" The run resized images to {' and '.join(bounds)}." if bounds else ""
    return (
        "## Asking it\n\n"
        f"Images come first, then the question in these words (prompt version `{config.prompt.version}`):\n\n"
        f"```text\n{wording}\n```\n\n"
        f"Responses had at most {config.generate.max_tokens} tokens.{limits}"
    )


def _accuracy(report: Report | None, test: str) -> str:
    if report is None or test not in report.tests:
        return "not measured"
    estimate: Estimate = report.tests[test].accuracy
    interval = f"{estimate.low:.1%} to {estimate.high:.1%}"
    return f"{estimate.value:.1%} ({interval}, {estimate.problems} problems)"


def _is_on_hub(config: Config) -> bool:
    return HUB_ID.fullmatch(config.model.path) is not None and not Path(config.model.path).exists()
