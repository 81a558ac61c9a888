"""`sightd convert --rebuild`: a bundle made anew in its place, from what is in it and the frames it was made from."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List

import pytest

from converter.agreement.thresholds import Thresholds
from converter.convert import convert
from converter.progress import Silent
from converter.rebuild import repeated
from converter.request import GIVEN_MODEL, Request, recorded, restored
from converter.verdict import Outcome
from sightd.bundle import Bundle, open_bundle, sha256_of
from sightd.bundle_versions import rollback, versions
from sightd.errors import BundleError, CalibrationError
from tests.parts.blobs import LABELS, blob_detector, names, write_blob_pictures
from tests.parts.daemon import command, running_daemon


class Heard(Silent):
    def __init__(self) -> None:
        self.said: List[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_blob_pictures(tmp_path_factory.mktemp("set") / "pictures", 100)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Request:
    folder = tmp_path_factory.mktemp("made")
    return Request(
        blob_detector(folder / "blobs.onnx"),
        pictures,
        folder / "bundle",
        labels=str(names(folder / "labels.txt")),
        spec={"pad_value": 10, "mean": (0, 0, 0)},
        seed=3,
        max_trials=1,
        frames=40,
        thresholds=Thresholds(min_score=0.25),
        engine="onnxruntime",
        command="sightd convert --secret",
    )


@pytest.fixture(scope="module")
def made(asked: Request) -> Bundle:
    """A conversion whose model and labels are gone afterwards."""
    bundle = convert(asked, Silent()).bundle
    asked.model.unlink()
    Path(asked.labels).unlink()
    return bundle


@pytest.fixture
def bundle(made: Bundle, tmp_path: Path) -> Bundle:
    """A copy, for one test to rebuild or to spoil."""
    shutil.copytree(made.folder, tmp_path / "bundle")
    return open_bundle(tmp_path / "bundle")


def rebuilt(bundle: Bundle, progress: Silent) -> Bundle:
    return convert(repeated(bundle.folder, Request(Path(), Path(), Path()), set()), progress).bundle


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command("convert", *arguments), capture_output=True, text=True, check=False)


def change(bundle: Bundle, **fields: Any) -> None:
    path = bundle.folder / "manifest.json"
    manifest: Dict[str, Any] = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, **fields}))


def test_the_manifest_says_what_was_asked_for_and_the_model_is_in_the_bundle(made: Bundle, asked: Request) -> None:
    request = made.manifest.request
    assert request["names"] == LABELS
    assert request["calibration"] == str(asked.calibration)
    assert request["engine"] == "onnxruntime"
    assert request["thresholds"]["min_score"] == 0.25
    assert "secret" not in json.dumps(request)
    assert sha256_of(made.folder / GIVEN_MODEL) == made.manifest.model.onnx_sha256


def test_what_was_recorded_is_what_is_restored(asked: Request, made: Bundle) -> None:
    whole = replace(
        asked,
        head="centernet",
        head_options={"stride": "4"},
        size=(96, 96),
        truth=asked.calibration / "truth.json",
        truth_images=asked.calibration,
        cameras=("front",),
        engine="tensorrt",
        trt={"dla_core": "0"},
    )
    request = json.loads(json.dumps(recorded(whole, LABELS)))
    bundle = Bundle(made.folder, replace(made.manifest, request=request))
    expected = replace(
        whole, model=made.folder / GIVEN_MODEL, labels="", names=LABELS, command="", rebuilt=bundle, cameras=["front"]
    )
    assert restored(bundle) == expected


def test_the_same_frames_are_taken_and_their_ranges_are_not_measured_again(bundle: Bundle) -> None:
    heard, report = Heard(), bundle.folder / "report.json"
    before = json.loads(report.read_text())
    again = rebuilt(bundle, heard)
    assert "activation ranges: taken over, model, frames and input are the same" in heard.said
    assert again.folder == bundle.folder
    assert again.manifest.model == bundle.manifest.model
    assert again.manifest.input == bundle.manifest.input
    assert again.manifest.output == bundle.manifest.output
    assert again.manifest.request == bundle.manifest.request
    assert json.loads(report.read_text())["calibration"]["sha256"] == before["calibration"]["sha256"]


def test_the_old_one_is_kept_and_comes_back(bundle: Bundle) -> None:
    before = bundle.manifest.created_at
    rebuilt(bundle, Silent())
    assert len(versions(bundle.folder)) == 2
    rollback(bundle.folder)
    back = open_bundle(bundle.folder)
    assert back.manifest.created_at == before
    assert back.manifest.engine.sha256 == bundle.manifest.engine.sha256
    assert sha256_of(back.folder / GIVEN_MODEL) == back.manifest.model.onnx_sha256


def test_other_frames_have_ranges_of_their_own(bundle: Bundle, tmp_path: Path) -> None:
    heard = Heard()
    others = Request(Path(), write_blob_pictures(tmp_path / "others", 90), Path(), max_trials=5)
    result = convert(repeated(bundle.folder, others, {"calibration"}), heard)
    assert not any("taken over" in sentence for sentence in heard.said)
    assert result.bundle.manifest.request["calibration"] == str(tmp_path / "others")
    assert result.bundle.manifest.request["max_trials"] == 1


def test_what_is_given_wins(bundle: Bundle, tmp_path: Path) -> None:
    other = Request(
        Path(),
        Path(),
        tmp_path / "elsewhere",
        labels="coco80",
        seed=9,
        thresholds=Thresholds(min_score=0.4, margin=0.2),
    )
    request = repeated(bundle.folder, other, {"out", "labels", "min_score"})
    assert (request.out, request.labels, request.names) == (tmp_path / "elsewhere", "coco80", ())
    assert (request.seed, request.frames) == (3, 40)
    assert (request.thresholds.min_score, request.thresholds.margin) == (0.4, Thresholds().margin)


def test_options_for_tensorrt_are_left_behind_with_it(bundle: Bundle) -> None:
    change(bundle, request={**bundle.manifest.request, "engine": "tensorrt", "trt": {"dla_core": "0"}})
    kept = repeated(bundle.folder, Request(Path(), Path(), Path()), set())
    assert (kept.engine, kept.trt) == ("tensorrt", {"dla_core": "0"})
    other = Request(Path(), Path(), Path(), engine="onnxruntime")
    assert repeated(bundle.folder, other, {"engine"}).trt == {}


def test_frames_that_are_gone_are_an_error_that_says_what_to_do(bundle: Bundle, tmp_path: Path) -> None:
    change(bundle, request={**bundle.manifest.request, "calibration": str(tmp_path / "gone")})
    with pytest.raises(CalibrationError, match=r"gone: the frames .* --calibration DIR"):
        rebuilt(bundle, Silent())
    assert open_bundle(bundle.folder).manifest.engine == bundle.manifest.engine


def test_a_bundle_without_its_model_or_its_request_is_refused(bundle: Bundle) -> None:
    change(bundle, request={})
    with pytest.raises(BundleError, match=r"calibration.*older sightd.*sightd convert MODEL"):
        rebuilt(bundle, Silent())
    (bundle.folder / GIVEN_MODEL).unlink()
    with pytest.raises(BundleError, match=r"no model\.onnx in it"):
        rebuilt(bundle, Silent())


def test_a_model_that_was_altered_is_refused(bundle: Bundle) -> None:
    with (bundle.folder / GIVEN_MODEL).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BundleError, match="not the model that the manifest describes"):
        rebuilt(bundle, Silent())


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        repeated(tmp_path, Request(Path(), Path(), Path()), set())


@pytest.mark.slow
def test_a_rebuild_of_a_rebuild_is_one_too(bundle: Bundle) -> None:
    again = rebuilt(rebuilt(bundle, Silent()), Silent())
    assert again.manifest.request == bundle.manifest.request
    assert len(versions(bundle.folder)) == 3


def test_the_command_rebuilds_below_a_running_daemon_and_runs_what_is_to_follow(bundle: Bundle, tmp_path: Path) -> None:
    before, marker = bundle.manifest.created_at, tmp_path / "restarted"
    config = "cameras:\n  front:\n    url: rtsp://127.0.0.1:9/x\nmqtt:\n  host: 127.0.0.1\n  port: 9\n"
    with running_daemon(tmp_path, config) as daemon:
        daemon.wait_for_log("engine ready")
        done = run("--rebuild", str(bundle.folder), "--on-success", f"touch '{marker}'")
        assert done.returncode == 0, done.stderr
        assert daemon.process.poll() is None
        assert daemon.stop() == 0
    assert marker.exists()
    assert open_bundle(bundle.folder).manifest.created_at >= before
    assert len(versions(bundle.folder)) == 2


def test_float_that_is_shipped_loudly_is_in_service_too(bundle: Bundle, tmp_path: Path) -> None:
    marker, few = tmp_path / "restarted", write_blob_pictures(tmp_path / "few", 12)
    done = run("--rebuild", str(bundle.folder), "--calibration", str(few), "--on-success", f"touch '{marker}'")
    assert done.returncode == 3
    assert Outcome.UNPROVEN.value in done.stderr
    assert open_bundle(bundle.folder).manifest.engine.precision == "fp32"
    assert marker.exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing argument 'MODEL'"),
        (["m.onnx"], "Missing option '--calibration'"),
        (["m.onnx", "--calibration", "c"], "Missing option '--out'"),
        (["m.onnx", "--rebuild", "b"], "MODEL does not go with --rebuild"),
        (["--watch", "--rebuild", "b"], "--watch does not go with --rebuild"),
        (["--rebuild", "b", "--factory", "m:f"], "--factory does not go with --rebuild"),
        (["m.onnx", "--calibration", "c", "--out", "o", "--on-success", "true"], "--on-success needs"),
        (["m.onnx", "--calibration", "c", "--out", "o", "--trt", "dla"], "'dla' is not KEY=VALUE"),
        (["m.onnx", "--calibration", "c", "--out", "o", "--trt", "dla_cor=0"], "did you mean 'dla_core'"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_is_wrong(arguments: List[str], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())
