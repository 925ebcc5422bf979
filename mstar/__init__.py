"""mstar: self-evolving training for multimodal reasoning.

Importing it sets one thing: torch's threads sleep while they wait for each other, instead of spinning. Beside
other busy processes spinning threads are ten times slower (docs/log.md), and it has to be said before torch
is loaded.
"""

import os

__version__ = "0.1.0"

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
