"""A GPU whose memory is used up, in words for people."""

import re


def explain(error: BaseException) -> str | None:
    """What was asked of a GPU that it does not have, and what to do; None for an error of another kind."""
    if type(error).__name__ != "OutOfMemoryError":  # torch's, which takes a second to import
        return None
    said = re.split(r"\.? (?:Including|Process|Of the allocated|If reserved) ", str(error))[0].rstrip(".")
    return (
        f"{said}: of a training raise train.accumulate, which leaves the model as it is but for last bits, or set train.checkpointing: true, "
        "which leaves it as it is; of other stages lower sample.batch or compute.processes; `nvidia-smi` shows what else is on the GPU"
    )
