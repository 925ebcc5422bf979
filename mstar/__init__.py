"""mstar: self-evolving training for multimodal reasoning.

Importing it sets one thing: while torch's threads wait for each other, they spin for microseconds only, then
sleep. Beside other busy processes endless spinning is ten times slower, and going to sleep at once costs a
training half of its speed (docs/log.md). It has to be said before torch is loaded.
"""

import os

__version__ = "0.1.0"

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
