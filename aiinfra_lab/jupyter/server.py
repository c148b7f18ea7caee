"""The Jupyter server's half: REST for the side panel and for programs, behind Jupyter's own authentication and XSRF.

    GET  /aiinfra/items?since=REV    what lives or recently ended
    GET  /aiinfra/items/URI          what there is to see of one of these; ?job= names one start of it
    GET  /aiinfra/plans/URI          what the next run of a recipe, or of one of its runs, would do and why
    POST /aiinfra/NOUN/stop          a request to end, written at once: it works while a kernel is busy
    POST /aiinfra/NOUN/VERB          `aiinfra NOUN VERB --json` as a job
    GET  /aiinfra/jobs/ID            that job's state, and the verb's answer
    GET  /aiinfra/notebooks/RUN/STEP the executed notebook of a step, as a page; ?theme=dark

Whoever sends an `id` with a call can ask about it as jobs/lab:call-NOUN-VERB.ID, also when its answer was lost.

It imports the core only, and what a noun tells of its things when they are listed; a kernel never imports it.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import web

from ..config import Settings, inside, settings
from ..errors import Conflict, Denied, LabError, NotFound, Unavailable, UsageProblem
from ..store import has_store
from . import calls, executed
from .items import details_of, first_steps, items_since, plan_of

_STATUS: dict[type[LabError], int] = {UsageProblem: 400, NotFound: 404, Denied: 403, Conflict: 409, Unavailable: 503}

# Threads of our own, so that a store that hangs takes none from Jupyter; and none of a stop from those who only look.
LOOKING = ThreadPoolExecutor(8, "aiinfra-looking")
ACTING = ThreadPoolExecutor(8, "aiinfra-acting")
# A plan reads all that a run would take: however many are asked for, the panel is answered besides.
PLANNING = ThreadPoolExecutor(2, "aiinfra-planning")
# A store that hangs is given up after 15 s, and a supervisor that does not start after 20 s; a proxy waits for 60 s.
LOOK_S, ACT_S, PLAN_S = 20.0, 30.0, 50.0

_PATHS = "GET items, items/URI, plans/URI, jobs/ID or notebooks/RUN/STEP; POST NOUN/VERB"

T = TypeVar("T")


class _Handler(APIHandler):
    """What they share: the workspace at the server's root, work off the event loop, and errors that say the fix."""

    auth_resource = "aiinfra"
    late_fix = "see whether its store or a provider hangs; look what was done, then repeat"
    """What to do where no answer comes in time."""

    @property
    def limit(self) -> tuple[ThreadPoolExecutor, float]:
        """The threads that do the work, and how long that may take, in seconds."""
        return (LOOKING, LOOK_S) if self.request.method == "GET" else (ACTING, ACT_S)

    def root(self) -> Path:
        """The folder whose files the server shows."""
        return Path(str(self.settings["server_root_dir"])).expanduser()

    def place(self) -> Settings:
        """The workspace of the server's root folder; NotFound when there is none. Asked for inside `reply`."""
        return settings()

    def _work(self, work: Callable[[], T]) -> T:
        # The server may have been started elsewhere than in its root; a workspace named by the environment holds.
        if os.environ.get("AIINFRA_WORKSPACE"):
            return work()
        with inside(self.root()):
            return work()

    def _begin(self, work: Callable[[], T], threads: ThreadPoolExecutor) -> asyncio.Future[T]:
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(threads, context.run, self._work, work)

    async def reply(self, work: Callable[[], T], status: int = 200) -> None:
        """Answer with what the work returns, or with what went wrong and how to fix it."""
        answer: object
        try:
            answer = await self.done(work)
        except LabError as problem:
            status, answer = _problem(problem)
        self.set_status(status)
        self.finish(json.dumps(answer, ensure_ascii=False))

    async def done(self, work: Callable[[], T]) -> T:
        """What the work returns, off the event loop; Unavailable where that takes too long."""
        threads, within_s = self.limit
        try:
            return await asyncio.wait_for(self._begin(work, threads), within_s)
        except TimeoutError:
            what = f"the workspace has not answered for {within_s:.0f} s"
            raise Unavailable(what, self.late_fix) from None

    def body(self) -> object:
        try:
            return json.loads(self.request.body or b"{}")
        except (ValueError, RecursionError):  # also bytes that are no UTF-8, and nesting without end
            raise UsageProblem("the body is not JSON", calls.SHAPE) from None


def _problem(problem: LabError) -> tuple[int, dict[str, str]]:
    """Status and body that say what went wrong and how to fix it."""
    status = next((code for kind, code in _STATUS.items() if isinstance(problem, kind)), 422)
    return status, {"error": type(problem).__name__, "what": problem.what, "fix": problem.fix}


class ItemsHandler(_Handler):
    """What lives or recently ended."""

    # A panel that is left open must not keep a server from being culled as idle.
    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self) -> None:
        # Asked here, on the event loop, to which the kernels' manager belongs.
        kernels: Any = self.kernel_manager
        busy = {kernel["name"] for kernel in kernels.list_kernels() if kernel["execution_state"] == "busy"}
        await self.reply(lambda: self._items(busy))

    def _items(self, busy: Collection[str]) -> dict[str, object]:
        since = self.get_query_argument("since", "0")
        if not since.isdecimal() or len(since) > 15:
            raise UsageProblem(f"since={since!r} is no revision", "send the rev of the last answer, or 0")
        try:
            place = self.place()
        except NotFound as problem:
            return {"rev": 0, "workspace": None, "items": [], "hint": problem.fix}
        nothing = {"rev": 0, "workspace": place.workspace.name, "items": [], "is_empty": True}
        found = items_since(int(since), place, busy) if has_store(place) else nothing  # looking must not make one
        return {**found, "steps": first_steps(self.root())} if found["is_empty"] else found


class ItemHandler(_Handler):
    """What there is to see of one thing."""

    _track_activity = False

    @web.authenticated
    @authorized
    async def get(self, uri: str) -> None:
        job = self.get_query_argument("job", "")

        def look() -> dict[str, object]:
            if not has_store(self.place()):
                raise NotFound(f"there is no {uri}", "GET items lists what there is")
            return details_of(uri, job)

        await self.reply(look)


class PlanHandler(_Handler):
    """What the next run of a thing would do: whenever somebody asks, since it reads what the run would take."""

    late_fix = "`%recipe run NAME --dry` in a notebook takes the time that it needs"

    @property
    def limit(self) -> tuple[ThreadPoolExecutor, float]:
        return PLANNING, PLAN_S

    @web.authenticated
    @authorized
    async def get(self, uri: str) -> None:
        def look() -> dict[str, str]:
            if not has_store(self.place()):
                raise NotFound(f"nothing of {uri} has run here yet", PlanHandler.late_fix)
            return plan_of(uri)

        await self.reply(look)


class JobHandler(_Handler):
    """The state of one job and the answer of the verb it ran."""

    @web.authenticated
    @authorized
    async def get(self, job_id: str) -> None:
        def look() -> dict[str, Any]:
            self.place()
            return calls.answer(calls.find(job_id))

        await self.reply(look)


class NotebookHandler(_Handler):
    """The executed notebook of a step of a run, for a person: also what is wrong is a page."""

    @property
    def content_security_policy(self) -> str:
        # Two policies, of which both hold: that of all pages, which an administrator may have set, and this page's own.
        return f"{super(APIHandler, self).content_security_policy}, {executed.POLICY}"

    @web.authenticated
    @authorized
    async def get(self, run: str, step: str) -> None:
        is_dark = self.get_query_argument("theme", "light") == "dark"
        try:
            page, status = await self.done(lambda: executed.page_of(run, step, is_dark=is_dark)), 200
        except LabError as problem:
            status, _ = _problem(problem)
            page = executed.problem_page(problem.what, problem.fix, is_dark=is_dark)
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Security-Policy", self.content_security_policy)  # a set one has replaced it
        self.finish(page, set_content_type="text/html; charset=utf-8")


class VerbHandler(_Handler):
    """A verb of a noun: stop is written into the job's record, everything else becomes a job."""

    @web.authenticated
    @authorized
    async def post(self, noun: str, verb: str) -> None:
        # HTTP's 202: accepted, and not done yet. A stop is written once this is answered.
        await self.reply(lambda: self._call(noun, verb), status=200 if verb == "stop" else 202)

    def _call(self, noun: str, verb: str) -> dict[str, Any]:
        calls.check_words(noun, verb)
        body = self.body()
        self.place()
        if verb == "stop":
            return {"stopping": calls.stop(noun, body)}
        return {"job": calls.start(noun, verb, body).id}


class NothingHandler(_Handler):
    """Every other path: a plain 404, in the same form."""

    @web.authenticated
    @authorized
    async def get(self, path: str) -> None:
        self._nothing(path)

    @web.authenticated
    @authorized
    async def post(self, path: str) -> None:
        self._nothing(path)

    def _nothing(self, path: str) -> None:
        # On no thread: it needs no workspace, which may hang.
        what = f"there is nothing at /aiinfra/{path}"
        status, answer = _problem(NotFound(what, _PATHS))
        self.set_status(status)
        self.finish(json.dumps(answer, ensure_ascii=False))


def _load_jupyter_server_extension(server: Any) -> None:
    """Called by the Jupyter server at its start."""
    base = url_path_join(server.web_app.settings["base_url"], "aiinfra")
    routes = [
        (r"/items", ItemsHandler),
        (r"/items/([^/]+)", ItemHandler),
        # Tornado takes the first that fits, and NOUN/VERB would fit this one too.
        (r"/plans/([^/]+)", PlanHandler),
        (r"/jobs/([^/]+)", JobHandler),
        (r"/notebooks/([^/]+)/([^/]+)", NotebookHandler),
        (r"/([^/]+)/([^/]+)", VerbHandler),
        (r"/(.*)", NothingHandler),
    ]
    # It tells the front end of the same page that there is somebody to ask.
    server.web_app.settings.setdefault("page_config_data", {})["aiinfraNotebooks"] = True
    # Tornado's first argument is a pattern of host names: any.
    server.web_app.add_handlers(".*$", [(base + path, handler) for path, handler in routes])
