"""The process that turns pictures into poses (``python -m app.pipeline_process``)."""

from __future__ import annotations

import logging
import time

from app.bus import Publisher, Subscriber
from app.clock import now_ns
from app.config import AppConfig
from app.failed_processes import FailedProcesses
from app.frame_receiver import FrameReceiver, FrameSet
from app.messages import Evidence, Joints2D, Pose, Previews
from app.network_loading import load_networks
from app.pose_messages import evidence_message, joints2d_message, pose_message, previews_message
from app.pose_pipeline import PosePipeline
from app.pose_result import PipelineResult
from app.process import ProcessContext, run_process
from app.process_table import looks_for_cameras
from app.rig_updates import RigUpdates
from app.run_messages import Command, PipelineStatus
from app.run_statistics import RunStatistics
from app.topics import Topic
from engines.front_ends.base import FrontEnd
from engines.lifter import Lifter
from engines.rig.rig_file import rig_from_json

_LOG = logging.getLogger("pipeline")
_STATUS_NS = 500_000_000
_PREVIEW_NS = 66_000_000
_LINGER_S = 0.4


def _context_words(pipeline: PosePipeline, front_end: FrontEnd, lifter: Lifter) -> str:
    """What becomes of the lifter's image stream, for the line at the start; empty without one."""
    if pipeline.reads_context:
        return ", with image context"
    if not lifter.context_channels:
        return ""
    if not front_end.context_channels:
        return f", image context masked ({front_end.name} gives none)"
    return ", image context masked (it was trained with another 2D pose network)"


class _Outputs:
    """The topics that the pipeline publishes."""

    def __init__(self, context: ProcessContext) -> None:
        run_dir = context.run_dir
        self.poses = Publisher[Pose](run_dir, Topic.POSES)
        self.joints2d = Publisher[Joints2D](run_dir, Topic.JOINTS2D)
        self.evidence = Publisher[Evidence](run_dir, Topic.EVIDENCE)
        self.previews = Publisher[Previews](run_dir, Topic.PREVIEWS)
        self.status = Publisher[PipelineStatus](run_dir, Topic.PIPELINE_STATUS)

    def close(self) -> None:
        time.sleep(_LINGER_S)  # what was sent last is still on its way
        for publisher in (
            self.poses,
            self.joints2d,
            self.evidence,
            self.previews,
            self.status,
        ):
            publisher.close()


def main(context: ProcessContext) -> None:
    """Runs until it is stopped or every camera has ended."""
    config = context.spec.config
    names = [camera.id for camera in config.cameras]
    front_end, lifter = load_networks(config)
    _LOG.info("front end: %s", front_end.description)
    _LOG.info("lifter: %s", lifter.description)
    pipeline = PosePipeline(config, front_end, lifter)
    statistics = RunStatistics(names)
    outputs = _Outputs(context)
    commands = Subscriber[Command](context.run_dir, Topic.COMMANDS, ("viewer",))
    finding = looks_for_cameras(context.spec)
    rigs = RigUpdates(context.run_dir, lockstep=finding and config.lossless)
    failed = FailedProcesses(context.run_dir)
    receiver = FrameReceiver(context.run_dir, names, config.synchronizer, lossless=config.lossless)
    context.ready(
        f"front end {front_end.description}; lifter {lifter.description}"
        f"{_context_words(pipeline, front_end, lifter)}"
    )

    def say_status(*, final: bool) -> None:
        outputs.status.send(
            statistics.status(
                receiver.counters,
                now_ns(),
                front_end.description,
                lifter.card.name,
                lifter.description.partition(" on ")[2],
                final=final,
            )
        )

    next_status = next_preview = 0
    while not context.stop.is_set():
        context.turned()
        frames = receiver.next_set(timeout_s=0.1)
        for received in commands.drain():
            _obey(pipeline, received.message)
        _take_rig(pipeline, rigs)
        given_up = failed.names()
        for name in names:  # those are not waited for at the end of a run
            if f"camera.{name}" in given_up:
                receiver.give_up(name)
        if frames is not None:
            taken_ns = now_ns()
            show = taken_ns >= next_preview
            if show:
                next_preview = taken_ns + _PREVIEW_NS
            result = _process(frames, pipeline, outputs, statistics, names, config, show=show)
            if finding:
                evidence = evidence_message(frames, result)
                outputs.evidence.send(evidence)
                rigs.wait_for(evidence, outputs.evidence, context, lambda: "rig" in failed.names())
        elif receiver.exhausted:
            break
        if now_ns() >= next_status:
            next_status = now_ns() + _STATUS_NS
            say_status(final=False)
    say_status(final=True)
    context.finished()
    outputs.close()
    commands.close()
    rigs.close()
    failed.close()
    receiver.close()
    front_end.close()


def _process(
    frames: FrameSet,
    pipeline: PosePipeline,
    outputs: _Outputs,
    statistics: RunStatistics,
    names: list[str],
    config: AppConfig,
    *,
    show: bool,
) -> PipelineResult:
    newest_ns = max(f.arrived_ns for f in frames.frames if f is not None)
    statistics.add_stage("wait", (now_ns() - newest_ns) * 1e-6)
    result = pipeline.process(frames)
    now = now_ns()
    pose = pose_message(frames, result, names, now)
    outputs.poses.send(pose)
    joints2d = joints2d_message(frames, result)
    outputs.joints2d.send(joints2d)
    for stage in result.stages:
        statistics.add_stage(stage.stage, stage.milliseconds)
    statistics.add_set(frames, now, pose.latency_ms, valid=pose.valid)
    if show:
        began = time.perf_counter()
        message, payload = previews_message(frames, joints2d, config.viewer.preview_width)
        outputs.previews.send(message, payload)
        statistics.add_stage("previews", (time.perf_counter() - began) * 1000)
    return result


def _take_rig(pipeline: PosePipeline, rigs: RigUpdates) -> None:
    update = rigs.newest()
    if update is None or update.version == pipeline.rig_version:
        return  # it is repeated every second: read it once
    rig = rig_from_json(update.rig.encode(), "rig") if update.rig else None
    pipeline.set_rig(update.version, update.world, rig)


def _obey(pipeline: PosePipeline, command: Command) -> None:
    if command.action == "level":
        pipeline.set_level()
    elif command.action == "front":
        pipeline.set_front()
    elif command.action == "recalibrate":
        pipeline.forget_cameras()


if __name__ == "__main__":
    run_process(main)
