"""Lets a torchvision that was built for CUDA be imported beside a CPU build of torch, as vLLM does.

Its import stops at operators that it declares itself but cannot load. They are declared here then, and never
called. A process that does not import torchvision loads nothing. For tests only: `make test-vllm` puts this
folder on PYTHONPATH, as vLLM starts processes of its own.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType

NAME = "torchvision"


class Loader(SourceFileLoader):
    """Imports it a second time where the first one fails."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            super().exec_module(module)
        except RuntimeError:
            for name in [name for name in sys.modules if name.startswith(f"{NAME}.")]:
                del sys.modules[name]
            declare_operators()
            super().exec_module(module)


class Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path, target) if name == NAME else None
        if spec is not None and spec.origin is not None:
            spec.loader = Loader(name, spec.origin)
        return spec


def declare_operators() -> None:
    import torch

    library = torch.library.Library(NAME, "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    torch.torchvision_shim = library  # kept alive


sys.meta_path.insert(0, Finder())
