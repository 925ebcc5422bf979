"""A pytest plugin: no test may be skipped silently on a machine that could run it.

MSTAR_MAY_SKIP lists, with commas, what this machine lacks, such as `CUDA,privileges`. Where it is set, even
to nothing, a skip whose reason has none of these words fails. CI sets it; see .ci/run.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest

VARIABLE = "MSTAR_MAY_SKIP"


def excused(reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    lacking = os.environ.get(VARIABLE)
    return lacking is None or any(word and word.lower() in reason.lower() for word in lacking.split(","))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    return _fail_unless_excused(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    return _fail_unless_excused(report)


def _fail_unless_excused(report: Any) -> Any:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not excused(reason):
            report.outcome = "failed"
            report.longrepr = f"{reason}; {VARIABLE} does not say that this machine lacks it"
    return report
