"""A verb called over REST: the body becomes words, the words a job, and the job's output an answer.

The words are an argument list and never pass a shell. No value can turn into an option: flags are written
`--flag=value`, and a positional word that starts with '-' is refused.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Iterator
from typing import Any

from .. import jobs, logs, nouns
from ..errors import NotFound, UsageProblem, did_you_mean
from ..jobs import Job
from ..nouns import Noun
from ..uris import Uri
from ..verbs import VERBS
from .items import CALL

SHAPE = 'send {"args": ["words"], "flags": {"name": "value"}}'
MAX_WORDS = 200
MAX_LETTERS = 20_000
_MAX_ANSWER_BYTES = 8 * 2**20

_FLAG = re.compile(r"[a-z][a-z0-9-]{0,40}")
_KEY = re.compile(r"[A-Za-z_]\w{0,100}")
_ID = re.compile(r"[a-z0-9]{8,40}")
_OWN_FLAGS = ("json", "debug", "help")


def start(noun: str, verb: str, body: object) -> Job:
    """Run the verb as a job of its own and return it at once; of an `id` that was sent before, the earlier job.

    NotFound for a noun or verb that the language does not have, UsageProblem for a body that is no call.
    """
    check_words(noun, verb)
    call_id, body = _call_id(body)
    subject = f"{CALL}{noun}-{verb}.{call_id or secrets.token_hex(2)}"
    argv = [sys.executable, "-m", "aiinfra_lab.cli", *words(noun, verb, body)]
    return (jobs.find(subject) if call_id else None) or jobs.start(subject, argv)


def find(job: str) -> Job:
    """The job of that id, or of the call `lab:call-NOUN-VERB.ID` with an `id` of its caller. NotFound without one."""
    return (jobs.find(job) if job.startswith(CALL) else None) or jobs.poll(job)


def words(noun: str, verb: str, body: object) -> list[str]:
    """What is typed after `aiinfra` for a body `{"args": [words], "flags": {name: value}}`."""
    check_words(noun, verb)
    args, flags = _parts(body)
    found = [noun, verb, "--json", *(flag for name, value in flags.items() for flag in _flag(name, value))]
    found += [_positional(value) for value in args]
    if len(found) > MAX_WORDS:
        raise UsageProblem(f"a call of {len(found)} words is too long", f"send at most {MAX_WORDS}")
    return found


def check_words(noun: str, verb: str) -> None:
    """NotFound unless the language has this noun and this verb; whether the noun has the verb, the noun itself says."""
    if noun not in nouns.TABLE:
        raise NotFound(f"there is no noun {noun!r}", did_you_mean(noun, nouns.TABLE))
    if verb not in VERBS:
        raise NotFound(f"there is no verb {verb!r}", did_you_mean(verb, VERBS))


def stop(noun: str, body: object) -> list[str]:
    """Write down the request to end one thing, and return at once; the jobs that were asked, by their ids.

    NotFound when nothing of that name lives.
    """
    args, flags = _parts(body)
    if len(args) != 1 or flags:
        raise UsageProblem(f"{noun} stop takes one name and no flags", 'send {"args": ["NAME"]}')
    subject = str(Uri.parse(_positional(args[0]), noun=noun))
    try:
        return list(nouns.find(noun).stop(subject))
    except NotFound:
        # A job whose record is lost, or not there yet, is listed in the panel and must be stopped from there.
        return list(Noun.stop(nouns.find(noun), subject))


def answer(job: Job) -> dict[str, Any]:
    """The answer to `GET /aiinfra/jobs/ID`: its state and, once it has ended, the verb's result or its error."""
    found = {"job": job.id, "subject": job.subject, "state": job.state, "exit_code": job.exit_code}
    output = _last_json(job) if job.subject.startswith(CALL) and not job.live else None
    done = job.state == "done"
    return {**found, "result": output if done else None, "error": None if done or job.live else _error(job, output)}


def _error(job: Job, output: Any) -> dict[str, str]:
    if isinstance(output, dict) and {"error", "what", "fix"} <= output.keys():
        return {key: str(output[key]) for key in ("error", "what", "fix")}
    code = f" with exit code {job.exit_code}" if job.exit_code is not None else ""
    last = logs.last_problem(jobs.log(job.id, lines=20)) or "it printed nothing"
    return {"error": "Failed", "what": f"{job.subject} {job.state}{code}: {last[:300]}", "fix": f"read {job.log_path}"}


def _last_json(job: Job) -> Any:
    """The command prints its answer as one line; libraries may have written others before and after it."""
    lines = logs.tail(job.log_path, _MAX_ANSWER_BYTES).decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            return json.loads(line)
        except ValueError:
            continue
    return None


def _call_id(body: object) -> tuple[str, object]:
    """By what a caller can ask about a call whose answer was lost, and the body without it."""
    if not isinstance(body, dict) or "id" not in body:
        return "", body
    if not isinstance(body["id"], str) or not _ID.fullmatch(body["id"]):
        raise UsageProblem(f"{body['id']!r} cannot be the id of a call", "send 8 to 40 small letters and digits")
    return body["id"], {name: value for name, value in body.items() if name != "id"}


def _parts(body: object) -> tuple[list[object], dict[str, object]]:
    if not isinstance(body, dict) or (unknown := sorted(map(str, body.keys() - {"args", "flags"}))):
        what = f"the body has an unknown key {unknown[0]!r}" if isinstance(body, dict) else "the body is no JSON object"
        raise UsageProblem(what, SHAPE)
    args, flags = body.get("args", []), body.get("flags", {})
    if not isinstance(args, list) or not isinstance(flags, dict):
        raise UsageProblem("args is no list, or flags no object", SHAPE)
    return args, flags


def _flag(name: object, value: object) -> Iterator[str]:
    if name == "p" and isinstance(value, dict):
        for key, item in value.items():
            if not _KEY.fullmatch(str(key)):
                raise UsageProblem(f"{key!r} cannot be a parameter's name", "use letters, digits and '_'")
            yield from ("-p", f"{key}={_text(item)}")
    elif not _FLAG.fullmatch(str(name)) or name in _OWN_FLAGS:
        raise UsageProblem(f"{name!r} cannot be a flag", 'write its name without dashes, e.g. {"for": "2h"}')
    elif isinstance(value, bool):
        yield f"--{name}" if value else f"--no-{name}"
    else:
        yield f"--{name}={_text(value)}"


def _positional(value: object) -> str:
    text = _text(value)
    if text.startswith("-"):
        raise UsageProblem(f"the word {text!r} starts with '-'", "flags go into \"flags\"; no name starts with '-'")
    return text


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UsageProblem(f"{value!r} is no word", "send texts and numbers")
    text = str(value)
    # What no argument list can carry: the process could not be started with it.
    if len(text) > MAX_LETTERS or "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageProblem(f"{text[:40]!r} cannot be a word", f"send at most {MAX_LETTERS} letters of plain text")
    return text
