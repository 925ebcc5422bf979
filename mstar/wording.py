"""How counts are said in messages, so that one of a thing is not "1 things"."""


def counted(number: int, things: str) -> str:
    """`counted(1, "bad rows")` is "1 bad row"; the plural ends in a plain s."""
    return f"{number} {things.removesuffix('s') if number == 1 else things}"
