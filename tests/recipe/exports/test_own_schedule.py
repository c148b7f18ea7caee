"""A recipe's own schedule is what is exported."""

from aiinfra_lab import recipe as recipes

OWN = '[steps.a]\nnotebook = "a.ipynb"\n[schedule]\ncron = "@daily"\ntz = "Europe/Berlin"\n'


def test_it_is_exported_unless_another_is_asked_for(notebook, recipe):
    notebook("a", "")
    recipe("own", OWN)
    assert "CRON_TZ=Europe/Berlin" in _text("own") or "0 0 * * *" in _text("own")
    assert "30 4 * * *" in _text("own", cron="30 4 * * *")


def test_what_has_no_schedules_leaves_it_out(notebook, recipe):
    notebook("a", "")
    recipe("own", OWN)
    assert "0 0 * * *" not in str(recipes.export("own", to="dvc").text)


def _text(name: str, **options: str) -> str:
    return str(recipes.export(name, to="cron", **options).text)
