"""Regular expressions that are compiled when they are first used.

Those of this package take a tenth of a second, which commands that judge nothing should not wait for.
"""

import re
from typing import Any, cast


class _Late:
    def __init__(self, source: str, flags: int) -> None:
        self._written = source, flags

    def __getattr__(self, name: str) -> Any:
        """Asked once for every name: then it is an attribute, as quick as the pattern's own."""
        value = getattr(re.compile(*self._written), name)
        setattr(self, name, value)
        return value


def late(source: str, flags: int = 0) -> re.Pattern[str]:
    """What `re.compile` gives, compiled later."""
    return cast("re.Pattern[str]", _Late(source, flags))
