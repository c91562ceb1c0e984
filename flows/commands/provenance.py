"""Commands for signed provenance: `levy key new`, `levy verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.registry.provenance import Statement

app = typer.Typer(no_args_is_help=True, help="Keys that sign what is registered (docs/safety.md).")


@app.callback()
def key() -> None:
    """Keys that sign what is registered (docs/safety.md)."""


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="For the private key; the public one is written to FILE.pub.")],
) -> None:
    """Make an Ed25519 key pair: a private key that only you may read, and a public key to hand out. Nothing is overwritten."""
    from tasks.registry import keys

    public = keys.make(file)
    print(f"where versions are registered:  export {keys.SIGNING}={public.with_suffix('')}")
    print(f"where they are verified:        export {keys.TRUSTED}={public}")


def verify(
    uri: Annotated[str, typer.Argument(help="models:/NAME/VERSION or models:/NAME@ALIAS.")],
) -> None:
    """Check that a key in LEVY_TRUSTED_KEYS has signed a registered version and all its files, and show what it was made from.

    Reads every file in the store. Exit status 1, and one line that says why, if anything differs or nothing is signed.
    """
    from flows.reproduce.versions import find_registered
    from tasks.registry import integrity, keys, provenance, tracking

    tracking.check_server(tracking.address())
    trusted = keys.read_trusted()
    version = find_registered(uri)
    statement, signer = provenance.verify(version, trusted)
    print(f"{integrity.uri_of(version)} is what was signed: {len(statement.subject)} files, by the key {signer}")
    for what, value in _origin(statement).items():
        print(f"    {what:12s} {value}")


def _origin(statement: "Statement") -> dict[str, str]:
    """What a statement says for people: data, code, packages, machine, run."""
    definition, tags = statement.definition, statement.tags
    hashes = {source.name: " ".join(*source.digest.items()) for source in definition.resolved_dependencies}
    dataset = definition.external_parameters["dataset"]
    dirty = " with uncommitted changes" if tags.get("git.dirty") == "true" else ""
    return {
        "data": "; ".join(f"{name} {hashes[name]}" for name in hashes if name.startswith("data/")),
        "params": f"of {len(definition.external_parameters['stages'])} stages for {dataset}, levy.params {tags['levy.params']}",
        "code": hashes.get("git", "no commit") + dirty,
        "packages": f"requirements.lock {hashes.get('requirements.lock', 'was not there')}",
        "environment": f"{tags['levy.environment']}: {tags['levy.machine']}",
        "winner": tags["levy.winner"],
        "run": tags["levy.run"],
    }
