"""Mistakes that people make, and their fixes as the errors say them. The wrong words of a line stand between `~`."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from aiinfra_lab import cli
from aiinfra_lab.errors import Failed, LabError, NotFound, Unavailable, UsageProblem
from aiinfra_lab.train.code import CodeFailed

CODE = "\nrun.log(auc=0.5)"
VIEW = '\ncolumns = ["carrier"]'
# An error's fix says one of these.
COMMAND = re.compile(r"`((?:\w+ = )?(?:%|aiinfra )[^`]+)`")
MEANT = re.compile(r"did you mean ([^`?]+)\?")
WRITE = re.compile(r"(?:write|e\.g\.|there are:|known:|use) ([^,;`]+?)(?:,| or |;| for |$)")
SECTION = re.compile(r"write (\[\w+\]) above it")


@dataclass(frozen=True)
class Mistake:
    """face: `cell` of a notebook, `shell`, or `settings`, which are the text of aiinfra.toml."""

    text: str
    kind: type[LabError] = UsageProblem
    face: str = "cell"

    @property
    def line(self) -> str:
        return self.text.replace("~", "")

    def put_right(self, fix: str) -> str:
        """The text once the fix was followed: its command, or what it says in the place of what was wrong."""
        body = self.line.partition("\n")[1:]
        if self.face == "settings" and (section := SECTION.search(fix)):
            return f"{section[1]}\n{self.line}"
        if command := COMMAND.search(fix):
            return command[1] + ("".join(body) if command[1].startswith("%%") else "")
        right = MEANT.search(fix) or WRITE.search(fix)
        assert right is not None, f"{self.line}: no fix that can be followed: {fix}"
        before, wrong, after = self.text.split("~")
        return f"{before}{right[1]}{after}" if wrong else self.line


def settings(text: str, kind: type[LabError] = UsageProblem) -> Mistake:
    return Mistake(text, kind, "settings")


def shell(text: str) -> Mistake:
    return Mistake(text, face="shell")


MISTAKES = [
    Mistake("%models add other"),  # of the newest run, which those below do not save a model in
    Mistake("%%train run y --rows data:flights\nrun.split(holdout=0.25)", CodeFailed),
    # quantities
    Mistake("%gpu start t ~--for 2 hours~"),
    Mistake("%gpu start ~--for 1 hour 30 minutes~ t"),
    Mistake("%gpu start t --for ~90~"),
    Mistake("%gpu start t --for ~tomorrow~"),
    Mistake("%gpu start t --for ~2h30~"),
    Mistake("%gpu start t --for ~-2h~"),
    Mistake("%gpu start t --budget ~cheap~"),
    Mistake("%gpu start t --budget 5 euros"),
    Mistake("%data check flights --max-missing ~50~"),
    Mistake("%data check flights --max-duplicates ~much~"),
    Mistake("%models check delay@1 --margin ~two~"),
    Mistake("%train log delay --lines ~many~"),
    Mistake("%deploy start late --model delay@1 ~--canary 5 percents~"),
    Mistake("%data check flights ~--max-missing 6 per cent~"),
    Mistake("%gpu start t --for ~90 minuts~"),
    # flags
    Mistake("%gpu start t ~--fro~ 2h"),
    Mistake("%gpu start t ~-for~ 2h"),
    Mistake("%gpu start t ~–for~ 2h"),
    Mistake("%gpu start t ~for~ 2h"),
    Mistake("%gpu start t --rows data:flights"),
    Mistake("%gpu start t --epochs 3"),
    Mistake("%gpu start t --spot maybe"),
    Mistake("%data ls --json"),
    Mistake("%data check flights --like"),
    Mistake("%models promote delay@1 ~--alias~ champion"),
    Mistake("%recipe run flight-delays ~--no-keeep~"),
    Mistake("%%train run x --rows data:flights ~--epochs 3~" + CODE),
    Mistake("%gpu ls -o ~2x~"),
    Mistake("%data get flights --into"),
    Mistake("%models get delay --into ~model.onnx~"),
    # nouns and verbs
    Mistake("%gup ls"),
    Mistake("x = %gpus ls"),
    Mistake("%start gpu t"),
    Mistake("%%trian run x --rows data:flights" + CODE),
    Mistake("%gpu ~strat~ t"),
    Mistake("%gpu ~create~ t"),
    Mistake("%data ~describe~ flights"),
    Mistake("%gpu promote t"),
    Mistake("%train run x --rows data:flights" + CODE),
    Mistake("%features add x --data data:flights --timestamp sched_dep" + VIEW),
    Mistake("%%gpu ls\nprint(1)"),
    Mistake("x = 1\n%%gpu ls\n"),
    # names
    Mistake("%gpu start ~T1~"),
    Mistake("%gpu start ~gpu:t@1~"),
    Mistake("%models show ~train:delay~"),
    Mistake("%models show ~dleay~", NotFound),
    Mistake("%models show ~delay@9~", NotFound),
    Mistake("%models show ~delay@champ~", NotFound),
    Mistake("%models show ~delay@0~"),
    Mistake("%models show NAME"),
    Mistake("%models show delay@N"),
    Mistake("%models show ~delay@~"),
    Mistake("%models show ~delay@Champion~"),
    Mistake("%data get ~flights@latest~"),
    Mistake("%data show ~flights@-1~"),
    Mistake("%data show ~flights@Latest~"),
    Mistake("%models show ~delay@-1~"),
    Mistake("%deploy show ~late@-1~"),
    Mistake("%data rm flights"),
    Mistake("%data add trips ~fligths.csv~", NotFound),
    Mistake("%features get delay --rows ~flights~", NotFound),
    Mistake("%features get delay --rows ~$rwos~", NotFound),
    Mistake("%features get delay --rows ~data:flihts~", NotFound),
    Mistake("%features get delay --rows ~data:flights@9~", NotFound),
    Mistake("%features get delay"),
    Mistake("%lab log ~dta:flights@1~", NotFound),
    # what a verb needs, and what it takes
    Mistake("%gpu start"),
    Mistake("%train diff delay@1"),
    Mistake("%train show delay 1"),
    Mistake("%lab show extra words here"),
    Mistake("%data show flights; %data ls"),
    Mistake("%data ls; %data show flights"),
    Mistake("%data show flights ; %%data ls"),
    Mistake("%gpu start t2 --gpu ~A10~", Unavailable),
    Mistake("%gpu start t2 --on ~loocal~", NotFound),
    Mistake("%models check delay@1 --require 'auc ~>>~ 0.5'"),
    Mistake("%models check delay@1 --require '~acu~ > 0.5'"),
    Mistake("%models promote delay@1 --to ~7~"),
    Mistake("%models promote delay@1 --to ~Best~"),
    Mistake("%models promote delay@1 --to ~@champion~"),
    Mistake("%models rollback delay", NotFound),
    Mistake("%models check delay@1 --require 'auc > ~60 percent~'"),
    Mistake("%recipe run ~fligth-delays~", NotFound),
    Mistake("%recipe stop ~late~", NotFound),
    Mistake("%recipe run flight-delays -p ~mnth~=1"),
    Mistake("%recipe run flight-delays ~-p epochs=some~"),
    Mistake("%recipe run flight-delays ~-p epochs~"),
    Mistake("%models check delay@1 --require auc > 0.6"),
    Mistake("%models check delay@1 --require 'auc ~≥~ 0.6'"),
    Mistake("%deploy start late --model delay@1 --canary 5% --rollback-if 'p95_ms ~<~ 80'"),
    Mistake("%deploy start late --model delay@1 --canary 5% --rollback-if 'errors > 1% ~and~ p95_ms > 80'"),
    Mistake("%deploy start late delay@1"),
    Mistake("%deploy log late --rows ~-5~"),
    Mistake("%deploy run late data:flights"),
    Mistake("%deploy start ~Late~ --model delay@1"),
    Mistake("%deploy start late --model ~train:delay@1~"),
    Mistake("%deploy start late --model delay@1 ~—canary~ 5%"),
    Mistake("%deploy start late --model delay@1 --canary=~5~"),
    Mistake("%features get delay data:flights"),
    Mistake("%features get delay --rows ~models:delay~"),
    Mistake("%drift check ~data:flights~ --against data:flights --report"),
    Mistake("%models promote champion delay@1"),
    Mistake("%lab show data:flights"),
    Mistake("%gpu start t ~for=2h~"),
    Mistake("%recipe run flight-delays ~epochs=1~"),
    Mistake("%recipe run flight-delays ~--from data~"),
    Mistake("%%train run x --rows data:flights -p epochs=3 ~lr=0.1~" + CODE),
    Mistake("%%train run x --rows data:flights ~-p epochs = 3~" + CODE),
    Mistake("%recipe run ~recipes/flight-delays.toml~"),
    Mistake("%data add flights.csv trips", NotFound),
    Mistake("%data add flights.csv"),
    # settings
    settings('[~gpus~]\nmachines = "local"'),
    settings('[gpu]\n~machine~ = "local"'),
    settings('machines = "local"'),
    settings("[gpu]\n~machines = local~"),
    settings('[cost]\n~machine_usd_per_hour = "five"~', Failed),
    # in a shell
    shell("~gpus~ ls"),
    shell("~ls gpu~"),
    shell("gpu ~lst~"),
    shell("data ls ~--jso~"),
    shell("gpu start t --for ~90~"),
    shell("data check flights --like"),
    shell("lab ~--hepl~"),
    shell("~--verson~"),
    shell("data show flights -o found"),
    shell("recipe run flight-delays ~epochs=1~"),
    Mistake("train run y --rows data:flights --code train.py", CodeFailed, "shell"),
]


def outcome(shell: InteractiveShell, mistake: Mistake, text: str) -> BaseException | None:
    """The error that a text ends with on the face of that mistake; None when it ends well."""
    if mistake.face == "shell":
        return _in_shell(text)
    if mistake.face == "settings":
        Path("aiinfra.toml").write_text(text)
        try:
            return _in_cell(shell, "%lab check")
        finally:
            Path("aiinfra.toml").write_text("")
    return _in_cell(shell, text)


def _in_cell(shell: InteractiveShell, cell: str) -> BaseException | None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        done = shell.run_cell(cell, store_history=False)
    return done.error_in_exec or done.error_before_exec


def _in_shell(line: str) -> BaseException | None:
    words = shlex.split(line.removeprefix("aiinfra "))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            code = cli.main([*words, "--debug"])
        except LabError as problem:
            problem.fix = cli._in_shell(problem.fix)
            return problem
    return None if code == 0 else RuntimeError(f"exit code {code}")


def follow(shell: InteractiveShell, mistake: Mistake) -> Any:
    """Make the mistake and do what its error says: the error, the text that was then run, and how that ended."""
    problem = outcome(shell, mistake, mistake.line)
    assert isinstance(problem, LabError), (mistake.line, problem)
    right = mistake.put_right(problem.fix)
    return problem, right, outcome(shell, mistake, right)
