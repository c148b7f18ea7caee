"""Where secrets come from: their names, what is refused, and that no error holds a value."""

import sys
import types

import boto3
import pytest
from moto.server import ThreadedMotoServer

from aiinfra_lab import secrets
from aiinfra_lab.alerts.variables import check_variable, value_of
from aiinfra_lab.errors import Denied, LabError, Missing, NotFound, Unavailable, UsageProblem

from .conftest import VALUE


def refused(kind: type[LabError], reference: str) -> LabError:
    with pytest.raises(kind) as caught:
        secrets.resolve(reference)
    assert type(caught.value) is kind
    assert VALUE not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.fix
    return caught.value


def test_a_variable_of_the_environment(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", f"{VALUE}\n")
    assert secrets.resolve("HF_TOKEN") == VALUE
    monkeypatch.delenv("HF_TOKEN")
    assert "export HF_TOKEN" in refused(Missing, "HF_TOKEN").fix


@pytest.mark.parametrize("given", [VALUE, "hf_" + "a1" * 9, "", "keyring: ", "vault:a", f"https://h/{VALUE}", "Token"])
def test_what_is_no_name_is_not_repeated(given):
    problem = refused(UsageProblem, given)
    assert not given or given not in str(problem)


def test_a_file_for_its_owner(tmp_path):
    path = tmp_path / "token"
    path.write_text(f"{VALUE}\n")
    path.chmod(0o644)
    assert "chmod 600" in refused(Denied, f"file:{path}").fix
    path.chmod(0o600)
    assert secrets.resolve(f"file:{path}") == VALUE
    path.write_bytes(b"\xff\xfe")
    refused(UsageProblem, f"file:{path}")
    path.write_text("")
    refused(Missing, f"file:{path}")
    refused(NotFound, f"file:{tmp_path / 'none'}")


def test_a_keyring_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "keyring", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "aiinfra-lab[keyring]" in refused(Missing, "keyring:hugging-face/token").fix
    refused(UsageProblem, "keyring:token")


@pytest.fixture
def keyring(tmp_path, monkeypatch):
    """The real package, where it is installed, with a backend in memory."""
    package = pytest.importorskip("keyring")
    backend = pytest.importorskip("keyring.backend")

    class Memory(backend.KeyringBackend):
        priority = 1
        kept: dict[tuple[str, str], str] = {}  # noqa: RUF012  # of one test

        def get_password(self, service, username):
            if service == "locked":
                raise RuntimeError(f"locked: {VALUE}")
            return self.kept.get((service, username))

        def set_password(self, service, username, password):
            self.kept[service, username] = password

    before = package.get_keyring()
    package.set_keyring(Memory())
    yield package
    package.set_keyring(before)


def test_the_keyring(keyring):
    keyring.set_password("hugging/face", "token", VALUE)
    assert secrets.resolve("keyring:hugging/face/token") == VALUE
    assert "keyring set" in refused(NotFound, "keyring:hugging/face/other").fix
    refused(Unavailable, "keyring:locked/token")


@pytest.fixture(scope="module")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto, monkeypatch, tmp_path):
    for name, value in {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "AKIATEST",
        "AWS_SECRET_ACCESS_KEY": "a-secret-of-tests",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }.items():
        monkeypatch.setenv(name, value)
    return boto3.Session()


def test_secrets_manager_of_aws(aws):
    client = aws.client("secretsmanager")
    client.create_secret(Name="prod/db", SecretString=f'{{"user": "ann", "password": "{VALUE}", "port": 5432}}')
    arn = client.create_secret(Name="prod/token", SecretString=VALUE)["ARN"]
    client.create_secret(Name="prod/binary", SecretBinary=b"\xff\x00")
    assert secrets.resolve("aws-secrets:prod/db#password") == VALUE
    assert secrets.resolve("aws-secrets:prod/db#port") == "5432"
    assert secrets.resolve("aws-secrets:prod/token") == VALUE
    assert secrets.resolve(f"aws-secrets:{arn}") == VALUE
    refused(NotFound, "aws-secrets:prod/db#none")
    refused(UsageProblem, "aws-secrets:prod/token#key")
    refused(UsageProblem, "aws-secrets:prod/binary")
    refused(NotFound, "aws-secrets:prod/none")


def test_the_parameter_store_of_aws(aws):
    aws.client("ssm").put_parameter(Name="/prod/token", Value=VALUE, Type="SecureString")
    assert secrets.resolve("aws-ssm:/prod/token") == VALUE
    refused(NotFound, "aws-ssm:/prod/none")


def test_aws_without_credentials_and_without_an_answer(aws, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    refused(Unavailable, "aws-secrets:prod/db")
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    refused(Missing, "aws-ssm:/prod/token")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(Missing, "aws-secrets:prod/db")


def test_what_was_resolved_is_taken_out_of_texts(tmp_path):
    path = tmp_path / "token"
    path.write_text(VALUE)
    path.chmod(0o600)
    assert secrets.redactor().clean(VALUE) == VALUE
    secrets.resolve(f"file:{path}")
    assert secrets.redactor().clean(VALUE) == f"[secret file:{path}]"


def test_a_setting_of_alerts_may_name_any_source(tmp_path):
    path = tmp_path / "url"
    path.write_text(f"https://hooks.example.org/{VALUE}")
    path.chmod(0o600)
    check_variable(f"file:{path}", "alerts.to")
    assert value_of(f"file:{path}", "alerts.to").endswith(VALUE)
    with pytest.raises(Missing, match=r"which alerts\.to names"):
        value_of(f"file:{tmp_path / 'none'}", "alerts.to")


def test_the_settings_add_names_and_take_some_away(workspace, monkeypatch):
    monkeypatch.setenv("PLAIN", VALUE)
    monkeypatch.setenv("SORT_KEY", f"{VALUE}-other")
    assert secrets.redactor({}).clean(VALUE) == VALUE
    (workspace / "aiinfra.toml").write_text('[secrets]\nnames = ["PLAIN"]\npublic = ["SORT_KEY"]')
    assert dict(secrets.known_secrets()).get("PLAIN") == VALUE
    assert "SORT_KEY" not in dict(secrets.known_secrets())


def test_what_other_settings_name_is_secret(workspace, monkeypatch):
    monkeypatch.setenv("ALERTS_GO_HERE", f"https://hooks.example.org/{VALUE}")
    monkeypatch.setenv("MAIL", VALUE)
    monkeypatch.setenv("DATABASE_URL", "postgres://ann:hunter22x@db")
    text = '[alerts]\nto = ["webhook:ALERTS_GO_HERE"]\nsmtp_password = "MAIL"\n'
    (workspace / "aiinfra.toml").write_text(text + '[store]\nurl = "postgresql://bob:builder99@db/x"')
    found = dict(secrets.known_secrets())
    assert {found[name] for name in ("MAIL", "DATABASE_URL", "store.url")} == {VALUE, "hunter22x", "builder99"}
    assert "ALERTS_GO_HERE" in found
    (workspace / "aiinfra.toml").write_text("")  # there is no such database


def test_nothing_heavy_is_loaded_for_it():
    assert isinstance(secrets, types.ModuleType)
    from tests.structure.source import HEAVY, loaded_by

    assert loaded_by("from aiinfra_lab import secrets; secrets.redactor()") & {*HEAVY, "keyring"} == set()
