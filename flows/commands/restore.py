"""`levy restore`: what is damaged in the registry is put in order again."""

from typing import Annotated

import typer

from levy_core.base.errors import LevyError

DATABASE = "mlflow.db"  # on the command line, whatever the file's name is


def restore(
    what: Annotated[str, typer.Argument(help=f"models:/NAME/VERSION, models:/NAME@ALIAS, or {DATABASE}.")],
    workers: Annotated[int, typer.Option(min=1, help="Stages at a time, where a model has to be made again.")] = 1,
) -> None:
    """Bring damaged or lost files of a registered version back, byte for byte, or MLflow's sqlite file from its last backup.

    Files of a model come from what its run keeps, outputs/, DVC's cache or a remote; else it is made again as by `levy reproduce`.
    """
    from flows.pipeline.dvc import check_root, one_run_at_a_time
    from tasks.registry import database, tracking

    check_root()
    if what != DATABASE:
        from flows.reproduce import restore as files

        tracking.check_server(tracking.address())
        files.restore(what, workers)
    elif file := tracking.database_file():
        with one_run_at_a_time():
            print(database.restore(file))
    else:
        raise LevyError(f"{tracking.address()} is no sqlite file: the backups of a server are the server's")
