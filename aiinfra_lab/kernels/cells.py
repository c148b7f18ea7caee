"""A cell that is run in a kept kernel for this process, with variables both ways.

They are packed by `values` and brought as files by `exchange`. What they need over there is compared before anything is
sent, and they are there when the cell begins and taken when it ends, whoever else runs code in the kernel.
"""

from __future__ import annotations

import ast
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .. import errors
from ..errors import Failed, Interrupted, LabError, Missing, NotFound, Unavailable, did_you_mean
from ..show import working
from ..units import show_bytes
from . import values
from .client import RunningCode, connected
from .exchange import Exchange, exchanging
from .kept import KeptKernel
from .recovery import Output
from .values import sent
from .values.cell import KEY

MOST_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class CellRun:
    """A cell that was run. values: what it gave back. taken, given: how many bytes each variable took on its way.
    changes: what of them is not as it was before, sentences. exits: whether it has called `exit()`, after which IPython
    ends its kernel."""

    values: dict[str, Any] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    given: dict[str, int] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    exits: bool = False


class CellFailed(Failed):
    """The code of a cell raised an error over there. What a notebook shows has the traceback from there."""

    def __init__(self, what: str, fix: str, trace: Sequence[str]) -> None:
        super().__init__(what, fix)
        self.trace = trace

    def _render_traceback_(self) -> list[str]:
        return [*self.trace, *super()._render_traceback_()]


class CellInterrupted(CellFailed, Interrupted):
    """It was interrupted over there."""


def run_cell(
    kernel: KeptKernel,
    code: str,
    inputs: Mapping[str, object],
    outputs: Sequence[str],
    on_output: Callable[[Output], None],
    most_bytes: int = MOST_BYTES,
) -> CellRun:
    """Run code in a kept kernel with these variables, and bring those back.

    on_output: gets every output as it comes, but for the error, which is raised
    most_bytes: of what goes together, either way

    Ctrl-C interrupts the cell there. CellFailed as it fails there; NotFound for an output that is not there afterwards;
    Missing before anything is sent, when a package is another there than an input needs; Unavailable for what is too
    large, or has no room.
    """
    code = code if code.strip() else "pass"  # IPython runs nothing else for nothing, and takes no variables in
    packed = values.pack(inputs)
    _check_size(packed.sizes, packed.size if inputs else 0, most_bytes, "go there")
    cell = _Cell(kernel, secrets.token_hex(8), on_output)
    try:
        if not inputs and not outputs:
            return cell.run(code)
        taken, changes = dict(packed.sizes), _changes(packed.sizes, packed.changes, "here")
        with exchanging(kernel) as exchange:
            cell.prepare(exchange, packed if inputs else None)
            del packed, inputs  # the caller may let go of them
            done = cell.run_with(exchange, code, outputs, most_bytes)
            return replace(done, taken=taken, changes=changes + done.changes)
    except KeyboardInterrupt:
        raise cell.interrupted() from None


class _Cell:
    """One run of a cell. id: what it is called in the kernel and in the metadata of its request."""

    def __init__(self, kernel: KeptKernel, id_: str, on_output: Callable[[Output], None]) -> None:
        self._kernel, self._id, self._on_output = kernel, id_, on_output
        self._incarnation = kernel.state().incarnation
        self._running: RunningCode | None = None
        self._trace: list[str] = []

    def prepare(self, exchange: Exchange, packed: values.Packed | None) -> None:
        """Have all that it needs be there."""
        taken = f"takes {', '.join(packed.sizes)} along, {show_bytes(packed.size)}" if packed else "gets ready"
        uri, needs = str(self._kernel.uri), packed.needs if packed else {}
        with (
            working("Session", uri, "waits for what it runs now") as note,
            connected(self._kernel) as client,
        ):
            exchange.note = note

            def run(code: str, expression: str = "None") -> Any:
                return ask(self._kernel, client, code, expression)

            installed = f"__import__('json').dumps(__import__('aiinfra_values').installed({[*needs]}))"
            is_there = f"getattr(__import__('sys').modules.get('aiinfra_values'), 'DIGEST', '') == {sent.digest()!r}"
            found = run("pass", f"{is_there} and {installed}") or run(sent.source(), installed)
            if lacking := values.mismatches(json.loads(found), needs):
                raise self._mismatch(packed, lacking)
            note(taken)
            if packed:
                exchange.send(packed)
            path = exchange.paths["in"] if packed else ""
            take = f"__import__('aiinfra_values').cell.take({self._id!r}, {path!r})" if packed else "None"
            run("pass", f"__import__('aiinfra_values').cell.expect() or {take}")
            exchange.forget_sent()

    def run(self, code: str, **content: Any) -> CellRun:
        """Run it; CellFailed when it fails."""
        with working("Session", str(self._kernel.uri), "runs the cell"), connected(self._kernel) as client:
            if self._kernel.state().incarnation != self._incarnation:
                what = f"the kernel of {self._kernel.uri} was restarted before the cell began; its variables are gone"
                raise Failed(what, "run again what it needs, from its first cell on")
            self._running = RunningCode(self._kernel, client, self._pass_on, None)
            try:
                reply = self._running.run(code, interrupt=True, metadata={KEY: self._id}, **content)
            except KeyboardInterrupt:
                reply = self._running.reply
                if reply.get("status") != "ok":  # else the code itself has dealt with it
                    raise
        if reply["status"] != "ok":
            what = f"{reply.get('ename')}: {reply.get('evalue')}".strip(": ")
            fix = f"correct it, and run the cell again; what it had set until then is still there in {self._kernel.uri}"
            if reply.get("ename") == "SystemExit":
                fix = "it ends the cell and not the kernel, as in any notebook; for an end that is no error, use `if`"
            if reply.get("ename") == "StdinNotImplementedError":
                name = self._kernel.state().kernel
                fix = f"ask here, and take the answer along (`-i answer`); or run it in a notebook on the kernel {name}"
            raise CellFailed(what, fix, self._trace)
        return CellRun(exits=_exits(reply))

    def run_with(self, exchange: Exchange, code: str, outputs: Sequence[str], most_bytes: int) -> CellRun:
        """Run it with what is there, and bring these variables back."""
        if not outputs:
            return self.run(code)
        give = f"__import__('aiinfra_values').cell.give({[*outputs]!r}, {exchange.paths['out']!r}, {most_bytes})"
        done = self.run(code, user_expressions={"it": give})
        assert self._running is not None
        answer = json.loads(_value(self._running.reply))
        if problem := answer.get("problem"):
            raise _problem(*problem)
        sizes, where = answer["sizes"], self._kernel.uri
        if answer["missing"]:
            raise self._not_made(answer["missing"], answer["made"])
        _check_size(sizes, answer["size"], most_bytes, f"come back from {where}, where it is")
        if lacking := values.mismatches(values.installed(answer["needs"]), answer["needs"]):
            fix = "install the same here, or bring back arrays, tables and plain values; it is still there"
            raise Missing(f"{', '.join(sizes)} of {where} cannot be used here: {'; '.join(lacking)}", fix)
        with working("Session", str(where), f"brings {', '.join(sizes)} back, {show_bytes(answer['size'])}") as note:
            exchange.note = note
            found = values.unpack(exchange.fetch(answer["size"]), pickles=True)
            return replace(done, values=found, given=sizes, changes=_changes(sizes, answer["changes"], "there"))

    def interrupted(self) -> Interrupted:
        """What Ctrl-C has done."""
        uri, running = self._kernel.uri, self._running
        if running is None:
            return Interrupted(f"you stopped it before the cell was sent to {uri}", "run the cell again")
        if not running.has_begun:
            what = f"you stopped waiting; {uri} still runs something else, and runs the cell after that"
            return Interrupted(what, f"see what it does: {self._kernel.command('get')}")
        if not running.reply:
            what = f"you stopped waiting; {uri} was asked to interrupt the cell, and still runs it"
            end = self._kernel.command("stop")
            return Interrupted(what, f"see what it does: {self._kernel.command('get')}; end it: {end}")
        if running.reply["status"] == "ok":
            what = f"the cell has run in {uri}; you stopped waiting for its variables, which are still there"
            return Interrupted(what, "bring them back by another cell, which may be empty")
        what = f"the cell was interrupted in {uri}"
        return CellInterrupted(what, "run it again; what it had set until then is still there", self._trace)

    def _pass_on(self, output: Output) -> None:
        if output["msg_type"] == "error":
            self._trace = output["content"]["traceback"]
        else:
            self._on_output(output)

    def _mismatch(self, packed: values.Packed | None, lacking: Sequence[str]) -> LabError:
        needs = packed.needs if packed else {}
        what = f"{', '.join(packed.sizes if packed else ())} cannot be used in {self._kernel.uri}: {'; '.join(lacking)}"
        install = " ".join(f"{name}=={version}" for name, version in needs.items() if version and name != "python")
        fix = "take along arrays, tables and plain values, which need no version"
        if install:
            fix = f"run `%pip install {install}` below `%%gpu run {self._kernel.name}`; or {fix}"
        return Missing(what, fix)

    def _not_made(self, missing: Sequence[str], made: Sequence[str]) -> LabError:
        names = ", ".join(f"`{name}`" for name in missing)
        has = f"it made {', '.join(made)}" if made else "it made nothing"
        fix = did_you_mean(missing[0], made, "set it in the cell")
        return NotFound(f"the cell in {self._kernel.uri} made no {names}; {has}", fix)


def ask(kernel: KeptKernel, client: Any, code: str, expression: str = "None") -> Any:
    """Run code of ours that nobody sees, after what the kernel runs now; what the expression gives then."""
    running = RunningCode(kernel, client, lambda _: None, None)
    content: dict[str, Any] = {"silent": True, "store_history": False, "user_expressions": {"it": expression}}
    return _value(running.run(code, interrupt=False, **content))


def _value(reply: Mapping[str, Any]) -> Any:
    """What the expression of a request gave."""
    if reply["status"] != "ok":
        raise _problem(reply.get("ename", ""), reply.get("evalue", ""), "")
    found = reply["user_expressions"]["it"]
    if found["status"] != "ok":
        if found["ename"] == "KeyboardInterrupt":
            raise KeyboardInterrupt
        what, _, fix = str(found["evalue"]).partition("\n  fix: ")
        raise _problem(found["ename"], what, fix)
    return ast.literal_eval(found["data"]["text/plain"])


def _exits(reply: Mapping[str, Any]) -> bool:
    asked = [each for each in reply.get("payload", ()) if each.get("source") == "ask_exit"]
    return bool(asked) and not asked[-1].get("keepkernel")


def _problem(kind: str, what: str, fix: str) -> LabError:
    """An error of over there: ours as what it is there, any other as one that failed."""
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, LabError):
        return known(what, fix or "run the cell again")
    if fix:  # ours, where nothing of ours is installed
        return Failed(what, fix)
    return Failed(f"{kind}: {what}", "take along plain values, arrays or tables; or make it in the cell that needs it")


def _changes(names: Iterable[str], changes: Sequence[str], where: str) -> tuple[str, ...]:
    """What is not as it was where they come from, in a sentence."""
    return (f"Not as {where}, of {', '.join(names)}: {', '.join(changes)}.",) if changes else ()


def _check_size(sizes: Mapping[str, int], size: int, most_bytes: int, where: str) -> None:
    if size > most_bytes:
        large = ", ".join(f"{name} ({show_bytes(count)})" for name, count in sizes.items())
        fix = "raise `value_bytes` below `[gpu]` in aiinfra.toml, or keep it in a file"
        raise Unavailable(f"{large}: more than the {show_bytes(most_bytes)} that may {where}", fix)
