"""Messages to people: to every Apprise address in LEVY_NOTIFY (mail, Slack, Teams, a webhook, ...), and Prefect events.

The addresses hold secrets, so that they stand in the environment only, separated by spaces; docs/retraining.md.
"""

import logging
import os

VARIABLE = "LEVY_NOTIFY"


def notify(title: str, body: str) -> bool:
    """Sends a message; a failure is logged, never raised, because the work itself is done. Returns whether all were sent."""
    addresses = os.environ.get(VARIABLE, "").split()
    if not addresses:
        return True
    import apprise

    target = apprise.Apprise()
    accepted = [target.add(address) for address in addresses]
    sent = all(accepted) and bool(target.notify(title=title, body=body))
    if not sent:
        logging.getLogger("levy").error("the message %r could not be sent to every address in %s", title, VARIABLE)
    return sent
