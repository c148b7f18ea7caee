"""Secrets: where their values come from, and that none of them stays where people look.

    from aiinfra_lab import secrets

    token = secrets.resolve("HF_TOKEN")                    # a variable of the environment
    token = secrets.resolve("keyring:hugging-face/token")  # the keyring of this machine: the extra `keyring`
    token = secrets.resolve("aws-secrets:prod/db#password")  # AWS Secrets Manager, one key of a JSON secret
    token = secrets.resolve("aws-ssm:/prod/hf-token")      # AWS Systems Manager's parameter store
    token = secrets.resolve("file:/run/secrets/hf_token")  # what Docker and Kubernetes mount

What was resolved, and the environment's variables with names as `API_KEY`, is taken out of all that a recipe's run
leaves, of logs, alerts and the audit log; see `Redactor`. `[secrets] names` and `public` of aiinfra.toml change which.
"""

from .known import known_secrets, note, redactor
from .names import is_secret, is_secret_variable
from .redactor import RedactedStream, Redactor
from .sources import is_reference, resolve

__all__ = [
    "RedactedStream", "Redactor", "is_reference", "is_secret", "is_secret_variable", "known_secrets", "note",
    "redactor", "resolve",
]  # fmt: skip
