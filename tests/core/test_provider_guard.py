"""What somebody else's provider raises reaches a verb as a LabError, and what it gives passes as it is."""

import errno
import inspect
import json
import ssl
import sys
from urllib.error import URLError

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


DELEGATING = (
    MOON
    + """
    def kernel(self, handle): return "a kernel"

class Hidden:
    def __init__(self, where): self._inner = Moon(where)
    def __getattr__(self, name): return getattr(self._inner, name)

class Half(Hidden):
    def __getattr__(self, name):
        if name == "renew": raise AttributeError(name)
        return super().__getattr__(name)

def hidden(where): return Hidden(where)

class Lazy(Moon):
    asked = []
    @property
    def client(self): self.asked.append("client"); raise ConnectionError("the cloud is away")
    @functools.cached_property
    def account(self): self.asked.append("account"); raise ConnectionError("the cloud is away")
    @classmethod
    def create(cls, plan): return "i-1"
    @staticmethod
    def status(handle): return "ready"
"""
)


@pytest.fixture
def delegating(tmp_path, workspace, monkeypatch):
    """Makes machines of that name, which are written in a way of their own."""
    classes = {"hidden": "Hidden", "function": "hidden", "half": "Half", "lazy": "Lazy"}
    entries = [f"gpu.machines.{name} = somebody:{made}" for name, made in classes.items()]
    install(tmp_path, monkeypatch, "import functools\n" + DELEGATING, *entries)
    return lambda name: providers.make("gpu.machines", name)


@pytest.mark.parametrize("name", ["hidden", "function"])
def test_methods_that_a_provider_has_from_another_object_are_found(delegating, name):
    assert delegating(name).offers() is None


def test_what_another_object_lacks_is_lacking(delegating):
    with pytest.raises(Unavailable, match=r"brought by somebody, lacks renew"):
        delegating("half")


def test_a_property_is_not_evaluated_when_a_provider_is_made(delegating):
    machines = delegating("lazy")
    assert (machines.create(None), machines.status("i-1")) == ("i-1", "ready")
    assert vars(sys.modules["somebody"])["Lazy"].asked == []


class Answer(ValueError):
    """What a vendor's client raises when it does not understand the server."""


@pytest.mark.parametrize(
    ("method", "problem", "kind"),
    [
        ("commit", ValueError("no NaN"), ValueError),
        ("commit", TypeError("no text"), TypeError),
        ("commit", json.JSONDecodeError("expecting a value", "<html>", 0), StoreUnavailable),
        ("commit", Answer("?"), StoreUnavailable),
        ("list", ValueError("?"), StoreUnavailable),
        ("list", TypeError("?"), StoreUnavailable),
    ],
)
def test_only_a_commit_lets_through_what_json_says_of_a_body(flaky, monkeypatch, method, problem, kind):
    monkeypatch.setattr(sys.modules["somebody"].Flaky, "_ask", raising_one(problem))
    with pytest.raises(kind) as raised:
        getattr(flaky, method)([])
    assert type(raised.value) is kind


def raising_one(problem):
    def fail(*_):
        raise problem

    return fail


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (IsADirectoryError(errno.EISDIR, "is a directory", "into"), IsADirectoryError),
        (PermissionError(errno.EACCES, "not allowed", "into"), PermissionError),
        (OSError(errno.ENOSPC, "no space left"), OSError),
        (OSError(errno.EHOSTUNREACH, "no route to the host"), Unavailable),
        (URLError("the service is away"), Unavailable),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Unavailable),
        (TimeoutError("timed out"), Unavailable),
        # Its numbers are of another list, in which 1 is no EPERM.
        (ssl.SSLError(1, "certificate verify failed"), Unavailable),
    ],
)
def test_a_report_lets_through_what_is_of_a_file_alone(tmp_path, workspace, monkeypatch, problem, kind):
    code = "class R:\n    def __init__(self, where): ...\n    def write(self, a, b, into): raise self.problem"
    install(tmp_path, monkeypatch, code, "drift.report.r = somebody:R")
    report = providers.make("drift.report", "r")
    monkeypatch.setattr(sys.modules["somebody"].R, "problem", problem, raising=False)
    with pytest.raises(kind) as raised:
        report.write(None, None, tmp_path)
    assert type(raised.value) is kind


class Cursor:
    """Events that are read when they are asked for; what is raised in place of the third, and what was read."""

    def __init__(self, problem):
        self.problem, self.read, self.is_closed = problem, [], False

    def __iter__(self):
        try:
            for number in (1, 2):
                self.read.append(number)
                yield number
            raise self.problem
        finally:
            self.is_closed = True

    def __len__(self):
        return 3


@pytest.fixture(params=[lambda cursor: cursor, iter], ids=["iterable", "iterator"])
def reading(request, flaky, monkeypatch):
    """The guarded store, whose events come from a cursor with that problem; and the cursor."""

    def start(problem):
        cursor = Cursor(problem)
        monkeypatch.setattr(sys.modules["somebody"].Flaky, "events", lambda *_: request.param(cursor))
        return providers.make("store", "flaky").events(), cursor

    return start


def test_what_fails_while_it_is_read_is_guarded(reading):
    events, _ = reading(ConnectionError("the cursor is lost"))
    with pytest.raises(StoreUnavailable, match="store on flaky failed in events: ConnectionError"):
        list(events)


def test_a_guarded_reading_is_as_lazy_as_what_it_guards(reading):
    events, cursor = reading(ConnectionError("the cursor is lost"))
    assert cursor.read == []
    assert (next(iter(events)), cursor.read) == (1, [1])


def test_a_reading_that_is_given_up_lets_go_of_its_cursor(reading):
    events, cursor = reading(ConnectionError("the cursor is lost"))
    for _ in events:
        break
    events.close()
    assert cursor.is_closed


def test_ctrl_c_ends_a_reading_as_it_is(reading):
    events, cursor = reading(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        list(events)
    assert cursor.is_closed


def test_nobody_is_told_to_uninstall_what_alone_can_end_his_endpoints():
    found = providers.Foreign("deploy.target", "moon", "somebody:Moon", "somebody")
    fix = providers._failed(found, "failed in observe", ConnectionError("reset")).fix
    assert ("pip install -U somebody" in fix, "uninstall" in fix) == (True, False)
