"""Whom a track starts with, keeps and changes over to."""

from __future__ import annotations

import numpy as np

from engines.front_ends.tracking import Candidate, PersonTrack, TrackSettings, overlap

HEIGHT, WIDTH = 480, 640
SETTINGS = TrackSettings(
    keep_without_picture=3, check_every=20, check_every_unsure=5, takeover_checks=2
)


def person(x: float, height: float, name: str = "", score: float = 0.9) -> Candidate[str]:
    """Somebody who stands on y = 460 and is half as wide as tall."""
    box = np.array([x - height / 4, 460 - height, x + height / 4, 460], np.float32)
    return Candidate(name, box, score)


def follow(track: PersonTrack[str], who: Candidate[str], pictures: int = 1) -> None:
    for _ in range(pictures):
        track.follow(who.region, who.box, 0.8)


def test_the_larger_person_is_followed_even_at_a_lower_score() -> None:
    near, far = person(300, 400, "near", 0.7), person(350, 150, "far", 0.98)
    track = PersonTrack[str](SETTINGS)
    assert track.start([far, near], HEIGHT, WIDTH) is near
    assert track.region == "near"


def test_of_two_equals_the_one_in_the_middle_is_followed() -> None:
    middle, side = person(320, 300, "middle"), person(60, 300, "side")
    track = PersonTrack[str](SETTINGS)
    track.start([side, middle], HEIGHT, WIDTH)
    assert track.region == "middle"


def test_nobody_found_means_lost() -> None:
    track = PersonTrack[str](SETTINGS)
    assert track.start([], HEIGHT, WIDTH) is None
    assert track.region is None


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    track = PersonTrack[str](SETTINGS)
    track.start([person(320, 300, "me")], HEIGHT, WIDTH)
    for _ in range(3):
        track.skip()
    assert track.region == "me"
    follow(track, person(320, 300, "me"))
    for _ in range(4):
        track.skip()
    assert track.region is None


def test_sure_tracks_are_checked_seldom_and_unsure_ones_often() -> None:
    track = PersonTrack[str](SETTINGS)
    track.start([person(320, 300)], HEIGHT, WIDTH)
    follow(track, person(320, 300), 19)
    assert not track.wants_check()
    follow(track, person(320, 300))
    assert track.wants_check()
    track.check([person(320, 300)], HEIGHT, WIDTH)
    assert not track.wants_check()
    for _ in range(5):
        track.follow("", person(320, 300).box, 0.1)
    assert track.wants_check()


def test_a_track_that_stays_unsure_is_checked_less_once_it_is_known() -> None:
    """Who sits at a desk is unsure for good; only what speaks against them makes it urgent."""
    me, other = person(320, 300, "me"), person(100, 100, "other", 0.3)
    track = PersonTrack[str](SETTINGS)
    track.start([me], HEIGHT, WIDTH)

    def pictures_until_checked() -> int:
        for count in range(1, 100):
            track.follow("me", me.box, 0.4)
            if track.wants_check():
                return count
        return 0

    assert pictures_until_checked() == 5
    track.check([me], HEIGHT, WIDTH)
    assert pictures_until_checked() == 5
    track.check([me], HEIGHT, WIDTH)
    assert pictures_until_checked() == 10
    track.check([me], HEIGHT, WIDTH)
    assert pictures_until_checked() == 10
    track.check([other], HEIGHT, WIDTH)
    assert track.region == "me"
    assert pictures_until_checked() == 5


def test_a_passer_by_does_not_take_the_track() -> None:
    me = person(320, 300, "me")
    track = PersonTrack[str](SETTINGS)
    track.start([me], HEIGHT, WIDTH)
    for _ in range(20):
        follow(track, me)
        track.check([me, person(100, 400, "passer-by")], HEIGHT, WIDTH)
    assert track.region == "me"


def test_somebody_far_more_prominent_takes_the_track_when_checks_agree() -> None:
    bystander, user = person(500, 120, "bystander"), person(320, 420, "user")
    track = PersonTrack[str](SETTINGS)
    track.start([bystander], HEIGHT, WIDTH)
    track.check([bystander, user], HEIGHT, WIDTH)
    assert track.region == "bystander"
    follow(track, bystander, 5)
    assert track.wants_check()
    track.check([bystander, user], HEIGHT, WIDTH)
    assert track.region == "user"


def test_a_track_on_nobody_moves_to_the_person_found() -> None:
    nobody, user = person(80, 300, "curtain"), person(400, 300, "user")
    track = PersonTrack[str](SETTINGS)
    track.start([nobody], HEIGHT, WIDTH)
    track.check([user], HEIGHT, WIDTH)
    assert track.region == "curtain"
    follow(track, nobody, 5)
    assert track.wants_check()
    track.check([user], HEIGHT, WIDTH)
    assert track.region == "user"


def test_who_crouches_is_not_left_for_a_faint_passer_by() -> None:
    me, passer_by = person(320, 300, "me"), person(80, 150, "passer-by", 0.35)
    track = PersonTrack[str](SETTINGS)
    track.start([me], HEIGHT, WIDTH)
    for _ in range(10):
        follow(track, me, 5)
        track.check([passer_by], HEIGHT, WIDTH, faint=[person(330, 280, "me?", 0.2)])
    assert track.region == "me"
    for _ in range(2):  # but for somebody else where nothing is found at all
        follow(track, me, 5)
        track.check([passer_by], HEIGHT, WIDTH)
    assert track.region == "passer-by"


def test_whom_the_other_views_see_is_followed_however_small() -> None:
    large, small = person(200, 400, "large"), person(520, 150, "small")
    track = PersonTrack[str](SETTINGS)
    track.expect(small.box)
    assert track.start([large, small], HEIGHT, WIDTH) is small
    track.expect(np.array([0, 0, 20, 40], np.float32))  # nobody is there
    assert track.start([large, small], HEIGHT, WIDTH) is large


def test_a_track_on_somebody_else_changes_over_soon() -> None:
    large, small = person(200, 400, "large"), person(520, 150, "small")
    track = PersonTrack[str](SETTINGS)
    track.start([large], HEIGHT, WIDTH)
    follow(track, large, SETTINGS.check_every_unsure)
    assert not track.wants_check()
    track.expect(small.box)
    assert track.wants_check()
    track.check([large, small], HEIGHT, WIDTH)
    assert track.region == "large"
    follow(track, large, SETTINGS.check_every_unsure)
    track.check([large, small], HEIGHT, WIDTH)
    assert track.region == "small"


def test_a_generous_box_and_a_tight_one_are_the_same_person() -> None:
    """As BlazePose's squares are, which reach far beyond the person."""
    tight = person(300, 300, "me")
    x0, y0, x1, y1 = tight.box
    side = 1.25 * (y1 - y0)
    middle = np.array([x0 + x1, y0 + y1]) / 2
    square = Candidate("me", np.concatenate([middle - side / 2, middle + side / 2]), 0.9)
    near = person(300 + 200, 300, "near")
    track = PersonTrack[str](SETTINGS)
    track.expect(tight.box)
    assert track.start([near, square], HEIGHT, WIDTH) is square
    follow(track, square, SETTINGS.check_every_unsure)
    assert not track.wants_check()
    for _ in range(3):
        track.check([square, near], HEIGHT, WIDTH)
    assert track.region == "me"


def test_who_stands_where_the_other_views_see_them_is_kept() -> None:
    large, small = person(200, 400, "large"), person(520, 150, "small")
    track = PersonTrack[str](SETTINGS)
    track.start([small], HEIGHT, WIDTH)
    for _ in range(5):
        track.expect(small.box)
        follow(track, small, 5)
        track.check([large, small], HEIGHT, WIDTH)
    assert track.region == "small"


def test_a_detector_that_finds_nobody_does_not_end_a_track() -> None:
    me = person(320, 300, "me")
    track = PersonTrack[str](SETTINGS)
    track.start([me], HEIGHT, WIDTH)
    for _ in range(10):
        follow(track, me)
        track.check([], HEIGHT, WIDTH)
    assert track.region == "me"


def test_an_unsure_track_ends_when_the_detector_finds_nobody() -> None:
    ghost = person(320, 300, "ghost")
    track = PersonTrack[str](SETTINGS)
    track.start([ghost], HEIGHT, WIDTH)
    for _ in range(2):
        track.follow(ghost.region, ghost.box, 0.2)
        assert track.region == "ghost"
        track.check([], HEIGHT, WIDTH)
    assert track.region is None


def test_checks_of_views_are_spread_out() -> None:
    tracks = [PersonTrack[str](SETTINGS, phase=view * 5) for view in range(4)]
    for track in tracks:
        track.start([person(320, 300)], HEIGHT, WIDTH)
    together = []
    for _ in range(60):
        wanting = [track for track in tracks if track.wants_check()]
        together.append(len(wanting))
        for track in wanting:
            track.check([person(320, 300)], HEIGHT, WIDTH)
        for track in tracks:
            follow(track, person(320, 300))
    assert max(together) == 1
    assert sum(together) >= 8


def test_overlap() -> None:
    one = np.array([0, 0, 10, 10], np.float32)
    assert overlap(one, one) == 1.0
    assert overlap(one, one + 20) == 0.0
    assert abs(overlap(one, np.array([5, 0, 15, 10], np.float32)) - 1 / 3) < 1e-6
