"""How the report writes numbers: the same everywhere, and short."""

from mstar.records import Estimate
from mstar.report.summary import Measured
from mstar.wording import DASH, THIN

MINUS = "\u2212"


def percent(share: float | None) -> str:
    return DASH if share is None else f"{100 * share:.1f}{THIN}%"


def interval(estimate: Estimate | Measured) -> str:
    """A 95 % interval in percent."""
    return f"{100 * estimate.low:.1f}{DASH}{100 * estimate.high:.1f}"


def points(share: float) -> str:
    """A difference of two shares, in percentage points and with its sign."""
    rounded = round(100 * share, 1)
    sign = MINUS if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):.1f}"


def count(number: float | None) -> str:
    return DASH if number is None else f"{number:,.0f}".replace(",", THIN)


def decimal(number: float | None) -> str:
    return DASH if number is None else f"{number:.3g}" if abs(number) < 100 else count(number)


def memory(size: int | None) -> str:
    if size is None:
        return DASH
    return f"{size / 2**30:.1f}{THIN}GiB" if size >= 2**30 else f"{size / 2**20:.0f}{THIN}MiB"


def iteration_name(iteration: int | None) -> str:
    return "start" if iteration is None else f"iteration {iteration}"


def shorten(text: str, longest: int = 80) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "\u2026"
