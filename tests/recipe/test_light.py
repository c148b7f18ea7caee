"""What the libraries below us import for themselves and nothing here needs is not paid for in every process."""

from tests.structure.source import modules_loaded_by


def test_a_notebook_is_run_without_the_grammar_of_a_format_that_it_has_not() -> None:
    loaded = modules_loaded_by("import aiinfra_lab.recipe.engine")
    assert "jsonschema" in loaded
    assert "rfc3987_syntax" not in loaded


def test_the_grammar_is_there_for_others_afterwards() -> None:
    assert "rfc3987_syntax" in modules_loaded_by("import aiinfra_lab.recipe.engine, rfc3987_syntax")
