"""The policies of `infra/iam`, enforced by EC2 on loopback: each call works with its policy and is denied without."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.fakes import policies
from tests.fakes.ec2 import Ec2

IAM = Path(__file__).parents[2] / "infra" / "iam"
DENIED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
TAGS = {"aiinfra:session": "trainer", "aiinfra:owner": "me", "aiinfra:expires": "2099-01-31T18:00:00Z"}
OTHERS = {"team": "else"}


def statements(role: str) -> list[dict[str, Any]]:
    found = json.loads((IAM / f"{role}.json").read_text())["Statement"]
    return list(found)


def listed(tags: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in tags.items()]


class Caller:
    """EC2 as somebody sees it, and schedules by `scheduler`."""

    def __init__(self, ec2: Any, scheduler: Any) -> None:
        self._ec2, self.scheduler = ec2, scheduler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ec2, name)


@dataclass(frozen=True)
class Account:
    """A machine of ours and one of somebody else's, networks of both, and the roles that machines have."""

    ec2: Ec2
    launch: Mapping[str, Any]
    ours: str
    theirs: str
    their_subnet: str

    def client(self, name: str, allowed: list[dict[str, Any]]) -> Any:
        """What somebody with those statements calls; without one: with no policy."""
        policies.enforce(False)
        iam = self.ec2.client("iam")
        iam.create_user(UserName=name)
        if allowed:
            document = json.dumps({"Version": "2012-10-17", "Statement": allowed})
            iam.put_user_policy(UserName=name, PolicyName=name, PolicyDocument=document)
        key = iam.create_access_key(UserName=name)["AccessKey"]
        policies.enforce(True)
        pair = {"key": key["AccessKeyId"], "secret": key["SecretAccessKey"]}
        return Caller(self.ec2.client(**pair), self.ec2.client("scheduler", **pair))


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ec2]:
    with Ec2() as made:
        yield made


@pytest.fixture
def account(cloud: Ec2) -> Account:
    cloud.reset()
    client, image = cloud.client(), cloud.image()
    vpc = client.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        client.create_subnet(VpcId=vpc, CidrBlock=f"10.0.{number}.0/24", AvailabilityZone="us-east-1a")["Subnet"]
        for number in range(2)
    ]
    own, their_subnet = [it["SubnetId"] for it in subnets]
    group = client.create_security_group(GroupName="ours", Description="ours", VpcId=vpc)["GroupId"]
    client.create_tags(Resources=[own, group], Tags=listed({"aiinfra:environment": "training"}))
    iam = cloud.client("iam")
    for name in ("aiinfra-training-host", "administrator"):
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=(IAM / "host-trust.json").read_text())
        iam.create_instance_profile(InstanceProfileName=name)
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
    launch = {
        "ImageId": image,
        "InstanceType": "g5.xlarge",
        "MinCount": 1,
        "MaxCount": 1,
        "SubnetId": own,
        "SecurityGroupIds": [group],
        "IamInstanceProfile": {"Name": "aiinfra-training-host"},
        "InstanceMarketOptions": {"MarketType": "spot"},
        "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "VolumeSize": 100}}],
        "TagSpecifications": [{"ResourceType": it, "Tags": listed(TAGS)} for it in ("instance", "volume")],
    }
    ours = client.run_instances(**launch)["Instances"][0]["InstanceId"]
    foreign = {"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, "SubnetId": their_subnet}
    theirs = client.run_instances(**foreign)["Instances"][0]["InstanceId"]
    client.create_tags(Resources=[theirs], Tags=listed(OTHERS))
    scheduler = cloud.client("scheduler")
    for name in (f"aiinfra-{ours}", "payroll"):
        scheduler.create_schedule(**schedule(name))
    return Account(cloud, launch, ours, theirs, their_subnet)


Verb = Callable[[Any, Account], Any]
ONE_SHOT = "arn:aws:iam::123456789012:role/aiinfra-training-one-shot"


def schedule(name: str, role: str = ONE_SHOT) -> dict[str, Any]:
    return {
        "Name": name,
        "ScheduleExpression": "at(2099-01-31T18:00:00)",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": "arn:aws:scheduler:::aws-sdk:ec2:terminateInstances", "RoleArn": role},
    }


def make_schedule(name: str, role: str = ONE_SHOT) -> Verb:
    return lambda client, account: client.scheduler.create_schedule(**schedule(name, role))


SCHEDULES: dict[str, Verb] = {
    "find schedules": lambda client, account: client.scheduler.list_schedules(),
    "delete a schedule": lambda client, account: client.scheduler.delete_schedule(Name=f"aiinfra-{account.ours}"),
}

LOOKS: dict[str, Verb] = {
    "instances": lambda client, account: client.describe_instances(),
    "regions": lambda client, account: client.describe_regions(),
}
VERBS: dict[str, dict[str, Verb]] = {
    "launcher": {
        **LOOKS,
        "types": lambda client, account: client.describe_instance_types(InstanceTypes=["g5.xlarge"]),
        "offerings": lambda client, account: client.describe_instance_type_offerings(),
        "images": lambda client, account: client.describe_images(ImageIds=[account.launch["ImageId"]]),
        "subnets": lambda client, account: client.describe_subnets(),
        "groups": lambda client, account: client.describe_security_groups(),
        "prices": lambda client, account: client.describe_spot_price_history(InstanceTypes=["g5.xlarge"]),
        "rent": lambda client, account: client.run_instances(**account.launch),
        "rent on demand": lambda client, account: client.run_instances(
            **{name: value for name, value in account.launch.items() if name != "InstanceMarketOptions"}
        ),
        "renew": lambda client, account: client.create_tags(
            Resources=[account.ours], Tags=listed({"aiinfra:expires": "2099-02-01T00:00:00Z"})
        ),
        "end": lambda client, account: client.terminate_instances(InstanceIds=[account.ours]),
    },
    "one-shot-role": {"end": lambda client, account: client.terminate_instances(InstanceIds=[account.ours])},
    "one-shot": {
        "make a schedule": make_schedule("aiinfra-i-0a1b"),
        "move a schedule": lambda client, account: client.scheduler.update_schedule(
            **schedule(f"aiinfra-{account.ours}")
        ),
        **SCHEDULES,
    },
    "reaper": {
        **LOOKS,
        **SCHEDULES,
        "end": lambda client, account: client.terminate_instances(InstanceIds=[account.ours]),
    },
}


def is_denied(client: Any, verb: Verb, account: Account) -> bool:
    """False when it worked; any other error is the test's."""
    try:
        verb(client, account)
    except ClientError as error:
        if error.response["Error"]["Code"] in DENIED:
            return True
        raise
    return False


@pytest.mark.parametrize(("role", "name"), [(role, name) for role, verbs in VERBS.items() for name in verbs])
def test_a_call_works_with_its_policy_and_is_denied_without(role: str, name: str, account: Account) -> None:
    verb = VERBS[role][name]
    assert is_denied(account.client("nobody", []), verb, account)
    assert not is_denied(account.client(role, statements(role)), verb, account)


@pytest.mark.parametrize(("role", "left_out"), [(role, it["Sid"]) for role in VERBS for it in statements(role)])
def test_no_statement_could_be_left_out(role: str, left_out: str, account: Account) -> None:
    kept = [it for it in statements(role) if it["Sid"] != left_out]
    client = account.client(role, kept)
    assert [name for name, verb in VERBS[role].items() if is_denied(client, verb, account)] != []


ACTIONS = [
    (role, number, action)
    for role in VERBS
    for number, it in enumerate(statements(role))
    if isinstance(it["Action"], list)
    for action in it["Action"]
]


@pytest.mark.parametrize(("role", "number", "left_out"), ACTIONS)
def test_no_action_could_be_left_out(role: str, number: int, left_out: str, account: Account) -> None:
    kept = statements(role)
    kept[number]["Action"] = [it for it in kept[number]["Action"] if it != left_out]
    client = account.client(role, kept)
    assert len([name for name, verb in VERBS[role].items() if is_denied(client, verb, account)]) == 1


def changed(**fields: Any) -> Verb:
    """A launch that is otherwise as it should be; None leaves a field out."""

    def launch(client: Any, account: Account) -> Any:
        given = {**account.launch, **fields}
        return client.run_instances(**{name: value for name, value in given.items() if value is not None})

    return launch


def tagged(kind: str, tags: Mapping[str, str]) -> dict[str, Any]:
    return {"ResourceType": kind, "Tags": listed(tags)}


INCOMPLETE = [
    [tagged("instance", {name: TAGS[name] for name in names}), tagged("volume", TAGS)]
    for names in itertools.combinations(TAGS, 2)
]
OPEN = [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": False, "VolumeSize": 100}}]
FORBIDDEN: dict[str, Verb] = {
    **{f"rent without a tag {number}": changed(TagSpecifications=it) for number, it in enumerate(INCOMPLETE)},
    "rent without any tag": changed(TagSpecifications=None),
    "rent with an untagged volume": changed(TagSpecifications=[tagged("instance", TAGS)]),
    "rent with an open volume": changed(BlockDeviceMappings=OPEN),
    "rent with the image's volume": changed(BlockDeviceMappings=None),
    "rent with metadata for anybody": changed(MetadataOptions={"HttpTokens": "optional"}),
    "rent in the default network": changed(SubnetId=None, SecurityGroupIds=None),
    "rent an administrator": changed(IamInstanceProfile={"Name": "administrator"}),
    "rent in another network": lambda client, account: changed(SubnetId=account.their_subnet)(client, account),
    "end another's": lambda client, account: client.terminate_instances(InstanceIds=[account.theirs]),
    "end ours and another's": lambda client, account: client.terminate_instances(
        InstanceIds=[account.ours, account.theirs]
    ),
    "adopt another's": lambda client, account: client.create_tags(Resources=[account.theirs], Tags=listed(TAGS)),
    "change whose it is": lambda client, account: client.create_tags(
        Resources=[account.ours], Tags=listed({"aiinfra:owner": "you"})
    ),
    "forget whose it is": lambda client, account: client.delete_tags(
        Resources=[account.ours], Tags=[{"Key": "aiinfra:session"}]
    ),
    "stop, which goes on costing": lambda client, account: client.stop_instances(InstanceIds=[account.ours]),
    "keep it from ending": lambda client, account: client.modify_instance_attribute(
        InstanceId=account.ours, DisableApiTermination={"Value": True}
    ),
    "open a network": lambda client, account: client.create_security_group(GroupName="x", Description="x"),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_launcher_may_do_nothing_else(name: str, account: Account) -> None:
    assert is_denied(account.client("launcher", statements("launcher")), FORBIDDEN[name], account)
    assert set(account.ec2.living()) == {account.ours, account.theirs}


FORBIDDEN_SCHEDULES: dict[str, Verb] = {
    "make another's": make_schedule("payroll-2"),
    "with another role": make_schedule("aiinfra-i-0a1b", "arn:aws:iam::123456789012:role/administrator"),
    "with a machine's role": make_schedule("aiinfra-i-0a1b", "arn:aws:iam::123456789012:role/aiinfra-training-host"),
    "delete another's": lambda client, account: client.scheduler.delete_schedule(Name="payroll"),
    "move another's": lambda client, account: client.scheduler.update_schedule(**schedule("payroll")),
}


@pytest.mark.parametrize("role", ["launcher", "one-shot", "one-shot-role", "reaper"])
@pytest.mark.parametrize("name", FORBIDDEN_SCHEDULES)
def test_nobody_touches_schedules_of_others_or_gives_them_other_roles(name: str, role: str, account: Account) -> None:
    both = [*statements(role), *(statements("launcher") if role == "one-shot" else [])]
    assert is_denied(account.client(role, both), FORBIDDEN_SCHEDULES[name], account)
    policies.enforce(False)
    names = [it["Name"] for it in account.ec2.client("scheduler").list_schedules()["Schedules"]]
    assert sorted(names) == sorted([f"aiinfra-{account.ours}", "payroll"])


@pytest.mark.parametrize("role", ["one-shot-role", "reaper"])
@pytest.mark.parametrize("name", ["rent", *(it for it in FORBIDDEN if not it.startswith("rent"))])
def test_who_ends_machines_may_do_nothing_else(name: str, role: str, account: Account) -> None:
    verb = {**VERBS["launcher"], **FORBIDDEN}[name]
    assert is_denied(account.client(role, statements(role)), verb, account)


def test_a_host_may_do_nothing_and_reads_its_own_tags(account: Account) -> None:
    # What others allow it does not count.
    client = account.client("host", [*statements("host"), *statements("launcher"), *statements("reaper")])
    verbs = {**VERBS["launcher"], **FORBIDDEN}
    assert [name for name, verb in verbs.items() if not is_denied(client, verb, account)] == []
    with account.ec2.imds(account.ours) as imds:
        _, token = imds.token("60", forwarded=False)
        seen = {name: imds.get(f"/latest/meta-data/tags/instance/{name}", token)[1] for name in TAGS}
    assert seen == TAGS


def test_a_wrong_key_is_nobody(account: Account) -> None:
    account.client("launcher", statements("launcher"))
    with pytest.raises(ClientError) as caught:
        account.ec2.client(key="AKIAWRONG", secret="wrong").describe_instances()
    assert caught.value.response["Error"]["Code"] == "AuthFailure"
