"""The contract `gpu.machines`, filled by a cloud: each method turns our call into calls of the vendor's client."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

from aiinfra_lab.config import Settings
from aiinfra_lab.errors import UsageProblem
from aiinfra_lab.gpu import Offer, Plan, Status

from . import cloud

# The vendor's words, in ours.
_GPUS = {"cpu-small": "cpu", "gpu-a10g": "A10G", "gpu-a100": "A100-80GB"}
_MEMORY_GIB = {"gpu-a10g": 24.0, "gpu-a100": 80.0}
_STATES: dict[str, Literal["starting", "ready", "stopping", "ended"]] = {
    "BOOTING": "starting",
    "RUNNING": "ready",
    "DELETING": "stopping",
    "DELETED": "ended",
}


class Machines:
    """See `aiinfra_lab.gpu.Machines` for the contract. Made anew for each verb: what must last is the cloud's."""

    def __init__(self, where: Settings) -> None:
        # Credentials come from the environment or the vendor's own file, never from the settings: those are no secret.
        self._most_usd = where.get("gpu.template_most_usd", 10.0)
        if self._most_usd <= 0:
            raise UsageProblem(
                f"gpu.template_most_usd = {self._most_usd:g} allows no machine", "give it a price an hour above 0"
            )
        # Two workspaces may use one account: what is ours is told by a tag, not by what this process remembers.
        self._workspace = str(where.workspace)

    def offers(self) -> Sequence[Offer]:
        prices = sorted(cloud.PRICES_USD.items(), key=lambda item: item[1])
        return [
            Offer(_GPUS[model], usd, _MEMORY_GIB.get(model), device=model)
            for model, usd in prices
            if usd <= self._most_usd
        ]

    def create(self, plan: Plan) -> str:
        # The name is looked for first: the caller may have crashed after the last call and before it knew the handle.
        for instance in self._owned():
            if instance.tags["session"] == plan.name and instance.phase in ("BOOTING", "RUNNING"):
                return instance.id
        tags = {"workspace": self._workspace, "session": plan.name}
        return cloud.ACCOUNT.create(plan.offer.device, tags, plan.deadline_at).id

    def status(self, handle: str) -> Status:
        instance = cloud.ACCOUNT.find(handle)
        if instance is None:
            return Status("ended", "the cloud does not know it")
        state = _STATES[instance.phase]
        return Status(state, "it was deleted" if state == "ended" else "", instance.deleted_at)

    def renew(self, handle: str, deadline_at: float | None) -> None:
        instance = cloud.ACCOUNT.find(handle)
        if instance is not None and instance.phase in ("BOOTING", "RUNNING"):
            cloud.ACCOUNT.delete_at(handle, deadline_at)

    def terminate(self, handle: str) -> None:
        instance = cloud.ACCOUNT.find(handle)
        if instance is not None and instance.phase in ("BOOTING", "RUNNING"):
            cloud.ACCOUNT.delete_at(handle, time.time())

    def list_owned(self) -> Mapping[str, str]:
        return {each.id: each.tags["session"] for each in self._owned() if each.phase != "DELETED"}

    # What follows is a capability, `aiinfra_lab.gpu.Paced`: without it verbs wait two minutes for a machine.

    def ready_within_s(self) -> float:
        return 10 * cloud.BOOT_S + 8.0

    def ended_within_s(self) -> float:
        return 10 * cloud.STOP_S + 4.0

    def _owned(self) -> list[cloud.Instance]:
        return list(cloud.ACCOUNT.tagged("workspace", self._workspace))
