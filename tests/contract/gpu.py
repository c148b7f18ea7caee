"""What every provider of machines keeps. A provider's test inherits this and gives the fixture `machines`."""

import time

import pytest

from aiinfra_lab.gpu import Machines, Offer, Plan

PATIENCE_S = 60


class GpuContract:
    """Override `reachable_s` where a machine takes longer to come or to go."""

    reachable_s = PATIENCE_S

    @pytest.fixture
    def offer(self, machines: Machines) -> Offer:
        return machines.offers()[0]

    def becomes(self, machines: Machines, handle: str, state: str) -> str:
        until = time.monotonic() + self.reachable_s
        while (now := machines.status(handle)).state != state:
            assert now.state != "ended", now.why
            assert time.monotonic() < until, f"still {now.state}"
            time.sleep(0.05)
        return now.why

    def test_offers_have_prices_and_the_cheapest_comes_first(self, machines):
        prices = [offer.usd_per_hour for offer in machines.offers()]
        assert prices == sorted(prices)
        assert prices[0] >= 0

    def test_a_machine_becomes_ready_and_is_owned_until_it_has_ended(self, machines, offer):
        handle = machines.create(Plan("one", offer, None))
        self.becomes(machines, handle, "ready")
        assert machines.list_owned() == {handle: "one"}
        machines.terminate(handle)
        self.becomes(machines, handle, "ended")
        assert machines.list_owned() == {}

    def test_creating_twice_gives_one_machine(self, machines, offer):
        plan = Plan("one", offer, None)
        assert machines.create(plan) == machines.create(plan)
        assert list(machines.list_owned().values()) == ["one"]

    def test_the_deadline_of_the_creating_call_ends_it(self, machines, offer):
        deadline_at = time.time() + 3
        handle = machines.create(Plan("one", offer, deadline_at))
        self.becomes(machines, handle, "ended")
        assert time.time() >= deadline_at

    def test_a_deadline_can_be_taken_away_and_set_anew(self, machines, offer):
        deadline_at = time.time() + 5
        handle = machines.create(Plan("one", offer, deadline_at))
        machines.renew(handle, None)
        self.becomes(machines, handle, "ready")
        time.sleep(max(0.0, deadline_at + 1 - time.time()))
        assert machines.status(handle).state == "ready"
        machines.renew(handle, time.time())
        self.becomes(machines, handle, "ended")

    def test_terminating_may_be_repeated(self, machines, offer):
        handle = machines.create(Plan("one", offer, None))
        machines.terminate(handle)
        machines.terminate(handle)
        self.becomes(machines, handle, "ended")
        machines.terminate(handle)

    def test_a_machine_that_never_was_has_ended(self, machines):
        assert machines.status("gpu-never-was").state == "ended"
        machines.terminate("gpu-never-was")
        machines.renew("gpu-never-was", None)

    def test_two_names_are_two_machines(self, machines, offer):
        handles = {machines.create(Plan(name, offer, None)) for name in ("one", "two")}
        assert set(machines.list_owned()) == handles
