"""`papermill IN.ipynb OUT.ipynb --engine lab`: the engine of our recipes' steps for whoever calls papermill.

Papermill imports every engine that is installed whenever it is imported: nothing is imported here before one runs, not
papermill either, which may be in the middle of its own import.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from .engine.archive import Save

_USUAL_LANGUAGE = "python"


class LabEngine:
    """A kernel of which nothing is left, an output that is whole at every moment, and cells' states as they were."""

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        progress_bar: bool | dict[str, Any] = True,
        **options: Any,
    ) -> NotebookNode:
        """Execute the notebook that papermill has prepared, its parameters in it; papermill raises what its cells did.

        UsageProblem, before there is a kernel or an output, for parameters that it cannot take as it declares them.

        options: papermill's `start_timeout` and `execution_timeout` (or nbclient's `timeout`), in seconds, its
            `log_output`, `stdout_file` and `stderr_file`, and nbclient's `extra_arguments` of the kernel
        """
        from papermill.engines import NotebookExecutionManager

        from .engine.archive import Archive
        from .engine.client import CellRaised
        from .engine.injected import retyped
        from .engine.running import run_into

        facts = nb.metadata.get("papermill", {})
        named = facts.get("input_path")
        source = Path(named if isinstance(named, str) else "the notebook")
        retyped(nb, facts.get("parameters") or {}, source, is_python=_is_python(nb, kernel_name))
        limits = {
            "startup_timeout": options.get("start_timeout", 60),
            "timeout": options.get("execution_timeout") or options.get("timeout"),
            "extra_arguments": options.get("extra_arguments", []),
        }
        bar = NotebookExecutionManager(nb, progress_bar=progress_bar)
        archive = Archive(nb, _save(output_path), facts, on_cell_end=_advance(bar.pbar))
        archive.begin()
        try:
            show = _show(options.get("log_output"), options.get("stdout_file"), options.get("stderr_file"))
            run_into(archive, Path.cwd(), {}, lambda: False, kernel_name=kernel_name, on_output=show, **limits)
        except CellRaised:
            pass  # papermill finds it in the outputs
        finally:
            archive.end()
            bar.cleanup_pbar()
        return nb

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel for a notebook; name: the one that was asked for."""
        from ..kernels.specs import USUAL

        return name or nb.metadata.get("kernelspec", {}).get("name") or USUAL

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The language of a notebook; language: the one that was asked for."""
        spec, info = nb.metadata.get("kernelspec", {}), nb.metadata.get("language_info", {})
        return language or info.get("name") or spec.get("language") or _USUAL_LANGUAGE


def translated(parameters: Mapping[str, Any], kernel: str, language: str) -> str:
    """The source of a cell with these values, in the language of that kernel."""
    from papermill.translators import papermill_translators

    return str(papermill_translators.find_translator(kernel, language).codify(dict(parameters)))


def _is_python(notebook: NotebookNode, kernel: str) -> bool:
    """Whether papermill writes parameters as Python for that kernel."""
    from papermill.exceptions import PapermillException
    from papermill.translators import PythonTranslator, papermill_translators

    try:
        return papermill_translators.find_translator(kernel, LabEngine.nb_language(notebook)) is PythonTranslator
    except PapermillException:
        return False


def _save(output_path: str | None) -> Save:
    """Whole or not at all in a file; elsewhere as papermill does it; nowhere where it was told not to."""
    if output_path is None:
        return lambda _notebook: None
    if "://" in output_path:
        from papermill.iorw import write_ipynb

        return lambda notebook: write_ipynb(notebook, output_path)
    from .engine.archive import saved_at

    return saved_at(Path(output_path))


def _advance(bar: Any) -> Callable[[], object]:
    return (lambda: bar.update(1)) if bar else (lambda: None)


def _show(log_output: bool | None, stdout: IO[str] | None, stderr: IO[str] | None) -> Callable[[Any], None]:
    """What is done with each output besides keeping it."""
    log = logging.getLogger("papermill")

    def show(output: Any) -> None:
        is_stream = output.output_type == "stream"
        text = output.text if is_stream else output.get("data", {}).get("text/plain", "")
        file = {"stdout": stdout, "stderr": stderr}.get(output.get("name", "")) if is_stream else None
        if file is not None:
            file.write(text)
            file.flush()
        if log_output and text:
            log.log(logging.WARNING if output.get("name") == "stderr" else logging.INFO, "%s", text)

    return show
