"""AWS Secrets Manager and the parameter store of Systems Manager, with the credentials and region that boto3 finds."""

from __future__ import annotations

import json
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from ..errors import Denied, LabError, Missing, NotFound, Unavailable, UsageProblem

_BOUNDS = Config(connect_timeout=5, read_timeout=20, retries={"mode": "standard", "max_attempts": 3})
_GIVE = "give credentials and a region as boto3 reads them, e.g. AWS_PROFILE and AWS_DEFAULT_REGION"
_NOT_THERE = ("NotFound",)
_DENIED = ("AccessDenied", "Expired", "InvalidClientTokenId", "InvalidSignature", "SignatureDoesNotMatch",
           "UnrecognizedClient", "KMS", "Kms", "Decryption")  # fmt: skip


def secret(name: str, key: str) -> str:
    """A secret's text; key: of one that is JSON, what stands under that key."""
    answer = _call("secretsmanager", "get_secret_value", f"aws-secrets:{name}", {"SecretId": name})
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise UsageProblem(f"aws-secrets:{name} is no text", "store it as text, e.g. in base64")
    return _under(text, name, key) if key else text


def parameter(name: str) -> str:
    """A parameter's value, decrypted."""
    asked = {"Name": name, "WithDecryption": True}
    return str(_call("ssm", "get_parameter", f"aws-ssm:{name}", asked)["Parameter"]["Value"])


def _under(text: str, name: str, key: str) -> str:
    try:
        found = json.loads(text)
    except ValueError:
        raise UsageProblem(f"aws-secrets:{name} is no JSON", f"write aws-secrets:{name} without #{key}") from None
    if not isinstance(found, dict) or key not in found:
        raise NotFound(f"aws-secrets:{name} has nothing under {key}", "correct what stands behind #")
    return found[key] if isinstance(found[key], str) else json.dumps(found[key])


def _call(service: str, operation: str, reference: str, asked: dict[str, object]) -> Any:
    try:
        client = boto3.Session().client(service, config=_BOUNDS)
        return getattr(client, operation)(**asked)
    except (NoCredentialsError, NoRegionError):
        raise Missing(f"AWS cannot be asked for {reference}: it lacks credentials or a region", _GIVE) from None
    except ClientError as problem:
        raise _refused(reference, problem.response.get("Error", {}).get("Code", "")) from None
    except BotoCoreError as problem:
        raise Unavailable(f"AWS did not answer for {reference}: {type(problem).__name__}", "try again later") from None


def _refused(reference: str, code: str) -> LabError:
    if any(part in code for part in _NOT_THERE):
        return NotFound(f"AWS has no {reference} in this account and region", "correct its name, or AWS_DEFAULT_REGION")
    if any(part in code for part in _DENIED):
        return Denied(f"AWS refuses to hand out {reference} ({code})", f"allow the caller to read it; {_GIVE}")
    return Unavailable(f"AWS did not hand out {reference} ({code})", "try again later")
