"""MP4 and WebM: a few key frames, spread over the whole; sound is never decoded."""

from __future__ import annotations

import importlib
import io
import pkgutil

import av
import av.error
from av.codec.context import ThreadType
from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from adapters.decoding.child import pictures
from adapters.decoding.child.wire import Job, Made, Refusal

# One demuxer each, named by content: playlists, network and file protocols are out of reach.
FORMATS = {"MP4": "mov", "WEBM": "matroska"}
CODECS = frozenset({"h264", "hevc", "vp8", "vp9", "av1", "libdav1d", "mpeg4"})
MAX_PACKETS = 200_000
MAX_KEY_FRAMES = 5_000
MAX_TRIES = 200  # packets fed for one frame
ERRORS = (av.error.FFmpegError, *pictures.ERRORS)


def warm() -> None:
    pictures.warm()
    for module in pkgutil.walk_packages(av.__path__, "av."):  # it imports most when first met
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode())
    read(Job("MP4", out.getvalue(), 8, 1))


def read(job: Job) -> Made:
    with av.open(io.BytesIO(job.data), format=FORMATS[job.kind], mode="r") as container:
        if not container.streams.video:
            raise Refusal("audio" if container.streams.audio else "damaged")
        stream = container.streams.video[0]
        context = stream.codec_context
        pictures.check_size(context.width, context.height)
        if context.name not in CODECS:
            raise Refusal("unknown", kind=f"{job.kind} ({context.name[:20]})")
        context.thread_type, context.thread_count = ThreadType.NONE, 1
        context.options = {"max_pixels": str(pictures.MAX_PIXELS)}
        keys = _keys(container, stream)
        shown = [
            _picture(frame, job.max_side)
            for at in pictures.spread(len(keys), job.frames)
            if (frame := _frame(container, stream, keys[at])) is not None
        ]
    if not shown:
        raise Refusal("damaged")
    return Made(job.kind, pictures=shown, total=len(keys), read=len(shown))


def _keys(container: InputContainer, stream: VideoStream) -> list[int]:
    """The times of the key frames, by a walk over packets; nothing is decoded."""
    keys: list[int] = []
    for count, packet in enumerate(container.demux(stream)):
        if count >= MAX_PACKETS or len(keys) >= MAX_KEY_FRAMES:
            break
        if packet.is_keyframe and packet.pts is not None:
            keys.append(packet.pts)
    if not keys:
        raise Refusal("damaged")
    return sorted(keys)


def _frame(container: InputContainer, stream: VideoStream, pts: int) -> av.VideoFrame | None:
    container.seek(pts, stream=stream, backward=True)
    for count, packet in enumerate(container.demux(stream)):
        if count >= MAX_TRIES:
            return None
        for frame in stream.codec_context.decode(packet):
            return frame
    return None


def _picture(frame: av.VideoFrame, max_side: int) -> pictures.Encoded:
    pictures.check_size(frame.width, frame.height)
    scale = min(1.0, max_side / max(frame.width, frame.height))
    width, height = max(1, int(frame.width * scale)), max(1, int(frame.height * scale))
    # One thread: no other can be started in here.
    small = frame.reformat(width=width, height=height, format="rgb24", threads=1)
    image: Image.Image = small.to_image()  # type: ignore[no-untyped-call]
    return pictures.encoded(image, max_side, lossless=False)
