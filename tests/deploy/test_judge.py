"""A canary on trial: what counts, what convicts it, and what is kept."""

import math

import msgspec
import numpy as np
import pytest

from aiinfra_lab.deploy.record import DesiredState, RuleCounts
from aiinfra_lab.deploy.server.counts import Counts
from aiinfra_lab.deploy.server.judge import Judge
from aiinfra_lab.deploy.server.judged_requests import DEADLINE_S
from aiinfra_lab.deploy.server.predictor import key_position
from aiinfra_lab.stats.bounds import parse_bounds

BOTH = parse_bounds("p95_ms > 80 or errors > 1%")
SHARE = 0.2


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def champion(answers=1000):
    """One that has answered for a while: 30 ms in the middle."""
    found = Counts()
    for latency in np.random.default_rng(1).lognormal(math.log(30), 0.4, answers):
        found.add(float(latency), 1, False)
    return found


def trial(rule=BOTH, *, counts=None, **given):
    clock = Clock()
    return Judge(rule, share=SHARE, salt="s", champion=counts or champion(), clock=clock, **given), clock


def serve(judge, clock, looks, errors=(0.0, 0.0), slower=(1.0, 1.0), requests=200, seed=3):
    """So many looks of traffic, each key once; the verdict of the last."""
    rng = np.random.default_rng(seed)
    for _ in range(looks):
        for is_canary in (rng.random(requests) < SHARE).tolist():
            failed = bool(rng.random() < errors[is_canary])
            latency = float(rng.lognormal(math.log(30), 0.4)) * slower[is_canary]
            judge.add(f"{rng.integers(1 << 60)}", None if failed else latency, is_canary=is_canary, failed=failed)
        clock.now += 10
        judge.evaluate()
    return judge.verdict


def test_a_canary_that_fails_more_than_its_champion_is_convicted():
    verdict = serve(*trial(), 20, errors=(0.01, 0.2))
    assert verdict.state == "breach"
    (errors,) = [each for each in verdict.measures if each.verdict == "breach"]
    assert errors.measure == "errors"
    assert errors.canary_bad / errors.canary > 0.1 > errors.champion_bad / errors.champion
    assert verdict.reasons == (str(errors),)


def test_what_both_do_convicts_nobody_and_is_an_alarm_of_the_endpoint():
    verdict = serve(*trial(), 60, errors=(0.05, 0.05), slower=(2.0, 2.0))
    assert verdict.state == "undecided"
    assert [alarm.bound for alarm in verdict.alarms] == ["p95_ms > 80", "errors > 1%"]


def test_without_a_champion_the_bounds_decide():
    clock = Clock()
    judge = Judge(BOTH, clock=clock)
    assert serve(judge, clock, 5, errors=(0.05, 0.05)).state == "breach"
    clock = Clock()
    verdict = serve(Judge(BOTH, clock=clock), clock, 20, errors=(0.001, 0.001), slower=(0.5, 0.5))
    assert (verdict.state, verdict.measures, verdict.false_per_hour) == ("ok", (), 0.0)


def test_only_what_the_rule_names_is_guarded():
    verdict = serve(*trial(parse_bounds("p95_ms > 80")), 20, errors=(0.01, 0.2))
    assert (verdict.state, [each.is_guarded for each in verdict.measures]) == ("undecided", [False, True])
    assert serve(*trial(None), 20, errors=(0.01, 0.2)).state == "undecided"


def test_a_canary_that_is_as_good_is_shown_to_be_after_enough_requests():
    judge, clock = trial()
    few = serve(judge, clock, 3)
    assert few.state == "undecided"
    assert 100 < few.measures[0].more < 2000
    assert "are needed" in few.reasons[0]
    assert serve(judge, clock, 60).state == "ok"


def test_latency_convicts_once_blocks_agree():
    judge, clock = trial()
    assert serve(judge, clock, 120).state != "breach"
    verdict = serve(judge, clock, 60, slower=(1.0, 1.5))
    assert (verdict.state, verdict.measures[1].verdict) == ("breach", "breach")
    assert "slower than" in verdict.reasons[0]


def test_latencies_are_compared_once_the_champion_has_answered_enough():
    judge, clock = trial(counts=Counts())
    assert "not compared yet" in serve(judge, clock, 1).reasons[1]
    for _ in range(200):
        judge._champion.add(30.0, 1, False)
    assert serve(judge, clock, 2).measures[1].p95_ms == pytest.approx(30, rel=0.1)


def test_a_key_counts_once_between_two_looks():
    judge, clock = trial()
    for _ in range(50):
        judge.add("one", None, is_canary=True, failed=True)
        judge.add("other", 1.0, is_canary=False, failed=False)
    clock.now += 60
    errors = judge.evaluate().measures[0]
    assert (errors.canary, errors.champion) == (1, 1)


def test_a_request_that_hangs_is_an_error_and_its_answer_none():
    judge, _ = trial()
    hanging, waiting = judge.begin("a", is_canary=True), judge.begin("b", is_canary=True)
    hanging.started -= DEADLINE_S + 1
    judge.evaluate()
    assert (judge.requests, judge.unanswered, list(judge.open)) == (1, 1, [waiting])
    hanging.end(40_000.0, failed=False)
    waiting.end(5.0, failed=False)
    assert (judge.requests, judge.unanswered, judge.open) == (2, 1, {})


DESIRED = DesiredState("a", "b", SHARE, "s", BOTH, 1)


def kept(judge):
    """What the record keeps, as it is read again."""
    return msgspec.json.decode(msgspec.json.encode(judge.to_record(DESIRED.judged)), type=RuleCounts)


def test_a_restart_goes_on_where_it_was():
    judge, clock = trial()
    before = serve(judge, clock, 12, errors=(0.01, 0.06))
    again = Judge.of(DESIRED, champion(), kept(judge))
    for now, then in zip(again.verdict.measures, before.measures, strict=True):
        assert (now.canary_bad, now.canary, now.champion) == (then.canary_bad, then.canary, then.champion)
        assert now.evidence == pytest.approx(then.evidence, rel=1e-3)
        assert now.p95_ms == pytest.approx(then.p95_ms, rel=1e-3) if then.p95_ms else True
    assert (again.requests, again.unanswered) == (judge.requests, judge.unanswered)
    assert [bound.total for bound in again.verdict.bounds] == [bound.total for bound in before.bounds]


@pytest.mark.parametrize("change", [{"share": 0.5}, {"champion": "c"}, {"rollback_if": parse_bounds("errors > 1%")}])
def test_another_share_champion_or_rule_begins_anew_and_that_counts(change):
    judge, clock = trial()
    serve(judge, clock, 12, errors=(0.01, 0.2))
    again = Judge.of(msgspec.structs.replace(DESIRED, **change), champion(), kept(judge))
    assert (again.verdict.state, again.requests, again.trials) == ("undecided", 0, 2)
    assert again.verdict.false_at_start > judge.verdict.false_at_start / 2


def test_another_salt_deals_keys_anew_and_is_another_canary():
    judge, _ = trial()
    assert Judge.of(msgspec.structs.replace(DESIRED, salt="t"), champion(), kept(judge)).trials == 1


def test_the_bound_on_false_rollbacks_is_stated():
    judge, _ = trial()
    assert judge.verdict.false_per_hour == pytest.approx(0.01)
    assert Judge.of(msgspec.structs.replace(DESIRED, canary=None), None, None) is None


@pytest.mark.parametrize("before", [0.2, 5.0])
@pytest.mark.parametrize(("slower", "state"), [(1.0, "ok"), (1.6, "breach")])
def test_a_champion_whose_load_was_another_one_before_is_compared_by_how_fast_it_is_now(before, slower, state):
    known = Counts()
    for latency in np.random.default_rng(1).lognormal(math.log(30 * before), 0.4, 3000):
        known.add(float(latency), 1, False)
    judge, clock = trial(counts=known)
    for seed in range(150):  # how both wander apart is known after a quarter of an hour
        verdict = serve(judge, clock, 1, slower=(1.0, slower), requests=400, seed=seed)
        if verdict.state == "breach":
            break
    assert verdict.state == state
    if state == "ok":
        p95_ms = next(each.p95_ms for each in verdict.measures if each.measure == "latency")
        assert p95_ms == pytest.approx(30 * math.exp(0.4 * 1.645), rel=0.1)


def test_what_a_version_did_as_a_shadow_says_nothing_of_how_fast_it_answers():
    known = champion()
    for _ in range(5000):
        known.as_shadow.add(900.0, 1, False)
    judge, clock = trial(counts=known)
    latency = serve(judge, clock, 1).measures[1]
    assert latency.p95_ms < 100


# ---- keys that ask again and again ----


def customers(judge, clock, looks, keys, share, *, fails=(), slow=None, requests=50, seed=5, salt="s"):
    """Customers' traffic: each key is dealt once, and what its rows do is its own, whichever version answers."""
    rng = np.random.default_rng(seed)
    names = [f"customer-{at}" for at in range(keys)]
    on_canary = [key_position(salt, name) < share for name in names]
    slow = np.ones(keys) if slow is None else slow
    for _ in range(looks):
        for at in rng.integers(keys, size=requests).tolist():
            failed = at in fails
            latency = None if failed else float(rng.lognormal(math.log(30), 0.3)) * slow[at]
            judge.add(names[at], latency, is_canary=on_canary[at], failed=failed)
        clock.now += 10
        judge.evaluate()
        if judge.verdict.state == "breach":
            break
    return judge.verdict, on_canary


def test_few_requests_of_a_key_that_always_fails_roll_nothing_back():
    salt = next(f"s{at}" for at in range(99) if key_position(f"s{at}", "customer-0") < 0.3)
    clock = Clock()
    judge = Judge(BOTH, share=0.3, salt=salt, champion=champion(), clock=clock)
    verdict, _ = customers(judge, clock, 24 * 60, 20, 0.3, fails={0}, requests=1, salt=salt)
    (errors,) = [each for each in verdict.measures if each.measure == "errors"]
    assert (errors.verdict, errors.canary_bad > 20, errors.champion_bad) == ("undecided", True, 0)
    assert errors.evidence < errors.limit
    assert str(errors).endswith("not decided, what is bad comes from one key, whose rows may be the reason")


@pytest.mark.parametrize("seed", [1, 12])
def test_a_few_slow_customers_roll_a_healthy_canary_back_no_more(seed):
    """Of 20 such trials, in these two one was, within half an hour."""
    clock, salt = Clock(), f"salt{seed}"
    slow = np.random.default_rng(seed).lognormal(0, 0.5, 20)
    judge = Judge(BOTH, share=SHARE, salt=salt, champion=champion(), clock=clock)
    verdict, _ = customers(judge, clock, 200, 20, SHARE, slow=slow, seed=seed, salt=salt)
    assert verdict.state != "breach"


def test_a_canary_that_fails_for_all_its_customers_is_convicted():
    clock, salt = Clock(), "s0"
    judge = Judge(BOTH, share=SHARE, salt=salt, champion=champion(), clock=clock)
    on_canary = {at for at in range(40) if key_position(salt, f"customer-{at}") < SHARE}
    verdict, _ = customers(judge, clock, 60, 40, SHARE, fails=on_canary, salt=salt)
    assert (verdict.state, len(on_canary)) == ("breach", 7)


def test_from_which_keys_failures_came_is_kept_over_a_restart():
    judge, clock = trial()
    serve(judge, clock, 3, errors=(0.0, 0.02))
    again, clock_again = trial()
    again.restore(msgspec.json.decode(msgspec.json.encode(judge.to_record(("d",))), type=RuleCounts))
    for measure, bad in judge._bad.items():
        assert [each.since(0.0) for each in again._bad[measure]] == [each.since(0.0) for each in bad]
    clock_again.now = clock.now
    assert serve(again, clock_again, 20, errors=(0.0, 0.2)).state == "breach"


def test_a_slow_canary_whose_champion_has_no_hour_behind_it_names_the_minutes_that_lack():
    verdict = serve(*trial(), 3, slower=(1.0, 3.0))
    (latency,) = [each for each in verdict.measures if each.measure == "latency"]
    assert (latency.verdict, latency.more, latency.minutes) == ("undecided", None, 15.5)
    assert str(latency).endswith("not decided, at least 16 more minutes show how much latencies vary by themselves")
