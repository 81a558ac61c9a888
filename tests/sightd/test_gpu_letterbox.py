"""The GPU's letterbox against OpenCV's: the kernel's own source, compiled for this processor, on a fake GPU."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from typing import Callable, Iterator, Optional, Tuple
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightd.engines import gpu_letterbox
from sightd.engines.cuda import Cuda, Stream
from sightd.engines.gpu_letterbox import GpuLetterbox, letterbox_kernel
from sightd.engines.letterbox_taps import sampling
from sightd.engines.picture_input import PictureInput
from sightd.errors import EngineError
from sightd.resize import placement, resize_into
from sightd.types import RESIZES, InputSpec
from tests.parts import fake_tensorrt
from tests.parts.fake_cuda import FakeGpu
from tests.parts.host_kernel import host_kernels

SPEC = InputSpec(64, 48)
#: OpenCV has a faster INTER_LINEAR for some ARM processors, up to 2 levels off its own elsewhere (5.0 with KleidiCV).
TOLERANCE = 0 if platform.machine() == "x86_64" else 2
SIZES = [
    (1, 2),
    (2, 1),
    (5000, 3),
    (3, 5000),
    (416, 416),  # as it is
    (832, 832),  # 2:1, an average of four in OpenCV
    (832, 416),
    (415, 417),
    (333, 777),
    (97, 31),
    (1080, 1920),
    (1920, 1080),
    (3840, 2160),
]


@pytest.fixture(params=["discrete", "integrated", pytest.param("real", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Optional[FakeGpu]:
    """The fake behind ``cuda``; None: it is a real one."""
    if request.param == "real":
        return None
    fake = fake_tensorrt.install(monkeypatch, integrated=request.param == "integrated")
    fake.kernels.update(host_kernels())
    monkeypatch.setattr(gpu_letterbox, "compile_kernels", lambda source, sm, cuda: b"\x7fELF" + source.encode())
    return fake


@pytest.fixture
def cuda(gpu: Optional[FakeGpu]) -> Iterator[Cuda]:
    with Cuda() as opened:
        yield opened
    if gpu is not None:
        assert gpu.alive() == {}


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(width * 10007 + height).integers(0, 256, (height, width, 3), np.uint8)


def by_cpu(spec: InputSpec, image: np.ndarray) -> np.ndarray:
    buffer = np.empty((spec.height, spec.width, 3), np.uint8)
    resize_into(buffer, image, spec)
    return buffer


def by_gpu(cuda: Cuda, spec: InputSpec, *images: np.ndarray, dtype: str = "uint8") -> np.ndarray:
    with cuda.stream() as stream, cuda.mirror((len(images), spec.height, spec.width, 3), dtype) as pictures:
        with _letterbox(cuda, stream, spec, pictures.address, len(images), dtype) as letterbox:
            for index, image in enumerate(images):
                assert letterbox.put(index, image) == placement(spec, image.shape[1], image.shape[0])
            pictures.download(stream)
            stream.synchronize()
        return pictures.array.copy()


@contextmanager
def _letterbox(
    cuda: Cuda, stream: Stream, spec: InputSpec, pictures: int, capacity: int, dtype: str = "uint8"
) -> Iterator[GpuLetterbox]:
    with letterbox_kernel(cuda, spec, dtype) as kernel, GpuLetterbox(
        cuda, kernel, stream, spec, pictures=pictures, dtype=dtype, capacity=capacity
    ) as letterbox:
        yield letterbox


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", SIZES)
def test_gives_what_opencv_gives(cuda: Cuda, resize: str, size: Tuple[int, int]) -> None:
    spec, image = InputSpec(416, 320 if resize == "stretch" else 416, resize=resize, pad_value=7), noise(*size)
    assert difference(by_gpu(cuda, spec, image)[0], by_cpu(spec, image)) <= TOLERANCE


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    source=st.tuples(st.integers(1, 300), st.integers(1, 300)).filter(lambda size: size != (1, 1)),
    target=st.tuples(st.integers(1, 130), st.integers(1, 130)),
    resize=st.sampled_from(RESIZES),
    pad=st.integers(0, 255),
)
def test_gives_what_opencv_gives_at_any_size(
    cuda: Cuda, source: Tuple[int, int], target: Tuple[int, int], resize: str, pad: int
) -> None:
    spec, image = InputSpec(*target, resize=resize, pad_value=pad), noise(*source)
    assert difference(by_gpu(cuda, spec, image)[0], by_cpu(spec, image)) <= TOLERANCE


def test_a_picture_of_one_pixel_fills_its_box_with_it(cuda: Cuda) -> None:
    spec = InputSpec(8, 4, pad_value=9)
    made = by_gpu(cuda, spec, np.full((1, 1, 3), 200, np.uint8))[0]
    assert (made[:, 2:6] == 200).all()
    assert (made[:, :2] == 9).all()
    assert (made[:, 6:] == 9).all()


def test_writes_floats_for_an_input_of_floats(cuda: Cuda) -> None:
    image = noise(200, 100)
    made = by_gpu(cuda, SPEC, image, dtype="float32")[0]
    assert made.dtype == np.float32
    assert difference(made, by_cpu(SPEC, image)) <= TOLERANCE


def test_each_picture_of_a_batch_lands_in_its_place(cuda: Cuda) -> None:
    images = [noise(200, 100), noise(48, 300), noise(64, 48), noise(640, 360)]
    made = by_gpu(cuda, SPEC, *images)
    for index, image in enumerate(images):
        assert difference(made[index], by_cpu(SPEC, image)) <= TOLERANCE


def test_takes_pictures_that_do_not_lie_in_one_piece(cuda: Cuda) -> None:
    image = noise(400, 300)[10:210:2, ::-1]
    made = by_gpu(cuda, SPEC, image)[0]
    assert difference(made, by_cpu(SPEC, np.ascontiguousarray(image))) <= TOLERANCE


@pytest.fixture
def one_place(cuda: Cuda, gpu: Optional[FakeGpu]) -> Iterator[Tuple[GpuLetterbox, Callable[[], np.ndarray]]]:
    """A letterbox for one picture on a slow GPU, and what gives the picture when the stream is done."""
    if gpu is not None:
        gpu.delay_s = 0.01
    with cuda.stream() as stream, cuda.mirror((1, 48, 64, 3), np.uint8) as pictures:

        def result() -> np.ndarray:
            pictures.download(stream)
            stream.synchronize()  # an illegal access would be told here
            return pictures.array[0].copy()

        with _letterbox(cuda, stream, SPEC, pictures.address, 1) as letterbox:
            yield letterbox, result


def test_a_place_taken_again_and_grown_waits_for_the_kernel_that_reads_it(one_place: Tuple) -> None:
    letterbox, result = one_place
    for size in ((50, 50), (100, 80), (640, 360), (30, 20), (640, 480)):
        letterbox.put(0, noise(*size))
    assert difference(result(), by_cpu(SPEC, noise(640, 480))) <= TOLERANCE


def test_the_callers_picture_may_change_once_put_has_returned(one_place: Tuple) -> None:
    letterbox, result = one_place
    image = noise(100, 80)
    letterbox.put(0, image)
    image[:] = 0
    assert difference(result(), by_cpu(SPEC, noise(100, 80))) <= TOLERANCE


def test_out_of_memory_while_growing_leaves_the_place_usable(
    one_place: Tuple, cuda: Cuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    letterbox, result = one_place
    letterbox.put(0, noise(50, 50))
    with monkeypatch.context() as patch:
        patch.setattr(cuda, "mirror", Mock(side_effect=EngineError("out of memory")))
        with pytest.raises(EngineError, match="out of memory"):
            letterbox.put(0, noise(640, 360))
    letterbox.put(0, noise(640, 360))
    assert difference(result(), by_cpu(SPEC, noise(640, 360))) <= TOLERANCE


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_input_holds_the_same_whichever_letterbox_fills_it(cuda: Cuda, dtype: str) -> None:
    with letterbox_kernel(cuda, SPEC, dtype) as kernel, cuda.stream() as stream, PictureInput(
        cuda, stream, SPEC, dtype, 2
    ) as entry:
        entry.add_gpu(kernel)
        for on_gpu in (False, True, False):
            entry.on_gpu = on_gpu
            for index, size in enumerate([(100, 80), (64, 48)]):
                assert entry.put(index, noise(*size)) == placement(SPEC, *size)
            entry.upload(2)
            made = device_content(cuda, stream, entry)
            assert difference(made[0], by_cpu(SPEC, noise(100, 80))) <= TOLERANCE
            assert difference(made[1], noise(64, 48)) == 0


@pytest.mark.parametrize("interpolation", ["area", "nearest"])
def test_refuses_what_the_kernel_does_not_do(cuda: Cuda, interpolation: str) -> None:
    with pytest.raises(EngineError, match=f"interpolates linearly, .*wants '{interpolation}'"):
        letterbox_kernel(cuda, InputSpec(64, 48, interpolation=interpolation), np.uint8)


def test_only_the_rows_that_are_read_travel() -> None:
    sampled = sampling(InputSpec(416, 416), 3840, 2160)
    assert len(sampled.rows) == 2 * 234
    assert sampled.nbytes < 3840 * 2160 * 3 / 4
    whole = sampling(InputSpec(416, 416), 640, 480)
    assert len(whole.rows) == 480


def device_content(cuda: Cuda, stream: Stream, entry: PictureInput) -> np.ndarray:
    """What the GPU's side of *entry* holds; a mirror's download, pointed elsewhere."""
    with cuda.mirror((2, SPEC.height, SPEC.width, 3), entry.dtype) as probe:
        stream.synchronize()
        if cuda.integrated:
            return entry._mirror.array.copy()
        own, probe.address = probe.address, entry.address
        probe.download(stream)
        stream.synchronize()
        probe.address = own
        return probe.array.copy()
