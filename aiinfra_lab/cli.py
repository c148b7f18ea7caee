"""`aiinfra NOUN VERB …`: the language in a shell, made of the verbs.

Exit code 1: the user's error, 2: usage, 3: something is unavailable, 4: a check cannot tell; 130, 143, 129: interrupted
by Ctrl-C, SIGTERM or SIGHUP.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import sys
from collections.abc import Sequence

from . import signals
from .errors import LabError, UsageProblem, nearest
from .help import Help, Page
from .modes import owner_only
from .nouns import TABLE
from .show import Result, Sentence
from .suggestions import command, mistaken_noun
from .verbs import as_json
from .words import understand

_OWN_FLAGS = ("--json", "--debug")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. SIGTERM and SIGHUP interrupt it as Ctrl-C does."""
    code = 128 + signal.SIGINT
    with signals.taken(is_final=True) as requests:
        # Ctrl-C may come again while the end of what it interrupted is shown.
        with contextlib.suppress(KeyboardInterrupt):
            code = _main(list(sys.argv[1:] if argv is None else argv))
        requests.is_quiet = True
    if requests.came:
        # Python resets every other handler when it ends: what comes once more would change how the end is told.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if requests.came[0] != signal.SIGINT:
            _end_children()
        return 128 + requests.came[0]
    return code


def _main(words: list[str]) -> int:
    asked = {name: value for word in words for name, _, value in [word.partition("=")] if name in _OWN_FLAGS}
    # Taken out wherever they stand: they are the command's own, and no verb has them as parameters.
    words = [word for word in words if word.partition("=")[0] not in _OWN_FLAGS]
    try:
        asked = {flag: value for flag, value in asked.items() if _is_on(flag, value)}
        with owner_only():
            # What is printed meanwhile would stand in the middle of the JSON.
            with contextlib.redirect_stdout(sys.stderr) if "--json" in asked else contextlib.nullcontext():
                answer = _run(words)
            _print(answer, as_text="--json" not in asked)
    except LabError as problem:
        if "--debug" in asked:
            raise
        return _complain(problem, "--json" in asked)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT  # as shells report it
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, e.g. `| head`
    return 0


def _end_children() -> None:
    """Ctrl-C reaches what a command started, since a terminal sends it to all of its foreground; these two do not."""
    from .jobs import process

    process.end_descendants()


def _is_on(flag: str, value: str) -> bool:
    """Whether `--json`, or `--json=yes`, is said; UsageProblem for any other value."""
    if value.lower() in ("", "yes", "true", "1", "no", "false", "0"):
        return value.lower() in ("", "yes", "true", "1")
    raise UsageProblem(f"{flag} {value!r} is not yes or no", f"write {flag} alone")


def _run(words: list[str]) -> object:
    if words[:1] in (["--help"], ["-h"]) and words[1:2] and words[1] in TABLE:
        words = [words[1], words[0], *words[2:]]
    if not words or words[0] in ("--help", "-h"):
        return Help("lab:help", overview())
    noun, *rest = words
    if noun == "--version":
        from importlib.metadata import version

        return version("aiinfra-lab")
    if noun not in TABLE:
        meant = nearest(noun, ["--help", "--version"])
        raise UsageProblem(
            f"there is no noun {noun!r}", f"did you mean {meant}?" if meant else mistaken_noun(noun, rest)
        )
    call = understand(noun, rest, also=_OWN_FLAGS)
    if isinstance(call, Help):
        return call
    if call.bind is not None:
        again = f"`{command(call.verb, _without_name(rest))}`; --json gives the result as a text to keep"
        raise UsageProblem("-o names a variable of a notebook, and a shell has none", f"leave it out: {again}")
    return call.run()


def _without_name(words: list[str]) -> list[str]:
    at = words.index("-o")
    return [*words[1:at], *words[at + 2 :]]


def overview() -> Page:
    """The nouns, and how to read on."""
    usage = ("aiinfra NOUN VERB", "[NAME]", "[--flags]")
    more = "`aiinfra NOUN --help` lists a noun's verbs; --json answers in JSON; --debug shows tracebacks."
    return Page("aiinfra", f"nouns: {'  '.join(TABLE)}", usage, [Sentence(more)])


def _print(answer: object, *, as_text: bool) -> None:
    if not as_text:
        print(json.dumps(as_json(answer), ensure_ascii=False))
    elif isinstance(answer, Help):
        print(_in_shell(answer.content))
    elif isinstance(answer, Result):
        print(answer.card().text(_in_shell))
    elif answer is not None:
        print(answer)


def _complain(problem: LabError, as_json_: bool) -> int:
    kind, what, fix = type(problem).__name__, _in_shell(problem.what), _in_shell(problem.fix)
    if as_json_:
        print(json.dumps({"error": kind, "what": what, "fix": fix}, ensure_ascii=False))
    else:
        print(f"{kind}: {what}\n  fix: {fix}", file=sys.stderr)
    return problem.exit_code


def _in_shell(text: str) -> str:
    """Commands as they are written here: `%gpu ls` is a notebook's way to say `aiinfra gpu ls`."""
    # A shell has no variable with a result: what it shows is named in its place.
    for name in re.findall(rf"`(\w+) = %(?:{'|'.join(TABLE)})\b", text):
        text = text.replace(f"`{name} = %", "`%").replace(f"${name}", "the URI that it shows")
    # What takes the body of a cell takes a file instead.
    text = re.sub(rf"(`%%(?:{'|'.join(TABLE)})\b(?![^`]*--code)[^`\n]*)`", r"\1 --code FILE`", text)
    text = re.sub(rf"(?m)^(\s+%%(?:{'|'.join(TABLE)})\b(?!.*--code).*)$", r"\1 --code FILE", text)
    return re.sub(rf"%%?(?=({'|'.join(TABLE)})\b)", "aiinfra ", text)


if __name__ == "__main__":
    sys.exit(main())
