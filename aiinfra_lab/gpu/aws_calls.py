"""Calls of EC2, and of what helps it: in any region, tried again where that helps, with what it refuses told apart.

Each call here may be repeated: it looks, it carries a token, or it says how something shall be. So one that got no
answer is asked again, up to `ATTEMPTS` times with pauses of about 0.5, 1 and 2 s; an attempt takes up to 5 s to connect
and 20 s to be answered. botocore itself tries nothing again: it takes missing capacity for a fault of the server.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import Denied, LabError, Unavailable, UsageProblem
from .base import NoCapacity

if TYPE_CHECKING:
    from collections.abc import Callable

ATTEMPTS = 4
PAUSE_S = 0.5
CONNECT_S, READ_S = 5.0, 20.0
# The list of regions is asked for by one that every account has.
_FIRST_REGION = "us-east-1"
_REGIONS_S = 3600.0
_MOST_AT_ONCE = 16

_AGAIN = {
    *("RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled"),
    *(
        "InternalError",
        "InternalFailure",
        "InternalServerException",
        "Unavailable",
        "ServiceUnavailable",
        "RequestTimeout",
    ),
}
_CREDENTIALS = {
    *("AuthFailure", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature", "InvalidClientTokenId"),
    *("MissingAuthenticationToken", "RequestExpired", "SignatureDoesNotMatch", "UnrecognizedClientException"),
}
_NO_CAPACITY = {
    *("InsufficientInstanceCapacity", "InsufficientHostCapacity", "InsufficientCapacity"),
    *("InsufficientFreeAddressesInSubnet", "SpotMaxPriceTooLow", "Unsupported"),
}
_QUOTA = {"InstanceLimitExceeded", "MaxSpotInstanceCountExceeded", "VcpuLimitExceeded"}
_GIVE = "give credentials as boto3 reads them, e.g. AWS_PROFILE, `aws configure` or `aws sso login`"
_POLICY = "the policy that it takes is infra/iam/launcher.json of this project; give it to that user or role"

Found = TypeVar("Found")


class RefusedError(Exception):
    """What EC2 answered to a call instead of doing it, with its own code and message."""

    def __init__(self, code: str, message: str, region: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.region = code, message, region


class Calls:
    """EC2 with the credentials that boto3 finds; they are read again when they are refused."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}
        self._regions: tuple[float, tuple[str, ...]] = (0.0, ())

    def ask(self, region: str, operation: str, of: str = "ec2", **parameters: Any) -> Any:
        """The answer, of all pages where there are several, as boto3 has it. of: the service, as boto3 calls it.

        RefusedError for what EC2 refuses, but Denied where it does not know or does not let in whoever asks;
        Unavailable when there was no answer, and it is not known whether it was done.
        """
        unknown: Exception | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25))  # noqa: S311  # no secret
            try:
                return self._once(region, operation, parameters, of)
            except RefusedError as problem:
                if problem.code not in _AGAIN:
                    raise
                unknown = problem
            except _NoAnswerError as problem:
                unknown = problem
            except Denied as problem:
                if unknown is None:
                    raise
                # The call before it may have been heard.
                raise Unavailable(problem.what, problem.fix) from problem
        what = f"AWS does not answer in {region}: {unknown}"
        raise Unavailable(what, "it is asked again; check the network, and AWS's health page")

    def of_each(self, regions: Sequence[str], one: Callable[[str], Found]) -> list[Found | LabError]:
        """What is found in each region, or why nothing was; all at once."""

        def guarded(region: str) -> Found | LabError:
            try:
                return one(region)
            except LabError as problem:
                return problem

        with ThreadPoolExecutor(min(len(regions), _MOST_AT_ONCE) or 1) as pool:
            return list(pool.map(guarded, regions))

    def regions(self) -> tuple[str, ...]:
        """Those that the account has switched on."""
        asked_at, found = self._regions
        if not found or time.monotonic() > asked_at + _REGIONS_S:
            answer = self.ask(self.usual_region() or _FIRST_REGION, "describe_regions")
            found = tuple(sorted(each["RegionName"] for each in answer["Regions"]))
            self._regions = time.monotonic(), found
        return found

    def account(self, region: str) -> tuple[str, str]:
        """The partition of AWS that a region is in (aws, aws-cn), and the number of the account. RefusedError."""
        from botocore.utils import ArnParser

        found = self.ask(region, "get_caller_identity", "sts")
        return ArnParser().parse_arn(str(found["Arn"]))["partition"], str(found["Account"])

    def usual_region(self) -> str:
        """That of the environment or the profile; empty when there is none."""
        from botocore.exceptions import BotoCoreError

        try:
            with self._lock:
                return self._opened().region_name or ""
        except BotoCoreError as problem:  # a profile that is not there
            raise Denied(f"AWS was not asked: {_short(problem)}", _GIVE) from problem

    def _once(self, region: str, operation: str, parameters: Mapping[str, Any], service: str) -> Any:
        from botocore import exceptions as of

        try:
            client = self._client(region, service)
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**parameters).build_full_result()
            return getattr(client, operation)(**parameters)
        except of.ClientError as problem:
            raise self._refused(problem.response, region) from problem
        except (of.ConnectionError, of.HTTPClientError) as problem:
            raise _NoAnswerError(_short(problem)) from problem
        except of.ParamValidationError as problem:
            raise UsageProblem(f"AWS is asked for what it does not know: {problem}", "correct aws_ in [gpu]") from None
        except of.BotoCoreError as problem:  # credentials, a profile, a login, an answer that cannot be read
            self._forget()
            raise Denied(f"AWS was not asked: {_short(problem)}", _GIVE) from problem

    def _refused(self, response: Mapping[str, Any], region: str) -> Exception:
        code, message = (str(response["Error"].get(key, "")) for key in ("Code", "Message"))
        if code in _CREDENTIALS:
            self._forget()
            return Denied(f"AWS does not take these credentials in {region}: {code}: {message}", _GIVE)
        if code in ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException"):
            # What follows can only be read by who may decode it.
            said = message.partition(" Encoded authorization failure message")[0]
            return Denied(f"AWS does not allow it in {region}: {said}", _POLICY)
        if code == "OptInRequired":
            return Denied(f"this account may not use {region}: {message}", "switch the region on, or take another one")
        if code in ("Blocked", "PendingVerification"):
            return Denied(f"AWS has not let this account in to {region} yet: {message}", "ask AWS Support, or wait")
        return RefusedError(code, message, region)

    def _client(self, region: str, service: str) -> Any:
        from botocore.config import Config

        with self._lock:  # only making one needs it
            if (region, service) not in self._clients:
                bounds = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 1})
                made = self._opened().client(service, region_name=region, config=bounds)
                self._clients[region, service] = made
            return self._clients[region, service]

    def _opened(self) -> Any:
        import boto3

        if self._session is None:
            self._session = boto3.Session()
        return self._session

    def _forget(self) -> None:
        """Have the next call read the credentials again."""
        with self._lock:
            self._session = None
            self._clients.clear()


class _NoAnswerError(Exception):
    """Nobody knows whether the call was heard."""


def explained(refused: RefusedError, machine: str, *, spot: bool) -> LabError:
    """A refused launch as an error of ours. machine: its type."""
    market, where = "spot " if spot else "", refused.region
    what = f"AWS gives no {market}{machine} in {where}: {refused.message.rstrip('.')}"
    if refused.code in _QUOTA:
        return NoCapacity(f"AWS gives this account no more {market}{machine} in {where}", _quota(machine, spot, where))
    if refused.code in _NO_CAPACITY:
        return NoCapacity(what, "take another zone, type or market: `%gpu ls --offers --on aws`")
    if refused.code.startswith("InvalidAMI"):
        return UsageProblem(what, f"aws_image in [gpu] is to name an image of {where}, or a pattern of names")
    if refused.code.startswith(("InvalidSubnet", "InvalidGroup", "InvalidSecurityGroup")):
        return UsageProblem(what, "correct aws_subnets and aws_security_groups in [gpu]")
    if "iamInstanceProfile" in refused.message or refused.code == "InvalidIamInstanceProfile":
        return UsageProblem(what, "correct aws_instance_profile in [gpu]")
    return UsageProblem(f"{what} ({refused.code})", "correct what it names: aws_ in [gpu] of aiinfra.toml")


# Quotas are of vCPUs, by the first letters of a type, and zero for a new account: on demand, and spot.
_QUOTAS = {
    "g": ("Running On-Demand G and VT instances", "L-DB2E81BA", "All G and VT Spot Instance Requests", "L-3819A6DF"),
    "p": ("Running On-Demand P instances", "L-417A185B", "All P Spot Instance Requests", ""),
    "inf": ("Running On-Demand Inf instances", "L-1945791B", "All Inf Spot Instance Requests", "L-B5D1601B"),
    "trn": ("Running On-Demand Trn instances", "L-2C3B7624", "All Trn Spot Instance Requests", ""),
}
_OTHER_QUOTA = (
    *("Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", "L-1216C47A"),
    *("All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "L-34B43A08"),
)


def _quota(machine: str, spot: bool, region: str) -> str:
    """Which quota stands in the way of a type, and where more is asked for."""
    family = next((name for name in ("inf", "trn", "g", "vt", "p") if machine.startswith(name)), "")
    usual, usual_code, of_spot, spot_code = _QUOTAS.get("g" if family == "vt" else family, _OTHER_QUOTA)
    name, code = (of_spot, spot_code) if spot else (usual, usual_code)
    return f"ask for more vCPUs of `{name}`{code and f' ({code})'} in {region}: AWS console, Service Quotas, Amazon EC2"


def _short(problem: Exception) -> str:
    return " ".join(str(problem).split())[:300]
