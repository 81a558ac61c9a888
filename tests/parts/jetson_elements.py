"""Parses pipelines with stand-ins for a Jetson's elements; run by the system's Python, which has GStreamer's bindings.

Each line of stdin is a pipeline; for each a line is printed: OK, or what GStreamer says against it. The stand-ins have
the properties and the kinds of memory of the real ones, so names, values and links are checked. Nothing is opened.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import GLib, GObject, Gst  # noqa: E402  (after require_version)

CPU = "video/x-raw,format={NV12,I420,BGRx,RGBA,GRAY8}"
NVMM = "video/x-raw(memory:NVMM),format={NV12,I420,RGBA}"
ELEMENTS = {
    "nvarguscamerasrc": ("", NVMM, {"sensor-id": (int, 0, 255), "sensor-mode": (int, -1, 255)}),
    "nvv4l2decoder": ("video/x-h264;video/x-h265", NVMM, {}),
    "nvvidconv": (f"{NVMM};{CPU}", f"{NVMM};{CPU}", {"flip-method": (int, 0, 7)}),
}


def template(name, direction, caps):
    return Gst.PadTemplate.new(name, direction, Gst.PadPresence.ALWAYS, Gst.Caps.from_string(caps))


def stand_in(name, sink, source, properties):
    templates = [template("src", Gst.PadDirection.SRC, source)]
    if sink:
        templates.append(template("sink", Gst.PadDirection.SINK, sink))

    def init(self):
        Gst.Element.__init__(self)
        for each in templates:
            self.add_pad(Gst.Pad.new_from_template(each, each.name_template))

    body = {
        "__init__": init,
        "__gproperties__": {
            key: (kind, key, key, low, high, max(low, 0), GObject.ParamFlags.READWRITE)
            for key, (kind, low, high) in properties.items()
        },
        "do_set_property": lambda self, prop, value: None,
    }
    element = type(name, (Gst.Element,), body)
    element.set_metadata(name, "Test", "stands in for a Jetson's", "sightd")
    for each in templates:
        element.add_pad_template(each)
    return element


def main():
    Gst.init(None)
    for name, spec in ELEMENTS.items():
        Gst.Element.register(None, name, Gst.Rank.NONE, stand_in(name, *spec))
    for line in sys.stdin:
        try:
            Gst.parse_launch(line.strip())
        except GLib.Error as error:
            print(error.message)  # noqa: T201
        else:
            print("OK")  # noqa: T201


main()
