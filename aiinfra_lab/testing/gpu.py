"""What every provider of machines (`gpu.machines`) keeps."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .. import kernels
from ..config import Settings, inside, settings
from ..errors import LabError, NotFound, Unavailable
from ..gpu import KernelHost, Machines, Offer, Paced, Plan
from ..gpu.renting import Instance, LaunchSpec, RentingMachines
from ..jobs.home import make_home_id


class _Machines:
    """What the suites of machines, and of what they may be able to do besides, start from: see `MachinesContract`."""

    patience_s = 60.0
    lead_s = 4.0

    @pytest.fixture
    def make(self, machines: Machines) -> Callable[[Settings], Machines]:
        """What the entry point names. To be given where that is not the provider's class."""
        return type(machines)

    @pytest.fixture(autouse=True)
    def _ends_what_it_made(self, machines: Machines) -> Iterator[None]:
        """What a test has made costs money where the provider is a real one. Its end is not waited for."""
        yield
        for handle in [*machines.list_owned()]:
            machines.terminate(handle)

    @pytest.fixture
    def offer(self, machines: Machines) -> Offer:
        """What can be had for the least money."""
        return next(offer for offer in machines.offers() if not offer.taken_by)

    def becomes(self, machines: Machines, handle: str, state: str) -> str:
        """Wait until the machine is in that state; why it ended, when it did."""
        until = time.monotonic() + self.patience_s
        while (now := machines.status(handle)).state != state:
            assert now.state != "ended", now.why
            assert time.monotonic() < until, f"still {now.state}"
            time.sleep(0.05)
        return now.why


class MachinesContract(_Machines):
    """A provider's test inherits this and gives the fixture `machines`, which owns none yet.

    patience_s bounds every wait. lead_s: how long before its deadline a machine must have been asked for, so that the
    deadline and not its birth is what the tests see; raise it where a machine takes long to come.
    """

    def test_offers_have_prices_and_the_cheapest_comes_first(self, machines: Machines) -> None:
        prices = [offer.usd_per_hour for offer in machines.offers()]
        assert prices == sorted(prices)
        assert prices[0] >= 0

    def test_looking_at_offers_creates_nothing(self, machines: Machines) -> None:
        machines.offers()
        assert machines.list_owned() == {}

    def test_a_machine_becomes_ready_and_is_owned_until_it_has_ended(self, machines: Machines, offer: Offer) -> None:
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        assert machines.list_owned() == {handle: "one"}
        machines.terminate(handle)
        self.becomes(machines, handle, "ended")
        assert machines.list_owned() == {}

    def test_a_machine_that_has_ended_says_when_and_why(self, machines: Machines, offer: Offer) -> None:
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        machines.terminate(handle)
        assert self.becomes(machines, handle, "ended")
        ended_at = machines.status(handle).at
        assert ended_at is None or abs(ended_at - time.time()) < self.patience_s

    def test_creating_twice_gives_one_machine(self, machines: Machines, offer: Offer) -> None:
        plan = Plan("one", offer, None)
        assert machines.create(plan) == machines.create(plan)
        assert list(machines.list_owned().values()) == ["one"]

    def test_a_name_whose_machine_has_ended_gets_another_one(self, machines: Machines, offer: Offer) -> None:
        first = machines.create(Plan("one", offer, None))
        machines.terminate(first)
        self.becomes(machines, first, "ended")
        second = machines.create(Plan("one", offer, None))
        self.becomes(machines, second, "ready")
        assert second != first
        assert machines.list_owned() == {second: "one"}

    def test_a_name_whose_machine_came_to_its_deadline_gets_another_one(self, machines: Machines, offer: Offer) -> None:
        first = machines.create(Plan("one", offer, time.time() + self.lead_s))
        self.becomes(machines, first, "ended")
        second = machines.create(Plan("one", offer, None))
        self.becomes(machines, second, "ready")
        assert second != first

    def test_the_deadline_of_the_creating_call_ends_it(self, machines: Machines, offer: Offer) -> None:
        deadline_at = time.time() + self.lead_s
        handle = machines.create(Plan("one", offer, deadline_at))
        self.becomes(machines, handle, "ended")
        assert time.time() >= deadline_at

    def test_a_deadline_can_be_taken_away_and_set_anew(self, machines: Machines, offer: Offer) -> None:
        handle = machines.create(Plan("one", offer, time.time() + 3 * self.lead_s))
        machines.renew(handle, None)
        self.becomes(machines, handle, "ready")
        # Until the first deadline is over: only then is it known to have been taken away.
        time.sleep(3 * self.lead_s)
        assert machines.status(handle).state == "ready"
        machines.renew(handle, time.time())
        self.becomes(machines, handle, "ended")

    def test_terminating_may_be_repeated(self, machines: Machines, offer: Offer) -> None:
        handle = machines.create(Plan("one", offer, None))
        machines.terminate(handle)
        machines.terminate(handle)
        self.becomes(machines, handle, "ended")
        machines.terminate(handle)

    def test_a_machine_that_never_was_has_ended(self, machines: Machines) -> None:
        assert machines.status("never-was").state == "ended"
        machines.terminate("never-was")
        machines.renew("never-was", None)

    def test_two_names_are_two_machines(self, machines: Machines, offer: Offer) -> None:
        handles = {machines.create(Plan(name, offer, None)) for name in ("one", "two")}
        assert set(machines.list_owned()) == handles

    def test_what_another_workspace_has_is_not_owned(
        self, make: Callable[[Settings], Machines], machines: Machines, offer: Offer, tmp_path: Path
    ) -> None:
        machines.create(Plan("one", offer, None))
        (tmp_path / "another").mkdir()
        (tmp_path / "another" / "aiinfra.toml").touch()
        # Providers may also look at the current workspace, and in that one this is.
        with inside(tmp_path / "another"):
            assert make(settings()).list_owned() == {}


class KernelHostContract(_Machines):
    """For machines that give kernels: a provider's test inherits this too, with the same fixture `machines`."""

    @pytest.fixture
    def host(self, machines: Machines) -> KernelHost:
        """The same provider, as what gives kernels."""
        assert isinstance(machines, KernelHost)
        return machines

    def run(self, kernel: kernels.KeptKernel, code: str) -> str:
        """What the code prints there."""
        outputs: list[kernels.Output] = []
        assert kernels.execute(kernel, code, outputs.append)["status"] == "ok"
        return "".join(output["content"]["text"] for output in outputs)

    def test_a_kernel_runs_code_and_keeps_its_names(self, machines: Machines, host: KernelHost, offer: Offer) -> None:
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        self.run(host.kernel(handle), "x = 6")
        assert self.run(host.kernel(handle), "print(x * 7)") == "42\n"

    def test_machines_have_kernels_of_their_own(self, machines: Machines, host: KernelHost, offer: Offer) -> None:
        handles = [machines.create(Plan(name, offer, None)) for name in ("one", "two")]
        for handle in handles:
            self.becomes(machines, handle, "ready")
            self.run(host.kernel(handle), f"x = {handle!r}")
        assert [self.run(host.kernel(handle), "print(x)") for handle in handles] == [f"{each}\n" for each in handles]

    def test_the_kernel_of_a_machine_is_that_of_its_session(
        self, machines: Machines, host: KernelHost, offer: Offer
    ) -> None:
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        assert host.kernel(handle) == kernels.KeptKernel.of("gpu:one")

    def test_the_kernel_of_a_machine_that_has_ended_cannot_be_asked(
        self, machines: Machines, host: KernelHost, offer: Offer
    ) -> None:
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        kernel = host.kernel(handle)
        machines.terminate(handle)
        self.becomes(machines, handle, "ended")
        with pytest.raises(Unavailable):
            kernels.execute(kernel, "1")

    def test_a_machine_that_never_was_has_no_kernel(self, host: KernelHost) -> None:
        with pytest.raises(NotFound):
            host.kernel("never-was")


class PacedMachinesContract(_Machines):
    """For machines that say how long they take: a provider's test inherits this too, with the same fixture."""

    def test_a_machine_is_ready_and_over_within_the_times_that_are_stated(
        self, machines: Machines, offer: Offer
    ) -> None:
        assert isinstance(machines, Paced)
        handle = machines.create(Plan("one", offer, None))
        for state, within_s in (("ready", machines.ready_within_s()), ("ended", machines.ended_within_s())):
            begun = time.monotonic()
            self.becomes(machines, handle, state)
            assert time.monotonic() - begun <= within_s < math.inf
            machines.terminate(handle)


class RentedMachinesContract(_Machines):
    """For machines that are rented: a provider's test inherits this too, with the same fixture `machines`.

    It launches without a session, as a keeper does. What it launches is ended afterwards.
    """

    @pytest.fixture
    def rented(self, machines: Machines) -> Iterator[RentingMachines]:
        """The same provider, as what rents machines."""
        assert isinstance(machines, RentingMachines)
        yield machines
        for each in machines.instances():
            machines.end(each.id)
        self.until(lambda: not machines.instances())

    def spec(self, offer: Offer, token: str, folder: Path, lasts_s: float = 3600.0) -> LaunchSpec:
        """What a keeper would ask for."""
        place = folder / token
        place.mkdir(mode=0o700, exist_ok=True)
        return LaunchSpec("one", make_home_id(settings().home), token, offer, time.time() + lasts_s, place)

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until that is so."""
        until = time.monotonic() + self.patience_s
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.1)

    def of(self, rented: RentingMachines, token: str) -> Instance:
        """The machine of a token, which is to be there."""
        [found] = rented.instances(token)
        return found

    def test_launching_twice_with_one_token_gives_one_machine(
        self, rented: RentingMachines, offer: Offer, tmp_path: Path
    ) -> None:
        spec = self.spec(offer, "gpu-one-a-0", tmp_path)
        assert rented.launch(spec) == rented.launch(spec)
        self.until(rented.instances)
        assert len(rented.instances()) == 1

    def test_a_machine_carries_whose_it_is_and_when_it_ends(
        self, rented: RentingMachines, offer: Offer, tmp_path: Path
    ) -> None:
        spec = self.spec(offer, "gpu-one-b-0", tmp_path)
        number = rented.launch(spec)
        self.until(lambda: rented.instances(spec.token))
        found = self.of(rented, spec.token)
        assert (found.id, found.session, found.token) == (number, "one", spec.token)
        assert found.expires_at is None or abs(found.expires_at - spec.deadline_at) < 120

    def test_it_is_listed_until_it_is_gone(self, rented: RentingMachines, offer: Offer, tmp_path: Path) -> None:
        spec = self.spec(offer, "gpu-one-c-0", tmp_path)
        number = rented.launch(spec)
        self.until(lambda: self.of(rented, spec.token).state == "running")
        rented.end(number)
        rented.end(number)
        self.until(lambda: not rented.instances())
        assert [each.state for each in rented.instances(spec.token)] in ([], ["gone"])
        rented.end(number)

    def test_a_token_whose_machine_is_gone_gives_no_other(
        self, rented: RentingMachines, offer: Offer, tmp_path: Path
    ) -> None:
        spec = self.spec(offer, "gpu-one-d-0", tmp_path)
        rented.end(rented.launch(spec))
        self.until(lambda: not rented.instances())
        with contextlib.suppress(LabError):
            rented.launch(spec)
        assert rented.instances() == []

    def test_a_machine_whose_workspace_is_gone_ends_itself(
        self, rented: RentingMachines, offer: Offer, tmp_path: Path
    ) -> None:
        spec = self.spec(offer, "gpu-one-e-0", tmp_path, lasts_s=2 * self.lead_s)
        rented.launch(spec)
        self.until(lambda: rented.instances(spec.token))
        self.until(lambda: not rented.instances())

    def test_a_name_that_never_was_is_no_machine(self, rented: RentingMachines) -> None:
        assert list(rented.instances("gpu-never-was-0")) == []
        rented.end("never-was")
