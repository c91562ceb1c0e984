"""A version is verified only if a trusted key has signed exactly its files under exactly its name and number."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from flows import cli
from levy_core.base.errors import LevyError
from levy_core.base.manifest import MANIFEST, sha256_of_files
from tasks.registry import integrity, keys, provenance, tracking
from tests.support.registered import NAME, register, registry_in, sign

ONE, OTHER = (Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32) for number in (1, 2))
SIGNER, STRANGER = CryptoSigner(ONE), CryptoSigner(OTHER)
TRUSTED = {"one.pub": SIGNER.public_key}
URI = f"models:/{NAME}/1"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a registry with two signed versions and the artifacts of both."""
    folder = tmp_path_factory.mktemp("signed")
    with registry_in(folder):
        artifacts = [register(folder / "first"), register(folder / "second")]
        for number in "1", "2":
            sign(number, SIGNER)
        return folder, artifacts


@pytest.fixture
def artifacts(made, monkeypatch, tmp_path):
    """The artifacts of the two versions, whose files are as before afterwards."""
    folder, artifacts = made
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")
    for number, artifact in enumerate(artifacts):
        shutil.copytree(artifact, tmp_path / "kept" / str(number))
    yield artifacts
    for number, artifact in enumerate(artifacts):
        shutil.rmtree(artifact)
        shutil.copytree(tmp_path / "kept" / str(number), artifact)


def version(number="1"):
    return tracking.connect().MlflowClient().get_model_version(NAME, number)


def refusal(number="1", trusted=TRUSTED):
    with pytest.raises(LevyError) as refused:
        provenance.verify(version(number), trusted)
    text = str(refused.value)
    assert text.isprintable()  # one line
    assert len(text) < 1000
    return text


def write_public(file, key):
    file.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


def payload_of(file):
    return json.loads(base64.b64decode(json.loads(file.read_bytes())["payload"]))


def write(file, payload, signer=SIGNER, payload_type=provenance.TYPE):
    """Puts any payload into a signed envelope."""
    content = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    envelope = Envelope(content, payload_type, {})
    envelope.sign(signer)
    file.write_bytes(provenance._as_json(envelope.to_dict()))


def test_what_was_signed_is_verified_and_says_what_it_was_made_from(artifacts):
    statement, signer = provenance.verify(version(), TRUSTED)
    assert signer == "one.pub"
    named = {subject.name.removeprefix(f"{URI}/"): subject.digest["sha256"] for subject in statement.subject}
    assert named == {n: h for n, h in sha256_of_files(artifacts[0]).items() if n not in (integrity.OF_DOWNLOADS, integrity.STATEMENT)}  # fmt: skip
    assert {"MLmodel", "data/model/model.safetensors", "data/model/lineage/params.yaml"} <= named.keys()
    assert statement.tags["git.commit"] == "c" * 40


def test_the_envelope_is_standard_openssl_verifies_its_signature_without_levy(artifacts, tmp_path):
    public = write_public(tmp_path / "one.pub", ONE)
    envelope = json.loads((artifacts[0] / provenance.FILE).read_bytes())
    payload, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
    (tmp_path / "message").write_bytes(b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload))
    (tmp_path / "signature").write_bytes(base64.b64decode(envelope["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, "-rawin"]
    command += ["-in", tmp_path / "message", "-sigfile", tmp_path / "signature"]
    assert "Verified Successfully" in subprocess.run(command, capture_output=True, text=True, check=True).stdout
    statement = json.loads(payload)
    assert (kind, statement["_type"]) == (b"application/vnd.in-toto+json", "https://in-toto.io/Statement/v1")
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


def test_equal_statements_give_equal_bytes(artifacts):
    file = artifacts[0] / provenance.FILE
    assert provenance.sign(provenance.verify(version(), TRUSTED)[0], SIGNER) == file.read_bytes()


def test_parameters_are_stated_as_they_are_nothing_and_infinity_among_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("dvc.yaml").write_text("stages: {prepare: {cmd: x, matrix: {dataset: [digits]}}}\n")
    Path("dvc.lock").write_text(
        "stages: {prepare@digits: {cmd: x, deps: [{path: data, md5: 0a.dir}], params: {p: {a: null, b: .inf, c: [.nan, 1]}}}}\n"
    )
    tags = {"git.commit": "none", provenance.RUN: "run"}
    made = provenance.describe("models:/m-1", f"{'0' * 64}  MLmodel\n", "digits", "ddpm", tags)
    read, _ = provenance.read(provenance.sign(made, SIGNER), TRUSTED, URI)
    stages = {"prepare@digits": {"cmd": "x", "params": {"p": {"a": None, "b": "Infinity", "c": ["NaN", 1]}}}}
    assert read.definition.external_parameters == {"dataset": "digits", "design": "ddpm", "stages": stages}
    assert [(part.name, part.digest) for part in read.definition.resolved_dependencies] == [("data", {"md5": "0a"})]
    assert read == made


def test_a_version_without_a_statement_is_refused(artifacts):
    (artifacts[0] / provenance.FILE).unlink()
    assert "carries no signed statement" in refusal()


def test_a_signature_of_nobody_trusted_is_refused(artifacts):
    assert "none of those that are trusted" in refusal(trusted={"other.pub": STRANGER.public_key})
    assert "none of those that are trusted" in refusal(trusted={})
    file = artifacts[0] / provenance.FILE
    write(file, payload_of(file), STRANGER)
    assert "none of those that are trusted" in refusal()


def test_the_name_of_a_trusted_key_does_not_help_another(artifacts):
    file = artifacts[0] / provenance.FILE
    forged = json.loads(provenance.sign(provenance.verify(version(), TRUSTED)[0], STRANGER))
    forged["signatures"][0]["keyid"] = SIGNER.public_key.keyid
    file.write_bytes(provenance._as_json(forged))
    assert "its signature is of other bytes" in refusal()


def test_changed_lost_and_added_files_are_named(artifacts):
    weights = artifacts[0] / integrity.INNER / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    assert "model.safetensors is damaged" in refusal()
    weights.unlink()
    (artifacts[0] / "code.py").touch()
    text = refusal()
    assert "model.safetensors is missing" in text
    assert "code.py is not on record" in text
    for number in range(1000):
        (artifacts[0] / f"{number}.py").touch()
    assert "more" in refusal()


def test_files_that_were_added_are_seen_wherever_they_hide(artifacts, tmp_path):
    (artifacts[0] / MANIFEST).touch()
    assert f"{MANIFEST} is not on record" in refusal()
    (artifacts[0] / MANIFEST).unlink()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "code.py").touch()
    (artifacts[0] / "linked").symlink_to(tmp_path / "elsewhere")
    assert "path is outside the artifact directory" in refusal()
    shutil.move(tmp_path / "elsewhere", artifacts[0] / "elsewhere")
    (artifacts[0] / "linked").unlink()
    (artifacts[0] / "linked").symlink_to("elsewhere")
    assert "linked/code.py is not on record" in refusal()


def test_a_tag_that_is_not_the_signed_one_is_named(artifacts):
    client = tracking.connect().MlflowClient()
    client.set_model_version_tag(NAME, "1", "git.commit", "d" * 40)
    try:
        assert "its tag git.commit is 'ddd" in refusal()
    finally:
        client.set_model_version_tag(NAME, "1", "git.commit", "c" * 40)


def test_statements_hold_for_no_other_version_even_with_all_files_swapped(artifacts, tmp_path):
    one, two = artifacts
    shutil.copyfile(two / provenance.FILE, one / provenance.FILE)
    assert f"is of another version: it is about models:/{NAME}/2/" in refusal()
    shutil.rmtree(one)
    shutil.copytree(two, one)
    assert f"is of another version: it is about models:/{NAME}/2/" in refusal()


def test_the_statement_about_the_model_before_it_was_registered_is_not_enough(artifacts):
    client = tracking.connect().MlflowClient()
    client.download_artifacts(version().tags["levy.run"], provenance.FILE, str(artifacts[0]))
    assert "is of another version: it is about models:/m-" in refusal()


def test_signed_statements_of_something_else_are_refused(artifacts):
    file = artifacts[0] / provenance.FILE
    good = payload_of(file)
    extra = {"name": f"{URI}/code.py", "digest": {"sha256": "0" * 64}}
    write(file, {**good, "subject": [*good["subject"], extra]})
    assert "code.py is missing" in refusal()
    write(file, {**good, "subject": [*good["subject"], {**good["subject"][0], "digest": {"sha512": "0"}}]})
    assert "is not what was signed" in refusal()
    for changed in (
        {**good, "subject": []},
        {**good, "predicateType": "https://slsa.dev/verification_summary/v1"},
        {**good, "_type": "https://in-toto.io/Statement/v0.1"},
        {**good, "predicate": {}},
        [],
        {},
        b"",
        b"\xff",
        b"[" * 100_000,
        b"NaN",
        json.dumps(good).replace(f'"{SIGNER.public_key.keyid}"', "NaN").encode()[:-1],
    ):
        write(file, changed)
        assert "is signed, but none of a levy model" in refusal()
    write(file, good, payload_type="text/plain")
    assert "is signed, but none of a levy model" in refusal()


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"null", b"NaN", b"1" * 5000, b"[" * 1_000_000, b'{"a":' * 100_000, b"\xff\xfe", b'"\\ud800"', b" " * (provenance.LARGEST + 1),
     b'{"payload":1,"payloadType":2,"signatures":3}', b'{"payload":"","payloadType":"","signatures":[]}', b'{"payload":"","payloadType":"","signatures":{"a":1}}',
     b'{"payload":"","payloadType":[],"signatures":[{"keyid":{},"sig":""}]}', b'{"payload":"\xc3\xa9","payloadType":"","signatures":[]}',
     b'{"payload":"","payloadType":NaN,"signatures":[{"keyid":"\\ud800\\n","sig":""}]}\n'],
    ids=range(17),
)  # fmt: skip
def test_what_is_no_envelope_is_refused_in_one_line(artifacts, content):
    (artifacts[0] / provenance.FILE).write_bytes(content)
    assert "the statement of" in refusal()


@pytest.fixture(scope="module")
def envelope(made):
    return (made[1][0] / provenance.FILE).read_bytes()


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_change_of_any_byte_of_an_envelope_is_refused_in_one_line(envelope, data):
    start = data.draw(st.integers(0, len(envelope)))
    end = data.draw(st.integers(start, min(len(envelope), start + 3)) | st.just(len(envelope)))
    changed = envelope[:start] + data.draw(st.binary(max_size=3)) + envelope[end:]
    if changed == envelope:
        return
    with pytest.raises(LevyError) as refused:
        provenance.read(changed, TRUSTED, URI)
    assert str(refused.value).isprintable()


def test_every_single_bit_of_an_envelope_counts(envelope):
    for place in range(0, len(envelope), 7):
        for bit in range(8):
            changed = bytearray(envelope)
            changed[place] ^= 1 << bit
            with pytest.raises(LevyError):
                provenance.read(bytes(changed), TRUSTED, URI)


def test_a_lost_or_cut_statement_is_completed_from_the_run_to_the_same_bytes_and_only_by_its_own_key(artifacts):
    mlflow, file = tracking.connect(), artifacts[0] / provenance.FILE
    before = file.read_bytes()
    for left in (b"", before[:-9]):
        file.write_bytes(left)
        provenance.complete(mlflow, version(), "outputs 1", STRANGER)
        assert file.read_bytes() == left
        provenance.complete(mlflow, version(), "outputs 1", SIGNER)
        assert file.read_bytes() == before
    file.unlink()
    provenance.complete(mlflow, version(), "outputs 2", SIGNER)  # another version's outputs are at hand
    assert not file.exists()


def test_statement_of_another_run_completes_nothing(artifacts, tmp_path):
    """Somebody who may write the registry offers the older version, all of it, as the newer one."""
    mlflow = tracking.connect()
    client, two = mlflow.MlflowClient(), version("2")
    (artifacts[1] / provenance.FILE).unlink()
    client.set_model_version_tag(NAME, "2", provenance.RUN, version("1").tags[provenance.RUN])
    try:
        provenance.complete(mlflow, version("2"), "outputs 2", SIGNER)
        assert not (artifacts[1] / provenance.FILE).exists()
    finally:
        client.set_model_version_tag(NAME, "2", provenance.RUN, two.tags[provenance.RUN])


def command(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["levy", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.dispatch()
    return end.value.code


def test_levy_verify_and_levy_sample_verified_take_what_is_signed_and_nothing_else(
    artifacts, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv(keys.TRUSTED, str(write_public(tmp_path / "other.pub", OTHER)))
    sample = ["sample", str(tmp_path / "out"), "--n", "2", "--model"]
    for uri in URI, f"models:/{NAME}@champion":
        assert "none of those that are trusted" in command(monkeypatch, "verify", uri)
        assert "none of those that are trusted" in command(monkeypatch, *sample, uri, "--verified")
    assert "no registered version" in command(monkeypatch, "verify", version().source)
    assert "only such are signed" in command(monkeypatch, *sample, version().source, "--verified")
    assert not (tmp_path / "out").exists()
    write_public(tmp_path / "other.pub", ONE)
    capsys.readouterr()
    assert command(monkeypatch, "verify", URI) == 0
    said = capsys.readouterr().out
    assert f"{URI} is what was signed" in said
    assert "gitCommit " + "c" * 40 in said
    assert command(monkeypatch, *sample, URI, "--verified") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "00000.png",
        "00001.png",
        "levy.json",
        "samples.csv",
    ]
    monkeypatch.delenv(keys.TRUSTED)
    assert "whose signatures hold" in command(monkeypatch, "verify", URI)
    assert "whose signatures hold" in command(monkeypatch, *sample, URI, "--verified")
