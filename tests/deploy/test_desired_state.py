"""What a request changes: pure functions on an endpoint's record."""

import pytest
from msgspec.structs import replace

from aiinfra_lab.deploy import desired_state
from aiinfra_lab.deploy.desired_state import ServeRequest
from aiinfra_lab.deploy.record import EndpointSpan, Rollback, VersionCounts
from aiinfra_lab.errors import Conflict, UsageProblem
from aiinfra_lab.stats.bounds import parse_bounds

ONE, TWO, THREE = (f"models:delay@{version}" for version in (1, 2, 3))
RULE = parse_bounds("errors > 1%")
LOST = Rollback(TWO, "errors > 1 %", 0.0, "rule")


def live(model=ONE, **changes):
    body, _ = desired_state.fresh(None, ServeRequest(model))
    return replace(body, versions={model: VersionCounts()}, **changes)


def test_a_first_version_is_the_champion():
    body, note = desired_state.fresh(None, ServeRequest(ONE))
    assert (body.champion, body.canary, body.generation) == (ONE, None, 1)
    assert "all traffic" in note


def test_a_first_canary_has_no_champion_beside_it_and_the_note_says_so():
    body, note = desired_state.fresh(None, ServeRequest(ONE, 0.05))
    assert (body.champion, body.canary, body.share, body.desired.canary_share) == (None, ONE, 0.05, 1.0)
    assert note == desired_state.NO_CHAMPION


def test_a_swap_remembers_the_champion_before():
    body, _ = desired_state.updated(live(), ServeRequest(TWO))
    assert (body.champion, body.earlier) == (TWO, (ONE,))


def test_a_step_up_keeps_the_salt_and_another_canary_does_not():
    small, _ = desired_state.updated(live(), ServeRequest(TWO, 0.05))
    large, _ = desired_state.updated(small, ServeRequest(TWO, 0.2))
    other, _ = desired_state.updated(large, ServeRequest(THREE, 0.2))
    assert small.salt == large.salt != other.salt
    assert [body.generation for body in (small, large, other)] == [2, 3, 4]


@pytest.mark.parametrize("request_", [ServeRequest(ONE), ServeRequest(TWO, 0.1, RULE)])
def test_the_same_request_twice_changes_nothing_the_second_time(request_):
    once, _ = desired_state.updated(live(), request_)
    twice, _ = desired_state.updated(once, request_)
    assert twice == once


def test_the_champion_needs_no_canary():
    body, note = desired_state.updated(live(), ServeRequest(ONE, 0.1, RULE))
    assert body.canary is None
    assert "already" in note


def test_promote_makes_the_canary_champion():
    body = desired_state.promoted(live(canary=TWO, share=0.1, rollback_if=RULE), "late")
    assert (body.champion, body.canary, body.earlier, body.rollback_if) == (TWO, None, (ONE,), None)


def test_promote_of_what_has_all_traffic_already_changes_nothing():
    body = live()
    assert desired_state.promoted(body, "late") is body


def test_promote_of_what_was_rolled_back_is_refused_until_a_version_is_started_again():
    with pytest.raises(Conflict, match=f"{TWO} was rolled back by rule: errors > 1 %(?s:.*)start late --model {TWO} "):
        desired_state.promoted(live(rolled_back=LOST), "late")
    again, _ = desired_state.updated(live(rolled_back=LOST), ServeRequest(ONE, 0.1))
    assert desired_state.promoted(again, "late").champion == ONE


def test_promote_without_anything_to_promote_is_refused():
    with pytest.raises(Conflict, match="no canary to promote"):
        desired_state.promoted(live(champion=None), "late")


def test_rollback_takes_the_canary_off_first_and_then_goes_back():
    swapped, _ = desired_state.updated(live(), ServeRequest(TWO))
    once, lost, _ = desired_state.rolled_back(replace(swapped, canary=THREE, share=0.1), "late")
    assert (once.champion, once.canary, lost) == (TWO, None, THREE)
    twice, lost, _ = desired_state.rolled_back(once, "late")
    assert (twice.champion, twice.earlier, lost) == (ONE, (), TWO)
    with pytest.raises(Conflict) as problem:
        desired_state.rolled_back(twice, "start another")
    assert (problem.value.fix, desired_state.can_go_back(twice), desired_state.can_go_back(once)) == (
        "start another", False, True,
    )  # fmt: skip


def test_what_cannot_be_served_is_followed_by_what_was_served_before():
    before = live()
    wanted, _ = desired_state.updated(before, ServeRequest(TWO))
    body = desired_state.back_to(wanted, before.desired, "no file")
    assert (body.champion, body.earlier, body.generation) == (ONE, (), 3)
    assert (body.problem, body.problem_generation) == ("no file", 2)


def test_a_restart_remembers_the_champion_that_served():
    body, _ = desired_state.fresh(live(generation=4, count=3), ServeRequest(TWO, 0.1))
    assert (body.champion, body.canary, body.generation) == (ONE, TWO, 5)
    assert (body.count, body.versions) == (0, {})


def test_a_restart_remembers_what_the_starts_before_it_took_and_did():
    versions = {ONE: VersionCounts(busy_ms=3.0)}
    first = replace(live(started_at=10.0, ended_at=20.0, job="a", count=5), versions=versions)
    second = replace(desired_state.fresh(first, ServeRequest(ONE))[0], started_at=30.0, job="b", count=7)
    third, _ = desired_state.fresh(second, ServeRequest(ONE))
    assert third.earlier_spans == (EndpointSpan(10.0, 20.0, "a", 5, 3.0), EndpointSpan(30.0, None, "b", 7, 0.0))


@pytest.mark.parametrize("lost", [{"champion": THREE}, {"champion": THREE, "versions": {}, "problem_generation": 1}])
def test_a_restart_does_not_go_back_to_a_champion_that_never_served(lost):
    body, _ = desired_state.fresh(replace(live(earlier=(ONE,)), **lost), ServeRequest(TWO, 0.1))
    assert body.champion == ONE


@pytest.mark.parametrize(("canary", "rule", "fix"), [(0.0, None, "5%"), (None, RULE, "add --canary")])
def test_a_request_that_makes_no_sense_is_refused(canary, rule, fix):
    with pytest.raises(UsageProblem) as problem:
        ServeRequest(ONE, canary, rule)
    assert fix in problem.value.fix


def canary_of_steps(**given):
    body = live(champion=ONE)
    return desired_state.updated(body, ServeRequest(TWO, 0.05, None, (0.05, 0.25, 1.0), 3600.0))[0]


def test_a_canary_goes_up_its_steps_and_takes_all_in_the_end():
    first = canary_of_steps()
    assert (first.share, first.steps, first.bake_s) == (0.05, (0.25, 1.0), 3600.0)
    second = desired_state.stepped(first)
    assert (second.share, second.steps, second.salt) == (0.25, (1.0,), first.salt)
    assert second.step_at >= first.step_at > 0
    last = desired_state.stepped(second)
    assert (last.champion, last.canary, last.steps, last.earlier) == (TWO, None, (), (ONE,))
    assert last.generation == first.generation + 2


def test_a_canary_that_is_started_again_without_steps_stays_where_it_is():
    first = canary_of_steps()
    paused, _ = desired_state.updated(first, ServeRequest(TWO, 0.05))
    assert (paused.share, paused.steps, paused.salt) == (0.05, (), first.salt)
    assert desired_state.updated(first, ServeRequest(TWO, 0.05, None, (0.25, 1.0), 3600.0))[0] is first


@pytest.mark.parametrize(("canary", "steps"), [(None, (0.05,)), (0.05, (0.25, 0.05)), (0.05, (0.25, 0.25))])
def test_steps_that_make_no_sense_are_refused(canary, steps):
    with pytest.raises(UsageProblem, match="--steps"):
        ServeRequest(TWO, canary, None, steps)


# ---- candidates and a shadow ----


def arms(body):
    return [(arm.role, arm.model, round(arm.share, 9)) for arm in body.desired.arms]


def test_a_candidate_takes_its_share_from_the_champion():
    body, note = desired_state.updated(live(), ServeRequest(TWO, candidate=0.3))
    assert arms(body) == [("champion", ONE, 0.7), ("candidate", TWO, 0.3)]
    assert note == f"{TWO} gets 30 % of the keys"
    again, _ = desired_state.updated(body, ServeRequest(TWO, candidate=0.3))
    assert again == body
    gone, _ = desired_state.updated(body, ServeRequest(TWO, candidate=0))
    assert arms(gone) == [("champion", ONE, 1.0)]


def test_a_canary_beside_a_candidate_is_compared_by_their_common_keys():
    body, _ = desired_state.updated(live(), ServeRequest(TWO, candidate=0.5))
    with_canary, _ = desired_state.updated(body, ServeRequest(THREE, 0.1))
    assert arms(with_canary) == [("champion", ONE, 0.4), ("canary", THREE, 0.1), ("candidate", TWO, 0.5)]
    assert with_canary.desired.compared_share == pytest.approx(0.2)
    assert with_canary.salt == body.salt  # the candidate's keys stay where they are


def test_another_candidate_begins_no_new_salt_and_the_canary_another_trial():
    canary, _ = desired_state.updated(live(), ServeRequest(TWO, 0.1))
    both, _ = desired_state.updated(canary, ServeRequest(THREE, candidate=0.5))
    assert both.salt == canary.salt
    assert both.desired.judged != canary.desired.judged


def test_a_version_has_one_role():
    candidate, _ = desired_state.updated(live(), ServeRequest(TWO, candidate=0.3))
    shadowed, _ = desired_state.updated(candidate, ServeRequest(ONE, shadow=TWO))
    assert arms(shadowed) == [("champion", ONE, 1.0), ("shadow", TWO, 1.0)]
    promoted, _ = desired_state.updated(shadowed, ServeRequest(TWO))
    assert arms(promoted) == [("champion", TWO, 1.0)]
    back, *_ = desired_state.rolled_back(desired_state.updated(promoted, ServeRequest(ONE, shadow=""))[0], "")
    assert arms(back) == [("champion", TWO, 1.0)]


def test_going_back_to_a_version_that_was_a_candidate_meanwhile_ends_its_trial():
    body, _ = desired_state.updated(live(), ServeRequest(TWO))
    body, _ = desired_state.updated(body, ServeRequest(ONE, candidate=0.2))
    back, *_ = desired_state.rolled_back(body, "")
    assert arms(back) == [("champion", ONE, 1.0)]


def test_a_shadow_comes_with_a_canary_stays_and_goes():
    body, note = desired_state.updated(live(), ServeRequest(TWO, 0.1, shadow=THREE))
    assert arms(body)[-1] == ("shadow", THREE, 1.0)
    assert f"{THREE} shadows it" in note
    kept, _ = desired_state.updated(body, ServeRequest(TWO, 0.2))
    assert (arms(kept)[-1], kept.generation) == (("shadow", THREE, 1.0), body.generation + 1)
    gone, note = desired_state.updated(kept, ServeRequest(TWO, 0.2, shadow=""))
    assert (len(arms(gone)), gone.generation) == (2, kept.generation + 1)
    assert "nobody shadows" in note


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (ServeRequest(ONE, candidate=0.2), "compared with a champion"),
        (ServeRequest(TWO, candidate=0.2), "is the canary"),
        (ServeRequest(THREE, candidate=0.9), "leave the champion"),
        (ServeRequest(THREE, candidate=0), "is no candidate"),
        (ServeRequest(TWO, 0.2, shadow=ONE), "answers requests itself"),
    ],
)
def test_what_no_endpoint_can_serve_is_refused(request_, what):
    body = live(canary=TWO, share=0.1, salt="s")
    with pytest.raises(UsageProblem, match=what):
        desired_state.updated(body, request_)


def test_a_step_that_would_leave_the_champion_nothing_is_refused_before_it_begins():
    body, _ = desired_state.updated(live(), ServeRequest(TWO, candidate=0.5))
    with pytest.raises(UsageProblem, match="up to 50 %"):
        desired_state.updated(body, ServeRequest(THREE, 0.05, None, (0.5, 1.0), 1.0))


@pytest.mark.parametrize(
    "given", [{"canary": 0.1, "candidate": 0.1}, {"candidate": 1.0}, {"shadow": TWO}, {"canary": 0}]
)
def test_a_request_that_contradicts_itself_is_refused(given):
    with pytest.raises(UsageProblem):
        ServeRequest(TWO, **given)


def test_a_canary_pauses_when_it_is_started_again_without_steps():
    canary, _ = desired_state.updated(live(), ServeRequest(TWO, 0.05, None, (0.25, 1.0), 1.0))
    paused, _ = desired_state.updated(canary, ServeRequest(TWO, 0.05))
    assert (paused.steps, paused.desired.judged) == ((), canary.desired.judged)  # what was counted still counts
