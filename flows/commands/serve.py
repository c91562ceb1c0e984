"""`levy serve`: a registered model over REST."""

from typing import Annotated

import typer


def serve(
    model: Annotated[str, typer.Argument(help="Any MLflow model URI.")] = "models:/levy-digits@champion",
    host: Annotated[
        str, typer.Option(help="The server asks nobody for an account: leave it on loopback, behind a proxy that does.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5001,
    timeout: Annotated[int, typer.Option(min=1, help="Seconds that a request may take.")] = 60,
    verified: Annotated[
        bool, typer.Option("--verified", help="Refuse a version that `levy verify` would refuse.")
    ] = False,
) -> None:
    """Serve a registered model over REST as `mlflow models serve` does, and stop drawing for clients that have left.

    Limits are set in the environment: docs/registry.md.
    """
    from tasks.registry import server, tracking

    tracking.check_server(tracking.address())
    server.serve(model, host, port, timeout, verified)
