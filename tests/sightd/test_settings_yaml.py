from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from sightd.errors import ConfigError
from sightd.settings import assigned, load_settings, parse_settings, starter
from sightd.settings.strict_yaml import read_document

CANARY = "hunter2canary"


def complaints(text: str) -> list[tuple[int, tuple[Any, ...], str]]:
    return [(problem.line, problem.path, problem.message) for problem in read_document(text).problems]


def complaint(text: str) -> tuple[int, tuple[Any, ...], str]:
    (problem,) = complaints(text)
    return problem


# What is read


def test_data_and_the_line_of_each_key_and_item() -> None:
    document = read_document("a: 1\nb:\n  - x\n  - {c: true}\n")
    assert document.data == {"a": 1, "b": ["x", {"c": True}]}
    assert document.lines == {(): 1, ("a",): 1, ("b",): 2, ("b", 0): 3, ("b", 1): 4, ("b", 1, "c"): 4}
    assert document.problems == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("'null'", "null"),
        ("true", True),
        ("FALSE", False),
        ("'true'", "true"),
        ("0", 0),
        ("-7", -7),
        ("'7'", "7"),
        ("0.5", 0.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("|-\n  7", "7"),
        ("10.0.0.7", "10.0.0.7"),
        ("2024-01-01", "2024-01-01"),
        ("0001.mp4", "0001.mp4"),
        ("rtsp://h/x", "rtsp://h/x"),
        ("/a b/c", "/a b/c"),
        ("nothing", "nothing"),
    ],
)
def test_a_plain_value_is_what_everybody_reads(text: str, value: object) -> None:
    document = read_document(f"key: {text}\n")
    assert document.problems == []
    assert document.data == {"key": value}
    assert type((document.data or {})["key"]) is type(value)


def test_a_byte_order_mark_and_windows_line_ends_are_no_mistake() -> None:
    settings = parse_settings(b"\xef\xbb\xbfcameras:\r\n  a:\r\n    url: x.mp4\r\n", Path("/c.yaml"))
    assert list(settings.cameras) == ["a"]


# What is refused


@pytest.mark.parametrize(
    "text",
    ["22:22:22", "1:30", "010", "-08", "007.5", "1_000", "0x1F", "0o17", "0b11", ".inf", "-.INF", ".nan", "1e999"],
)
def test_a_number_that_yaml_readers_disagree_on_is_refused(text: str) -> None:
    assert_is_ambiguous(text)


@pytest.mark.parametrize("text", ["yes", "No", "on", "OFF", "y", "N"])
def test_a_boolean_of_old_yaml_is_refused(text: str) -> None:
    assert_is_ambiguous(text)


def test_a_number_too_long_for_any_setting_is_refused() -> None:
    assert_is_ambiguous("9" * 5000)


def assert_is_ambiguous(text: str) -> None:
    line, path, message = complaint(f"a: 1\nkey: {text}\n")
    assert (line, path) == (2, ("key",))
    assert "is read differently by different YAML readers" in message


def test_a_duplicate_key_is_refused_at_its_second_line() -> None:
    assert complaint("a: {b: 1}\nc: 2\na: {b: 3}\n") == (3, ("a",), "is there twice, first on line 1; remove one")


def test_anchors_aliases_and_merge_keys_are_refused() -> None:
    assert [
        (line, path, message.split(" is")[0]) for line, path, message in complaints("a: &x {b: 1}\nc: {<<: *x}\n")
    ] == [
        (1, ("a",), "an anchor (&)"),
        (2, ("c", "<<"), "an alias (*)"),
    ]


def test_an_alias_bomb_is_refused_without_being_built() -> None:
    levels = "".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]\n" for i in range(1, 30))
    assert len(complaints("k0: &k0 x\n" + levels)) == 1 + 29 * 10


@pytest.mark.parametrize("text", ["key: !!str 1", "key: !foo {a: 1}", "key: !!python/object:os.system []", "!x key: 1"])
def test_a_tag_is_refused(text: str) -> None:
    assert complaint(text) == (1, ("key",), "a tag (!) is not allowed; remove it")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "key: " + "[" * 5000, "{a: " * 5000, "- " * 5000], ids=["list", "value", "mapping", "block"]
)
def test_deep_nesting_is_refused_without_exhausting_the_stack(text: str) -> None:
    document = read_document(text)
    assert document.data is None
    assert len(document.problems) == 1


def test_sixteen_levels_are_read_and_seventeen_are_not() -> None:
    assert (
        read_document("a: " + "[" * 15 + "]" * 15).problems == [] != read_document("a: " + "[" * 16 + "]" * 16).problems
    )


@pytest.mark.parametrize("text", ["a: 1\n---\nb: 2\n", "a: 1\n...\n---\n"])
def test_a_second_document_is_refused(text: str) -> None:
    assert "a second document begins here" in complaint(text)[2]


@pytest.mark.parametrize("text", ["", "# only a comment\n", "\n\n"])
def test_an_empty_file_says_what_to_do(text: str) -> None:
    assert complaint(text) == (1, (), "is empty; write a commented file with: sightd init")


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text\n", "42\n", "--- ~\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert complaint(text) == (1, (), "must be 'key: value' lines at the top level")


@pytest.mark.parametrize("text", ["a: 1\n? [b]\n: 2\n", "a: 1\n{b: 1}: 2\n"])
def test_a_key_that_is_no_text_is_refused(text: str) -> None:
    assert complaint(text)[0] == 2


def test_a_tab_is_called_a_tab() -> None:
    assert complaint("a:\n\tb: 1\n") == (2, (), "a tab; indent with spaces")


@pytest.mark.parametrize("secret", ["@", "%", "`"])
def test_a_syntax_error_quotes_not_even_a_character(secret: str) -> None:
    assert secret not in complaint(f"password: {secret}x\n")[2]


def test_a_syntax_error_has_its_line_and_what_to_look_at() -> None:
    line, _, message = complaint("a: 1\nb: [1, 2\nc: 3\n")
    assert line == 3
    assert message.startswith("not valid YAML (")


def test_mistakes_before_a_syntax_error_are_reported_with_it() -> None:
    assert [line for line, _, _ in complaints("a: yes\nb: 'x\n")] == [1, 3]


def test_control_characters_are_refused_at_their_line() -> None:
    assert complaint("a: 1\nb: \x01\n") == (2, (), "holds control characters; is this a text file?")


# The file itself


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return str(caught.value)


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    path = tmp_path / "sightd.yaml"
    assert refusal(path) == f"{path}: no such file; write a commented one with: sightd init {path}"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: is a folder; give the YAML file in it"


def test_a_file_without_permission_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root, as in containers, may read any real file
    assert "no permission to read it" in refusal(tmp_path / "sightd.yaml")


def test_another_failure_to_read_has_its_reason() -> None:
    assert "Not a directory" in refusal(Path("/dev/null/sightd.yaml"))


def test_a_large_file_is_refused_without_being_read_whole() -> None:
    assert "larger than 256 KiB" in refusal(Path("/dev/zero"))


def test_text_that_is_not_utf8_is_refused_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "sightd.yaml"
    path.write_bytes("cameras:\n  # Tür\n".encode("latin-1"))
    assert refusal(path) == f"{path}:2: not UTF-8; save the file with UTF-8 encoding"


def test_a_mangled_file_is_read_or_refused_and_never_shows_its_password() -> None:
    text = starter({"front": f"rtsp://u:{CANARY}@h/x"}, {"mqtt": {"username": "u", "password": CANARY}})
    dice = random.Random(20240229)
    outcomes = [_outcome(_mangle(text, dice)) for _ in range(60)]
    assert 0 < outcomes.count("read") < 60
    assert [outcome for outcome in outcomes if CANARY in outcome] == []


def _outcome(text: str) -> str:
    try:
        parse_settings(text.encode(), Path("/c.yaml"))
    except ConfigError as error:
        return str(error)
    return "read"


def _mangle(text: str, dice: random.Random) -> str:
    """Outside the password, so that a part of it can't pass for the whole."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(text))
        head, tail = text[:at], text[at + dice.choice([0, 0, 1, 5]) :]
        mangled = (
            head
            + dice.choice(["", ":", "\n", "\t", "'", '"', "[", "{", "}", "*a", "&a ", "!a ", "- ", "\x00", "%", "@"])
            + tail
        )
        text = mangled if mangled.count(CANARY) == text.count(CANARY) else text
    return text


@pytest.mark.parametrize(
    "value", ["[" * 5000, "{" * 5000, "&a [*a]", "22:22:22", "1e999", ".nan", "{a: 1, a: 2}", "!!str x", "1\nnode: 2"]
)
def test_a_hostile_value_on_the_command_line_is_refused_too(value: str) -> None:
    with pytest.raises(ValueError, match=r"the value of 'nms_iou' can't be read \(.*\); put it in quotes"):
        assigned([f"nms_iou={value}"])
