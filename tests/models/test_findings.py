from aiinfra_lab.models.findings import joined


def test_a_way_that_two_fixes_have_is_said_once():
    command = ": `%models check delay@2 --require 'auc >= 0.7'`"
    fixes = [f"train it better, or lower what is required{command}", f"train it better, or allow it{command}", "wait"]
    assert joined(fixes) == [f"train it better, or lower what is required, or allow it{command}", "wait"]


def test_fixes_without_a_command_stay_apart():
    assert joined(["train again, or wait", "hold out more rows"]) == ["train again, or wait; hold out more rows"]
