"""How the files of a project are watched while a run goes on."""

from pathlib import Path

from aiinfra_lab.recipe.watching import ProjectWatch

from ..conftest import until


def watches() -> int:
    """How many handles of inotify this process has."""
    return sum("inotify" in str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink())


def test_the_end_of_a_watch_closes_its_handle(workspace: Path) -> None:
    before = watches()
    with ProjectWatch() as watch:
        watch.open(workspace / "report")
        assert watches() == before + 1
    until(lambda: watches() == before, "its handle is open")
