"""mstar: self-evolving training for multimodal reasoning.

Importing it sets two things, for both have to be said before torch and tokenizers are loaded. While torch's
threads wait for each other, they spin for microseconds only, then sleep: beside other busy processes endless
spinning is ten times slower, and going to sleep at once costs a training half of its speed (docs/log.md). And
tokenizers starts no threads of its own: for texts as short as ours they cost more than they give.
"""

import os

__version__ = "0.1.0"

if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
