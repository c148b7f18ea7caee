"""EC2 on loopback: moto's server, and in front of it what moto lacks, as strict as the real one.

It is an HTTP server of this process, so that boto3 here, a subprocess and Terraform see the same cloud. It adds:

- ClientToken: the same token with the same parameters gives the same instances, with others it is refused, and once
  they have ended it says so (moto makes new ones each time); the filters `client-token` and `instance-lifecycle`
- refusals: types and images that do not exist, a type that a zone does not have, user data that is too long
- room: no capacity for a type in a zone, quotas of vCPUs, both for spot and on demand apart
- spot: the request that a spot instance belongs to, and the prices that a test gives it (moto has one for all)
- time: machines that take a while to come and to go, with the states between (moto's are there and gone at once)
- what a machine does by itself: a shutdown from within ends or stops it as `InstanceInitiatedShutdownBehavior` says,
  a spot instance is taken after a notice that its metadata service tells
- faults before or after a call took effect: any error, an answer that never comes, a connection that is cut, or
  whatever a test does at that point, e.g. kill the caller
- regions: those that an account has switched on (moto has all of three partitions)
- policies: with `enforce`, resources and conditions count and a refusal is UnauthorizedOperation, see `policies`

What it does not know: tokens of other calls than RunInstances; that a token is of one zone where the call names one;
launch templates in checks of room; what Auto Scaling launches, inside moto, without room, faults and time; an answer to
a repeated token shows the first state. `enforce` goes by signatures, so it cannot be used together with `room`, which
writes the zone that it chose into the request.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl, urlencode

import boto3
from botocore.config import Config
from moto import settings
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends
from moto.ec2.models.amis import AMIS, Ami
from moto.ec2.models.instance_types import INSTANCE_TYPE_OFFERINGS, INSTANCE_TYPES
from moto.ec2.utils import filter_dict_attribute_mapping
from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

from . import ec2_spot, policies
from .ec2_wire import Answer, Call, Market, NoAnswer, Refused, done, error
from .imds import Imds

REGION = "us-east-1"
REGIONS = (REGION, "us-east-2", "us-west-2", "eu-west-1")
IMAGE: dict[str, Any] = next(it for it in AMIS if (it["architecture"], it.get("platform")) == ("x86_64", None))
STATES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
# A caller that still waits after this is not one that has a time-out.
SILENCE_S = 60.0
USER_DATA_BYTES = 16_384
SHUTDOWN = "InstanceInitiatedShutdownBehavior.Value"

When = Literal["before", "after"]


@dataclass(slots=True)
class _Fault:
    operation: str
    when: When
    error: str | Callable[[], None]
    left: int
    skip: int


@dataclass(frozen=True, slots=True)
class _Launch:
    content: Mapping[str, str]
    instances: list[str]
    answer: Answer


@dataclass(slots=True)
class _Events:
    """What happens to machines by themselves, in order of time."""

    due: list[tuple[float, Callable[[], None]]] = field(default_factory=list)

    def happen(self, now: float) -> None:
        for event in sorted((it for it in self.due if it[0] <= now), key=lambda it: it[0]):
            self.due.remove(event)
            event[1]()


class Ec2:
    """The cloud, between `with` and its end. clock: seconds since the epoch, which a test may set forward.

    calls: every request to EC2 that came in, with faults or without
    boots_s, ends_s: how long a machine is pending, and shutting down
    regions: those that the account has switched on
    spot_prices: what spot machines cost from when on
    """

    def __init__(self) -> None:
        self.clock: Callable[[], float] = time.time
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=_Handler)
        self._lock = threading.RLock()
        self._session = boto3.Session()  # one, since it keeps what it read of a service's model
        self.reset()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Ec2:
        settings.ENABLE_AMI_VALIDATION, settings.ec2_load_default_amis = True, lambda: False
        self.reset()
        filter_dict_attribute_mapping.update({"client-token": "client_token", "instance-lifecycle": "lifecycle"})
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.enforce(False)

    def reset(self) -> None:
        """An empty cloud without faults and limits."""
        with self._lock:
            self.boots_s = self.ends_s = 0.0
            self.regions = REGIONS
            self.calls: list[Call] = []
            self._faults: list[_Fault] = []
            self._launches: dict[tuple[str, str], _Launch] = {}
            self._room: dict[tuple[str, str, Market], int] = {}
            self._quota: dict[tuple[str, Market], int] = {}
            self._events = _Events()
            self._notices: dict[str, tuple[str, float]] = {}
            self.spot_prices: list[ec2_spot.SpotPrice] = []
            self._closing = threading.Event()
            self.enforce(False)
            moto_api_backend.reset()

    # ---- for clients ----

    def env(self, key: str = "testing", secret: str = "testing") -> dict[str, str]:
        """The environment in which a program speaks to this cloud, and to no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        }

    def client(
        self,
        service: str = "ec2",
        region: str = REGION,
        *,
        key: str = "testing",
        secret: str = "testing",
        attempts: int = 1,
        timeout_s: float = 30.0,
    ) -> Any:
        """A boto3 client. attempts: 1 shows each fault as it is."""
        config = Config(retries={"total_max_attempts": attempts, "mode": "standard"}, read_timeout=timeout_s)
        keys = {"aws_access_key_id": key, "aws_secret_access_key": secret}
        return self._session.client(service, endpoint_url=self.url, region_name=region, config=config, **keys)

    def image(self, region: str = REGION) -> str:
        """The id of an image that exists: the only one, unless a test makes others. moto's thousands take long."""
        backend = self._backend(region)
        made = {**IMAGE, "creation_date": datetime.now(UTC), "owner_alias": "amazon"}
        backend.amis.setdefault(IMAGE["ami_id"], Ami(backend, **made))
        return str(IMAGE["ami_id"])

    # ---- what a test arranges ----

    def fail(
        self, operation: str, error: str | Callable[[], None], when: When = "before", times: int = 1, skip: int = 0
    ) -> None:
        """Let calls go wrong.

        operation: e.g. RunInstances, or `*`
        error: a code of EC2's; `silence`: no answer comes; `cut`: the connection breaks; or what is done at that point,
            after which it breaks
        when: before the call takes effect, or after it has
        skip: calls that are left alone first
        """
        with self._lock:
            self._faults.append(_Fault(operation, when, error, times, skip))

    def room(self, instance_type: str, count: int, *, zone: str = "", market: Market | None = None) -> None:
        """How many of a type may live at once in each zone, or in that one. None: spot and on demand, each."""
        markets: tuple[Market, ...] = (market,) if market else ("spot", "on-demand")
        self._room.update({(instance_type, zone, it): count for it in markets})

    def quota(self, family: str, vcpus: int, *, market: Market = "on-demand") -> None:
        """How many vCPUs of a family's types (`g`, `p`, `trn`, `inf`, `standard`) may live at once in a region."""
        self._quota[family, market] = vcpus

    def enforce(self, enforced: bool) -> None:
        """Whether policies are asked from now on; keys are those of users and roles made before."""
        policies.enforce(enforced)

    # ---- what machines do by themselves ----

    def interrupt(self, instance_id: str, notice_s: float = 120.0) -> float:
        """Take a spot instance away after a notice; when that will be."""
        with self._lock:
            instance, at = self._instance(instance_id), self.clock() + notice_s
            assert instance.lifecycle == "spot", f"{instance_id} is not a spot instance"
            assert instance.state == "running", f"{instance_id} is {instance.state}"
            self._notices[instance_id] = ("terminate", at)
            reason = "Server.SpotInstanceTermination", "Spot instance termination"
            self._events.due.append((at, lambda: self._end(instance_id, *reason)))
            return at

    def shut_down(self, instance_id: str) -> None:
        """What `shutdown -h now` on the machine does."""
        with self._lock:
            instance = self._instance(instance_id)
            reason = "Client.InstanceInitiatedShutdown", "Instance initiated shutdown"
            if instance.instance_initiated_shutdown_behavior == "terminate":
                self._end(instance_id, *reason)
            elif instance.state == "running":
                instance.stop()
                _explain(instance, *reason)

    def state(self, instance_id: str) -> str:
        """Of a machine, whoever asks; `terminated` is the end."""
        with self._lock:
            self._events.happen(self.clock())
            return str(self._instance(instance_id).state)

    def living(self) -> dict[str, Any]:
        """By id, every instance of every region that has not ended, as moto holds it."""
        with self._lock:
            self._events.happen(self.clock())
            return {it.id: it for it in self._instances() if it.state not in ("shutting-down", "terminated")}

    @contextlib.contextmanager
    def imds(self, instance_id: str, host: str = "127.0.0.1") -> Iterator[Imds]:
        """The metadata service that this instance sees; host: the address it listens at."""
        required = self._instance(instance_id).metadata_options.http_tokens == "required"
        with Imds(lambda: self._metadata(instance_id), tokens_required=required, host=host) as service:
            yield service

    def _metadata(self, instance_id: str) -> dict[str, str]:
        with self._lock:
            self._events.happen(self.clock())
            instance = self._instance(instance_id)
            options, zone = instance.metadata_options, str(instance.availability_zone)
            if options.http_endpoint == "disabled" or instance.state == "terminated":
                return {}
            found = {
                "meta-data/ami-id": instance.image_id,
                "meta-data/instance-id": instance_id,
                "meta-data/instance-life-cycle": instance.lifecycle or "on-demand",
                "meta-data/instance-type": instance.instance_type,
                "meta-data/local-ipv4": str(instance.private_ip),
                "meta-data/placement/availability-zone": zone,
                "meta-data/placement/region": zone[:-1],
            }
            if options.instance_metadata_tags == "enabled":
                found |= {f"meta-data/tags/instance/{tag['key']}": tag["value"] for tag in instance.get_tags()}
            if instance.user_data:
                found["user-data"] = instance.user_data.decode()
            if notice := self._notices.get(instance_id):
                action, at = notice[0], datetime.fromtimestamp(notice[1], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                found["meta-data/spot/instance-action"] = json.dumps({"action": action, "time": at})
                found["meta-data/spot/termination-time"] = at
            return found

    # ---- the server ----

    def _serve(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        scope = re.search(r"Credential=[^/]+/\d+/([\w-]+)/ec2/", environ.get("HTTP_AUTHORIZATION", ""))
        if scope is None:
            return list(self._moto(environ, start_response))
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        parameters = dict(parse_qsl(body.decode(), keep_blank_values=True))
        parameters.pop("Version", None)
        call = Call(parameters.pop("Action", ""), scope[1], parameters)
        try:
            status, headers, content = self._answer(call, environ, body)
        except Refused as refused:
            status, headers, content = error(refused)
        except NoAnswer as nothing:
            self._leave_alone(environ["werkzeug.socket"], nothing.cut)
            raise ConnectionAbortedError from None
        start_response(status, headers)
        return [content]

    def _answer(self, call: Call, environ: dict[str, Any], body: bytes) -> Answer:
        # Outside the lock: what a test does there may speak to the cloud, or not come back.
        self.calls.append(call)
        self._fault(call, "before")
        with self._lock:
            self._events.happen(self.clock())
            answer = self._do(call, environ, body)
        self._fault(call, "after")
        return answer

    def _do(self, call: Call, environ: dict[str, Any], body: bytes) -> Answer:
        if call.operation == "RunInstances":
            return self._run(call, environ, body)
        if call.operation == "DescribeRegions":
            return self._answer_regions(call, environ, body)
        if call.operation == "DescribeSpotPriceHistory":
            answer = self._pass(environ, body)  # which asks the policies
            return ec2_spot.priced(call, self.spot_prices) if answer[0].startswith("200") else answer
        if call.operation in ec2_spot.CALLS:
            return ec2_spot.CALLS[call.operation](call, self._instances())
        if call.operation == "ModifyInstanceAttribute" and call.get(SHUTDOWN):
            # moto answers that it did, and takes the instance's security groups away.
            self._instance(call.get("InstanceId")).instance_initiated_shutdown_behavior = call.get(SHUTDOWN)
            return done(call, "<return>true</return>")
        answer = self._pass(environ, body)
        if call.operation == "TerminateInstances" and answer[0].startswith("200"):
            self._note_ends(call)
        if call.operation == "CreateLaunchTemplate":
            _forget_own_tags(self._backend(call.region))
        return answer

    def _answer_regions(self, call: Call, environ: dict[str, Any], body: bytes) -> Answer:
        answer = self._pass(environ, body)  # which asks the policies
        if not answer[0].startswith("200"):
            return answer
        items = "".join(f"<item><regionName>{it}</regionName></item>" for it in self.regions)
        return done(call, f"<regionInfo>{items}</regionInfo>")

    def _pass(self, environ: dict[str, Any], body: bytes) -> Answer:
        """moto's answer."""
        given: list[Any] = []
        asked = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        content = b"".join(self._moto(asked, lambda status, headers, *_: given.extend((status, headers))))
        return given[0], given[1], content

    def _fault(self, call: Call, when: When) -> None:
        with self._lock:
            for fault in [it for it in self._faults if it.operation in (call.operation, "*") and it.when == when]:
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.left -= 1
                if fault.left <= 0:
                    self._faults.remove(fault)
                break
            else:
                return
        if callable(fault.error):
            fault.error()
        if callable(fault.error) or fault.error in ("silence", "cut"):
            raise NoAnswer(cut=fault.error != "silence")
        raise Refused(fault.error)

    def _leave_alone(self, connection: socket.socket, cut: bool) -> None:
        until = time.monotonic() + (0.0 if cut else SILENCE_S)
        connection.settimeout(0.05)
        while time.monotonic() < until and not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1):
                    break
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    # ---- RunInstances ----

    def _run(self, call: Call, environ: dict[str, Any], body: bytes) -> Answer:
        token = call.get("ClientToken")
        if len(token) > 64 or not token.isascii():
            raise Refused("InvalidParameterValue", f"Invalid value '{token}' for clientToken.")
        if token and (known := self._launches.get((call.region, token))):
            return self._again(call, known)
        _check(call)
        body = self._placed(call, body)
        answer = self._pass(environ, body)
        if answer[0].startswith("200"):
            made = re.findall(r"<instanceId>(i-[0-9a-f]+)<", answer[2].decode())
            for name in made:
                ec2_spot.bind(self._instance(name), call)
                self._boot(name)
            if token:
                self._launches[call.region, token] = _Launch(call.content, made, answer)
        return answer

    def _again(self, call: Call, known: _Launch) -> Answer:
        if call.content != known.content:
            text = "Arguments on this idempotent request are inconsistent with arguments used in previous request(s)."
            raise Refused("IdempotentParameterMismatch", text)
        if all(self._instance(it).state in ("shutting-down", "terminated") for it in known.instances):
            text = "The instance that was launched with this client token has been terminated."
            raise Refused("IdempotentInstanceTerminated", text)
        return known.answer

    def _placed(self, call: Call, body: bytes) -> bytes:
        """The request with the zone and the number that it will get."""
        wanted, zones = call.get("InstanceType"), self._zones(call)
        least, most = int(call.get("MinCount") or 1), int(call.get("MaxCount") or 1)
        left = {zone: self._left(wanted, zone, call.market) for zone in zones}
        zone = next((it for it in zones if left[it] >= least), None)
        if zone is None:
            raise Refused("InsufficientInstanceCapacity", _no_capacity(call, wanted, zones))
        count = min(most, left[zone])
        self._check_quota(call, wanted, count)
        placed = {"MinCount": str(count), "MaxCount": str(count)} if count != least else {}
        if not _subnet(call) and zone != (call.get("Placement.AvailabilityZone") or f"{call.region}a"):
            placed["Placement.AvailabilityZone"] = zone
        return (
            urlencode({**dict(parse_qsl(body.decode(), keep_blank_values=True)), **placed}).encode() if placed else body
        )

    def _zones(self, call: Call) -> list[str]:
        """Where it may go: a zone that was named, or all that have such machines."""
        wanted, subnet = call.get("InstanceType"), _subnet(call)
        offered = INSTANCE_TYPE_OFFERINGS["availability-zone"].get(call.region, [])
        having = sorted(it["Location"] for it in offered if it["InstanceType"] == wanted)
        named = call.get("Placement.AvailabilityZone")
        if subnet:
            known = [it for zones in self._backend(call.region).subnets.values() for it in zones.values()]
            named = next((it.availability_zone for it in known if it.id == subnet), "")
        if (named and named not in having) or not having:
            where = f" ({named})" if named else ""
            text = (
                f"Your requested instance type ({wanted}) is not supported in your requested Availability Zone{where}."
            )
            raise Refused("Unsupported", text)
        return [named] if named else having

    def _left(self, wanted: str, zone: str, market: Market) -> int:
        room = self._room.get((wanted, zone, market), self._room.get((wanted, "", market), 1_000))
        there = [it for it in self.living().values() if (it.instance_type, it.availability_zone) == (wanted, zone)]
        return room - sum(_market(it) == market for it in there)

    def _check_quota(self, call: Call, wanted: str, count: int) -> None:
        family = _family(wanted)
        if (most := self._quota.get((family, call.market))) is None:
            return
        used: Counter[tuple[str, str]] = Counter()
        for it in self.living().values():
            if it.region_name == call.region:
                used[_family(it.instance_type), _market(it)] += _vcpus(it.instance_type)
        if used[family, call.market] + count * _vcpus(wanted) <= most:
            return
        if call.market == "spot":
            raise Refused("MaxSpotInstanceCountExceeded", "Max spot instance count exceeded")
        text = f"You have requested more vCPU capacity than your current vCPU limit of {most} allows for the instance"
        raise Refused("VcpuLimitExceeded", f"{text} bucket that the specified instance type belongs to.")

    # ---- the life of machines ----

    def _boot(self, instance_id: str) -> None:
        if self.boots_s:
            instance = self._instance(instance_id)
            _become(instance, "pending")
            started = self.clock() + self.boots_s
            self._events.due.append((started, lambda: _become(instance, "running", only_from="pending")))

    def _note_ends(self, call: Call) -> None:
        for name, value in call.parameters.items():
            if name.startswith("InstanceId."):
                self._fade(value)

    def _end(self, instance_id: str, code: str, text: str) -> None:
        instance = self._instance(instance_id)
        if instance.state not in ("shutting-down", "terminated"):
            instance.terminate()
            _explain(instance, code, text)
            # A shutdown from within has no time there.
            instance._reason = _initiated("Service", self.clock()) if code.startswith("Server.") else ""
            self._fade(instance_id)

    def _fade(self, instance_id: str) -> None:
        """A machine that was just ended is shutting down for a while; asking again does not prolong that."""
        instance = self._instance(instance_id)
        if getattr(instance, "gone_at", None) is None and instance._reason.startswith("User initiated"):
            instance._reason = _initiated("User", self.clock())  # moto's is of another clock, and once more each time
            instance.initiated = instance._reason
        instance._reason = getattr(instance, "initiated", instance._reason)
        if not self.ends_s or getattr(instance, "gone_at", None) is not None:
            instance.gone_at = getattr(instance, "gone_at", None) or self.clock()
            _become(instance, "terminated" if instance.gone_at <= self.clock() else "shutting-down")
            return
        instance.gone_at = self.clock() + self.ends_s
        _become(instance, "shutting-down")
        self._events.due.append((instance.gone_at, lambda: _become(instance, "terminated")))

    def _backend(self, region: str) -> Any:
        return ec2_backends[DEFAULT_ACCOUNT_ID][region]

    def _instances(self) -> list[Any]:
        regions = list(ec2_backends[DEFAULT_ACCOUNT_ID].values())
        return [it for backend in regions for it in backend.all_instances()]

    def _instance(self, instance_id: str) -> Any:
        return next(it for it in self._instances() if it.id == instance_id)


class _Handler(MotoRequestHandler):
    def log(self, *_: object, **__: object) -> None:
        """Nobody reads it."""


def _check(call: Call) -> None:
    wanted = call.get("InstanceType")
    if wanted not in INSTANCE_TYPES:
        raise Refused("InvalidParameterValue", f"Invalid value '{wanted}' for InstanceType.")
    if len(base64.b64decode(call.get("UserData"))) > USER_DATA_BYTES:
        raise Refused("InvalidParameterValue", f"User data is limited to {USER_DATA_BYTES} bytes")


def _no_capacity(call: Call, wanted: str, zones: list[str]) -> str:
    if call.market == "spot":
        return "There is no Spot capacity available that matches your request."
    named = call.get("Placement.AvailabilityZone")
    where = f"in the Availability Zone you requested ({named})" if named else f"in zones {', '.join(zones)}"
    return f"We currently do not have sufficient {wanted} capacity {where}."


def _forget_own_tags(backend: Any) -> None:
    """A template's own tags are not among those that it gives to what it launches, as moto has it."""
    for template in backend.launch_templates.values():
        for version in template.versions:
            given = version.data.get("TagSpecifications", [])
            version.data["TagSpecifications"] = [it for it in given if it["ResourceType"] != "launch-template"]


def _subnet(call: Call) -> str:
    return call.get("SubnetId") or call.get("NetworkInterface.1.SubnetId")


def _market(instance: Any) -> Market:
    return "spot" if instance.lifecycle == "spot" else "on-demand"


def _family(instance_type: str) -> str:
    """Whose quota a type counts against."""
    letters = re.match(r"[a-z]+", instance_type)
    first = letters[0] if letters else ""
    return {"g": "g", "gr": "g", "vt": "g", "p": "p", "trn": "trn", "inf": "inf"}.get(first, "standard")


def _vcpus(instance_type: str) -> int:
    return int(INSTANCE_TYPES[instance_type]["VCpuInfo"]["DefaultVCpus"])


def _become(instance: Any, state: str, only_from: str = "") -> None:
    if not only_from or instance.state == only_from:
        instance._state.name, instance._state.code = state, STATES[state]


def _initiated(who: str, at: float) -> str:
    return f"{who} initiated ({datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} GMT)"


def _explain(instance: Any, code: str, text: str) -> None:
    instance.state_reason.code, instance.state_reason.message = code, f"{code}: {text}"
    instance._reason = code
