import pytest

from aiinfra_lab.cost import prices
from aiinfra_lab.cost.wanted import Wanted
from aiinfra_lab.errors import NotFound, UsageProblem


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("A10G or L4", "A10G or L4"),
        ("1/4 L4", "1/4 L4"),
        ("2 × A100", "2x A100"),
        ("A100-80GB 1g.10gb", "A100-80GB 1g.10gb"),
        ("3x a100-80gb-1G.10GB", "3x a100-80gb 1g.10gb"),
        ("H100-80GB-HBM3", "H100-80GB-HBM3"),
        ("MI300X", "MI300X"),
        ("Trainium 2 or inferentia2", "Trainium 2 or inferentia2"),
    ],
)
def test_what_was_asked_for_is_read(workspace, text, shown):
    assert str(Wanted.parse(text)) == shown
    assert Wanted.parse(str(Wanted.parse(text))) == Wanted.parse(text)


@pytest.mark.parametrize(
    ("text", "offered", "needs"),
    [
        ("2x A100 or L4", "L4", 1),
        ("2x A100 or A100-80GB", "A100-80GB", 1),
        ("15x H100 1g.10gb", "H100", 3),
        ("A100", "H100", None),
    ],
)
def test_how_many_it_takes_of_what_is_offered(workspace, text, offered, needs):
    assert Wanted.parse(text).needs(offered) == needs


def test_an_accelerator_that_nobody_knows_is_refused_with_the_nearest_and_its_price(workspace):
    with pytest.raises(NotFound, match="no accelerator 'A10GG'") as problem:
        Wanted.parse("L4 or A10GG")
    assert problem.value.fix == "did you mean A10G, which aws g5.xlarge has for about 1.01 USD an hour?"


def test_the_family_is_suggested_where_only_its_members_are_known(workspace):
    with pytest.raises(NotFound) as problem:
        Wanted.parse("A100X")
    assert problem.value.fix.startswith("did you mean A100, which ")


def test_one_that_nobody_rents_out_is_suggested_without_a_price(workspace, monkeypatch):
    monkeypatch.setattr(prices, "having", lambda *_, **__: iter(()))
    with pytest.raises(NotFound) as problem:
        Wanted.parse("MI300")
    assert problem.value.fix == "did you mean MI300X?"


def test_one_that_is_like_none_lists_them(workspace):
    with pytest.raises(NotFound) as problem:
        Wanted.parse("xyzzy")
    assert "known: A10, A100-40GB" in problem.value.fix


@pytest.mark.parametrize(
    ("text", "what", "fix"),
    [
        ("", "names no accelerator", "1/4 L4"),
        (" | ", "names no accelerator", "1/4 L4"),
        ("0x L4", "no number of accelerators", "2x A100"),
        ("5/4 L4", "no share of one", "1/4 L4"),
        ("1/0 L4", "no share of one", "1/4 L4"),
        ("-1 L4", "no share of one", "1/4 L4"),
        ("A100 1g.7gb", "A100 has no MIG profile 1g.7gb", "A100-40GB has 1g.5gb"),
        ("L4 1g.10gb", "cannot be cut", "1/4 L4"),
    ],
)
def test_what_is_no_request_is_refused(workspace, text, what, fix):
    with pytest.raises(UsageProblem, match=what) as problem:
        Wanted.parse(text)
    assert fix in problem.value.fix


def test_the_names_of_a_table_of_ones_own_are_known(workspace, monkeypatch):
    (workspace / "mine.csv").write_text(
        "provider,type,accelerator,count,usd_per_hour,spot_low_usd,spot_high_usd,region,source,date\n"
        "x,a,Z80,1,1.0,,,r,s,2999-01-01\n"
    )
    monkeypatch.setenv("AIINFRA_COST_PRICES", "mine.csv")
    assert Wanted.parse("2x z80").needs("Z80") == 2
