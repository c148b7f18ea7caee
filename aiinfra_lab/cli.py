"""`aiinfra NOUN VERB …`: the language in a shell, made of the verbs.

Exit code 1: the user's error, 2: usage, 3: something is unavailable.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from .errors import LabError, UsageProblem, did_you_mean
from .show import Result
from .uris import NOUNS
from .verbs import Help, as_json
from .words import understand

_OWN_FLAGS = ("--json", "--debug")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    asked = {flag for flag in _OWN_FLAGS if flag in words}
    words = [word for word in words if word not in _OWN_FLAGS]
    try:
        _print(_run(words), as_text="--json" not in asked)
    except LabError as problem:
        if "--debug" in asked:
            raise
        return _complain(problem, "--json" in asked)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone, e.g. `| head`
    return 0


def _run(words: list[str]) -> object:
    if not words or words[0] in ("--help", "-h"):
        return Help("lab:help", overview())
    noun, *rest = words
    if noun == "--version":
        from importlib.metadata import version

        return version("aiinfra-lab")
    if noun not in NOUNS:
        raise UsageProblem(f"there is no noun {noun!r}", did_you_mean(noun, NOUNS))
    call = understand(noun, rest)
    return call if isinstance(call, Help) else call.run()


def overview() -> str:
    """The nouns, and how to read on."""
    lines = ["aiinfra NOUN VERB [NAME] [--flags]", "", "nouns: " + "  ".join(NOUNS), ""]
    return "\n".join(
        [*lines, "`aiinfra NOUN --help` lists a noun's verbs; --json answers in JSON; --debug shows tracebacks."]
    )


def _print(answer: object, *, as_text: bool) -> None:
    if not as_text:
        print(json.dumps(as_json(answer), ensure_ascii=False))
    elif isinstance(answer, Help):
        print(answer.content)
    elif isinstance(answer, Result):
        print(answer.card().text())
    elif answer is not None:
        print(answer)


def _complain(problem: LabError, as_text: bool) -> int:
    if as_text:
        print(
            json.dumps({"error": type(problem).__name__, "what": problem.what, "fix": problem.fix}, ensure_ascii=False)
        )
    else:
        print(f"{type(problem).__name__}: {problem.what}\n  fix: {problem.fix}", file=sys.stderr)
    return problem.exit_code


if __name__ == "__main__":
    sys.exit(main())
