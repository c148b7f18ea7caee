"""GPU machines of one environment, which is the stack: what is in `nodes` and `pools` of its configuration."""

import pulumi
from machines import Environment, Launch, Network, node, pool

config = pulumi.Config()
doors = {"ssh": (22, config.get_object("ssh_from") or []), "serving": (8000, config.get_object("serving_from") or [])}
zones, there = config.require_object("zones"), config.get_object("network")
environment = (
    Network(pulumi.get_stack(), zones, **there)
    if there
    else Environment(pulumi.get_stack(), config.require("cidr"), zones, doors)
)
launch = Launch(
    owner=config.require("owner"),
    image=config.require("image"),
    ssh_keys=config.get_object("ssh_keys") or [],
    user=config.get("user") or "ubuntu",
)
spot = config.require_bool("spot")

nodes = {
    name: node(environment, launch, name, **{"spot": spot, **it})
    for name, it in (config.get_object("nodes") or {}).items()
}
pools = {
    name: pool(environment, launch, name, **{"spot": spot, **it})
    for name, it in (config.get_object("pools") or {}).items()
}
pulumi.export("nodes", {name: {"id": it.id, "address": it.public_ip} for name, it in nodes.items()})
pulumi.export("pools", {name: it.name for name, it in pools.items()})
