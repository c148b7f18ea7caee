"""A session as Pulumi: the program of `infra/pulumi`, and a stack whose configuration is what `%gpu start` would ask
for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...config import Settings
from . import yaml
from .ec2 import NETWORK, Ec2Node
from .rendered import OURS, Rendered, infra

if TYPE_CHECKING:
    from ..renting import LaunchSpec

_PROGRAM = ("pulumi/__main__.py", "pulumi/machines.py", "pulumi/Pulumi.yaml", "machine.sh", "iam")
# The program has its image by its id alone.
_NEEDS = "pulumi>=3\npulumi-aws>=7\n"


def render(spec: LaunchSpec, _provider: str, where: Settings) -> Rendered:
    """The stack's configuration, with the program."""
    node = Ec2Node.of(spec, where)
    stack = node.session.replace(".", "-")
    main = f"pulumi/Pulumi.{stack}.yaml"
    has_image = node.image.startswith("ami-")
    lacks = [] if has_image else ["`pulumi config set image ami-…`: an image with the drivers of its accelerators"]
    if not node.has_network:
        lacks.append("`pulumi config set --path 'ssh_from[0]' 192.0.2.7/32`: from where ssh may come")
    lacks.append("`pulumi config set --path 'ssh_keys[0]' 'ssh-ed25519 …'`: who may log in")
    head = f"# Session {spec.session}, as `%gpu start` would ask for it: written by `%gpu export --to pulumi`.\n"
    configuration = {"aws:region": node.region} | {f"aiinfra:{name}": each for name, each in _given(node).items()}
    return Rendered(
        files={
            **infra(*_PROGRAM),
            "pulumi/requirements.txt": _NEEDS,
            main: head + yaml.written({"config": configuration}),
        },
        main=main,
        use=f"pip install -r requirements.txt && pulumi stack init {stack} && pulumi preview",
        notes=(*lacks, OURS),
    )


def _given(node: Ec2Node) -> dict[str, Any]:
    machine = {
        "expires_at": node.expires_at,
        "instance_type": node.type,
        "zone": node.zone,
        "spot": node.spot,
        **({"most_usd_per_hour": node.most_usd_per_hour} if node.spot else {}),
        **({"mig": {"profile": node.mig[0], "count": node.mig[1]}} if node.mig else {}),
        "root_gib": node.root_gib,
        **({"setup": node.setup} if node.setup else {}),
    }
    return {
        "owner": node.owner,
        **({"image": node.image} if node.image.startswith("ami-") else {}),
        "user": node.user,
        "zones": [node.zone],
        **({"network": _network(node)} if node.has_network else {"cidr": NETWORK}),
        "spot": node.spot,
        "nodes": {node.session: machine},
    }


def _network(node: Ec2Node) -> dict[str, Any]:
    named = {"environment": node.environment, "subnets": list(node.subnets), "groups": list(node.groups)}
    return {name: each for name, each in {**named, "profile": node.profile}.items() if each}
