"""Running a cell's text on its own: what its errors point at, and how they are explained."""

from __future__ import annotations

import hashlib
import linecache
import traceback
from types import CodeType
from typing import Any

from ..errors import Failed, LabError, UsageProblem


class Stopped(BaseException):
    """Raised inside training code at its next `run.log` or `run.checkpoint` once somebody asked it to stop.

    Not an Exception, so that training code which handles those does not swallow it.
    """


class CodeFailed(Failed):
    """Training code raised an error. What a notebook shows holds the lines of the cell that it went through."""

    def __init__(self, what: str, fix: str, trace: str) -> None:
        super().__init__(what, fix)
        self.trace = trace

    def _render_traceback_(self) -> list[str]:
        return [*self.trace.splitlines(), *super()._render_traceback_()]


def digest(code: str) -> str:
    """The SHA-256 of a text."""
    return hashlib.sha256(code.encode()).hexdigest()


def compiled(code: str, source: str) -> CodeType:
    """The code, with its text registered under `source` so that tracebacks show its lines.

    UsageProblem when it is no Python, or empty.
    """
    if not code.strip():
        raise UsageProblem("there is no training code", "write it below the %%train line (in a shell: --code FILE)")
    try:
        # Not inherited: this module's `from __future__` would change what the user's annotations are.
        made = compile(code, source, "exec", dont_inherit=True)
    except SyntaxError as problem:
        line = (problem.text or "").strip()
        fix = "correct that line"
        if line.startswith(("%", "!")):
            fix = "training code is plain Python: put lines with % or ! into a cell of their own"
        raise UsageProblem(f"line {problem.lineno} of the training code, `{line}`: {problem.msg}", fix) from None
    # Python looks here for the lines of a traceback; there is no file that it could read.
    linecache.cache[source] = (len(code), None, code.splitlines(keepends=True), source)
    return made


def run(code: CodeType, names: dict[str, Any]) -> None:
    """Run it as the main program of a fresh namespace that holds only `names`."""
    exec(code, {"__name__": "__main__", "__builtins__": __builtins__, **names})  # noqa: S102  # the user's own cell


def explain(problem: BaseException, uri: str, source: str, params: dict[str, Any]) -> CodeFailed:
    """What happened in the user's code, with its line and the fix."""
    frames = traceback.extract_tb(problem.__traceback__)
    own = [frame for frame in frames if frame.filename == source]
    line = f" in line {own[-1].lineno}, `{(own[-1].line or '').strip()}`" if own else ""
    if isinstance(problem, LabError):
        reason, fix = problem.what, problem.fix  # ours say how to fix them; the user's line is still worth naming
    else:
        reason = f"{type(problem).__name__}: {problem}".rstrip(": ")
        fix = _fix(problem, params)
    return CodeFailed(f"{uri} failed{line}: {reason}", fix, _trace(problem, source))


def _trace(problem: BaseException, source: str) -> str:
    """The traceback from the first line of the user's code on, without the last line, which the error repeats."""
    trace = traceback.TracebackException.from_exception(problem)
    names = [frame.filename for frame in trace.stack]
    if source in names:
        del trace.stack[: names.index(source)]  # our own frames above the user's explain nothing
    text = "".join(trace.format(chain=not isinstance(problem, LabError)))
    last = list(trace.format_exception_only())
    # More than one: notes, or where the syntax is wrong, which the error does not repeat.
    return text.removesuffix(last[0]) if len(last) == 1 else text


def _fix(problem: BaseException, params: dict[str, Any]) -> str:
    if isinstance(problem, NameError):
        name = problem.name or "it"
        return (
            f"training code runs alone, without the notebook's variables: pass it with -p {name}=…, "
            "or define it in the cell"
        )
    if isinstance(problem, ModuleNotFoundError):
        return f"install it where the code runs: pip install {(problem.name or 'it').partition('.')[0]}"
    if isinstance(problem, SystemExit):
        return "let the code run to its end; a run that is over needs no exit()"
    if isinstance(problem, TypeError) and "str" in str(problem):
        # What is passed with -p is read as text when it looks like no number: a typing slip shows only here.
        texts = [f"-p {name}={value}" for name, value in params.items() if isinstance(value, str)]
        if texts:
            return f"{' and '.join(texts)} is a text: give a number where one is wanted"
    if "out of memory" in str(problem).lower():
        return "make the batch or the network smaller, or train on a bigger machine with --on gpu:NAME"
    return "correct the code and run the cell again"
