"""The request that a spot instance of RunInstances belongs to, and what spot costs: moto has neither. For `ec2`."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .ec2_wire import Answer, Call, Refused, done

# The most prices of one answer, so that there are pages.
PAGE = 3
OPTIONS = "InstanceMarketOptions.SpotOptions"
ENDED = {"Server.SpotInstanceTermination": "instance-terminated-no-capacity"}


class SpotPrice(NamedTuple):
    """From when on a machine of a type costs that in a zone."""

    at: float
    type: str
    zone: str
    usd_per_hour: float


def priced(call: Call, prices: Iterable[SpotPrice]) -> Answer:
    """Of types in a zone, within a time, and the one that held when that began; the newest first."""
    types = {value for name, value in call.parameters.items() if name.startswith("InstanceType.")}
    zone = call.get("AvailabilityZone")
    since = datetime.fromisoformat(call.get("StartTime") or "1970-01-01T00:00:00Z").timestamp()
    until = datetime.fromisoformat(call.get("EndTime") or "2099-01-01T00:00:00Z").timestamp()
    mine = sorted(
        (it for it in prices if it.type in (types or {it.type}) and it.zone == (zone or it.zone) and it.at <= until),
        reverse=True,
    )
    found = [it for it in mine if it.at > since] + [it for it in mine if it.at <= since][:1]
    first = int(call.get("NextToken") or 0)
    items = "".join(
        f"<item><instanceType>{it.type}</instanceType><productDescription>Linux/UNIX</productDescription>"
        f"<spotPrice>{it.usd_per_hour:.6f}</spotPrice><availabilityZone>{it.zone}</availabilityZone>"
        f"<timestamp>{datetime.fromtimestamp(it.at, UTC):%Y-%m-%dT%H:%M:%SZ}</timestamp></item>"
        for it in found[first : first + PAGE]
    )
    token = str(first + PAGE) if len(found) > first + PAGE else ""
    return done(call, f"<spotPriceHistorySet>{items}</spotPriceHistorySet><nextToken>{token}</nextToken>")


def bind(instance: Any, call: Call) -> None:
    """Give an instance that was just launched its request."""
    if call.market == "spot":
        instance.spot_instance_request_id = f"sir-{secrets.token_hex(4)}"
        instance.spot_type = call.get(f"{OPTIONS}.SpotInstanceType") or "one-time"
        instance.spot_behavior = call.get(f"{OPTIONS}.InstanceInterruptionBehavior") or "terminate"
        instance.spot_price = call.get(f"{OPTIONS}.MaxPrice")


def described(call: Call, instances: Iterable[Any]) -> Answer:
    """By id, or all of them."""
    items = "".join(map(_item, _wanted(call, instances)))
    return done(call, f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>")


def cancelled(call: Call, instances: Iterable[Any]) -> Answer:
    """The instance goes on."""
    for it in (found := _wanted(call, instances)):
        it.spot_cancelled = True
    ids = [f"<spotInstanceRequestId>{it.spot_instance_request_id}</spotInstanceRequestId>" for it in found]
    items = "".join(f"<item>{it}<state>cancelled</state></item>" for it in ids)
    return done(call, f"<spotInstanceRequestSet>{items}</spotInstanceRequestSet>")


CALLS = {"CancelSpotInstanceRequests": cancelled, "DescribeSpotInstanceRequests": described}


def _wanted(call: Call, instances: Iterable[Any]) -> list[Any]:
    wanted = {value for name, value in call.parameters.items() if name.startswith("SpotInstanceRequestId.")}
    found = {it.spot_instance_request_id: it for it in instances if hasattr(it, "spot_instance_request_id")}
    if wanted - set(found):
        text = f"The spot instance request ID '{min(wanted - set(found))}' does not exist"
        raise Refused("InvalidSpotInstanceRequestID.NotFound", text)
    return [it for name, it in found.items() if not wanted or name in wanted]


def _item(instance: Any) -> str:
    is_over = instance.state in ("shutting-down", "terminated")
    is_cancelled = getattr(instance, "spot_cancelled", False)
    living = "request-canceled-and-instance-running" if is_cancelled else "fulfilled"
    code = ENDED.get(instance.state_reason.code or "", "instance-terminated-by-user") if is_over else living
    fields = {
        "spotInstanceRequestId": instance.spot_instance_request_id,
        "instanceId": instance.id,
        "type": instance.spot_type,
        "instanceInterruptionBehavior": instance.spot_behavior,
        "state": "cancelled" if is_cancelled else "closed" if is_over else "active",
        "status": f"<code>{code}</code>",
        "productDescription": "Linux/UNIX",
        **({"spotPrice": instance.spot_price} if instance.spot_price else {}),
    }
    return f"<item>{''.join(f'<{name}>{value}</{name}>' for name, value in fields.items())}</item>"
