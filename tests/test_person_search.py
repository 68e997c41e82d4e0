"""How often views are searched in which nobody is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engines.backends.base import Array
from engines.backends.torch_backend import TorchBackend
from engines.front_ends.blazepose import models
from engines.front_ends.blazepose.front_end import BlazePoseFrontEnd
from engines.front_ends.tracking import Candidate, PersonTrack, TrackSettings
from engines.front_ends.yolo_cpn.front_end import YoloCpnFrontEnd
from engines.front_ends.yolo_cpn.settings import YoloCpnSettings
from fetched import fetched
from marker_networks import blank_picture, draw_person, marker_detector, marker_pose_network

CLIP = Path(__file__).resolve().parents[1] / "capture" / "clips" / "walk"
SOMEBODY = Candidate("here", np.array([100, 100, 200, 400], np.float32), 0.9)
EVERY = TrackSettings().search_every


class CountingBackend(TorchBackend):
    """Also notes how many pictures each run gets."""

    def __init__(self) -> None:
        super().__init__(marker_detector(), 1)
        self.pictures = 0

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        self.pictures += len(next(iter(inputs.values())))
        return super().run(inputs)


def searched(track: PersonTrack[str], pictures: int, elsewhere: bool) -> list[int]:
    """The pictures in which the track asks for a search; nobody is ever found."""
    at = []
    for picture in range(pictures):
        track.next_picture()
        if track.wants_search(elsewhere):
            track.start([], 480, 640)
            at.append(picture)
    return at


def test_an_empty_view_is_searched_less_and_less_often() -> None:
    assert searched(PersonTrack[str](TrackSettings()), 20, True) == [0, 1, 3, 6, 10, 14, 18]


def test_while_nobody_is_followed_every_picture_is_searched() -> None:
    assert searched(PersonTrack[str](TrackSettings()), 20, False) == list(range(20))


def test_who_was_followed_is_looked_for_at_once() -> None:
    track = PersonTrack[str](TrackSettings())
    searched(track, 20, True)
    track.start([SOMEBODY], 480, 640)
    assert not track.wants_search(False)
    track.follow(SOMEBODY.region, SOMEBODY.box, 0.9)
    track.lose()
    assert track.wants_search(True)  # in the same picture
    track.start([], 480, 640)
    assert searched(track, 10, True) == [0, 2, 5, 9]


def test_somebody_who_turns_out_to_be_nobody_is_no_reason_to_look_again() -> None:
    track = PersonTrack[str](TrackSettings())
    at = []
    for picture in range(20):
        track.next_picture()
        if track.wants_search(True):
            for _ in range(3):  # several are tried in one picture
                track.start([SOMEBODY], 480, 640)
                track.lose()
            at.append(picture)
    assert at == [0, 1, 3, 6, 10, 14, 18]


@given(st.lists(st.sampled_from(["other view", "nobody", "no picture", "found"]), max_size=80))
def test_no_view_waits_longer_than_it_may(events: list[str]) -> None:
    track = PersonTrack[str](TrackSettings())
    unsearched = 0
    for event in events:
        if event == "no picture":
            track.skip()
            continue
        track.next_picture()
        if track.wants_search(event == "other view"):
            unsearched = 0
            track.start([SOMEBODY] if event == "found" else [], 480, 640)
        elif track.region is None:
            unsearched += 1
        if track.region is not None:
            track.follow(SOMEBODY.region, SOMEBODY.box, 0.9)
        assert unsearched < EVERY


def test_empty_views_take_turns_and_whoever_comes_is_found_soon() -> None:
    detector = CountingBackend()
    never = YoloCpnSettings(track=TrackSettings(check_every=10_000))
    front_end = YoloCpnFrontEnd(detector, TorchBackend(marker_pose_network(), 1), 4, never)
    counts = []
    for number in range(30):
        images = [blank_picture(480, 640) for _ in range(4)]
        draw_person(images[0], 200 + 5 * number, 240, 300)
        before = detector.pictures
        found = front_end.process(images)
        counts.append(detector.pictures - before)
        assert [view is not None for view in found] == [True, False, False, False]
    assert counts[0] == 4  # nobody was followed yet
    assert max(counts[1:]) == 1
    assert sum(counts[-3 * EVERY :]) >= 2 * EVERY  # three views, each every fourth set
    seen = []
    for _ in range(EVERY + 1):
        images = [blank_picture(480, 640) for _ in range(4)]
        draw_person(images[0], 350, 240, 300)
        draw_person(images[2], 300, 240, 300)
        seen.append(front_end.process(images)[2] is not None)
    assert any(seen) and seen == sorted(seen)  # and from then on


def test_empty_views_are_all_searched_where_nobody_is() -> None:
    detector = CountingBackend()
    front_end = YoloCpnFrontEnd(detector, TorchBackend(marker_pose_network(), 1), 3)
    for _ in range(5):
        front_end.process([blank_picture(480, 640)] * 3)
    assert detector.pictures == 15


def test_blazepose_searches_empty_views_seldom() -> None:
    for file in models.WEIGHTS:
        fetched(file)
    video = cv2.VideoCapture(str(CLIP / "camera0.mp4"))
    front_end = BlazePoseFrontEnd(2, 1)
    searches = []
    for number in range(12):
        image = np.asarray(video.read()[1], np.uint8)
        somebody, nobody = front_end.process([image, np.full_like(image, 128)])
        assert somebody is not None and nobody is None
        times = {time.stage: time.milliseconds for time in front_end.stage_times()}
        if times["detect"] > 0:
            searches.append(number)
    front_end.close()
    assert searches == [0, 1, 3, 6, 10]
