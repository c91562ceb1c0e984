"""What a registered version was made from, by which code, in which environment: a signed statement that others can check.

It is a Statement of in-toto with SLSA's provenance as predicate, in a DSSE envelope, so that other tools read it, too. Its subjects are the
files of the artifact. It is signed twice, for a version has no number before it is registered:

1. before, about the logged model (``models:/m-ID/FILE``); this one stays with the run;
2. after, about the version (``models:/NAME/NUMBER/FILE``), with the same contents; this one lies in the artifact, and only it is accepted.

So a record that was interrupted in between is completed from what its own key has signed, never from what the registry says by then.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version as version_of
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from levy_core.base.errors import LevyError
from levy_core.base.manifest import find_damage, parse_manifest, sha256_of
from tasks.registry import integrity, keys, lineage, tracking
from tasks.runtime import paths

FILE = integrity.STATEMENT
TYPE = "application/vnd.in-toto+json"
LARGEST = 16 * 2**20  # bytes of an envelope
REQUIREMENTS = Path("requirements.lock")
RUN = "levy.run"  # tag of a version: the run that recorded it


class _Shape(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, strict=True, frozen=True)


class Resource(_Shape):
    """A file, folder or commit, by its hashes; ``digest`` is of DVC's list of files where DVC keeps a folder."""

    name: str
    digest: dict[str, str]


class BuildDefinition(_Shape):
    """What was asked for and what it was made from; ``internal_parameters`` are tags of the version."""

    build_type: Literal["urn:levy:pipeline:1"] = "urn:levy:pipeline:1"
    external_parameters: dict[str, Any]
    internal_parameters: dict[str, str]
    resolved_dependencies: list[Resource]


class Builder(_Shape):
    """Who made it."""

    id: str = "urn:levy:run"
    version: dict[str, str]


class Metadata(_Shape):
    """``invocation_id``: the run in MLflow."""

    invocation_id: str


class RunDetails(_Shape):
    """Of the making."""

    builder: Builder
    metadata: Metadata


class Provenance(_Shape):
    """SLSA's predicate."""

    build_definition: BuildDefinition
    run_details: RunDetails


class Statement(_Shape):
    """in-toto's statement about files, ``subject``."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(default="https://in-toto.io/Statement/v1", alias="_type")
    predicate_type: Literal["https://slsa.dev/provenance/v1"] = "https://slsa.dev/provenance/v1"
    subject: list[Resource] = Field(min_length=1)
    predicate: Provenance

    @property
    def definition(self) -> BuildDefinition:
        """What it was made from."""
        return self.predicate.build_definition

    @property
    def tags(self) -> dict[str, str]:
        """Tags that the version has to have."""
        return {**self.definition.internal_parameters, RUN: self.predicate.run_details.metadata.invocation_id}

    def of(self, uri: str) -> "Statement":
        """The same about other subjects: the files of a logged model are those of its registered version."""
        renamed = [s.model_copy(update={"name": f"{uri}/{s.name.split('/', 2)[2]}"}) for s in self.subject]
        return self.model_copy(update={"subject": renamed})


def describe(uri: str, files: str, dataset: str, design: str, tags: Mapping[str, str]) -> Statement:
    """The statement about a model that was made in the working directory.

    Args:
        uri: of the logged model. files: as ``integrity.seal`` gives them. design: the winner. tags: of the version, that of its run among them.
    """
    stages = lineage.stages_of(dataset)
    plain = json.loads(json.dumps(stages), parse_constant=str)  # JSON has no infinity
    asked = {name: {key: entry[key] for key in ("cmd", "params") if key in entry} for name, entry in plain.items()}
    return Statement(
        subject=[Resource(name=f"{uri}/{n}", digest={"sha256": h}) for n, h in parse_manifest(files).items()],
        predicate=Provenance(
            build_definition=BuildDefinition(
                external_parameters={"dataset": dataset, "design": design, "stages": asked},
                internal_parameters={name: tag for name, tag in tags.items() if name != RUN},
                resolved_dependencies=list(_dependencies(stages, tags)),
            ),
            run_details=RunDetails(
                builder=Builder(version={"levy": version_of("levy")}), metadata=Metadata(invocation_id=tags[RUN])
            ),
        ),
    )


def _dependencies(stages: Mapping[str, Any], tags: Mapping[str, str]) -> Iterator[Resource]:
    """The commit, the locked packages, and what the stages read beside each other's outputs: data and code."""
    if tags["git.commit"] != "none":
        yield Resource(name="git", digest={"gitCommit": tags["git.commit"]})
    if REQUIREMENTS.exists():
        yield Resource(name=str(REQUIREMENTS), digest={"sha256": sha256_of(REQUIREMENTS)})
    dependencies = [dependency for entry in stages.values() for dependency in entry.get("deps", [])]
    for path, md5 in sorted({(dependency["path"], dependency["md5"]) for dependency in dependencies}):
        if not path.startswith(f"{paths.OUTPUTS}/"):
            yield Resource(name=path, digest={"md5": md5.removesuffix(".dir")})


def sign(statement: Statement, signer: CryptoSigner) -> bytes:
    """The envelope, one line of JSON; equal statements give equal bytes."""
    payload = _as_json(statement.model_dump(by_alias=True))
    envelope = Envelope(payload, TYPE, {})
    envelope.sign(signer)
    return _as_json(envelope.to_dict())


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n").encode()


def read(content: bytes, trusted: Mapping[str, SSlibKey], uri: str) -> tuple[Statement, str]:
    """The statement in an envelope, and the name of the key that has signed it.

    Args:
        trusted: public keys by name. uri: what carries the envelope, for messages.

    Raises:
        LevyError: the envelope is damaged, nobody trusted has signed it, its signature is of other bytes, or it states something else.
    """
    names = {key.keyid: name for name, key in trusted.items()}
    try:
        if len(content) > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        envelope = Envelope.from_dict(json.loads(content))
        if _as_json(envelope.to_dict()) != content:  # all of it is accounted for, also what no signature covers
            raise ValueError("not as it was written")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        said = f"{type(error).__name__}: {error}"[:100]
        raise LevyError(f"the statement of {uri} is damaged ({said!a}): nothing of it holds") from None
    if not names.keys() & envelope.signatures.keys():
        signers = ", ".join(str(keyid)[:16] for keyid in envelope.signatures) or "nobody"
        raise LevyError(f"the statement of {uri} is signed by {signers!a}, whose key is none of those that are trusted")
    try:
        accepted = envelope.verify(list(trusted.values()), threshold=1)
    except VerificationError:
        raise LevyError(f"the statement of {uri} is not what was signed: its signature is of other bytes") from None
    try:
        if envelope.payload_type != TYPE:
            raise ValueError(f"it is of the type {envelope.payload_type}, expected was {TYPE}")
        return Statement.model_validate_json(envelope.payload), names[next(iter(accepted))]
    except ValueError as error:
        said = " ".join(str(error).split())[:200]
        raise LevyError(f"the statement of {uri} is signed, but none of a levy model ({said})") from None


def check(version: Any, folder: Path, trusted: Mapping[str, SSlibKey]) -> tuple[Statement, str]:
    """What is signed of a registered version, and by which key; it is of this version, and of these files and no others.

    Args:
        folder: a copy of the artifact of the version.

    Raises:
        LevyError: it is not, or there is no statement that a trusted key has signed.
    """
    uri = integrity.uri_of(version)
    file = folder / FILE
    if not file.is_file():
        raise LevyError(f"{uri} carries no signed statement: it was registered without a signing key, or lost it")
    with file.open("rb") as stream:
        statement, signer = read(stream.read(LARGEST + 1), trusted, uri)
    if others := [subject.name for subject in statement.subject if not subject.name.startswith(f"{uri}/")]:
        raise LevyError(f"the statement that {uri} carries is of another version: it is about {others[0]}")
    signed = {subject.name.removeprefix(f"{uri}/"): subject.digest.get("sha256", "") for subject in statement.subject}
    if damage := find_damage(signed, integrity.hashes_of(folder)):
        more = f" and {len(damage) - 5} more" if len(damage) > 5 else ""
        raise LevyError(f"{uri} is not what was signed: {'; '.join(damage[:5])}{more}")
    for tag, value in statement.tags.items():
        if version.tags.get(tag) != value:
            raise LevyError(
                f"{uri} is not what was signed: its tag {tag} is {version.tags.get(tag)!r}, signed is {value!r}"
            )
    return statement, signer


def verify(version: Any, trusted: Mapping[str, SSlibKey]) -> tuple[Statement, str]:
    """As ``check``, of the files that the registry gives.

    Raises:
        LevyError: as ``check``, or the files cannot be read.
    """
    mlflow, uri = tracking.connect(), integrity.uri_of(version)
    with tempfile.TemporaryDirectory(
        ignore_cleanup_errors=True
    ) as scratch:  # MLflow's threads may write after a refusal
        try:
            folder = mlflow.artifacts.download_artifacts(uri, dst_path=scratch)  # as whoever loads it gets it
            return check(version, Path(folder), trusted)
        except (mlflow.exceptions.MlflowException, OSError) as error:
            raise LevyError(f"{uri} cannot be read from {tracking.address()} ({str(error)[:300]})") from error


def keep_draft(client: Any, statement: Statement, signer: CryptoSigner) -> None:
    """Signs a statement about a logged model, and keeps it with its run."""
    client.log_text(statement.tags[RUN], sign(statement, signer).decode(), FILE)


def complete(mlflow: Any, version: Any, lock: str, signer: CryptoSigner) -> None:
    """Puts the statement about a registered version beside its files, unless it is there or the version was registered without this key.

    Args:
        lock: the outputs at hand, as the tag ``levy.lock`` has them: a statement about others is of no use.
    """
    uri = integrity.uri_of(version)
    draft = _read_if_own(mlflow, f"runs:/{version.tags[RUN]}/{FILE}", signer)
    if draft is None or draft.tags["levy.lock"] != lock:
        return
    statement = draft.of(uri)
    if _read_if_own(mlflow, f"{uri}/{FILE}", signer) == statement:
        return
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / FILE
        file.write_bytes(sign(statement, signer))
        integrity.open_store(version).log_artifact(str(file))


def _read_if_own(mlflow: Any, uri: str, signer: CryptoSigner) -> Statement | None:
    """A statement that this key has signed; None where there is none."""
    with tempfile.TemporaryDirectory() as scratch:
        try:
            file = mlflow.artifacts.download_artifacts(uri, dst_path=scratch)
            return read(Path(file).read_bytes(), {keys.SIGNING: signer.public_key}, uri)[0]
        except (mlflow.exceptions.MlflowException, OSError, LevyError):
            return None
