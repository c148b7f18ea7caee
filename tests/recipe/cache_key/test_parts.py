"""A cache key's parts, and what a difference of them means in words."""

from aiinfra_lab.recipe.cache_key import changes, shown_value


def test_the_order_of_a_dicts_items_counts():
    assert shown_value({"a": 1, "b": 2}) == '{"a":1,"b":2}' != shown_value({"b": 2, "a": 1})


def test_a_variable_of_the_kernel_is_named_without_its_value():
    old, new = {"variable MODE": "0f"}, {"variable MODE": "1f", "variable MORE": "2f"}
    reasons = [f"{name} of the kernel's environment changed" for name in ("MODE", "MORE")]
    assert changes(old, new, {}, lambda digest: ()) == reasons
