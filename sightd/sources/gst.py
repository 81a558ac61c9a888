"""GStreamer's C library through ctypes: the few calls that turn a pipeline's text into pictures.

Not OpenCV's CAP_GSTREAMER: that waits without a limit when opening and reading (with 4.6 a camera that hung was noticed
after 26 s), does not say what went wrong, and wheels from PyPI lack it. So it does not matter which OpenCV there is.
"""

from __future__ import annotations

import ctypes
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_ulong, c_void_p
from functools import lru_cache
from typing import Any, Optional, Tuple

import numpy as np

from ..errors import SourceError
from ..types import Image

__all__ = ["Pipeline", "PipelineError", "has_element"]

_PLAYING, _NULL = 4, 1  # GstState
_STATE_CHANGE_FAILURE = 0
_MESSAGE_ERROR = 1 << 1
_MAP_READ = 1
_PROBE_BUFFER, _PROBE_DROP, _PROBE_REMOVE = 1 << 4, 0, 2
_DELTA_UNIT = 1 << 13
#: How long a wait for a picture may last before the pipeline is asked whether it failed, in seconds.
_SLICE_S = 0.1
_CAPS = b"video/x-raw,format=BGR"


class PipelineError(SourceError):
    """What GStreamer said; it may hold a password."""


class _Error(ctypes.Structure):
    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


class _Map(ctypes.Structure):
    _fields_ = (
        *(("memory", c_void_p), ("flags", c_int), ("data", c_void_p), ("size", c_size_t), ("maxsize", c_size_t)),
        ("reserved", c_void_p * 8),
    )


class _MiniObject(ctypes.Structure):
    """The head of a GstBuffer."""

    _fields_ = (("type", c_size_t), ("references", c_int), ("lock_state", c_int), ("flags", c_uint32))


class _ProbeInfo(ctypes.Structure):
    _fields_ = (("type", c_int), ("id", c_ulong), ("buffer", POINTER(_MiniObject)))


_Probe = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_ProbeInfo), c_void_p)


class Pipeline:
    """A pipeline that plays into an appsink; one thread starts, pulls and stops it.

    :param text: as for gst-launch-1.0.
    :param sink: the name of its appsink, which gets BGR.
    :raises PipelineError: GStreamer is missing or does not understand *text*.
    """

    def __init__(self, text: str, sink: str) -> None:
        self._gst = gst = _library()
        error = POINTER(_Error)()
        self._pipeline: Optional[int] = gst.gst_parse_launch(text.encode(), byref(error))
        try:
            if error:
                raise PipelineError(_taken(gst, error))
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

        self._look = _Probe(look)  # GStreamer does not keep it alive
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
            left_s = ends_at - time.monotonic()
            wait_ns = int(max(0.0, min(left_s, _SLICE_S)) * 1e9)
            self._sample = self._gst.gst_app_sink_try_pull_sample(self._sink, wait_ns)
            if self._sample:
                return True
            failure = self._failure()
            if failure:
                raise PipelineError(failure)
            if self._gst.gst_app_sink_is_eos(self._sink):
                raise PipelineError("the stream has ended")
            if left_s <= 0:
                return False

    def picture(self) -> Image:
        """The picture pulled last, [H, W, 3] uint8 BGR, as an array of its own.

        :raises PipelineError: there is none, or it is not what its caps say.
        """
        if not self._sample:
            raise PipelineError("no picture was pulled")
        width, height = self._size(self._sample)
        buffer, mapped = self._gst.gst_sample_get_buffer(self._sample), _Map()
        if not self._gst.gst_buffer_map(buffer, byref(mapped), _MAP_READ):
            raise PipelineError("a picture can't be read")
        try:
            # The layout that GStreamer agrees on with a sink that does not know others, as appsink.
            stride = (3 * width + 3) // 4 * 4
            if not height or mapped.size < stride * height:
                raise PipelineError(f"a picture of {width} x {height} has {mapped.size} bytes")
            data = ctypes.cast(mapped.data, POINTER(ctypes.c_uint8))
            rows = np.ctypeslib.as_array(data, (height, stride))
            return np.array(rows[:, : 3 * width]).reshape(height, width, 3)
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
        """The first error that an element posted, "" without one."""
        message = self._gst.gst_bus_pop_filtered(self._bus, _MESSAGE_ERROR)
        if not message:
            return ""
        error, details = POINTER(_Error)(), c_void_p()
        self._gst.gst_message_parse_error(message, byref(error), byref(details))
        said = _taken(self._gst, error)
        more = ctypes.cast(details, c_char_p).value or b""
        self._gst.g_free(details)
        self._gst.gst_mini_object_unref(message)
        # "element.c(12): function (): /GstPipeline:pipeline0/...:\nwhat it is": the last line says most.
        last = more.decode("utf-8", "replace").strip().rpartition("\n")[2]
        return f"{said} ({last})" if last and last != said else said


def has_element(name: str) -> bool:
    """Whether GStreamer is here and has a plug-in with the element *name*."""
    try:
        gst = _library()
    except PipelineError:
        return False
    factory = gst.gst_element_factory_find(name.encode())
    if factory:
        gst.gst_object_unref(factory)
    return bool(factory)


def _taken(gst: _Library, error: Any) -> str:
    """The text of a GError, which is freed."""
    message: str = error.contents.message.decode("utf-8", "replace")
    gst.g_error_free(error)
    return message


class _Library:
    """The functions, declared: ctypes would cut pointers to 32 bits."""

    def __init__(self) -> None:
        """:raises OSError: it is not installed."""
        glib, gobject = ctypes.CDLL("libglib-2.0.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
        core, app = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgstapp-1.0.so.0")
        pointer = c_void_p
        self.g_free = _declared(glib.g_free, None, pointer)
        self.g_error_free = _declared(glib.g_error_free, None, POINTER(_Error))
        self.g_object_set = _declared(gobject.g_object_set, None, pointer, c_char_p, c_char_p, pointer)
        self.gst_init_check = _declared(core.gst_init_check, c_int, pointer, pointer, pointer)
        self.gst_parse_launch = _declared(core.gst_parse_launch, pointer, c_char_p, pointer)
        self.gst_element_factory_find = _declared(core.gst_element_factory_find, pointer, c_char_p)
        self.gst_bin_get_by_name = _declared(core.gst_bin_get_by_name, pointer, pointer, c_char_p)
        self.gst_element_get_bus = _declared(core.gst_element_get_bus, pointer, pointer)
        self.gst_element_get_static_pad = _declared(core.gst_element_get_static_pad, pointer, pointer, c_char_p)
        self.gst_pad_add_probe = _declared(core.gst_pad_add_probe, c_ulong, pointer, c_int, _Probe, pointer, pointer)
        self.gst_element_set_state = _declared(core.gst_element_set_state, c_int, pointer, c_int)
        self.gst_bus_pop_filtered = _declared(core.gst_bus_pop_filtered, pointer, pointer, c_int)
        self.gst_message_parse_error = _declared(core.gst_message_parse_error, None, pointer, pointer, pointer)
        self.gst_object_unref = _declared(core.gst_object_unref, None, pointer)
        self.gst_mini_object_unref = _declared(core.gst_mini_object_unref, None, pointer)
        self.gst_caps_from_string = _declared(core.gst_caps_from_string, pointer, c_char_p)
        self.gst_caps_get_structure = _declared(core.gst_caps_get_structure, pointer, pointer, c_uint32)
        self.gst_structure_get_int = _declared(core.gst_structure_get_int, c_int, pointer, c_char_p, pointer)
        self.gst_sample_get_buffer = _declared(core.gst_sample_get_buffer, pointer, pointer)
        self.gst_sample_get_caps = _declared(core.gst_sample_get_caps, pointer, pointer)
        self.gst_buffer_map = _declared(core.gst_buffer_map, c_int, pointer, pointer, c_int)
        self.gst_buffer_unmap = _declared(core.gst_buffer_unmap, None, pointer, pointer)
        self.gst_app_sink_set_caps = _declared(app.gst_app_sink_set_caps, None, pointer, pointer)
        self.gst_app_sink_is_eos = _declared(app.gst_app_sink_is_eos, c_int, pointer)
        self.gst_app_sink_try_pull_sample = _declared(app.gst_app_sink_try_pull_sample, pointer, pointer, c_uint64)


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function


@lru_cache(maxsize=None)
def _library() -> _Library:
    """GStreamer, ready for use.

    :raises PipelineError: it is not installed, or does not start.
    """
    try:
        gst = _Library()
    except OSError as error:
        raise PipelineError(
            f"GStreamer is not installed ({error}); sudo apt install libgstreamer1.0-0 "
            "libgstreamer-plugins-base1.0-0 gstreamer1.0-plugins-good"
        ) from error
    failure = POINTER(_Error)()
    if not gst.gst_init_check(None, None, byref(failure)):
        raise PipelineError(f"GStreamer does not start: {_taken(gst, failure)}")
    return gst
