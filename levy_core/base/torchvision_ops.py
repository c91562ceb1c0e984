"""Makes ``import torchvision`` work beside a CPU build of torch; import this module before torch-fidelity or diffusers.

The registry's torchvision is built against CUDA, so beside a CPU build of torch its compiled operators do not load and
its import stops with "operator torchvision::nms does not exist". Nothing here uses those operators: declaring their
signatures is enough.
"""

import torch

_library = None
try:
    import torchvision
except RuntimeError:
    import sys

    for name in [m for m in sys.modules if m.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for signature in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        _library.define(signature)
    import torchvision  # noqa: F401
