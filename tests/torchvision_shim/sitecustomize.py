"""Lets a torchvision that was built for CUDA be imported beside a CPU build of torch, as vLLM does.

Its import stops at operators that it declares itself but cannot load. They are declared here, and never
called. Where torchvision can be imported, nothing happens. For tests only: `make test-vllm` puts this folder
on PYTHONPATH, as vLLM starts processes of its own.
"""

import importlib.util
import sys

if importlib.util.find_spec("torchvision") is not None:
    import torch

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        torch.torchvision_shim = library  # kept alive
