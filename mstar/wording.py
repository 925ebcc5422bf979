"""How counts and times are said, the same in messages and in the report; one of a thing is not "1 things"."""

THIN = "\u202f"
"""A narrow space that does not break."""
DASH = "\u2013"


def counted(number: int, things: str) -> str:
    """`counted(1, "bad rows")` is "1 bad row"; the plural ends in a plain s."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return DASH
    if seconds < 99.5:
        return f"{seconds:.1f}{THIN}s" if seconds < 9.95 else f"{seconds:.0f}{THIN}s"
    minutes, left = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{THIN}min {left}{THIN}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours}{THIN}h {minutes}{THIN}min"
    return f"{hours // 24}{THIN}d {hours % 24}{THIN}h"
