"""Machines of EC2, rented for a session: those of the price table, in the networks of one environment of `infra/`.

boto3 asks, with the credentials that it finds. A machine carries whose it is, and it ends itself at its deadline,
armed in the call that creates it. It is reached by the OpenSSH client with keys of its session's own.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..config import Settings
from ..cost import accelerators
from ..cost.billing import PriceChange
from ..cost.choice import PricedOffer, choose
from ..cost.prices import catalogue
from ..cost.wanted import Wanted
from ..errors import Denied, Failed, LabError, Unavailable, UsageProblem
from ..jobs.home import make_home_id
from ..kernels import CommandReach, Place
from .aws_calls import Calls, RefusedError, explained
from .aws_launch import (
    DEADLINE,
    ENVIRONMENT,
    EXPIRES,
    MADE_PYTHON,
    OWNER,
    SESSION,
    SETUP_RESULT,
    TOKEN,
    LaunchTarget,
    MachineKind,
    MachineSetup,
    commands,
    listed,
    request,
    time_text,
)
from .aws_one_shot import OneShots
from .base import NoCapacity, Offer
from .renting import Instance, LaunchSpec, RentingMachines
from .ssh import ssh_command
from .ssh_keys import SshKeys

_FOLDER = "~/.cache/aiinfra-lab/sessions"
_ANSWER_S = 20.0
_MOST_OFFERS = 1_000
_MOST_PRICES = 1_000
_CHANGED_AT = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")
_STATES: dict[str, Literal["pending", "running", "ending", "gone"]] = {
    "pending": "pending",
    "running": "running",
    # Somebody stopped it: it ends itself by its own shutdown, and whoever sees this asks for its end.
    **dict.fromkeys(("shutting-down", "stopping", "stopped"), "ending"),
    "terminated": "gone",
}
_TAKEN = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")
_WHY = {
    "Client.InstanceInitiatedShutdown": "it shut itself down",
    "Client.UserInitiatedShutdown": "somebody asked for its end",
    **dict.fromkeys(_TAKEN, "AWS took its spot machine back"),
}


@dataclass(frozen=True, slots=True)
class _Subnet:
    """One that machines may go into. zone_id: what the zone is called in every account."""

    id: str
    zone: str
    zone_id: str
    vpc: str


class AwsMachines(RentingMachines):
    """See `RentingMachines`. A machine's id is REGION/INSTANCE, a device TYPE/REGION/ZONE."""

    name = "aws"

    def __init__(self, where: Settings) -> None:
        super().__init__(where)
        self._home = where.home
        self._named_regions = _split(where.get("gpu.aws_regions", ""))
        self._image = where.get("gpu.aws_image", "")
        self._environment = where.get("gpu.aws_environment", "")
        self._subnets = _split(where.get("gpu.aws_subnets", ""))
        self._groups = _split(where.get("gpu.aws_security_groups", ""))
        usual = f"aiinfra-{self._environment}-host" if self._environment else ""
        self._profile = where.get("gpu.aws_instance_profile", usual)
        self._root_gib = where.get("gpu.aws_root_gib", 100)
        self._user = where.get("gpu.aws_user", "ubuntu")
        self._python = where.get("gpu.aws_python", "")
        self._commands = where.get("gpu.aws_setup", "")
        self._ssh_config = where.get("gpu.aws_ssh_config", "")
        self._calls = Calls()
        self._one_shots = OneShots(self._calls, self._environment) if where.get("gpu.aws_one_shot", False) else None
        self._region_of: dict[str, str] = {}
        self._begun_at: dict[str, float] = {}  # by token, as AWS's clock has it

    # ---- what there is ----

    def offers(self, wanted: str = "") -> Sequence[Offer]:
        self._check_settings()
        regions = self._regions()
        asked = Wanted.parse(wanted) if wanted else None
        found = [
            choose(catalogue(), asked, spot=spot, providers=["aws"], places=regions, most=_MOST_OFFERS)
            for spot in (False, True)
        ]
        priced = [each for choice in found for each in choice.offers]
        types = {region: {each.price.type for each in priced if each.price.region == region} for region in regions}
        answers = self._calls.of_each(regions, lambda region: self._zones(region, types[region]))
        zones = {region: answer for region, answer in zip(regions, answers, strict=True) if isinstance(answer, dict)}
        if not zones:
            raise next(answer for answer in answers if isinstance(answer, LabError))
        offers: dict[tuple[str, bool], Offer] = {}
        for each in sorted(priced, key=lambda each: (each.usd_per_hour, each.worst_usd_per_hour)):
            for offer in _offers(each, zones.get(each.price.region, {}), asked):
                offers.setdefault((offer.device, offer.spot), offer)
        return sorted(offers.values(), key=lambda it: (it.usd_per_hour, it.dearest_usd_per_hour, it.device))

    def _zones(self, region: str, types: set[str]) -> dict[str, tuple[_Subnet, set[str]]]:
        """The zones of a region that machines may go into, each with its types of those."""
        if not types:
            return {}
        subnets = self._subnets_of(region)
        found = self._calls.ask(
            region,
            "describe_instance_type_offerings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": sorted(types)}],
        )
        having: dict[str, set[str]] = {}
        for each in found["InstanceTypeOfferings"]:
            having.setdefault(each["Location"], set()).add(each["InstanceType"])
        return {subnet.zone: (subnet, having.get(subnet.zone, set())) for subnet in reversed(subnets)}

    def _subnets_of(self, region: str) -> list[_Subnet]:
        """In the order of their ids. UsageProblem when there is none."""
        about = {"subnet-id": self._subnets} if self._subnets else {f"tag:{ENVIRONMENT}": [self._environment]}
        found = self._describe(region, "describe_subnets", "Subnets", about)
        if not found:
            named = ", ".join(self._subnets) or f"with the tag {ENVIRONMENT}={self._environment}"
            raise UsageProblem(
                f"{region} has no subnet {named}",
                "apply infra/terraform/environments there, or name another region or subnet in [gpu]: aws_regions, "
                "aws_subnets",
            )
        subnets = [
            _Subnet(each["SubnetId"], each["AvailabilityZone"], each.get("AvailabilityZoneId", ""), each["VpcId"])
            for each in found
        ]
        return sorted(subnets, key=lambda each: each.id)

    def _regions(self) -> list[str]:
        if found := self._named_regions or _split(self._calls.usual_region()):
            return found
        raise UsageProblem("no region of AWS is named", 'write `aws_regions = "us-east-1"` below `[gpu]`')

    def _check_settings(self) -> None:
        if not self._image:
            raise UsageProblem(
                "no image of AWS is named",
                "write one with drivers below `[gpu]`, by its id or a pattern of names, e.g. "
                '`aws_image = "Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)*"`',
            )
        if not self._environment and not (self._subnets and self._groups):
            raise UsageProblem(
                "no network of AWS is named",
                'apply infra/terraform/environments/training, and write `aws_environment = "training"` below `[gpu]`; '
                "or name your own: aws_subnets and aws_security_groups",
            )

    # ---- one machine ----

    def launch(self, spec: LaunchSpec) -> str:
        instance = self._launched(spec)
        if self._one_shots is not None:
            self._arm(self._one_shots, instance, spec)
        return instance

    def _launched(self, spec: LaunchSpec) -> str:
        kind = MachineKind.parse(spec.offer.device)
        if known := self._of_token(kind.region, spec.token):
            return known
        asked = request(spec, self._target(kind), self._setup(spec, kind))
        try:
            answer = self._calls.ask(kind.region, "run_instances", **asked)
        except RefusedError as refused:
            if known := self._of_token(kind.region, spec.token):
                return known
            raise _refusal(refused, kind, spec.offer) from refused
        made = answer["Instances"][0]
        self._begun_at[spec.token] = made["LaunchTime"].timestamp()
        return self._known(spec.token, kind.region, made["InstanceId"])

    def _arm(self, one_shots: OneShots, instance: str, spec: LaunchSpec) -> None:
        """Have AWS end it too. Whoever wants that, and does not get it, gets no machine."""
        region, _, name = instance.partition("/")
        at = spec.deadline_at
        if spec.lasts_s is not None and spec.token in self._begun_at:
            at = self._begun_at[spec.token] + spec.lasts_s
        try:
            one_shots.arm(region, name, spec.token, at)
        except Unavailable:
            raise
        except LabError:
            self.end(instance)
            raise

    def instances(self, token: str = "") -> Sequence[Instance]:
        if not token:
            self._check_settings()  # who has set nothing up is not to wait for credentials that are nowhere
        known = self._region_of.get(token, "")
        try:
            regions = [known] if known else list(self._calls.regions())
        except Denied as problem:
            raise (_untold(problem) if token else problem) from problem
        answers = self._calls.of_each(regions, lambda region: self._instances_in(region, token))
        found = [each for answer in answers if isinstance(answer, list) for each in answer]
        if found and token:
            self._known(token, found[0].id.partition("/")[0], "")
            return found
        # What is in a place that does not answer is not known to be gone.
        if silent := next((answer for answer in answers if isinstance(answer, LabError)), None):
            raise _untold(silent) if token else silent
        return found

    def end(self, instance_id: str) -> None:
        region, _, name = instance_id.partition("/")
        if not name:  # no machine of EC2's is called so
            return
        try:
            self._calls.ask(region, "terminate_instances", InstanceIds=[name])
        except RefusedError as refused:
            if refused.code.startswith("InvalidInstanceID"):
                return
            fix = "it is asked again"
            if refused.code == "OperationNotPermitted":
                fix = f"switch off {name}'s termination protection in EC2's console; {fix}"
            raise Unavailable(f"AWS does not end {instance_id}: {refused.message}", fix) from refused
        except Denied as problem:
            raise _untold(problem) from problem
        if self._one_shots is not None:
            self._one_shots.forget(region, name)

    def move_end(self, instance_id: str, deadline_at: float) -> None:
        region, _, name = instance_id.partition("/")
        tags = listed({EXPIRES: time_text(deadline_at)})
        try:
            answer = self._calls.ask(region, "create_tags", Resources=[name], Tags=tags)
            if self._one_shots is not None:
                self._one_shots.move(region, name, deadline_at - time.time(), answer)
        except RefusedError as refused:
            if not refused.code.startswith("InvalidInstanceID"):
                what = f"AWS does not move the deadline of {instance_id}: {refused.message}"
                raise Unavailable(what, "it is asked again") from refused

    def leftovers(self) -> Sequence[str]:
        answers = self._calls.of_each(list(self._calls.regions()), self._left_in) if self._one_shots else []
        return [each for answer in answers if not isinstance(answer, LabError) for each in answer]

    def _left_in(self, region: str) -> list[str]:
        """Machines that are gone, and have a schedule. None where AWS does not say: nothing of it costs money."""
        assert self._one_shots is not None
        try:
            if not (armed := self._one_shots.machines(region)):
                return []
            by_id = [{"Name": "instance-id", "Values": armed}]
            found = self._calls.ask(region, "describe_instances", Filters=by_id)["Reservations"]
        except RefusedError:
            return []
        made = [each for reservation in found for each in reservation["Instances"]]
        living = {each["InstanceId"] for each in made if _STATES.get(each["State"]["Name"]) != "gone"}
        return [f"{region}/{name}" for name in armed if name not in living]

    def tidy(self, instance_id: str) -> None:
        region, _, name = instance_id.partition("/")
        if self._one_shots is not None:
            self._one_shots.forget(region, name)

    def price_changes(self, device: str, since: float) -> Sequence[PriceChange]:
        kind = MachineKind.parse(device)
        try:
            answer = self._calls.ask(
                kind.region,
                "describe_spot_price_history",
                InstanceTypes=[kind.type],
                AvailabilityZone=kind.zone,
                ProductDescriptions=["Linux/UNIX"],
                StartTime=datetime.fromtimestamp(since, UTC),
                EndTime=datetime.now(UTC),
                PaginationConfig={"MaxItems": _MOST_PRICES},  # the newest come first
            )
        except RefusedError as refused:
            raise Unavailable(f"AWS does not name spot prices: {refused.message}", "it is asked again") from refused
        return [
            PriceChange(each["Timestamp"].timestamp(), float(each["SpotPrice"])) for each in answer["SpotPriceHistory"]
        ]

    def place_on(self, instance: Instance, folder: Path) -> Place:
        command = [*self._ssh(instance, folder), f"{self._user}@{instance.address}"]
        self._await_setup(command, instance)
        there = f"{_FOLDER}/{instance.token}"
        python = self._python or MADE_PYTHON
        return Place(
            reach=CommandReach(command, there, python=python),
            folder=there,
            argv=(python, "-m", "ipykernel_launcher", "-f", "{connection_file}"),
            cwd="~",
            env={},
            alone_s=None,
            name=instance.id.partition("/")[2],
            whole=True,
            rented=True,
            at_end=(DEADLINE, "0"),
            at_lease=(DEADLINE,),
        )

    def _ssh(self, instance: Instance, folder: Path) -> list[str]:
        """Whatever address it has, it must have the key that was made for it."""
        keys, name = SshKeys.of(folder), f"aiinfra-{instance.token}"
        options = {
            "HostKeyAlias": name,
            "HostKeyAlgorithms": "ssh-ed25519",
            "IdentitiesOnly": "yes",
            "IdentityFile": _quoted(keys.login_file),
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": _quoted(keys.known_as(name)),
        }
        return ssh_command(self._ssh_config, options)

    def _await_setup(self, command: Sequence[str], instance: Instance) -> None:
        """Nothing when the machine has set itself up. Unavailable before that, Failed when it could not."""
        log = "tail -n 3 /var/log/cloud-init-output.log 2>/dev/null"
        asked = [*command, f"cat {SETUP_RESULT} 2>/dev/null && {log}; true"]
        try:
            done = subprocess.run(
                asked, capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise Unavailable(f"{instance.address} does not answer yet", "it is asked again") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [str(done.returncode)])[-1]
            fix = "see that its security group lets ssh in from here: `ssh_from` of infra/terraform"
            raise Unavailable(f"{instance.address} does not answer yet: {last}", fix)
        code, *lines = done.stdout.strip().splitlines() or [""]
        if not code:
            raise Unavailable(f"{instance.address} sets itself up", "it is asked again")
        if code != "0":
            what = f"{instance.id} could not be set up: {' '.join(lines)[-300:] or f'exit code {code}'}"
            raise Failed(what, "correct aws_user, aws_python or aws_setup in [gpu], or take another aws_image")

    def progress(self, instance: Instance) -> str:
        name = instance.id.partition("/")[2]
        return instance.why or f"waits until EC2 has started {name}"

    # ---- what a launch needs to know of its region ----

    def _target(self, kind: MachineKind) -> LaunchTarget:
        self._check_settings()
        image = self._image_of(kind)
        subnets = [each for each in self._subnets_of(kind.region) if kind.zone in (each.zone, each.zone_id)]
        if not subnets:
            fix = "take a zone that has one: `%gpu ls --offers --on aws`"
            raise UsageProblem(f"there is no subnet of ours in {kind.zone}", fix)
        subnet = subnets[0]
        about = {"group-id": self._groups} if self._groups else {f"tag:{ENVIRONMENT}": [self._environment]}
        found = self._describe(kind.region, "describe_security_groups", "SecurityGroups", about)
        groups = sorted(each["GroupId"] for each in found if each["VpcId"] == subnet.vpc)
        if not groups:
            named = ", ".join(self._groups) or f"with the tag {ENVIRONMENT}={self._environment}"
            what = f"the network {subnet.vpc} in {kind.region} has no security group {named}"
            raise UsageProblem(
                what, "apply infra/terraform/environments there, or correct aws_security_groups in [gpu]"
            )
        root = image["RootDeviceName"]
        sizes = [
            each.get("Ebs", {}).get("VolumeSize", 0)
            for each in image.get("BlockDeviceMappings", ())
            if each.get("DeviceName") == root
        ]
        return LaunchTarget(
            image=image["ImageId"],
            root_device=root,
            subnet=subnet.id,
            security_groups=groups,
            environment=self._environment,
            profile=self._profile,
            root_gib=max([self._root_gib, *sizes]),  # it begins as a copy of the image's
        )

    def _image_of(self, kind: MachineKind) -> Mapping[str, Any]:
        """As EC2 describes it; the newest where its name is a pattern."""
        about: dict[str, Sequence[str]] = {"state": ["available"]}
        if is_id := self._image.startswith("ami-"):
            about["image-id"] = [self._image]
        else:
            about |= {"name": [self._image], "architecture": [kind.architecture]}
        # An image of somebody else's may have any name.
        owners = {} if is_id else {"Owners": ["amazon", "self"]}
        found = self._describe(kind.region, "describe_images", "Images", about, **owners)
        if not found:
            raise UsageProblem(
                f"{kind.region} has no image {self._image!r} for {kind.architecture}",
                "images are of one region: correct aws_image in [gpu], by an id or a pattern of names",
            )
        newest: Mapping[str, Any] = max(found, key=lambda each: str(each.get("CreationDate", "")))
        return newest

    def _setup(self, spec: LaunchSpec, kind: MachineKind) -> MachineSetup:
        keys = SshKeys.of(spec.folder)
        return MachineSetup(
            user=self._user,
            login_key=keys.login_public,
            host_key=keys.host_private,
            slices=kind.slices(spec.offer.gpu),
            commands=commands(self._python, self._commands),
        )

    # ---- what is known of machines ----

    def _of_token(self, region: str, token: str) -> str:
        """The id of the machine of that token in a region, be it gone; empty when none is known there."""
        found = self._instances_in(region, token)
        if not found:
            return ""
        if found[0].created_at is not None:
            self._begun_at[token] = found[0].created_at
        return self._known(token, region, found[0].id.partition("/")[2])

    def _instances_in(self, region: str, token: str) -> list[Instance]:
        about = {f"tag:{OWNER}": [make_home_id(self._home)]}
        if token:
            about[f"tag:{TOKEN}"] = [token]
        else:
            about["instance-state-name"] = [state for state, ours in _STATES.items() if ours != "gone"]
        found = self._describe(region, "describe_instances", "Reservations", about)
        return [_instance(each, region) for reservation in found for each in reservation["Instances"]]

    def _describe(
        self, region: str, operation: str, key: str, about: Mapping[str, Sequence[str]], **more: Any
    ) -> list[Any]:
        filters = [{"Name": name, "Values": list(values)} for name, values in about.items()]
        try:
            return list(self._calls.ask(region, operation, Filters=filters, **more).get(key, ()))
        except RefusedError as refused:
            what = f"AWS does not answer {operation} in {region}: {refused}"
            raise Unavailable(what, "it is asked again; if it stays so, see what the message says") from refused

    def _known(self, token: str, region: str, instance: str) -> str:
        """Its id; from now on only its region is asked about it."""
        self._region_of[token] = region
        return f"{region}/{instance}"


def _offers(
    priced: PricedOffer, zones: Mapping[str, tuple[_Subnet, set[str]]], wanted: Wanted | None
) -> Iterator[Offer]:
    """One for each zone that it is had in; prices may be of a whole region."""
    price = priced.price
    known = accelerators.spec(price.accelerator)
    for subnet, types in zones.values():
        if price.type in types and price.zone in ("", subnet.zone, subnet.zone_id):
            profile = _profile(wanted, price.accelerator, price.count)
            yield Offer(
                gpu=price.accelerator,
                usd_per_hour=priced.usd_per_hour,
                memory_gib=known.memory_gib if known else None,
                device=str(MachineKind(price.type, price.region, subnet.zone, profile)),
                spot=priced.spot,
                type=price.type,
                where=subnet.zone,
                count=price.count,
                worst_usd_per_hour=priced.worst_usd_per_hour,
                note=f"its price is of {price.as_of}" if price.stale else "",
            )


def _profile(wanted: Wanted | None, accelerator: str, count: float) -> str:
    """The MIG profile by which a machine's GPUs are to be cut; empty where they are not."""
    fitting = [each for each in (wanted.alternatives if wanted else ()) if each.fits(accelerator, count)]
    return fitting[0].profile if fitting else ""


def _instance(found: Mapping[str, Any], region: str) -> Instance:
    tags = {each["Key"]: each["Value"] for each in found.get("Tags", ())}
    state, reason = found["State"]["Name"], found.get("StateReason", {})
    code, message = reason.get("Code", ""), reason.get("Message", "")
    ours = _STATES.get(state, "pending")
    # From the moment on at which its end began nothing is billed.
    changed_at = _CHANGED_AT.search(found.get("StateTransitionReason", "")) if ours in ("ending", "gone") else None
    return Instance(
        id=f"{region}/{found['InstanceId']}",
        session=tags.get(SESSION, ""),
        token=tags.get(TOKEN, ""),
        state=ours,
        address=found.get("PublicIpAddress") or found.get("PrivateIpAddress") or "",
        why=_WHY.get(code) or (message or f"EC2 calls it {state}" if ours in ("ending", "gone") else ""),
        is_taken=code in _TAKEN,
        created_at=found["LaunchTime"].timestamp(),
        expires_at=_read_time(tags.get(EXPIRES, "")),
        ended_at=_read_time(f"{changed_at[1]}+00:00") if changed_at else None,
    )


def _refusal(refused: RefusedError, kind: MachineKind, offer: Offer) -> LabError:
    if refused.code == "IdempotentParameterMismatch":
        return Unavailable(f"a machine was asked for already in {kind.region}, which is not listed yet", "ask again")
    if refused.code == "IdempotentInstanceTerminated":
        return NoCapacity(f"the machine that was rented in {kind.region} has ended already", "start the session again")
    return explained(refused, kind.type, spot=offer.spot)


def _untold(problem: LabError) -> Unavailable:
    """Whoever has a machine and is not let in, e.g. since a login has expired, knows nothing of it, and asks again."""
    return problem if isinstance(problem, Unavailable) else Unavailable(problem.what, problem.fix)


def _read_time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _quoted(path: Path) -> str:
    """As ssh reads the value of an option."""
    return '"{}"'.format(str(path).replace("%", "%%"))


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
