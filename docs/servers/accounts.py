"""Makes an account of MLflow, or gives it another password, by `python docs/servers/accounts.py NAME reader|writer`.

Run it with the admin's account in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; the new password is read from standard
input. A reader reads everything and changes nothing of others; a writer records runs and moves aliases.
"""

import getpass
import os
import sys

from mlflow.exceptions import RestException
from mlflow.server import get_app_client
from mlflow.server.auth.client import AuthServiceClient

WORKSPACE, ROLE = "default", "writers"


def main(name: str, kind: str) -> None:
    """The account, and for a writer the role, which is made when it is missing."""
    client = get_app_client("basic-auth", os.environ["MLFLOW_TRACKING_URI"])
    password = getpass.getpass("its password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        client.create_user(name, password)
    except RestException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        client.update_user_password(name, password)
    if kind == "writer":
        client.assign_role(name, _writers(client))


def _writers(client: AuthServiceClient) -> int:
    for role in client.list_roles(WORKSPACE):
        if role.name == ROLE:
            return role.id
    role = client.create_role(WORKSPACE, ROLE)
    for resource in ("experiment", "registered_model"):
        client.add_role_permission(role.id, resource, "*", "EDIT")
    return role.id


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[2] not in ("reader", "writer"):
        sys.exit(__doc__)
    main(*sys.argv[1:])
