"""The report's page: one file that needs nothing else, says what is missing, and shows names as text."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import cv2
import msgspec
import numpy as np
import pytest

from converter.report import Engine, Pictures, ReportData, page
from converter.report.html import Html, number, tag
from converter.verdict import Outcome
from tests.parts.reports import bare_report, full_report, pictures

NASTY = "<script>alert(1)</script>\"'&amp; Tür ✓"
REPORTS = [
    pytest.param(full_report(), pictures(6), id="full"),
    pytest.param(full_report(NASTY), pictures(2, NASTY), id="nasty names"),
    pytest.param(bare_report(), Pictures(), id="nothing measured"),
]


class Strict(HTMLParser):
    """Fails on what browsers forgive: a tag that is not closed in order; keeps elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: List[str] = []
        self.elements: List[Tuple[str, Dict[str, Optional[str]]]] = []
        self.text: List[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, name: str, attributes: List[Tuple[str, Optional[str]]]) -> None:
        assert len(dict(attributes)) == len(attributes), f"<{name}> has an attribute twice"
        self.open.append(name)
        self.elements.append((name, dict(attributes)))

    def handle_startendtag(self, name: str, attributes: List[Tuple[str, Optional[str]]]) -> None:
        self.elements.append((name, dict(attributes)))

    def handle_endtag(self, name: str) -> None:
        assert self.open.pop() == name

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, name: str) -> List[Dict[str, Optional[str]]]:
        return [attributes for found, attributes in self.elements if found == name]


@pytest.mark.parametrize(("data", "shown"), REPORTS)
def test_tags_are_balanced_and_everything_has_a_name(data: ReportData, shown: Pictures) -> None:
    parsed = Strict(page(data, shown))
    assert all(image["alt"] for image in parsed.all("img"))
    assert all(plot["role"] == "img" and plot["aria-label"] for plot in parsed.all("svg"))
    assert all(cell.get("scope") in ("row", "col") for cell in parsed.all("th"))
    assert len(parsed.all("h1")) == 1
    assert len(parsed.all("caption")) == len(parsed.all("table")) > 0
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert {link["href"] for link in parsed.all("a")} <= {f"#{one}" for one in identifiers}


@pytest.mark.parametrize(("data", "shown"), REPORTS)
def test_nothing_is_loaded_from_anywhere_and_nothing_runs(data: ReportData, shown: Pictures) -> None:
    text = page(data, shown)
    parsed = Strict(text)
    names = {name for name, _ in parsed.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for _, attributes in parsed.elements:
        assert not [key for key in attributes if key.startswith("on")]
        for key in ("src", "href", "srcset", "data", "style", "xlink:href"):
            assert re.match(r"(data:image/jpeg;base64,|#)", attributes.get(key) or "#")
    style = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
    assert "@media print" in style
    assert "prefers-color-scheme: dark" in style
    assert not re.search(r"@import|url\(|https?:", style)


def test_a_name_that_is_markup_is_shown_as_text_wherever_it_stands() -> None:
    text = page(full_report(NASTY), pictures(1, NASTY))
    assert "<script" not in text
    shown = "".join(Strict(text).text)
    for place in ("Conversion of", "By class", "By camera", "Layers kept float", "Frames by camera", "zero in every"):
        assert NASTY in shown[shown.index(place) :]
    assert shown.count(NASTY) > 10


def test_what_was_not_measured_is_said_so_in_every_section() -> None:
    text = page(bare_report(), Pictures())
    for section in ("agreement", "scores", "worst", "layers", "calibration", "speed", "reproduce"):
        body = re.search(rf'<section id="{section}".*?</section>', text, re.DOTALL)
        assert body is not None
        assert "not measured" in body.group() or "not by a command" in body.group()
    assert "none was tried" in text


def test_an_engine_without_a_fault_is_not_called_unmeasured() -> None:
    data = full_report()
    flawless = replace(data, agreement={**data.agreement, "worst": [{"file": "a.jpg", "missed": 0, "extra": 0}]})
    assert "on no frame is a box missed or extra" in page(flawless, Pictures())


def test_what_was_found_in_the_engines_is_told_where_they_tell() -> None:
    shown = "".join(Strict(page(full_report(), Pictures())).text)
    assert "fp16, INT8's yardstick" in shown
    assert "70 int8, 15 fp16, 5 fp32" in shown
    plain = [Engine("fp32", True, "agrees", 0.0, {}), Engine("INT8", False, "agrees", 0.0, {})]
    assert "INT8&#x27;s yardstick" not in page(replace(full_report(), engines=plain), Pictures())


def test_a_trial_that_was_not_built_says_why() -> None:
    data = full_report()
    failed = {"algorithm": "tensorrt-minmax", "scope": "", "float_layers": 8, "head": "float", "verdict": "not-built"}
    text = page(replace(data, trials=[*data.trials, {**failed, "reason": "out of memory"}]), Pictures())
    assert "not built: out of memory" in text
    assert "tensorrt-minmax, 8 layers float" in text


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_has_a_title_of_its_own(outcome: Outcome) -> None:
    text = page(replace(bare_report(), outcome=outcome.name.lower()), Pictures())
    assert outcome.is_loud == ('class="verdict fail"' in text)
    assert f"<strong>{outcome.name.lower()}</strong>" not in text


def test_the_verdict_comes_first_and_needs_no_colour() -> None:
    for data, title in ((full_report(), "INT8 shipped"), (bare_report(), "Float shipped: too little evidence")):
        text = page(data, Pictures())
        assert text.index(title) < text.index("What was converted") < text.index("<nav")
        assert data.manifest.verdict in text


def test_figures_that_miss_or_are_uncertain_are_told_in_words() -> None:
    shown = "".join(Strict(page(full_report(), Pictures())).text)
    assert "✓ kept" in shown
    assert "? uncertain" in shown  # recall: its interval reaches too low
    assert "✗ recall ≥ 0.800" in shown  # of a class
    assert "too few boxes" in shown


def test_a_full_report_with_all_its_pictures_stays_small() -> None:
    assert len(page(full_report(), pictures(64)).encode()) < 64 * 2 * 100_000
    assert len(page(full_report(), pictures(6)).encode()) < 3_000_000


def test_the_figures_are_json_without_pictures() -> None:
    read = msgspec.json.decode(msgspec.json.encode(full_report(NASTY)))
    assert read["agreement"]["ap50"] == 0.987
    assert read["manifest"]["model"]["name"] == NASTY
    assert read["layers"][2]["damage"] is None
    assert "data:image" not in str(read)


def test_numbers_have_a_fit_precision() -> None:
    told = [number(value) for value in (None, 0.98765, 1.0, -0.0001, 3.14159, 31.4159, 31415.9, 1234567, -0.0043)]
    assert told == ["not measured", "0.988", "1.000", "0.000", "3.14", "31.4", "31,416", "1,234,567", "-0.004"]


def test_only_markup_escapes_escaping() -> None:
    assert tag("p", "<b>", Html("<i></i>"), ["&", None], class_='"') == ('<p class="&quot;">&lt;b&gt;<i></i>&amp;</p>')


@pytest.mark.parametrize(("scheme", "ground"), [("1", (255, 255, 255)), ("0", (0x1F, 0x18, 0x14))])
def test_a_browser_shows_it_in_light_and_dark(tmp_path: Path, scheme: str, ground: Tuple[int, int, int]) -> None:
    shot = tmp_path / "shot.png"
    browse(tmp_path, "--window-size=390,900", f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
    picture = cv2.imread(str(shot))
    assert tuple(picture[2, 2].tolist()) == ground
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_a_browser_prints_it(tmp_path: Path) -> None:
    printed = tmp_path / "report.pdf"
    browse(tmp_path, f"--print-to-pdf={printed}")
    pages = re.findall(rb"/MediaBox \[0 0 ([0-9.]+) ([0-9.]+)\]", printed.read_bytes())
    assert len(pages) > 2
    assert {(round(float(width)), round(float(height))) for width, height in pages} <= {
        (595, 842),
        (594, 841),
        (595, 841),
    }


def browse(folder: Path, *arguments: str) -> None:
    if shutil.which("chromium") is None:
        pytest.skip("no chromium here")
    file = folder / "report.html"
    file.write_text(page(full_report(NASTY), pictures(2, NASTY)), "utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    command = ["chromium", *flags, f"--user-data-dir={folder / 'profile'}", *arguments, file.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=100)
