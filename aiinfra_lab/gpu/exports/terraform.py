"""A session as Terraform: a root module that calls those of `infra/terraform` with what `%gpu start` would ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...config import Settings
from .ec2 import NETWORK, Ec2Node, is_zone_id
from .hcl import Block, Expression, Pairs, written
from .rendered import BY_HAND, OURS, PoolSize, Rendered, infra

if TYPE_CHECKING:
    from ..renting import LaunchSpec

_ENVIRONMENT = "aiinfra:environment"


def render(spec: LaunchSpec, _provider: str, where: Settings) -> Rendered:
    """The root module, with the modules that it calls."""
    head = f"# Session {spec.session}, as `%gpu start` would ask for it: written by `%gpu export --to terraform`.\n\n"
    node = Ec2Node.of(spec, where)
    return _rendered(node, _session(node), head)


def render_pool(spec: LaunchSpec, size: PoolSize, where: Settings) -> Rendered:
    """The same of a pool of such machines: a group, which has none any more from its deadline on."""
    head = f"# Pool {spec.session}, of what `%gpu start` would ask for: written by `%gpu export --to terraform`.\n\n"
    node = Ec2Node.of(spec, where)
    return _rendered(node, _pool(node, size), head, "terraform/modules/gpu-pool", notes=(BY_HAND,))


def _rendered(node: Ec2Node, module: Block, head: str, *more: str, notes: Sequence[str] = ()) -> Rendered:
    main = f"terraform/{node.session}/main.tf"
    lacks = [] if node.image else ["`-var image=ami-…`: an image with the drivers of its accelerators"]
    if not node.has_network:
        lacks.append("""`-var 'ssh_from=["192.0.2.7/32"]'`: from where ssh may come""")
    lacks.append("""`-var 'ssh_keys=["ssh-ed25519 …"]'`: who may log in""")
    return Rendered(
        files={
            **infra("terraform/modules/environment", "terraform/modules/gpu-node", "machine.sh", "iam", *more),
            main: head + written(*_blocks(node), module),
        },
        main=main,
        use="terraform init && terraform plan",
        notes=(*notes, *lacks, OURS),
    )


def _blocks(node: Ec2Node) -> list[Block]:
    source = {"source": "hashicorp/aws", "version": "~> 5.60"}
    providers = Block("required_providers", {"aws": Pairs(source)})
    ssh_keys = {"description": "Public keys that may log in.", "type": Expression("list(string)"), "default": []}
    return [
        Block("terraform", {"required_version": ">= 1.9"}, [providers]),
        Block('provider "aws"', {"region": node.region}, [Block("default_tags", {"tags": _environment(node)})]),
        *_image(node),
        *([Block('data "aws_availability_zone" "this"', {"zone_id": node.zone})] if is_zone_id(node.zone) else []),
        Block('variable "ssh_keys"', ssh_keys),
        *(_named_network(node) if node.has_network else _own_network(node)),
    ]


def _environment(node: Ec2Node) -> dict[str, str]:
    """The tag of all that is in one network."""
    return {_ENVIRONMENT: node.environment or node.session}


def _session(node: Ec2Node) -> Block:
    price = {"most_usd_per_hour": node.most_usd_per_hour} if node.spot else {}
    one = {"instance_type": node.type, "zone": _zone(node), "spot": node.spot, **price}
    return Block('module "session"', _given(node, "gpu-node", one))


def _pool(node: Ec2Node, size: PoolSize) -> Block:
    several = {"instance_types": [node.type], "min": size.min, "max": size.max, "spot": node.spot}
    return Block('module "pool"', _given(node, "gpu-pool", several))


def _given(node: Ec2Node, module: str, machines: dict[str, Any]) -> dict[str, Any]:
    return {
        "source": f"../modules/{module}",
        "session": node.session,
        "owner": node.owner,
        "expires_at": node.expires_at,
        "machines": Expression("local.machines" if node.has_network else "module.environment.machines"),
        "image": _image_reference(node),
        **machines,
        **({"mig": {"profile": node.mig[0], "count": node.mig[1]}} if node.mig else {}),
        "root_gib": node.root_gib,
        "user": node.user,
        "ssh_keys": Expression("var.ssh_keys"),
        **({"setup": node.setup} if node.setup else {}),
    }


def _image(node: Ec2Node) -> list[Block]:
    if node.image.startswith("ami-"):
        return []
    if not node.image:
        about = "AMI with the drivers of its accelerators, and with systemd."
        return [Block('variable "image"', {"description": about, "type": Expression("string")})]
    named = Block("filter", {"name": "name", "values": [node.image]})
    architecture = Block("filter", {"name": "architecture", "values": [node.architecture]})
    newest = {"most_recent": True, "owners": ["amazon", "self"]}
    return [Block('data "aws_ami" "this"', newest, [named, architecture])]


def _image_reference(node: Ec2Node) -> Any:
    if node.image.startswith("ami-"):
        return node.image
    return Expression("data.aws_ami.this.id" if node.image else "var.image")


def _zone(node: Ec2Node) -> Any:
    return Expression("data.aws_availability_zone.this.name") if is_zone_id(node.zone) else node.zone


def _own_network(node: Ec2Node) -> list[Block]:
    about = "Addresses that ssh may come from. Without one nobody logs in from outside."
    door = {"ssh": {"port": 22, "from": Expression("var.ssh_from")}}
    environment = {
        "source": "../modules/environment",
        "name": node.session,
        "cidr": NETWORK,
        "zones": [_zone(node)],
        "doors": door,
    }
    return [
        Block('variable "ssh_from"', {"description": about, "type": Expression("list(string)"), "default": []}),
        Block('module "environment"', environment),
    ]


def _named_network(node: Ec2Node) -> list[Block]:
    """The one that is there: an environment of infra/ by its tag, or what the settings name."""
    tagged = {} if node.subnets else {"tags": _environment(node)}
    by_id = [Block("filter", {"name": "subnet-id", "values": list(node.subnets)})] if node.subnets else []
    blocks = [Block('data "aws_subnet" "this"', {"availability_zone": _zone(node), **tagged}, by_id)]
    group: Any = node.groups[0] if node.groups else Expression("data.aws_security_group.this.id")
    if not node.groups:
        of_network = {"vpc_id": Expression("data.aws_subnet.this.vpc_id"), "tags": _environment(node)}
        blocks.append(Block('data "aws_security_group" "this"', of_network))
    machines = {
        "name": node.environment or node.session,
        "subnets": Expression("{ (data.aws_subnet.this.availability_zone) = data.aws_subnet.this.id }"),
        "security_group": group,
        "more_security_groups": list(node.groups[1:]),
        "instance_profile": node.profile or None,
    }
    return [*blocks, Block("locals", {"machines": Pairs(machines)})]
