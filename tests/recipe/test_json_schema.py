"""The schema that editors check a recipe's file by: it takes what the toolkit takes, and knows the usual mistakes."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from aiinfra_lab.recipe import json_schema

ROOT = Path(__file__).parents[2]
STEP = '[steps.a]\nnotebook = "a.ipynb"\n'


def problems(text: str) -> list[str]:
    return [each.message for each in jsonschema.Draft7Validator(json_schema.schema()).iter_errors(tomllib.loads(text))]


def test_it_is_a_schema_and_the_file_is_what_it_gives_now():
    jsonschema.Draft7Validator.check_schema(json_schema.schema())
    assert json.loads((ROOT / "docs" / "recipe.schema.json").read_text()) == json_schema.schema()


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.stem)
def test_our_own_recipes_are_as_it_wants_them(path):
    assert problems(path.read_text()) == []


def test_the_recipe_of_the_readme_is_as_it_wants_it():
    text = (ROOT / "README.md").read_text().partition("```toml\n# recipes/late.toml")[2].partition("```")[0]
    assert problems("#" + text) == []


@pytest.mark.parametrize(
    "keys",
    [
        'timeout = "30 minutes"\nretries = 10\nmemory = "1.5 GiB"\non_failure = "hold 15m"',
        'on_failure = "stop"\nexpect = { run = "auc > 0.7" }\nout = { run = "train:a" }\nafter = []',
        'parameters = { n = [1, 2], when = 2026-01-01 }\nin = { raw = "raw/*.csv" }',
        '[schedule]\ncron = "@daily"\ncatch_up = "none"\n[trigger]\non = ["data:a"]\nevery = "1h"',
        '[alert]\non = ["late", "over budget"]\nto = ["file:alerts.jsonl"]',
    ],
)
def test_what_the_toolkit_takes_it_takes(keys):
    assert problems(STEP + keys) == []


@pytest.mark.parametrize("budget", ['"5 USD"', '"5usd"', '"$5"', '"5 dollars"', "5", "0.5"])
def test_a_budget_is_an_amount_of_money(budget):
    assert problems(f"budget = {budget}\n{STEP}") == []


@pytest.mark.parametrize(
    "text",
    [
        "budget = '5 EUR'\n" + STEP,
        "budget = 0\n" + STEP,
        "budget = true\n" + STEP,
        "title = 'no steps'",
        "[steps.a]\nnotebok = 'a.ipynb'",
        "[steps.'a b']\nnotebook = 'a.ipynb'",
        STEP + "retries = 11",
        STEP + "timeout = 90",
        STEP + "memory = '4'",
        STEP + "on_failure = 'hold'",
        STEP + "on_failure = 'skp'",
        STEP + "after = 'b'",
        STEP + "[schedule]\ntz = 'UTC'",
        STEP + "[schedule]\ncron = '0 3 * * *'\ncatch_up = 'some'",
        STEP + "[trigger]\non = []",
        STEP + "[alert]\non = ['fail']",
        STEP + "[alerts]\non = ['failed']",
    ],
)
def test_the_usual_mistakes_are_none_to_it(text):
    assert problems(text)
