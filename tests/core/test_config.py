import os
import re
import time
import tomllib
from pathlib import Path

import pytest

import aiinfra_lab
from aiinfra_lab import data, lab, setting_keys
from aiinfra_lab.config import settings
from aiinfra_lab.cost import premises
from aiinfra_lab.errors import NotFound, UsageProblem


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.delenv("AIINFRA_WORKSPACE", raising=False)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    return tmp_path


def test_a_workspace_is_found_from_any_folder_below_it(project):
    (project / "aiinfra.toml").write_text("")
    assert settings().workspace == settings().project == project


def test_without_one_the_fix_is_named(project):
    with pytest.raises(NotFound, match="%lab start"):
        settings()


@pytest.mark.parametrize("folder", ["typo", "deep"])
def test_a_variable_that_names_no_workspace_makes_none(project, monkeypatch, folder):
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(project / folder))
    before = sorted(project.rglob("*"))
    with pytest.raises(NotFound, match="`%lab start` makes one there"):
        data.ls()
    assert sorted(project.rglob("*")) == before
    assert lab.start().path == str(project / folder)
    assert (settings().workspace, settings(project / folder).workspace) == (project / folder, project / folder)


def test_what_is_a_workspace_already_may_lack_its_marker(project, monkeypatch):
    (project / "old" / ".aiinfra").mkdir(parents=True)
    monkeypatch.setenv("AIINFRA_WORKSPACE", str(project / "old"))
    assert settings().workspace == project / "old"


def test_a_project_may_keep_its_workspace_elsewhere(project):
    (project / "pyproject.toml").write_text('[tool.aiinfra]\nworkspace = "build/ws"')
    assert (settings().project, settings().workspace) == (project, project / "build" / "ws")


def test_a_pyproject_of_somebody_else_is_no_workspace(project):
    (project / "pyproject.toml").write_text("[tool.other]\n")
    with pytest.raises(NotFound):
        settings()


def test_a_setting_knows_where_it_came_from_and_the_environment_wins(project, monkeypatch):
    (project / "aiinfra.toml").write_text("[deploy]\nlog_days = 80\nlog_gib = 'a'")
    monkeypatch.setenv("AIINFRA_DEPLOY_LOG_DAYS", "90")
    assert list(settings().explain()) == [
        ("deploy.log_days", "90", "AIINFRA_DEPLOY_LOG_DAYS"),
        ("deploy.log_gib", "a", "aiinfra.toml"),
    ]
    assert settings().get("deploy.log_days", 1) == 90


@pytest.mark.parametrize(
    ("text", "default"), [("log_days = 'many'", 1), ("log_days = 'maybe'", True), ("log_days = true", 1.0)]
)
def test_a_setting_of_the_wrong_type_is_refused(project, text, default):
    (project / "aiinfra.toml").write_text(f"[deploy]\n{text}")
    with pytest.raises(UsageProblem, match=r"deploy\.log_days"):
        settings().get("deploy.log_days", default)


def test_several_names_may_be_a_list(project):
    (project / "aiinfra.toml").write_text('[gpu]\nssh_hosts = ["lab1", "lab2"]')
    assert settings().get("gpu.ssh_hosts", "") == "lab1, lab2"


@pytest.mark.parametrize(("text", "says"), [("[delpoy]", "did you mean deploy"), ("[deploy", "not valid TOML")])
def test_a_mistake_in_the_file_is_named(project, text, says):
    (project / "aiinfra.toml").write_text(text)
    with pytest.raises(UsageProblem, match=says):
        settings()


@pytest.fixture
def parsed(monkeypatch):
    """What was parsed, in order."""
    texts, parse = [], tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: texts.append(text) or parse(text))
    return texts


def write_long_ago(path, text, ago_s):
    path.write_text(text)
    os.utime(path, ns=(0, time.time_ns() - int(ago_s * 1e9)))


def test_a_file_that_stays_as_it_is_is_parsed_once(project, parsed):
    write_long_ago(project / "aiinfra.toml", "[deploy]\nlog_days = 1", 60)
    assert [settings().get("deploy.log_days", 0) for _ in range(5)] == [1] * 5
    assert len(parsed) == 1


def test_a_file_that_was_written_again_is_read_again(project, parsed):
    for number, ago_s in ((1, 60), (2, 50)):
        write_long_ago(project / "aiinfra.toml", f"[deploy]\nlog_days = {number}", ago_s)
        assert settings().get("deploy.log_days", 0) == number


def test_two_writes_within_one_tick_of_the_file_system_are_both_seen(project):
    now = time.time_ns()
    for number in range(3):
        (project / "aiinfra.toml").write_text(f"[deploy]\nlog_days = {number}")
        os.utime(project / "aiinfra.toml", ns=(now, now))
        assert settings().get("deploy.log_days", 9) == number


@pytest.mark.parametrize(
    ("text", "fix"),
    [
        ("[cost]\nmachine_usd_perhour = 1", "did you mean machine_usd_per_hour?"),
        ("[gpu]\nmachine = 'x'", "did you mean machines?"),
        ("[store]\nuri = 'x'", "did you mean url?"),
        ("[drift]\nx = 1", "known: report"),
    ],
)
def test_a_setting_that_nothing_reads_is_refused(project, text, fix):
    (project / "aiinfra.toml").write_text(text)
    with pytest.raises(UsageProblem, match=r"aiinfra\.toml sets .* no setting") as problem:
        settings()
    assert problem.value.fix == fix


def test_a_variable_that_nothing_reads_is_refused_by_its_name(project, monkeypatch):
    (project / "aiinfra.toml").touch()
    monkeypatch.setenv("AIINFRA_JOBS_LOG_DAY", "3")
    with pytest.raises(UsageProblem, match=r"AIINFRA_JOBS_LOG_DAY sets jobs\.log_day") as problem:
        settings()
    assert problem.value.fix == "did you mean log_days?"


@pytest.mark.parametrize("text", ["[gpu]\nlocal_size = 1", "[gpu]\nprovider = 'local'", "[store]\nprovider = 'sqlite'"])
def test_what_a_provider_reads_itself_and_older_names_are_settings(project, text):
    (project / "aiinfra.toml").write_text(text)
    assert len(list(settings().explain())) == 1


KEPT = ("jobs.log", "deploy.log", "train.holdout", "models.environments", "recipe.archive")


SECTIONS = "store|jobs|alerts|secrets|kernels|cost|deploy|train|gpu|models|recipe"


def test_every_setting_that_the_package_reads_is_known():
    text = "".join(path.read_text() for path in Path(aiinfra_lab.__file__).parent.rglob("*.py"))
    read = set(re.findall(rf"""\.get\(["']((?:{SECTIONS})\.[a-z_]+)["']""", text))
    kept = {f"{what}_{unit}" for what in KEPT for unit in ("days", "gib")}
    kept |= {f"cost.{key}" for key in premises.DEFAULTS}
    every = {f"{section}.{name}" for section in setting_keys.sections() for name in setting_keys.declared(section)}
    assert every == read | kept
