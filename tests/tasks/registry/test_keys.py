"""A key signs only where nobody else can read it, and trust is given to public keys by name; whatever is no such key is refused in one line."""

import os
import stat
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from levy_core.base.errors import LevyError
from tasks.registry import keys


def pem(key, encryption=None):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.fixture
def private(tmp_path, monkeypatch):
    """A file that ``LEVY_SIGNING_KEY`` names, with a key in it; ``LEVY_TRUSTED_KEYS`` names its public key."""
    file = tmp_path / "keys" / "one.pem"
    monkeypatch.setenv(keys.TRUSTED, str(keys.make(file)))
    monkeypatch.setenv(keys.SIGNING, str(file))
    return file


def refusal(call):
    with pytest.raises(LevyError) as refused:
        call()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_a_new_key_is_its_owners_alone_signs_and_is_trusted_by_its_public_key(private):
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert [key.keyid for key in keys.read_trusted().values()] == [keys.find_signer().public_key.keyid]
    assert b"PRIVATE" not in private.with_suffix(".pem.pub").read_bytes()


def test_nothing_is_overwritten(private, tmp_path):
    before = private.read_bytes()
    assert "is there already" in refusal(lambda: keys.make(private))
    (tmp_path / "two.pem.pub").touch()
    assert "two.pem.pub is there already" in refusal(lambda: keys.make(tmp_path / "two.pem"))
    (tmp_path / "link.pem").symlink_to(tmp_path / "elsewhere")
    assert "is there already" in refusal(lambda: keys.make(tmp_path / "link.pem"))
    assert private.read_bytes() == before
    assert not (tmp_path / "two.pem").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_private_key_is_written_nowhere_where_git_may_commit_it(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text("/.levy/\n")
    assert "could be committed" in refusal(lambda: keys.make(tmp_path / "one.pem"))
    assert "could be committed" in refusal(lambda: keys.make(tmp_path / "new" / "one.pem"))
    assert not list(tmp_path.rglob("*.pem*"))
    keys.make(tmp_path / ".levy" / "one.pem")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written" in refusal(lambda: keys.make(tmp_path / "file" / "one.pem"))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_private_key_that_others_can_read_or_write_does_not_sign(private, mode):
    private.chmod(mode)
    assert f"chmod 600 {private}" in refusal(keys.find_signer)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no private key in PEM"),
        (b"\xff" * 100_000, "no private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "no private key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")), "asks for a passphrase"),
        (pem(rsa.generate_private_key(65537, 2048)), "no Ed25519 key"),
    ],
)
def test_what_is_no_key_that_can_sign_is_named_without_its_contents(private, content, said):
    private.write_bytes(content)
    assert said in (text := refusal(keys.find_signer))
    assert str(private) in text
    assert "AAAA" not in text


def test_files_that_are_none_or_missing_are_named(private, monkeypatch, tmp_path):
    for variable, call in (keys.SIGNING, keys.find_signer), (keys.TRUSTED, keys.read_trusted):
        monkeypatch.setenv(variable, str(tmp_path / "gone"))
        assert "cannot be read" in refusal(call)
        monkeypatch.setenv(variable, "one.pem")
        assert "an absolute path was expected" in refusal(call)
        monkeypatch.setenv(variable, str(tmp_path / "pipe"))
        if not (tmp_path / "pipe").exists():
            os.mkfifo(tmp_path / "pipe")
        assert "is no file" in refusal(call)
    monkeypatch.setenv(keys.SIGNING, "")
    monkeypatch.setenv(keys.TRUSTED, "")
    assert keys.find_signer() is None
    assert "whose signatures hold" in refusal(keys.read_trusted)


def test_a_folder_of_public_keys_is_trusted_as_a_whole_and_one_that_is_none_is_named(private, monkeypatch, tmp_path):
    folder = tmp_path / "trusted"
    folder.mkdir()
    monkeypatch.setenv(keys.TRUSTED, str(folder))
    assert "there is no *.pub" in refusal(keys.read_trusted)
    for name in "a", "b":
        keys.make(folder / name)
    assert list(keys.read_trusted()) == [f"{folder}/a.pub", f"{folder}/b.pub"]
    (folder / "c.pub").write_bytes(private.read_bytes())
    assert "c.pub is no public Ed25519 key" in refusal(keys.read_trusted)
