"""IAM's verdict on a call, in place of moto's, which knows neither resources nor conditions of a policy.

moto finds the caller by its key and checks the signature, but for calls of EventBridge Scheduler, for which it expects
another one. What is added: a call is allowed when the action is on every resource that it touches, as the service
authorization reference of EC2 has it for the calls of `touched` (others ask for `*`), with the tags of the request and
of the resource, with what creates the tags, and with `iam:PassRole` for a machine's role. So are calls about one
schedule, with the role that it is given. A condition that this does not know is an error, never a pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AccessDeniedError, JsonRESTError
from moto.ec2.models import ec2_backends
from moto.iam import access_control
from moto.iam.models import iam_backends

# Of these the instances named are the resources.
OF_INSTANCES = {
    *("GetConsoleOutput", "ModifyInstanceAttribute", "ModifyInstanceMetadataOptions", "RebootInstances"),
    *("StartInstances", "StopInstances", "TerminateInstances"),
}
KINDS = {"i": "instance", "sg": "security-group", "vol": "volume", "eni": "network-interface", "subnet": "subnet"}
_ORIGINAL = access_control.IAMRequest.check_action_permitted
_SIGNATURE = access_control.IAMRequest.check_signature


@dataclass(frozen=True, slots=True)
class Touched:
    """An action on one resource, with the condition keys that there are for it."""

    action: str
    resource: str = "*"
    keys: Mapping[str, Any] = field(default_factory=dict)


class UnauthorizedError(AccessDeniedError):
    """As EC2 words it."""

    def __init__(self, user_arn: str, touched: Touched) -> None:
        super().__init__(user_arn, touched.action)
        text = f"You are not authorized to perform this operation. User: {user_arn} is not authorized to perform: "
        about = escape(f"{text}{touched.action} on resource: {touched.resource}")
        error = f"<Error><Code>UnauthorizedOperation</Code><Message>{about}</Message></Error>"
        self.description = f"<Response><Errors>{error}</Errors><RequestID>none</RequestID></Response>"


class SchedulerDeniedError(JsonRESTError):
    """As EventBridge Scheduler words it."""

    code = 403

    def __init__(self, user_arn: str, touched: Touched) -> None:
        text = f"User: {user_arn} is not authorized to perform: {touched.action} on resource: {touched.resource}"
        super().__init__("AccessDeniedException", text)


def enforce(enforced: bool) -> None:
    """moto's own switch, with this verdict in place of moto's."""
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0 if enforced else float("inf")
    ActionAuthenticatorMixin.request_count = 0
    access_control.IAMRequest.check_action_permitted = _check if enforced else _ORIGINAL
    access_control.IAMRequest.check_signature = _check_signature if enforced else _SIGNATURE


def _check_signature(request: Any) -> None:
    # moto calculates another one for calls of the scheduler; it has looked for their key before.
    if request._service != "scheduler":
        _SIGNATURE(request)


def _check(request: Any, _: str) -> None:
    service, _, operation = request._action.partition(":")
    if request._action == "sts:GetCallerIdentity":  # needs no policy
        return
    values = {name: value[0] if isinstance(value, list) else value for name, value in request._data.items()}
    statements = [it for policy in request._access_key.collect_policies() for it in _statements(policy)]
    asked: Iterable[Touched] = [Touched(request._action)]
    if service == "ec2":
        asked = touched(operation, request._region, values)
    elif service == "scheduler" and operation != "ListSchedules":  # which asks for `*`
        asked = _scheduled(request)
    for it in asked:
        if not is_allowed(statements, it):
            if service == "ec2":
                raise UnauthorizedError(request._access_key.arn, it)
            if service == "scheduler":
                raise SchedulerDeniedError(request._access_key.arn, it)
            raise AccessDeniedError(request._access_key.arn, it.action)


def _statements(policy: Any) -> list[dict[str, Any]]:
    found = access_control.IAMPolicy(policy)._policy_json["Statement"]
    return found if isinstance(found, list) else [found]


# ---- what a policy says ----


def is_allowed(statements: list[dict[str, Any]], it: Touched) -> bool:
    """A statement that allows it, and none that denies it."""
    effects = {statement["Effect"] for statement in statements if _is_about(statement, it)}
    return effects == {"Allow"}


def _is_about(statement: Mapping[str, Any], it: Touched) -> bool:
    assert set(statement) <= {"Sid", "Effect", "Action", "Resource", "Condition"}, f"cannot read {statement}"
    about = any(_like(pattern, it.action, ignore_case=True) for pattern in _listed(statement["Action"]))
    on = any(_like(pattern, it.resource) for pattern in _listed(statement["Resource"]))
    conditions = statement.get("Condition", {}).items()
    return (
        about and on and all(_holds(name, key, _listed(v), it) for name, rows in conditions for key, v in rows.items())
    )


def _holds(operator: str, key: str, wanted: list[str], it: Touched) -> bool:
    found = it.keys.get(key)
    if operator == "Null":
        return (found is None) == (wanted == ["true"])
    values = _listed(found) if found is not None else []
    if operator == "ForAllValues:StringEquals":
        return all(value in wanted for value in values)
    if operator == "StringLike":
        return any(_like(pattern, value) for value in values for pattern in wanted)
    if operator in ("StringEquals", "Bool"):
        return any(value in wanted for value in values)
    raise AssertionError(f"the condition {operator} is not known here")


def _like(pattern: str, value: str, *, ignore_case: bool = False) -> bool:
    expression = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, value, re.IGNORECASE if ignore_case else 0) is not None


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


# ---- what a call touches ----


def touched(operation: str, region: str, values: Mapping[str, str]) -> Iterator[Touched]:
    """Every action on every resource that must be allowed."""
    action, start = f"ec2:{operation}", f"arn:aws:ec2:{region}:{DEFAULT_ACCOUNT_ID}"
    if operation == "RunInstances":
        yield from _launched(start, region, values)
    elif operation in OF_INSTANCES:
        for name in _numbered(values, "InstanceId") or [values.get("InstanceId", "*")]:
            yield Touched(action, f"{start}:instance/{name}", _tags_of(region, name))
    elif operation in ("CreateTags", "DeleteTags"):
        tags = _tags(values, "Tag")
        for name in _numbered(values, "ResourceId"):
            kind = KINDS.get(name.partition("-")[0], "unknown")
            yield Touched(action, f"{start}:{kind}/{name}", {**_tags_of(region, name), **_requested(tags)})
    else:
        yield Touched(action)


def _launched(start: str, region: str, values: Mapping[str, str]) -> Iterator[Touched]:
    action, spot = "ec2:RunInstances", values.get("InstanceMarketOptions.MarketType") == "spot"
    tags = {values[f"{it}.ResourceType"]: _tags(values, f"{it}.Tag") for it in _heads(values, "TagSpecification")}
    encrypted = [values.get(f"{it}.Ebs.Encrypted", "false") for it in _heads(values, "BlockDeviceMapping")]
    made = {
        "instance": {
            "ec2:InstanceType": values.get("InstanceType", ""),
            "ec2:InstanceMarketType": "spot" if spot else "on-demand",
            "ec2:MetadataHttpTokens": values.get("MetadataOptions.HttpTokens", "optional"),
        },
        "volume": {"ec2:Encrypted": "true" if encrypted and set(encrypted) == {"true"} else "false"},
        "network-interface": {},
        **({"spot-instances-request": {}} if spot else {}),
    }
    for kind, keys in made.items():
        yield Touched(action, f"{start}:{kind}/*", {**keys, **_requested(tags.get(kind, {}))})
    subnet = values.get("SubnetId") or values.get("NetworkInterface.1.SubnetId")
    groups = _numbered(values, "SecurityGroupId") or _numbered(values, "NetworkInterface.1.SecurityGroupId")
    for kind, name in [("subnet", subnet or "*"), *(("security-group", it) for it in groups or ["*"])]:
        yield Touched(action, f"{start}:{kind}/{name}", _tags_of(region, name))
    yield Touched(action, f"arn:aws:ec2:{region}::image/{values.get('ImageId', '*')}")
    if key := values.get("KeyName"):
        yield Touched(action, f"{start}:key-pair/{key}")
    for kind, its in tags.items():
        keys = {"ec2:CreateAction": "RunInstances", **_requested(its)}
        yield Touched("ec2:CreateTags", f"{start}:{kind}/*", keys)
    if profile := values.get("IamInstanceProfile.Name") or values.get("IamInstanceProfile.Arn", "").rpartition("/")[2]:
        (role,) = iam_backends[DEFAULT_ACCOUNT_ID]["aws"].get_instance_profile(profile).roles
        yield Touched("iam:PassRole", role.arn, {"iam:PassedToService": "ec2.amazonaws.com"})


def _scheduled(request: Any) -> Iterator[Touched]:
    """A call about one schedule, which its path names."""
    name = request._path.partition("?")[0].rpartition("/")[2]
    yield Touched(request._action, f"arn:aws:scheduler:{request._region}:{DEFAULT_ACCOUNT_ID}:schedule/default/{name}")
    if role := json.loads(request._body or b"{}").get("Target", {}).get("RoleArn"):
        yield Touched("iam:PassRole", role, {"iam:PassedToService": "scheduler.amazonaws.com"})


def _requested(tags: Mapping[str, str]) -> dict[str, Any]:
    keys = {f"aws:RequestTag/{name}": value for name, value in tags.items()}
    return {**keys, "aws:TagKeys": list(tags)} if tags else {}


def _tags_of(region: str, name: str) -> dict[str, str]:
    if name == "*":  # a default, which has none here
        return {}
    found = ec2_backends[DEFAULT_ACCOUNT_ID][region].describe_tags(filters={"resource-id": [name]})
    tags = {tag["key"]: tag["value"] for tag in found}
    return {f"{space}:ResourceTag/{key}": value for space in ("aws", "ec2") for key, value in tags.items()}


def _heads(values: Mapping[str, str], name: str) -> list[str]:
    """`NAME.1`, `NAME.2` …, as far as they are in the request."""
    return sorted({it[0] for key in values if (it := re.match(rf"{re.escape(name)}\.\d+", key))})


def _numbered(values: Mapping[str, str], name: str) -> list[str]:
    return [values[it] for it in _heads(values, name) if it in values]


def _tags(values: Mapping[str, str], name: str) -> dict[str, str]:
    return {values[f"{it}.Key"]: values.get(f"{it}.Value", "") for it in _heads(values, name)}
