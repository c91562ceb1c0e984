"""Ed25519 keys as PEM files: the private one that signs what is registered here, and the public ones that this machine trusts."""

import os
import subprocess
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from securesystemslib.signer import CryptoSigner, SSlibKey

from levy_core.base.errors import LevyError

SIGNING = "LEVY_SIGNING_KEY"  # variable: the file of the private key; without it, versions are registered unsigned
TRUSTED = "LEVY_TRUSTED_KEYS"  # variable: the file of a public key, or a folder of *.pub
LARGEST = 64 * 1024  # bytes of a key's file


def make(file: Path) -> Path:
    """Writes a new private key, which only its owner may read, and its public key to ``file``.pub, whose path is returned.

    Raises:
        LevyError: one of the files is there, cannot be written, or the private key would lie where git may commit it.
    """
    file, public = Path(os.path.abspath(file)), Path(f"{os.path.abspath(file)}.pub")
    for path in (file, public):
        if os.path.lexists(path):
            raise LevyError(f"{path} is there already, and no key is overwritten: name another file")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if _may_be_committed(file):
            raise LevyError(
                f"{file} lies in a git repository that does not ignore it, so the private key could be committed: name a file "
                f"outside, such as {Path.home() / '.config' / 'levy' / file.name}"
            )
        key = CryptoSigner.generate_ed25519()
        _write_new(file, key.private_bytes, 0o600)
        crypto = Ed25519PublicKey.from_public_bytes(bytes.fromhex(key.public_key.keyval["public"]))
        _write_new(public, crypto.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644)
    except OSError as error:
        raise LevyError(f"the key cannot be written: {error}") from error
    return public


def find_signer() -> CryptoSigner | None:
    """The key that signs here; None where ``LEVY_SIGNING_KEY`` is not set.

    Raises:
        LevyError: the file cannot be read, others may read it, or it holds no Ed25519 key without a passphrase.
    """
    file = _file_of(SIGNING)
    if file is None:
        return None
    content = _read(file, SIGNING)
    if file.stat().st_mode & 0o077:
        raise LevyError(
            f"{SIGNING}: others than its owner may read or write {file}: `chmod 600 {file}`, or make another key"
        )
    try:
        key = load_pem_private_key(content, None)
    except TypeError:
        raise LevyError(f"{SIGNING}: {file} asks for a passphrase, which nobody types at night: make one without, `levy key new`") from None  # fmt: skip
    except (ValueError, UnsupportedAlgorithm):
        raise LevyError(f"{SIGNING}: {file} is no private key in PEM: `levy key new FILE` makes one") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise LevyError(f"{SIGNING}: {file} is no Ed25519 key: `levy key new FILE` makes one")
    return CryptoSigner(key)


def read_trusted() -> dict[str, SSlibKey]:
    """The public keys that this machine trusts, by the file of each.

    Raises:
        LevyError: ``LEVY_TRUSTED_KEYS`` is not set, there are no keys, or a file is none.
    """
    place = _file_of(TRUSTED)
    if place is None:
        raise LevyError(
            f"nobody said whose signatures hold: set {TRUSTED} to a public key, or to a folder of them, *.pub (`levy key new` writes them)"
        )
    files = sorted(place.glob("*.pub")) if place.is_dir() else [place]
    if not files:
        raise LevyError(f"{TRUSTED}: there is no *.pub in {place}")
    return {str(file): _read_public(file) for file in files}


def _read_public(file: Path) -> SSlibKey:
    try:
        key: Any = load_pem_public_key(_read(file, TRUSTED))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise LevyError(f"{TRUSTED}: {file} is no public Ed25519 key in PEM: `levy key new FILE` writes FILE.pub")
    return SSlibKey.from_crypto(key)


def _file_of(variable: str) -> Path | None:
    """The path in a variable, which is the same in every folder: runs go on in workspaces of their own."""
    text = os.environ.get(variable)
    if not text:
        return None
    path = Path(text)
    if not path.is_absolute():
        raise LevyError(f"{variable} is {text!r}, but an absolute path was expected: {Path(text).absolute()}?")
    return path


def _read(file: Path, variable: str) -> bytes:
    try:
        if file.exists() and not file.is_file():
            raise LevyError(f"{variable}: {file} is no file")
        with file.open("rb") as stream:
            return stream.read(LARGEST)
    except OSError as error:
        raise LevyError(f"{variable}: {file} cannot be read ({error.strerror})") from error


def _may_be_committed(file: Path) -> bool:
    """Whether a file would lie in the working tree of a git repository that does not ignore it."""
    git = ["git", "-C", str(file.parent)]
    inside = subprocess.run([*git, "rev-parse", "--is-inside-work-tree"], capture_output=True, text=True, check=False)  # noqa: S603
    if inside.stdout.strip() != "true":
        return False
    return subprocess.run([*git, "check-ignore", "-q", str(file)], capture_output=True, check=False).returncode != 0  # noqa: S603


def _write_new(file: Path, content: bytes, mode: int) -> None:
    with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as stream:
        stream.write(content)
