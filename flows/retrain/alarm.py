"""Tells people what a retraining cannot say itself: that none has finished for too long, that one was killed, that its data drifted.

The triggers in prefect.yaml start it. Its worker serves a work pool of its own and belongs on the server's machine, so that it
speaks when the machine that trains is dead.
"""

import os
from typing import Literal

from prefect import flow

from flows.retrain.notify import VARIABLE, notify
from levy_core.base.errors import LevyError

MESSAGES = {
    "silent": (
        "no retraining of {} has finished for too long",
        "None was started, or one hangs, or its machine is down: `levy doctor`, `prefect flow-run ls`.",
    ),
    "crashed": ("retraining of {} crashed", "The next run goes on from there."),
    "drifted": ("new data of {} are unlike those before", "Nothing was stopped: docs/retraining.md, Drift."),
}


@flow(name="levy-alarm", flow_run_name="{what}-{dataset}", retries=5, retry_delay_seconds=60, persist_result=False)
def alarm(dataset: str, what: Literal["silent", "crashed", "drifted"], detail: str = "") -> None:
    """Sends one message; tried again for minutes, and failed in the end, if it cannot be sent.

    Args:
        dataset: the data set that it is about. what: happened. detail: what the event says of it.

    Raises:
        LevyError: there is no address, or one did not take the message.
    """
    if not os.environ.get(VARIABLE, "").split():
        raise LevyError(f"{VARIABLE} is empty where the alarms run, so that nobody is told: set it for this worker")
    title, advice = MESSAGES[what]
    if not notify(f"levy: {title.format(dataset)}", f"{detail}\n{advice}".strip()):
        raise LevyError(f"the alarm {title.format(dataset)!r} could not be sent to every address in {VARIABLE}")
