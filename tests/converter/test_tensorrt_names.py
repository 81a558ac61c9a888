"""Every name of TensorRT's that our code uses is one of the real modules', and so is every name of the fakes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, Tuple

import pytest

from tests.parts import fake_tensorrt_builder, fake_tensorrt_runtime
from tests.parts.fake_cuda import FakeGpu
from tests.parts.fake_tensorrt import assemble
from tests.parts.real_tensorrt import RELEASES, Names, Release, read_names
from tests.parts.tensorrt_uses import Use, uses

pytestmark = [pytest.mark.net, pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("tensorrt names")]

_ROOT = Path(__file__).parents[2]
_OF_TENSORRT = [*_ROOT.glob("sightd/engines/tensorrt*.py"), *_ROOT.glob("converter/builders/tensorrt*.py")]
#: Those that have the module at hand; the others speak of builds and plans only.
_SOURCES = sorted(file for file in _OF_TENSORRT if re.search(r"\b_?trt\.", file.read_text("utf-8")))


@dataclass(frozen=True)
class Guarded:
    """A name that the code uses on some versions only."""

    #: The first version with a use, and the first without one again.
    since: Tuple[int, ...]
    until: Tuple[int, ...]
    #: Where the code looks at the version, or why there is nothing to look at.
    guard: str

    #: On TensorRT-RTX alone.
    rtx: bool = False

    def used_on(self, release: Release) -> bool:
        return self.since <= release.version < self.until and (release.rtx or not self.rtx)


_ALWAYS, _FOR_EVER = (0,), (99,)
_CALIBRATING = Guarded(
    _ALWAYS, (11,), "converter/builders/tensorrt_build.py: a calibrator is ordered where Facts.calibrates"
)
_TYPELESS = Guarded(
    _ALWAYS, (11,), "converter/builders/tensorrt_build.py: Order.typed on 11, whose graph has the types"
)
_TELLING = Guarded((10,), _FOR_EVER, "converter/builders/tensorrt_build.py: hasattr(trt, 'IProgressMonitor')")
_NEWER = Guarded((8, 6), _FOR_EVER, "converter/builders/tensorrt_config.py: _had() refuses the option")
_ELSEWHERE = Guarded(_ALWAYS, _FOR_EVER, "converter/builders/tensorrt_config.py: _had() refuses the option", rtx=True)
_TACTICS = Guarded((8, 6), _FOR_EVER, "converter/builders/tensorrt_config.py: hasattr")

GUARDED: Dict[str, Guarded] = {
    "BuilderFlag.FP16": _TYPELESS,
    "BuilderFlag.INT8": _TYPELESS,
    ".OBEY_PRECISION_CONSTRAINTS": _TYPELESS,
    ".PREFER_PRECISION_CONSTRAINTS": _TYPELESS,
    "ILayer.precision": _TYPELESS,
    "ILayer.set_output_type": _TYPELESS,
    ".EXPLICIT_BATCH": Guarded(_ALWAYS, (10,), "converter/builders/tensorrt_network.py: hasattr"),
    "IBuilderConfig.int8_calibrator": _CALIBRATING,
    "IBuilderConfig.set_calibration_profile": _CALIBRATING,
    "IInt8EntropyCalibrator2": _CALIBRATING,
    "IInt8MinMaxCalibrator": _CALIBRATING,
    "IProgressMonitor": _TELLING,
    "IProgressMonitor.phase_finish": _TELLING,
    "IProgressMonitor.phase_start": _TELLING,
    "IProgressMonitor.step_complete": _TELLING,
    "IBuilderConfig.progress_monitor": _TELLING,
    "IBuilderConfig.builder_optimization_level": _NEWER,
    "IBuilderConfig.hardware_compatibility_level": _NEWER,
    ".AMPERE_PLUS": _NEWER,
    "Runtime.engine_host_code_allowed": _NEWER,
    "MemoryPoolType.TACTIC_DRAM": _TACTICS,
    "ComputeCapability": _ELSEWHERE,
    "IBuilderConfig.num_compute_capabilities": _ELSEWHERE,
    "IBuilderConfig.set_compute_capability": _ELSEWHERE,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Mapping[Release, Names]:
    cache = pytestconfig.cache
    assert cache is not None
    return {release: read_names(release, tmp_path_factory.mktemp(str(release)), cache) for release in RELEASES}


@pytest.fixture(scope="module")
def used() -> List[Use]:
    return [use for file in _SOURCES for use in uses(file)]


def test_the_code_uses_only_names_of_the_real_modules(real: Mapping[Release, Names], used: List[Use]) -> None:
    known = frozenset().union(*(names.anywhere() for names in real.values()))
    assert any(use.path == "Builder" for use in used)
    missing = [
        f"{use.place}: {use.path} is not in TensorRT {release}"
        for release, names in real.items()
        for use in used
        if not _exists(use, names, known) and _must_exist(use, release)
    ]
    assert not missing, "\n".join(missing)


def test_what_may_be_missing_is_somewhere(real: Mapping[Release, Names], used: List[Use]) -> None:
    optional = [use for use in used if use.optional]
    assert optional
    for use in optional:
        assert any(_somewhere(use, names) for names in real.values()), f"{use.place}: no TensorRT has {use.path}"


def test_every_exception_is_needed(real: Mapping[Release, Names], used: List[Use]) -> None:
    known = frozenset().union(*(names.anywhere() for names in real.values()))
    gone = {use.path for names in real.values() for use in used if not _exists(use, names, known)}
    assert set(GUARDED) <= gone
    for path, guarded in GUARDED.items():
        file = guarded.guard.partition(":")[0]
        assert (_ROOT / file).is_file(), f"{path}: {guarded.guard} is no file"


def test_a_wrong_name_is_noticed(real: Mapping[Release, Names], tmp_path: Path) -> None:
    source = tmp_path / "wrong.py"
    source.write_text(
        "def build(trt, config, plan):\n"
        "    builder = trt.Builder(trt.Logger(trt.Logger.WARNNING))\n"
        "    config.set_memory_limit(1)\n"
        "    builder.build_cuda_engine(plan)\n"
        "    trt.Runtime(builder).deserialise(plan)\n"
        "    return plan.get_binding_index\n"
        "class Kept(trt.IInt8EntropyCalibrator2):\n"
        "    def get_batches(self): ...\n"
    )
    names = real[RELEASES[2]]
    known = frozenset().union(*(names.anywhere() for names in real.values()))
    assert {use.path for use in uses(source) if not _exists(use, names, known)} == {
        "Logger.WARNNING",
        "IBuilderConfig.set_memory_limit",
        "Builder.build_cuda_engine",
        "Runtime.deserialise",
        ".get_binding_index",
        "IInt8EntropyCalibrator2.get_batches",
    }


def _somewhere(use: Use, names: Names) -> bool:
    if use.path.startswith("."):
        return use.path[1:] in names.anywhere() | names.module
    return names.has(use.path)


def _must_exist(use: Use, release: Release) -> bool:
    if use.optional:
        return False
    return use.path not in GUARDED or GUARDED[use.path].used_on(release)


def _exists(use: Use, names: Names, known: FrozenSet[str]) -> bool:
    owner, _, name = use.path.rpartition(".")
    if owner:
        return names.has(use.path)
    if use.path.startswith("."):
        return name not in known or name in names.anywhere()
    return name in names.module


#: Classes of the fakes that are not in their module: what they stand for.
_STAND_FOR = {
    "_Builder": "Builder",
    "_Context": "IExecutionContext",
    "_Engine": "ICudaEngine",
    "_Error": "ParserError",
    "_Layer": "ILayer",
    "_Network": "INetworkDefinition",
    "_Parser": "OnnxParser",
    "_Profile": "IOptimizationProfile",
    "_Runtime": "Runtime",
    "_TellingLayer": "ILayer",
    "_Tensor": "ITensor",
    "_TimingCache": "ITimingCache",
    "_WeaklyTypedLayer": "ILayer",
}
#: What parts of the fakes say to each other, by names that no TensorRT has.
_AMONG_THEMSELVES = {"_Engine.log", "_Engine.session", "_Engine.shares_profiles", "_Network.fill"}


@pytest.mark.parametrize("release", [release for release in RELEASES if not release.rtx], ids=str)
def test_the_fake_module_has_only_names_of_the_real_one(real: Mapping[Release, Names], release: Release) -> None:
    fake, names = Names.of(assemble(str(release), FakeGpu())), real[release]
    of_python = frozenset(dir(IntEnum)) | frozenset(dir(int))
    extra = [name for name in fake.module if name not in names.module]
    for path, members in fake.classes.items():
        extra += [f"{path}.{name}" for name in members - of_python if not names.has(f"{path}.{name}")]
    assert not extra


def test_the_objects_of_the_fakes_have_only_names_of_real_ones(real: Mapping[Release, Names]) -> None:
    extra = []
    for fake, stands_for in _STAND_FOR.items():
        made = next(
            vars(module)[fake] for module in (fake_tensorrt_runtime, fake_tensorrt_builder) if fake in vars(module)
        )
        known = frozenset().union(*(names.classes.get(stands_for, frozenset()) for names in real.values()))
        extra += [f"{fake}.{name}" for name in vars(made) if not name.startswith("_") and name not in known]
    assert set(extra) == _AMONG_THEMSELVES
