"""Imported by the fork server after all else: what the first model of a process takes longer than the others
(transformers compiles a thousand patterns of weights' names), once for all commands.
"""

from pathlib import Path

from mstar.config import Model
from mstar.models import load_model

BASE = Path(__file__).parent.parent / "examples" / "quickstart" / "base"
load_model(BASE, Model(path=str(BASE), threads=1))
