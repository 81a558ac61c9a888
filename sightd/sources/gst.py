"""A GStreamer pipeline, from its text to its pictures: started, pulled from and stopped by one thread."""

from __future__ import annotations

import ctypes
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_void_p
from typing import Any, Optional, Tuple

import numpy as np

from ..types import Image
from .gst_library import GError, MapInfo, PipelineError, Probe, library, taken

__all__ = ["Pipeline"]

_PLAYING, _NULL = 4, 1  # GstState
_STATE_CHANGE_FAILURE = 0
_MESSAGE_ERROR = 1 << 1
_MAP_READ = 1
_PROBE_BUFFER, _PROBE_DROP, _PROBE_REMOVE = 1 << 4, 0, 2
_DELTA_UNIT = 1 << 13
#: How long a wait for a picture may last before the pipeline is asked whether it failed, in seconds.
_SLICE_S = 0.1
_CAPS = b"video/x-raw,format=BGR"


class Pipeline:
    """A pipeline that plays into an appsink; one thread starts, pulls and stops it.

    :param text: as for gst-launch-1.0.
    :param sink: the name of its appsink, which gets BGR. One without a bound of its own keeps the newest picture only.
    :raises PipelineError: GStreamer is missing or does not understand *text*.
    """

    def __init__(self, text: str, sink: str) -> None:
        self._gst = gst = library()
        error = POINTER(GError)()
        self._pipeline: Optional[int] = gst.gst_parse_launch(text.encode(), byref(error))
        try:
            if error:
                raise PipelineError(taken(gst, error))
            self._sink = gst.gst_bin_get_by_name(self._pipeline, sink.encode())
            if not self._sink:
                raise PipelineError(f"there is no appsink named {sink}")
        except PipelineError:
            self._drop()
            raise
        self._bus = gst.gst_element_get_bus(self._pipeline)
        caps = gst.gst_caps_from_string(_CAPS)
        gst.gst_app_sink_set_caps(self._sink, caps)
        gst.gst_mini_object_unref(caps)
        if not gst.gst_app_sink_get_max_buffers(self._sink):  # 2 GB piled up in 3 s
            gst.gst_app_sink_set_max_buffers(self._sink, 1)
            gst.gst_app_sink_set_drop(self._sink, True)
        self._sample: Optional[int] = None

    def set(self, element: str, name: str, value: str) -> None:
        """Set a text property of a named element: what must not stand in the pipeline's text."""
        found = self._gst.gst_bin_get_by_name(self._pipeline, element.encode())
        self._gst.g_object_set(found, name.encode(), c_char_p(value.encode()), None)
        self._gst.gst_object_unref(found)

    def skip_to_key_frame(self, element: str, patience_s: float) -> None:
        """Let nothing through a named element before the first key frame, or before *patience_s* have passed.

        A decoder that gets the pictures between two key frames first, gives out grey ones until the next.
        """
        ends_at = time.monotonic() + patience_s

        def look(_pad: int, info: Any, _data: int) -> int:  # on a thread of GStreamer's
            is_delta = info.contents.buffer.contents.flags & _DELTA_UNIT
            return _PROBE_DROP if is_delta and time.monotonic() < ends_at else _PROBE_REMOVE

        self._look = Probe(look)  # GStreamer does not keep it alive
        found = self._gst.gst_bin_get_by_name(self._pipeline, element.encode())
        pad = self._gst.gst_element_get_static_pad(found, b"sink")
        self._gst.gst_pad_add_probe(pad, _PROBE_BUFFER, self._look, None, None)
        self._gst.gst_object_unref(pad)
        self._gst.gst_object_unref(found)

    def start(self) -> None:
        """:raises PipelineError: an element refuses, because its device is missing for example."""
        if self._gst.gst_element_set_state(self._pipeline, _PLAYING) == _STATE_CHANGE_FAILURE:
            raise PipelineError(self._failure() or "it does not start, and does not say why")

    def pull(self, timeout_s: float) -> bool:
        """Wait for the next picture; False: none came in time.

        :raises PipelineError: the pipeline failed, or has come to its end.
        """
        self._forget()
        ends_at = time.monotonic() + timeout_s
        while True:
            failure = self._failure()
            if failure:
                raise PipelineError(failure)
            left_s = ends_at - time.monotonic()
            wait_ns = int(max(0.0, min(left_s, _SLICE_S)) * 1e9)
            self._sample = self._gst.gst_app_sink_try_pull_sample(self._sink, wait_ns)
            if self._sample:
                return True
            if self._gst.gst_app_sink_is_eos(self._sink):
                raise PipelineError(self._failure() or "the stream has ended")
            if left_s <= 0:
                return False

    def picture(self, into: Optional[Image] = None) -> Image:
        """The picture pulled last, [H, W, 3] uint8 BGR: *into*, filled, where its size fits, else a new array.

        :raises PipelineError: there is none, or it is not what its caps say.
        """
        if not self._sample:
            raise PipelineError("no picture was pulled")
        width, height = self._size(self._sample)
        buffer, mapped = self._gst.gst_sample_get_buffer(self._sample), MapInfo()
        if not self._gst.gst_buffer_map(buffer, byref(mapped), _MAP_READ):
            raise PipelineError("a picture can't be read")
        try:
            # The layout that GStreamer agrees on with a sink that does not know others, as appsink.
            stride = (3 * width + 3) // 4 * 4
            if not height or mapped.size < stride * height:
                raise PipelineError(f"a picture of {width} x {height} has {mapped.size} bytes")
            data = ctypes.cast(mapped.data, POINTER(ctypes.c_uint8))
            rows = np.ctypeslib.as_array(data, (height, stride))
            if into is None or into.shape != (height, width, 3):
                into = np.empty((height, width, 3), np.uint8)
            into.reshape(height, 3 * width)[:] = rows[:, : 3 * width]
            return into
        finally:
            self._gst.gst_buffer_unmap(buffer, byref(mapped))

    def stop(self) -> None:
        """Let go of everything; not to be used after it."""
        if self._pipeline is None:
            return
        self._forget()
        self._gst.gst_element_set_state(self._pipeline, _NULL)
        self._gst.gst_object_unref(self._bus)
        self._gst.gst_object_unref(self._sink)
        self._drop()

    def _forget(self) -> None:
        if self._sample:
            self._gst.gst_mini_object_unref(self._sample)
        self._sample = None

    def _drop(self) -> None:
        if self._pipeline:
            self._gst.gst_object_unref(self._pipeline)
        self._pipeline = None

    def _size(self, sample: int) -> Tuple[int, int]:
        structure = self._gst.gst_caps_get_structure(self._gst.gst_sample_get_caps(sample), 0)
        width, height = c_int(), c_int()
        self._gst.gst_structure_get_int(structure, b"width", byref(width))
        self._gst.gst_structure_get_int(structure, b"height", byref(height))
        return width.value, height.value

    def _failure(self) -> str:
        """The first error that an element posted, "" without one; all else that was posted is thrown away."""
        message = self._gst.gst_bus_pop_filtered(self._bus, _MESSAGE_ERROR)
        if not message:
            return ""
        error, details = POINTER(GError)(), c_void_p()
        self._gst.gst_message_parse_error(message, byref(error), byref(details))
        said = taken(self._gst, error)
        more = ctypes.cast(details, c_char_p).value or b""
        self._gst.g_free(details)
        self._gst.gst_mini_object_unref(message)
        # "element.c(12): function (): /GstPipeline:pipeline0/...:\nwhat it is": the last line says most.
        last = more.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"{said} ({last})" if last and last != said else said
