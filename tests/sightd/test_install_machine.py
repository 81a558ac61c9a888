from __future__ import annotations

import os
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sightd.errors import SightdError
from sightd.install.layout import Layout
from sightd.install.machine import Machine, probe_machine
from tests.parts.installation import layout_in


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for folder in ("dev/dri", "etc", "usr/sbin"):
        (tmp_path / folder).mkdir(parents=True)
    return layout_in(tmp_path)


def probe(layout: Layout) -> Machine:
    return probe_machine(layout, Path(sys.executable))


def test_an_empty_machine(layout: Layout) -> None:
    found = probe(layout)
    assert found.python.path == Path(sys.executable)
    assert found.python.version == sys.version_info[:3]
    assert found.user
    assert (found.service, found.cuda, found.gpu_nodes, found.video_nodes, found.argus) == (
        None,
        None,
        (),
        False,
        False,
    )
    assert found.nameservers == ()


def test_an_account_that_is_missing(layout: Layout) -> None:
    assert not probe(replace(layout, service="no-such-user:no-such-group")).user


def test_what_a_jetson_has(layout: Layout) -> None:
    root = layout.root
    (root / "usr/sbin/nvargus-daemon").touch()
    (root / "dev/video0").touch()
    (root / "usr/local/cuda/include").mkdir(parents=True)
    (root / "usr/local/cuda/include/cuda.h").touch()
    found = probe(layout)
    assert (found.argus, found.video_nodes, found.cuda) == (True, True, root / "usr/local/cuda")


def test_device_nodes_are_found_and_folders_and_links_are_not(layout: Layout) -> None:
    dev = layout.root / "dev"
    (dev / "nvidia-caps").mkdir()
    (dev / "nvgpu/igpu0").mkdir(parents=True)
    try:
        for name in ("nvidia0", "nvmap", "nvgpu/igpu0/as", "dri/renderD128", "dri/card0", "sda"):
            os.mknod(dev / name, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("device nodes are made by root")
    (dev / "nvidia-link").symlink_to("nvidia0")
    assert probe(layout).gpu_nodes == ("/dev/dri/renderD128", "/dev/nvgpu/igpu0/as", "/dev/nvidia0", "/dev/nvmap")


def test_nameservers(layout: Layout) -> None:
    (layout.root / "etc/resolv.conf").write_text(
        "# nameserver 192.0.2.1\nsearch lan\nnameserver 9.9.9.9\nnameserver fe80::1%eth0\nnameserver\nnameserver x\n",
        "utf-8",
    )
    assert probe(layout).nameservers == ("9.9.9.9", "fe80::1%eth0")


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (None, "no Python that runs"),
        ("#!/bin/sh\nexit 1\n", "no Python that runs"),
        ("#!/bin/sh\necho hello\n", "no Python that runs"),
        ('#!/bin/sh\necho \'{"version": [3, 7, 5], "venv": true}\'\n', "needs 3.8"),
        ('#!/bin/sh\necho \'{"version": [3, 9, 5], "venv": false}\'\n', "python3-venv"),
    ],
)
def test_an_interpreter_that_will_not_do(program: str, message: str, layout: Layout) -> None:
    path = layout.root / "python3"
    if program:
        path.write_text(program, "utf-8")
        path.chmod(0o755)
    with pytest.raises(SightdError, match=message):
        probe_machine(layout, path)
