"""GStreamer's C library through ctypes: its functions and structures, loaded when first asked for.

Not OpenCV's CAP_GSTREAMER: that waits without a limit when opening and reading (with 4.6 a camera that hung was noticed
after 26 s), does not say what went wrong, and wheels from PyPI lack it. So it does not matter which OpenCV there is.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_ulong, c_void_p
from functools import lru_cache
from typing import Any

from ..errors import SourceError

__all__ = [
    "GError",
    "Library",
    "MapInfo",
    "MiniObject",
    "PipelineError",
    "Probe",
    "ProbeInfo",
    "has_element",
    "library",
    "taken",
]


class PipelineError(SourceError):
    """What GStreamer said; it may hold a password."""


class GError(ctypes.Structure):
    """What went wrong, in GLib's words."""

    _fields_ = (("domain", c_uint32), ("code", c_int), ("message", c_char_p))


class MapInfo(ctypes.Structure):
    """Where a buffer's bytes lie: GstMapInfo."""

    _fields_ = (
        *(("memory", c_void_p), ("flags", c_int), ("data", c_void_p), ("size", c_size_t), ("maxsize", c_size_t)),
        ("reserved", c_void_p * 8),
    )


class MiniObject(ctypes.Structure):
    """The head of a GstBuffer, which says what kind of buffer it is."""

    _fields_ = (("type", c_size_t), ("references", c_int), ("lock_state", c_int), ("flags", c_uint32))


class ProbeInfo(ctypes.Structure):
    """What a probe is shown: the head of GstPadProbeInfo."""

    _fields_ = (("type", c_int), ("id", c_ulong), ("buffer", POINTER(MiniObject)))


Probe = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(ProbeInfo), c_void_p)


def has_element(name: str) -> bool:
    """Whether GStreamer is here and has a plug-in with the element *name*."""
    try:
        gst = library()
    except PipelineError:
        return False
    factory = gst.gst_element_factory_find(name.encode())
    if factory:
        gst.gst_object_unref(factory)
    return bool(factory)


@lru_cache(maxsize=None)
def library() -> Library:
    """GStreamer, ready for use.

    :raises PipelineError: it is not installed, or does not start.
    """
    try:
        gst = Library()
    except OSError as error:
        raise PipelineError(
            f"GStreamer is not installed ({error}); sudo apt install libgstreamer1.0-0 "
            "libgstreamer-plugins-base1.0-0 gstreamer1.0-plugins-good"
        ) from error
    failure = POINTER(GError)()
    if not gst.gst_init_check(None, None, byref(failure)):
        raise PipelineError(f"GStreamer does not start: {taken(gst, failure)}")
    return gst


def taken(gst: Library, error: Any) -> str:
    """The text of a GError, which is freed."""
    message: str = error.contents.message.decode("utf-8", "replace")
    gst.g_error_free(error)
    return message


class Library:
    """The functions, declared: ctypes would cut pointers to 32 bits."""

    def __init__(self) -> None:
        """:raises OSError: it is not installed."""
        glib, gobject = ctypes.CDLL("libglib-2.0.so.0"), ctypes.CDLL("libgobject-2.0.so.0")
        core, app = ctypes.CDLL("libgstreamer-1.0.so.0"), ctypes.CDLL("libgstapp-1.0.so.0")
        pointer = c_void_p
        self.g_free = _declared(glib.g_free, None, pointer)
        self.g_error_free = _declared(glib.g_error_free, None, POINTER(GError))
        self.g_object_set = _declared(gobject.g_object_set, None, pointer, c_char_p, c_char_p, pointer)
        self.gst_init_check = _declared(core.gst_init_check, c_int, pointer, pointer, pointer)
        self.gst_parse_launch = _declared(core.gst_parse_launch, pointer, c_char_p, pointer)
        self.gst_element_factory_find = _declared(core.gst_element_factory_find, pointer, c_char_p)
        self.gst_bin_get_by_name = _declared(core.gst_bin_get_by_name, pointer, pointer, c_char_p)
        self.gst_element_get_bus = _declared(core.gst_element_get_bus, pointer, pointer)
        self.gst_element_get_static_pad = _declared(core.gst_element_get_static_pad, pointer, pointer, c_char_p)
        self.gst_pad_add_probe = _declared(core.gst_pad_add_probe, c_ulong, pointer, c_int, Probe, pointer, pointer)
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
        self.gst_app_sink_get_max_buffers = _declared(app.gst_app_sink_get_max_buffers, c_uint32, pointer)
        self.gst_app_sink_set_max_buffers = _declared(app.gst_app_sink_set_max_buffers, None, pointer, c_uint32)
        self.gst_app_sink_set_drop = _declared(app.gst_app_sink_set_drop, None, pointer, c_int)
        self.gst_app_sink_is_eos = _declared(app.gst_app_sink_is_eos, c_int, pointer)
        self.gst_app_sink_try_pull_sample = _declared(app.gst_app_sink_try_pull_sample, pointer, pointer, c_uint64)


def _declared(function: Any, result: Any, *arguments: Any) -> Any:
    function.restype, function.argtypes = result, arguments
    return function
