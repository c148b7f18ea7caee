"""LAB301 to LAB303 and LAB305: whether the next run of a notebook can give the same again."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from ...nouns import TABLE
from .base import Diagnostic, Severity
from .subject import LintCell, LintSubject, text_of

_DRAWS = {
    "numpy": "rand randn randint random random_sample ranf sample choice permutation shuffle normal uniform binomial "
    "poisson exponential standard_normal beta gamma multinomial multivariate_normal lognormal random_integers bytes",
    "random": "random randint randrange choice choices shuffle sample uniform gauss normalvariate betavariate "
    "expovariate gammavariate lognormvariate triangular getrandbits randbytes",
    "torch": "rand randn randint randperm normal bernoulli multinomial rand_like randn_like randint_like",
}
_MODULES = {"numpy": "numpy.random", "random": "random", "torch": "torch"}
_DRAWING = {f"{_MODULES[of]}.{name}": of for of, names in _DRAWS.items() for name in names.split()}
# Generators of their own, which take the seed as their first argument, and those whose seed is a call of its own.
_GENERATORS = {"numpy.random.default_rng": "numpy", "numpy.random.RandomState": "numpy", "random.Random": "random"}
_SEEDS = {
    "numpy.random.seed": "numpy", "numpy.random.set_state": "numpy",
    "random.seed": "random", "random.setstate": "random",
    "torch.manual_seed": "torch", "torch.random.manual_seed": "torch", "torch.set_rng_state": "torch",
}  # fmt: skip
_SEEDS_ALL = re.compile(r"(?:^|\.|_)(?:seed_everything|set_seed|seed_all|set_all_seeds|fix_seed)$")
_SEED_FIX = {"numpy": "np.random.default_rng(0)", "random": "random.seed(0)", "torch": "torch.manual_seed(0)"}


class NoSeed:
    """Random numbers are drawn without a seed.

    Of NumPy, Python's `random` and torch, each with a seed of its own. What `%%train` runs has one (`--seed`).
    """

    code = "LAB301"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        cells = [cell for cell in subject.cells if not any(head.name == "train" for head in cell.heads)]
        calls = [(cell, *found) for cell in cells for found in subject.calls(cell)]
        names = [name or _attribute(call) for _, name, call in calls]
        if any(map(_SEEDS_ALL.search, names)):
            return
        done = {_SEEDS[name] for name in names if name in _SEEDS}
        for cell, name, call in calls:
            of = _GENERATORS.get(name, "")
            is_bare = bool(of) and not call.keywords and (not call.args or _is_none(call.args[0]))
            if not is_bare:
                of = "" if any(each.arg == "generator" for each in call.keywords) else _DRAWING.get(name, "")
            if of and (is_bare or of not in done):
                done.add(of)
                what = f"{name}() draws what no other run will draw"
                yield subject.found(self, cell, call, what, f"give it a seed first, as in {_SEED_FIX[of]}")


def _attribute(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else ""


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


_LATEST = re.compile(r"(?:^|(?<=[\s='\"]))([\w./:-]+[:@]latest)(?=[\s'\"]|$)")
_CONTAINERS = re.compile(r"(?:^|[\s;&|])(?:docker|podman|kubectl|helm|ollama)\s")


class LatestTag:
    """An image or a model is named by `latest`.

    What that means changes under the notebook, and nobody can name afterwards what had run. In lines of our magics, of
    containers and of Kubernetes.
    """

    code = "LAB302"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        for cell in subject.cells:
            lines = [magic for magic in cell.magics if magic.name in TABLE]
            lines += [line for line in cell.shell_lines if _CONTAINERS.search(line.text)]
            for line in lines:
                if found := _LATEST.search(line.text.split(" #")[0]):
                    fix = "write the version that is meant, or a digest"
                    yield subject.found(self, cell, line.line, f"what {found[1]} means will change", fix)


_FETCHING = re.compile(
    r"(?:requests|httpx)\.(?:get|Session\.get)|urllib\.request\.(?:urlopen|urlretrieve)|wget\.download"
    r"|(?:pandas|polars|numpy|fsspec|geopandas|duckdb|pyarrow\.\w+)\.(?:read_\w+|scan_\w+|loadtxt|genfromtxt|open)"
)
_URL = re.compile(r"(?:https?|ftp|s3|gs|gcs|abfss?|az)://([^/:\s\"']*)", re.IGNORECASE)
_FETCHES = re.compile(r"(?:^|[\s;&|])(wget|curl|aria2c|aws\s+s3\s+cp|gsutil\s+cp)\s")
_LOCAL = ("localhost", "127.", "0.0.0.0", "[::1]", "")  # noqa: S104  # a text that is compared
_SENDING = re.compile(r"\s(?:-X\s*(?:POST|PUT|DELETE|PATCH)|-d|-T|-F|-{2}(?:data|form|upload)\S*)\s")


class NetworkRead:
    """Something is read from the network that no `in` of the recipe names.

    The run then depends on what lies there that day: nothing reruns when it changes, and nobody can say what it was.
    """

    code = "LAB303"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        constants = _constants(subject)
        for cell in subject.cells:
            for name, call in subject.calls(cell):
                if _FETCHING.fullmatch(name) and (call.args or call.keywords):
                    source = call.args[0] if call.args else call.keywords[0].value
                    url = constants.get(source.id) if isinstance(source, ast.Name) else text_of(source)
                    if host := _host(url or ""):
                        yield self._found(subject, cell, call.lineno, host)
            for line in cell.shell_lines:
                if _FETCHES.search(f" {line.text}") and not _SENDING.search(line.text) and (host := _host(line.text)):
                    yield self._found(subject, cell, line.line, host)

    def _found(self, subject: LintSubject, cell: LintCell, line: int, host: str) -> Diagnostic:
        fix = "keep a copy with `%data add NAME PATH`, and take data:NAME in the step's `in`"
        return subject.found(self, cell, line, f"what {host} has that day is read", fix)


_NEWEST = re.compile(r"(?:data:)?([\w-]+)")


class NewestData:
    """Data is read by its name that no `in` of the recipe names.

    That is whatever version is newest then: a new one reruns nothing, and two steps of a run may read two. Data that
    the notebook itself adds is its own.
    """

    code = "LAB305"
    severity: Severity = "warning"

    def check(self, subject: LintSubject) -> Iterator[Diagnostic]:
        """See `LintRule`."""
        own: set[str] = set()
        for cell in subject.cells:
            for verb, name, line in sorted(_of_data(subject, cell), key=lambda each: each[2]):
                if verb == "add":
                    own.add(name)
                elif name not in own:
                    fix = f'take it in the step: in = {{ {name.replace("-", "_")} = "data:{name}" }}, and get that'
                    yield subject.found(self, cell, line, f"it reads whatever data:{name} is newest then", fix)


def _of_data(subject: LintSubject, cell: LintCell) -> Iterator[tuple[str, str, int]]:
    """(verb, name, line) of what the cell adds to data or gets of it, where no version is named."""
    for called, call in subject.calls(cell):
        module, _, verb = called.rpartition(".")
        is_ours = module == "aiinfra_lab.data" and verb in ("add", "get")
        if is_ours and call.args and (found := _NEWEST.fullmatch(text_of(call.args[0]) or "")):
            yield verb, found[1], call.lineno
    for magic in cell.magics:
        words = magic.text.split() if magic.name == "data" else []
        if len(words) > 1 and words[0] in ("add", "get") and (found := _NEWEST.fullmatch(words[1])):
            yield words[0], found[1], magic.line


def _host(text: str) -> str:
    """The host that a URL in it names; empty for this machine."""
    found = _URL.search(text)
    return "" if not found or found[1].startswith(_LOCAL[:-1]) else found[1]


def _constants(subject: LintSubject) -> dict[str, str]:
    """Each name that is given one text and nothing else."""
    given: dict[str, set[str | None]] = {}
    for node in (node for cell in subject.cells for node in cell.nodes):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    given.setdefault(target.id, set()).add(text_of(node.value))
    return {name: text for name, texts in given.items() if len(texts) == 1 and (text := next(iter(texts)))}
