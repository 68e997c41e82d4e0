"""What is where in a recording: the names that writer, reader and Foxglove share."""

from __future__ import annotations

from typing import Final

from app.topics import Topic

PROFILE: Final = ""
LIBRARY: Final = "dsvt-live"
FORMAT_VERSION: Final = 1

CHANNEL_PREFIX: Final = "/dsvt/"
SCENE_CHANNEL: Final = "/dsvt/scene"

METADATA_RECORDING: Final = "dsvt.recording"
"""``format``, ``version`` of the software, ``started`` (ISO 8601)."""
METADATA_CLOCK: Final = "dsvt.clock"
"""``monotonic_ns``, ``wall_ns`` (one instant on both clocks), ``epoch_ns`` of the run."""
METADATA_RUN: Final = "dsvt.run"
"""``spec``: the RunSpec as JSON."""
METADATA_SKELETON: Final = "dsvt.skeleton"
"""``joints``: names; ``bones``: pairs of indices; both JSON."""


def channel_name(topic: Topic) -> str:
    """The channel of a topic."""
    return CHANNEL_PREFIX + topic.value


RECORDED_TOPICS: Final = tuple(topic for topic in Topic if topic.info.recorded)
TOPIC_OF_CHANNEL: Final = {channel_name(topic): topic for topic in RECORDED_TOPICS}
