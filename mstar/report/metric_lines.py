"""`metrics.jsonl`: one flat JSON object per finished stage, in the order in which the run went.

Flat, so that pandas, jq and spreadsheets read it without a word of explanation. Measurements that exist more
than once carry their place in the key: `accuracy.<test>`, `pass_at_8.temperature_0.7`.
"""

import json
from dataclasses import asdict
from typing import Any

from mstar.records import Decision, Estimate, Report, Sampled, Scored
from mstar.report.history import FinishedStage, History, Turn

Fields = dict[str, Any]


def metric_lines(history: History, reward_pass_k: int) -> str:
    """The whole file; `reward_pass_k` is the run's `adapt.k`."""
    lines = []
    for turn in history.turns:
        for stage in turn.stages.values():
            lines.append(
                json.dumps(_line(turn, stage, reward_pass_k), ensure_ascii=False, allow_nan=False) + "\n"
            )
    return "".join(lines)


def _line(turn: Turn, stage: FinishedStage[Any], reward_pass_k: int) -> Fields:
    line: Fields = {
        "iteration": turn.iteration,
        "stage": stage.name,
        "seconds": stage.timing.seconds if stage.timing else None,
    }
    return line | stage_fields(stage.result, reward_pass_k)


def stage_fields(result: Any, reward_pass_k: int) -> Fields:
    """What a finished stage found, flat."""
    match result:
        case Report():
            return _report_fields(result, reward_pass_k)
        case Decision():
            return _decision_fields(result)
        case Sampled() | Scored():
            return asdict(result) | {"unusable": len(result.unusable)}
        case _:
            return asdict(result)


def _report_fields(report: Report, reward_pass_k: int) -> Fields:
    fields: Fields = {}
    for name, test in report.tests.items():
        fields |= _estimate_fields(f"accuracy.{name}", test.accuracy)
        fields[f"mean_response_tokens.{name}"] = test.mean_response_tokens
        fields[f"truncated.{name}"] = test.truncated
    for row in report.temperatures:
        place = f"temperature_{row.temperature:g}"
        for k, estimate in row.pass_at_k.items():
            fields |= _estimate_fields(f"pass_at_{k}.{place}", estimate)
        for k, estimate in row.unbiased_pass_at_k.items():
            fields |= _estimate_fields(f"unbiased_pass_at_{k}.{place}", estimate)
        if row.reward_pass_at_k:
            fields |= _estimate_fields(f"reward_pass_at_{reward_pass_k}.{place}", row.reward_pass_at_k)
        fields |= _estimate_fields(f"balance.{place}", row.balance)
    return fields


def _estimate_fields(key: str, estimate: Estimate) -> Fields:
    return {key: estimate.value, f"{key}.low": estimate.low, f"{key}.high": estimate.high}


def _decision_fields(decision: Decision) -> Fields:
    return {"next_temperature": decision.temperature, "reason": decision.reason, "stop": decision.stop}
