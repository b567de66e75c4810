import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainables.regressor.essays.mojibake import repair_mojibake


def garble(text: str) -> str:
    """The text's UTF-8 bytes read as Windows-1252, and as Latin-1 where that has no character."""
    return "".join(bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in text.encode())


@pytest.mark.parametrize(
    ("garbled", "right"),
    [
        ("donâ€™t", "don’t"),
        ("don\x92t", "don’t"),
        ("don\xc2\x92t", "don’t"),
        ("don\xe2\x80\x99t", "don’t"),  # read as Latin-1
        ("Ã©tÃ©, été", "été, été"),  # a mixture
        ("Ã¢â‚¬Å“yesÃ¢â‚¬Â\x9d", "“yes”"),  # twice
        ("ðŸ˜€", "😀"),
        ("a Â\xa0b", "a \xa0b"),
        ("don’t", "don’t"),
        ("à la café’s “naïve” façade – 20 °C, 5 € £3 ½", "à la café’s “naïve” façade – 20 °C, 5 € £3 ½"),
        ("Ünlü Çelik, São Paulo", "Ünlü Çelik, São Paulo"),
        ("中文 русский", "中文 русский"),
        ("", ""),
    ],
)
def test_repairs(garbled: str, right: str) -> None:
    assert repair_mojibake(garbled) == right


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_stays(text: str) -> None:
    assert repair_mojibake(text) == text


@given(st.text())
def test_garbling_changes_nothing_that_is_repaired(text: str) -> None:
    assert repair_mojibake(garble(text)) == repair_mojibake(text)


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x17F)))
def test_a_repaired_text_needs_no_repair(text: str) -> None:
    repaired = repair_mojibake(text)
    assert repair_mojibake(repaired) == repaired
    assert not any("\x80" <= char <= "\x9f" and char not in "\x81\x8d\x8f\x90\x9d" for char in repaired)
