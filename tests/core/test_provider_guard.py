"""What somebody else's provider raises reaches a verb as a LabError, and what it gives passes as it is."""

import inspect

import pytest

from aiinfra_lab import providers
from aiinfra_lab.errors import NotFound, Unavailable
from aiinfra_lab.gpu import KernelHost
from aiinfra_lab.store import StoreUnavailable, open_store, patiently
from tests.packages import MOON, install

RAISING = (
    MOON
    + """
    def status(self, handle): raise RuntimeError("HTTP 500")
    def kernel(self, handle): raise NotFound("there is none", "start one")
    def terminate(self, handle): raise KeyboardInterrupt
    def list_owned(self): yield 1; raise RuntimeError("HTTP 500")
"""
)


@pytest.fixture
def raising(tmp_path, workspace, monkeypatch):
    """Machines whose client raises what it likes."""
    code = "from aiinfra_lab.errors import NotFound\n" + RAISING
    code += MOON.replace("Moon", "Dark")
    install(tmp_path, monkeypatch, code, "gpu.machines.moon = somebody:Moon", "gpu.machines.dark = somebody:Dark")
    return providers.make("gpu.machines", "moon")


def test_what_a_vendors_client_raises_names_contract_provider_and_method(raising):
    with pytest.raises(Unavailable, match=r"gpu\.machines on moon failed in status: RuntimeError: HTTP 500") as problem:
        raising.status("i-1")
    assert isinstance(problem.value.__cause__, RuntimeError)
    assert "somebody" in problem.value.fix


def test_what_it_gives_bit_by_bit_is_guarded_too(raising):
    found = raising.list_owned()
    assert next(found) == 1
    with pytest.raises(Unavailable, match="failed in list_owned"):
        next(found)


def test_our_own_errors_and_ctrl_c_pass_as_they_are(raising):
    with pytest.raises(NotFound, match="there is none"):
        raising.kernel("i-1")
    with pytest.raises(KeyboardInterrupt):
        raising.terminate("i-1")


def test_a_capability_is_seen_through_the_guard(raising):
    assert isinstance(raising, KernelHost)
    assert inspect.getattr_static(raising, "kernel")  # as `isinstance` looks since Python 3.12
    assert not isinstance(providers.make("gpu.machines", "dark"), KernelHost)


def test_what_a_contract_lets_through_comes_through(tmp_path, workspace, monkeypatch):
    code = "class R:\n    def __init__(self, where): ...\n    def write(self, a, b, into): into.write_text('')"
    install(tmp_path, monkeypatch, code, "drift.report.r = somebody:R")
    with pytest.raises(IsADirectoryError):
        providers.make("drift.report", "r").write(None, None, tmp_path)


FLAKY = """
class Flaky:
    def __init__(self, where): self.left, self.problem = [1], ConnectionError("reset by the other side")
    def _ask(self):
        if self.left:
            self.left.pop()
            raise self.problem
    def get(self, kind, name): return self._ask()
    def list(self, kind, **conditions): self._ask(); return []
    def changed(self, since_rev=0): self._ask(); return []
    def commit(self, records, event=None): self._ask(); return []
    def events(self, since=0, *, naming=None, last=None): self._ask(); yield from []
    def close(self): ...

def refused(where): raise ConnectionRefusedError("nobody listens there")
"""


@pytest.fixture
def flaky(tmp_path, workspace, monkeypatch):
    """A store of another package, whose connection is lost at the first question; the settings choose it."""
    install(tmp_path, monkeypatch, FLAKY, "store.flaky = somebody:Flaky", "store.gone = somebody:refused")
    monkeypatch.setenv("AIINFRA_STORE_PROVIDER", "flaky")
    return open_store()


@pytest.mark.parametrize("method", ["get", "list", "changed", "commit", "events"])
def test_a_store_whose_client_fails_is_away(flaky, method):
    arguments = {"get": (None, "a"), "list": (None,), "commit": ([],)}.get(method, ())
    with pytest.raises(StoreUnavailable, match=f"store on flaky failed in {method}: ConnectionError") as problem:
        list(getattr(flaky, method)(*arguments))
    assert ("[store]" in problem.value.fix, "pip" in problem.value.fix) == (True, False)


def test_whoever_waits_for_a_store_waits_for_one_of_another_package_too(flaky):
    assert patiently(flaky.changed) == []


def test_a_store_that_connects_when_it_is_made_is_away_too(flaky, monkeypatch):
    with pytest.raises(StoreUnavailable, match="ConnectionRefusedError") as problem:
        providers.make("store", "gone")
    assert ("[store]" in problem.value.fix, "pip" in problem.value.fix) == (True, False)
