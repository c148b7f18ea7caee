"""A schedule of AWS's own for each machine, which ends it at its deadline though nobody is there and it hangs itself.

One more layer, for whoever wants it (`aws_one_shot` below `[gpu]`): EventBridge Scheduler calls TerminateInstances
once, by a role that may do nothing else (`infra/iam/one-shot-role.json`), and deletes the schedule then. It names a
machine, so it is made right after it.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ..errors import LabError, UsageProblem
from .aws_calls import Calls, RefusedError

SERVICE = "scheduler"
_LATER_S = 60.0  # the machine itself comes first


class OneShots:
    """environment: that of the settings, by which the role is called."""

    def __init__(self, calls: Calls, environment: str) -> None:
        self._calls = calls
        self._role_name = "-".join(filter(None, ["aiinfra", environment, "one-shot"]))
        self._account: tuple[str, str] | None = None

    def arm(self, region: str, machine: str, token: str, at: float) -> None:
        """Have a machine ended then, by AWS's clock; may be repeated. Unavailable when that is not known."""
        try:
            self._calls.ask(
                region, "create_schedule", SERVICE, **self._schedule(region, machine, at), ClientToken=token
            )
        except RefusedError as refused:
            if refused.code != "ConflictException":  # it is there
                raise self._problem(refused) from refused

    def move(self, region: str, machine: str, left_s: float, answer: Mapping[str, Any]) -> None:
        """Have it ended so long after an answer of AWS's, whose clock counts. One that has no schedule gets one."""
        at = _time_of(answer) + left_s
        try:
            self._calls.ask(region, "update_schedule", SERVICE, **self._schedule(region, machine, at))
        except RefusedError as refused:
            if refused.code != "ResourceNotFoundException":
                raise self._problem(refused) from refused
            self.arm(region, machine, f"{machine}-{at:.0f}", at)

    def forget(self, region: str, machine: str) -> None:
        """There is nothing to end any more. One that is left ends nothing, and deletes itself."""
        with contextlib.suppress(RefusedError, LabError):
            self._calls.ask(region, "delete_schedule", SERVICE, Name=_name(machine))

    def machines(self, region: str) -> list[str]:
        """Those of a region that have a schedule, of any workspace. RefusedError or LabError where AWS does not say."""
        found = self._calls.ask(region, "list_schedules", SERVICE, NamePrefix=_name("i-"))["Schedules"]
        return [each["Name"].removeprefix(_name("")) for each in found if each["Name"].startswith(_name("i-"))]

    def _schedule(self, region: str, machine: str, at: float) -> dict[str, Any]:
        partition, account = self._account_of(region)
        when = datetime.fromtimestamp(math.ceil(at + _LATER_S), UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return {
            "Name": _name(machine),
            "Description": f"Ends {machine}, which a session has rented",
            "ScheduleExpression": f"at({when})",
            "ScheduleExpressionTimezone": "UTC",
            "FlexibleTimeWindow": {"Mode": "OFF"},
            "ActionAfterCompletion": "DELETE",
            "Target": {
                "Arn": f"arn:{partition}:scheduler:::aws-sdk:ec2:terminateInstances",
                "RoleArn": f"arn:{partition}:iam::{account}:role/{self._role_name}",
                "Input": json.dumps({"InstanceIds": [machine]}),
            },
        }

    def _account_of(self, region: str) -> tuple[str, str]:
        if self._account is None:
            try:
                self._account = self._calls.account(region)
            except RefusedError as refused:
                raise self._problem(refused) from refused
        return self._account

    def _problem(self, refused: RefusedError) -> UsageProblem:
        fix = f"see that the role {self._role_name} is there, as infra/README.md says, or leave out aws_one_shot"
        return UsageProblem(f"AWS takes no schedule that ends a machine in {refused.region}: {refused}", fix)


def _name(machine: str) -> str:
    return f"aiinfra-{machine}"


def _time_of(answer: Mapping[str, Any]) -> float:
    """When AWS gave an answer, by its clock; by the one here where it does not say so."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"]).timestamp()
    return time.time()
