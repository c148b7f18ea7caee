"""A session as Pulumi: the program of `infra/pulumi`, and a stack whose configuration is what `%gpu start` would ask
for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...config import Settings
from . import yaml
from .ec2 import NETWORK, Ec2Node
from .rendered import BY_HAND, OURS, PoolSize, Rendered, infra

if TYPE_CHECKING:
    from ..renting import LaunchSpec

_PROGRAM = ("pulumi/__main__.py", "pulumi/machines.py", "pulumi/Pulumi.yaml", "machine.sh", "iam")
# The program has its image by its id alone.
_NEEDS = "pulumi>=3\npulumi-aws>=7\n"


def render(spec: LaunchSpec, _provider: str, where: Settings) -> Rendered:
    """The stack's configuration, with the program."""
    head = f"# Session {spec.session}, as `%gpu start` would ask for it: written by `%gpu export --to pulumi`.\n"
    node = Ec2Node.of(spec, where)
    return _rendered(node, {"nodes": {node.session: _machine(node)}}, head)


def render_pool(spec: LaunchSpec, size: PoolSize, where: Settings) -> Rendered:
    """The same of a pool of such machines. The program gives it no lines of shell of its own."""
    head = f"# Pool {spec.session}, of what `%gpu start` would ask for: written by `%gpu export --to pulumi`.\n"
    node = Ec2Node.of(spec, where)
    one = {
        "instance_types": [node.type],
        "min": size.min,
        "max": size.max,
        "spot": node.spot,
        "root_gib": node.root_gib,
    }
    machines = {"expires_at": node.expires_at, **one, **_slices(node)}
    lacks = ["`aws_setup` and `aws_python` below `[gpu]` are not in it: the image has what they bring"]
    notes = (BY_HAND, *(lacks if node.setup else []))
    return _rendered(node, {"pools": {node.session: machines}}, head, notes)


def _rendered(node: Ec2Node, machines: dict[str, Any], head: str, notes: Sequence[str] = ()) -> Rendered:
    stack = node.session.replace(".", "-")
    main = f"pulumi/Pulumi.{stack}.yaml"
    has_image = node.image.startswith("ami-")
    lacks = [] if has_image else ["`pulumi config set image ami-…`: an image with the drivers of its accelerators"]
    if not node.has_network:
        lacks.append("`pulumi config set --path 'ssh_from[0]' 192.0.2.7/32`: from where ssh may come")
    lacks.append("`pulumi config set --path 'ssh_keys[0]' 'ssh-ed25519 …'`: who may log in")
    given = {**_given(node), **machines}
    configuration = {"aws:region": node.region} | {f"aiinfra:{name}": each for name, each in given.items()}
    return Rendered(
        files={
            **infra(*_PROGRAM),
            "pulumi/requirements.txt": _NEEDS,
            main: head + yaml.written({"config": configuration}),
        },
        main=main,
        use=f"pip install -r requirements.txt && pulumi stack init {stack} && pulumi preview",
        notes=(*notes, *lacks, OURS),
    )


def _slices(node: Ec2Node) -> dict[str, Any]:
    return {"mig": {"profile": node.mig[0], "count": node.mig[1]}} if node.mig else {}


def _machine(node: Ec2Node) -> dict[str, Any]:
    return {
        "expires_at": node.expires_at,
        "instance_type": node.type,
        "zone": node.zone,
        "spot": node.spot,
        **({"most_usd_per_hour": node.most_usd_per_hour} if node.spot else {}),
        **_slices(node),
        "root_gib": node.root_gib,
        **({"setup": node.setup} if node.setup else {}),
    }


def _given(node: Ec2Node) -> dict[str, Any]:
    return {
        "owner": node.owner,
        **({"image": node.image} if node.image.startswith("ami-") else {}),
        "user": node.user,
        "zones": [node.zone],
        **({"network": _network(node)} if node.has_network else {"cidr": NETWORK}),
        "spot": node.spot,
    }


def _network(node: Ec2Node) -> dict[str, Any]:
    named = {"environment": node.environment, "subnets": list(node.subnets), "groups": list(node.groups)}
    return {name: each for name, each in {**named, "profile": node.profile}.items() if each}
