"""Seeds for everything random, from the run's seed and a few words that say what for.

Because a chunk's seed depends on nothing but these, a killed and resumed run draws the same numbers as one
that was not.
"""

import hashlib


def derive_seed(seed: int, *labels: int | str) -> int:
    """A seed in [0, 2**63) for what the labels name."""
    text = "/".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
