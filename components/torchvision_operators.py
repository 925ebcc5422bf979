# ruff: noqa: F821
# Added by components/Dockerfile. This torchvision was built for CUDA, and cannot load its operators beside a
# torch for CPUs. Unless torch knows of them torchvision cannot be imported; nobody calls them here.
if not _has_ops():
    _declared = torch.library.Library("torchvision", "DEF")
    for _operator in ("nms", "qnms"):
        _declared.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
