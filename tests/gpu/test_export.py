"""A session as files for other tools: what they say is what `%gpu start` would ask for."""

import dataclasses
import re
import subprocess
import time
from functools import partial
from pathlib import Path

import pytest
import yaml

from aiinfra_lab import gpu
from aiinfra_lab.config import Setting, settings
from aiinfra_lab.errors import Conflict, Denied, NotFound, Unavailable, UsageProblem
from aiinfra_lab.gpu import Offer
from aiinfra_lab.gpu.exports import FORMS, PoolSize, ec2, hcl, terraform
from aiinfra_lab.gpu.exports.pool import rendered_pool
from aiinfra_lab.gpu.exports.spec import spec_of
from aiinfra_lab.gpu.pool_record import PoolRecord
from aiinfra_lab.gpu.record import SessionRecord
from aiinfra_lab.gpu.renting import LaunchSpec
from aiinfra_lab.gpu.starting import SessionRequest
from aiinfra_lab.store import Record, open_store
from aiinfra_lab.uris import Uri
from aiinfra_lab.words import split, understand
from tests.terraform import needs_terraform

AT = 1_800_000_000.0
EXPIRES_AT = "2027-01-15T08:00:00Z"
SPOT = Offer(
    "A10G", 0.46, 24, "g5.xlarge/us-east-1/us-east-1a", spot=True, type="g5.xlarge", where="us-east-1a",
    worst_usd_per_hour=1.006,
)  # fmt: skip
CUT = Offer("A100-40GB", 21.96, device="p4d.24xlarge/us-east-1/us-east-1b/1g.5gb", count=8)


def spec(offer: Offer = SPOT, session: str = "trainer") -> LaunchSpec:
    return LaunchSpec(session, "0f12", "aiinfra-trainer-1", offer, AT, Path("unused"))


def rendered(to: str, offer: Offer = SPOT, provider: str = "aws", session: str = "trainer", **named: object):
    """named: settings of `[gpu]`."""
    values = {f"gpu.{name}": Setting(each, "a test") for name, each in named.items()}
    where = dataclasses.replace(settings(), values=values)
    return FORMS[to].render(spec(offer, session), provider, where)


NETWORK = {
    "aws_image": "ami-0123",
    "aws_subnets": "subnet-1, subnet-2",
    "aws_security_groups": "sg-1, sg-2",
    "aws_instance_profile": "host",
    "aws_root_gib": 50,
    "aws_user": "ec2-user",
    "aws_python": "python3",
    "aws_setup": 'echo "${HOME}"',
}


# ---- the spec ----


def request(name: str = "trainer", gpu: str | None = "A10G", **more) -> SessionRequest:
    plain = {"spot": False, "for_s": None, "budget_usd": None, "on": None}
    return SessionRequest(name, gpu, **{**plain, **more})


def test_a_machine_is_chosen_as_a_cloud_would_offer_it(workspace):
    made, provider = spec_of(request(for_s=7200), ["aws"])
    kind, region, *_ = made.offer.device.split("/")
    assert (provider, made.offer.gpu, kind, made.offer.type) == ("aws", "A10G", "g5.xlarge", "g5.xlarge")
    assert region in made.offer.where or made.offer.where
    assert made.deadline_at == pytest.approx(time.time() + 7200, abs=5)
    assert made == dataclasses.replace(spec_of(request(for_s=7200), ["aws"])[0], deadline_at=made.deadline_at)


def test_a_slice_is_a_machine_that_can_be_cut_so(workspace):
    made, _ = spec_of(request(gpu="A100 1g.5gb"), ["aws"])
    assert made.offer.device.endswith("/1g.5gb")
    assert ec2.Ec2Node.of(made, settings()).mig == ("1g.5gb", 7)


def test_a_budget_is_a_wall_there_too_and_ends_it(workspace):
    with pytest.raises(Denied, match="may cost"):
        spec_of(request(for_s=7200, budget_usd=0.5), ["aws"])
    made, _ = spec_of(request(budget_usd=0.5), ["aws"])
    assert made.deadline_at == pytest.approx(time.time() + 0.5 / made.offer.dearest_usd_per_hour * 3600, abs=5)


def test_a_session_that_lives_keeps_its_end(workspace):
    begun = gpu.start("trainer", for_="1h")
    with pytest.raises(Unavailable, match="the price table has no cpu: each of its machines") as problem:
        spec_of(request(gpu=None), ["aws"])
    assert problem.value.fix.startswith("say what it is to be: add `--gpu A10G`")
    made, _ = spec_of(request(), ["aws"])
    assert made.deadline_at == begun.deadline_at


def test_a_session_with_several_accelerators_is_exported_with_as_many(workspace):
    fields = {"provider": "slurm", "gpu": "A100-40GB", "usd_per_hour": 9.0, "started_at": 1.0, "ended_at": 2.0}
    open_store().commit([Record.new("trainer", SessionRecord(**fields, count=8.0, device="gpu/gpu:a100:8"))])
    made, _ = spec_of(request(gpu=None), ["aws"])
    assert made.offer.count == 8
    same, _ = spec_of(request(gpu=None), ["slurm"])
    assert (same.offer.count, same.offer.device) == (8, "gpu/gpu:a100:8")


def test_of_nothing_there_is_no_export(workspace):
    with pytest.raises(NotFound, match="there is no session gpu:trainer") as problem:
        gpu.export("trainer", to="terraform")
    assert problem.value.fix.startswith("say what it is to be: add `--gpu A10G`")
    with pytest.raises(UsageProblem, match="nothing is exported to 'terrafrom'"):
        gpu.export("trainer", to="terrafrom", gpu="A10G")


# ---- terraform ----


def test_terraform_has_every_field_of_the_spec(workspace):
    text = rendered("terraform", **NETWORK).text
    for line in (
        'session           = "trainer"',
        'owner             = "0f12"',
        f'expires_at        = "{EXPIRES_AT}"',
        'instance_type     = "g5.xlarge"',
        'zone              = "us-east-1a"',
        "spot              = true",
        "most_usd_per_hour = 1.006",
        'image             = "ami-0123"',
        "root_gib          = 50",
        'user              = "ec2-user"',
        'region = "us-east-1"',
        'values = ["subnet-1", "subnet-2"]',
        'more_security_groups = ["sg-2"]',
        'echo "$${HOME}"',
    ):
        assert line in text, text


def test_terraform_without_a_network_makes_one_and_asks_for_the_image(workspace):
    done = rendered("terraform", CUT)
    assert 'source = "../modules/environment"' in done.text
    assert 'variable "image"' in done.text
    assert 'mig           = { profile = "1g.5gb", count = 7 }' in done.text
    assert "most_usd_per_hour" not in done.text
    assert any("image=" in note for note in done.notes)


@needs_terraform
@pytest.mark.parametrize("offer", [SPOT, CUT, dataclasses.replace(SPOT, device="g5.xlarge/us-east-1/use1-az2")])
def test_terraform_would_format_nothing(workspace, offer):
    text = rendered("terraform", offer, **NETWORK).text
    done = subprocess.run(["terraform", "fmt", "-"], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == text


@needs_terraform
def test_terraform_would_format_nothing_of_a_pool(workspace):
    text = terraform.render_pool(spec(), PoolSize(0, 8), settings()).text
    done = subprocess.run(["terraform", "fmt", "-"], input=text, capture_output=True, text=True, check=True)
    assert done.stdout == text


def test_a_text_stays_one_in_terraforms_language():
    block = hcl.Block("locals", {"a": 'say "${x}" %{if}', "b:c": {"aiinfra:x": [1, True, None]}})
    assert hcl.written(block).splitlines()[1:3] == [
        r'  a     = "say \"$${x}\" %%{if}"',
        '  "b:c" = { "aiinfra:x" = [1, true, null] }',
    ]


# ---- pulumi, skypilot ----


def test_pulumi_has_every_field_of_the_spec(workspace):
    given = yaml.safe_load(rendered("pulumi", **NETWORK).text)["config"]
    assert given["aws:region"] == "us-east-1"
    assert given["aiinfra:nodes"] == {
        "trainer": {
            "expires_at": EXPIRES_AT,
            "instance_type": "g5.xlarge",
            "zone": "us-east-1a",
            "spot": True,
            "most_usd_per_hour": 1.006,
            "root_gib": 50,
            "setup": 'echo "${HOME}"\n',
        }
    }
    assert (given["aiinfra:owner"], given["aiinfra:image"], given["aiinfra:user"]) == ("0f12", "ami-0123", "ec2-user")
    named = {"subnets": ["subnet-1", "subnet-2"], "groups": ["sg-1", "sg-2"], "profile": "host"}
    assert given["aiinfra:network"] == named


def test_a_skypilot_task_is_that_machine_until_the_deadline(workspace):
    task = yaml.safe_load(rendered("skypilot", **NETWORK).text)
    assert task["resources"] == {
        "infra": "aws/us-east-1/us-east-1a",
        "instance_type": "g5.xlarge",
        "use_spot": True,
        "image_id": "ami-0123",
        "disk_size": 50,
        "autostop": {"idle_minutes": 1, "down": True},
        "labels": {"aiinfra:session": "trainer", "aiinfra:owner": "0f12", "aiinfra:expires": EXPIRES_AT},
    }
    assert (task["name"], task["envs"]) == ("trainer", {"EXPIRES_AT": EXPIRES_AT})


def test_the_job_of_a_skypilot_task_ends_at_the_deadline(workspace):
    task = yaml.safe_load(rendered("skypilot").text)
    for left, least in ((2, 1.0), (-60, 0.0)):
        until = ec2.time_text(time.time() + left)
        begun = time.monotonic()
        subprocess.run(["bash", "-euc", task["run"]], env={"EXPIRES_AT": until, "PATH": "/usr/bin:/bin"}, check=True)
        assert least <= time.monotonic() - begun + 0.1 < least + 3


@pytest.mark.parametrize(
    ("provider", "offer", "what"),
    [
        (
            "gcp",
            Offer("TPU-v6e", 2.7, device="tpu-v6e-1/us-east5/us-east5-a", type="tpu-v6e-1"),
            "SkyPilot rents no gcp",
        ),
        ("crusoe", Offer("H100", 3.9, device="h100//", type="h100"), "SkyPilot rents no crusoe h100"),
    ],
)
def test_what_skypilot_does_not_rent_is_refused(workspace, provider, offer, what):
    with pytest.raises(UsageProblem, match=what):
        rendered("skypilot", offer, provider)


# ---- a pool ----


def a_pool(**fields: object) -> None:
    plain = {"min": 1, "max": 4, "places": 4, "per_member": 2.0, "provider": "sim", "gpu": "A10G", "job": "j"}
    open_store().commit([Record.new("sweep", PoolRecord(**{**plain, "started_at": time.time(), **fields}))])


def test_a_pool_is_a_group_of_its_machines(workspace):
    a_pool(spot=True, until_at=time.time() + 7200)
    text = gpu.export("sweep", to="terraform").text
    assert 'module "pool" {' in text
    assert 'module "session"' not in text
    for line in ('= "../modules/gpu-pool"', '= ["g5.xlarge"]', "min ", "= 1", "max ", "= 4", "spot ", "= true"):
        assert line in text, line
    assert ec2.time_text(time.time() + 7200)[:13] in text
    stack = yaml.safe_load(gpu.export("sweep", to="pulumi").text)["config"]
    assert "aiinfra:nodes" not in stack
    found = stack["aiinfra:pools"]["sweep"]
    assert (found["instance_types"], found["min"], found["max"], found["spot"]) == (["g5.xlarge"], 1, 4, True)


def test_the_budget_of_a_pool_is_that_of_all_its_machines(workspace):
    a_pool(budget_usd=8.0)
    spec_, _, _ = rendered_pool(open_store().get(PoolRecord, "sweep"), request("sweep", None), "terraform", FORMS)
    lasts_s = spec_.deadline_at - time.time()
    assert 4 * lasts_s / 3600 * spec_.offer.dearest_usd_per_hour == pytest.approx(8.0, rel=0.02)
    a_pool_until = time.time() + 600
    stored = open_store().get(PoolRecord, "sweep")
    open_store().commit([stored.with_(until_at=a_pool_until)])
    spec_, _, _ = rendered_pool(open_store().get(PoolRecord, "sweep"), request("sweep", None), "terraform", FORMS)
    assert spec_.deadline_at == a_pool_until


def test_what_has_no_pools_says_so(workspace):
    a_pool()
    with pytest.raises(UsageProblem, match="gpu:sweep is a pool, and skypilot has none") as problem:
        gpu.export("sweep", to="skypilot")
    fix = "take pulumi or terraform; `%gpu export sweep-1 --to skypilot` writes one of its sessions"
    assert problem.value.fix == fix


def test_what_is_written_of_a_pool_is_what_terraform_takes(workspace, tmp_path):
    a_pool()
    gpu.export("sweep", to="terraform", into=tmp_path / "out")
    assert (tmp_path / "out/terraform/modules/gpu-pool/main.tf").is_file()
    assert (tmp_path / "out/terraform/modules/gpu-node/machine.sh.tftpl").is_file()  # the pool's machines run it
    declared = (tmp_path / "out/terraform/modules/gpu-pool/variables.tf").read_text()
    module = (tmp_path / "out/terraform/sweep/main.tf").read_text().partition('module "pool" {')[2]
    given = set(re.findall(r"^  (\w+) +=", module, re.MULTILINE)) - {"source"}
    assert {"instance_types", "min", "max"} <= given
    assert given <= set(re.findall(r'^variable "(\w+)"', declared, re.MULTILINE))


# ---- the verb ----


@pytest.mark.parametrize(
    ("on", "flags", "accelerator"),
    [
        ("gcp", {"gpu": "A10G or H100", "spot": True, "for_": "2h"}, "H100"),
        ("azure", {}, ""),
        ("azure", {"gpu": "TPU v5e", "budget": 20}, ""),
        ("gcp", {"max_": 4, "gpu": "2x A100"}, "A100"),
    ],
)
def test_the_fix_for_a_cloud_that_only_skypilot_rents_writes_its_task(workspace, on, flags, accelerator):
    for ask in (partial(gpu.start, "far"), partial(gpu.ls, offers=True)):
        given = {key: value for key, value in flags.items() if ask.func is gpu.start or key != "max_"}
        with pytest.raises(NotFound, match=f"nothing here rents machines of {on}") as problem:
            ask(on=on, **given)
        line = re.search(r"`%gpu ([^`]+)`", problem.value.fix)[1]
        done = understand("gpu", split(line)).run()
        task = yaml.safe_load(done.text)
        assert task["resources"]["infra"].startswith(on)
        assert task["resources"]["use_spot"] is flags.get("spot", False)
        assert accelerator in task["resources"].get("accelerators", accelerator)
    assert open_store().changed() == []


def test_an_export_is_about_machines_that_its_tool_has(workspace):
    with pytest.raises(UsageProblem, match="terraform is about no machines of 'gcp'"):
        gpu.export("far", to="terraform", gpu="L4", on="gcp")


@pytest.mark.parametrize("to", ["pulumi", "skypilot", "terraform"])
def test_an_export_rents_nothing_and_writes_all_or_nothing(workspace, to, tmp_path):
    before = open_store().changed()
    shown = gpu.export("trainer", to=to, gpu="A10G or L4", for_="2h")
    assert shown.text in shown.as_json()["text"]
    written = gpu.export("trainer", to=to, gpu="A10G or L4", for_="2h", into=tmp_path / "out")
    own = tmp_path / "out" / written.file
    assert own.read_text() == written.text
    assert written.card().text()
    with pytest.raises(Conflict, match="is there and not empty"):
        gpu.export("trainer", to=to, gpu="A10G", into=tmp_path / "out")
    assert open_store().changed() == before
    assert str(Uri.parse(str(written))) == "gpu:trainer"


def test_what_is_written_has_what_it_calls(workspace, tmp_path):
    gpu.export("trainer", to="terraform", gpu="A10G", into=tmp_path / "tf")
    gpu.export("trainer", to="pulumi", gpu="A10G", into=tmp_path / "pu")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert {"tf/machine.sh", "tf/iam/host.json", "tf/terraform/modules/gpu-node/machine.sh.tftpl"} <= found
    assert {"pu/machine.sh", "pu/iam/host-trust.json", "pu/pulumi/machines.py", "pu/pulumi/Pulumi.yaml"} <= found
    assert not any("terraform.tfstate" in name or ".terraform" in name for name in found)
