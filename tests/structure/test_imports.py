"""Imports point left, along the life of a model, and every SDK has one door."""

from collections import defaultdict
from pathlib import Path

import pytest

from aiinfra_lab.nouns import TABLE as NOUNS
from aiinfra_lab.providers import TABLE

from .source import HEAVY, PACKAGE, folder_of, foreign_imports, modules, modules_loaded_by, own_imports, short

CORE = (
    *("errors", "uris", "units", "verbs", "words", "completion", "providers", "show", "config", "scaling", "secrets"),
    *("nouns", "setting_keys", "resolve", "rules", "files", "logs", "store", "jobs", "kernels", "stats", "alerts"),
    *("host", "modes", "leftovers", "signals", "signal_records", "suggestions", "help", "pool"),
)
ORDER = (
    CORE,
    ("cost", "audit"),
    ("gpu", "data"),
    ("features",),
    ("train",),
    ("models",),
    ("deploy",),
    ("drift",),
    ("recipe",),
    ("lab",),
    ("jupyter",),
    ("cli", "__main__"),
    ("testing",),
)
RANK = {name: rank for rank, names in enumerate(ORDER) for name in names}
# SDKs that a provider wraps, besides those that the table of providers names.
SDKS = {"boto3", "botocore", "dvc", "evidently", "feast", "mlflow", "papermill"}


def allowed(importer: str, imported: str) -> bool:
    if importer == imported or RANK[imported] == 0:
        return True
    return RANK[imported] < RANK[importer] and imported not in ("jupyter", "cli", "__main__")


def test_every_module_has_its_place_in_the_order() -> None:
    assert {folder_of(path) for path in modules()} - {""} <= RANK.keys()


@pytest.mark.parametrize("path", modules(), ids=short)
def test_imports_point_left(path: Path) -> None:
    mine = folder_of(path)
    if mine == "":
        return  # the face: its own test is below
    wrong = sorted(name for name in own_imports(path) if name in RANK and not allowed(mine, name))
    assert wrong == [], f"{short(path)} imports what stands to the right of it, or beside it"


def test_the_face_imports_the_nouns_for_type_checkers_and_the_magics_when_they_are_loaded() -> None:
    assert own_imports(PACKAGE / "__init__.py") == {"jupyter"} | set(NOUNS)


def test_the_rules_say_no() -> None:
    assert not allowed("data", "train")
    assert not allowed("gpu", "data")
    assert not allowed("cli", "jupyter")
    assert not allowed("store", "cost")


def test_the_server_extension_loads_core_only() -> None:
    loaded = modules_loaded_by("import aiinfra_lab.jupyter.server")
    ours = {name.split(".")[1] for name in loaded if name.startswith("aiinfra_lab.")}
    assert "jupyter" in ours
    assert ours <= {*CORE, "jupyter"}


def test_listing_what_lives_loads_what_the_nouns_tell_and_nothing_heavy(workspace: Path) -> None:
    code = "from aiinfra_lab import lab; lab.start()\nfrom aiinfra_lab.jupyter.items import current; current()"
    assert {name.partition(".")[0] for name in modules_loaded_by(code)} & set(HEAVY) <= {"jupyter_server"}


@pytest.mark.parametrize("package", ["jupyter_server", "ipywidgets", "anywidget"])
def test_only_the_jupyter_folder_knows_the_server_and_the_widgets(package: str) -> None:
    users = {folder_of(path) for path in modules() if package in foreign_imports(path)}
    assert users <= {"jupyter"}


def test_within_a_noun_an_sdk_is_imported_by_one_file() -> None:
    named = {row.needs for rows in TABLE.values() for row in rows.values()}
    users = defaultdict(set)
    for path in modules():
        if folder_of(path) in NOUNS:
            for sdk in foreign_imports(path) & (SDKS | named):
                users[folder_of(path), sdk].add(short(path))
    crowded = {key: sorted(files) for key, files in users.items() if len(files) > 1}
    assert crowded == {}


def test_core_wraps_no_sdk_but_that_of_a_store_of_secrets() -> None:
    users = {short(path): foreign_imports(path) & SDKS for path in modules() if RANK.get(folder_of(path)) == 0}
    found = {path: sdks for path, sdks in users.items() if sdks}
    assert found == {"aiinfra_lab/secrets/aws.py": {"boto3", "botocore"}}


@pytest.mark.parametrize("noun", sorted({noun for noun in NOUNS if (PACKAGE / noun).is_dir()}))
def test_a_nouns_face_imports_no_sdk_when_it_is_imported(noun: str) -> None:
    foreign = foreign_imports(PACKAGE / noun / "__init__.py")
    assert foreign & SDKS == set()
