"""Repair of text whose UTF-8 bytes were once read as Windows-1252 or Latin-1, in places or throughout."""

import re

_CP1252 = {chr(byte): bytes([byte]).decode("cp1252", errors="ignore") for byte in range(0x80, 0xA0)}
_FROM_BYTES = str.maketrans({byte: char for byte, char in _CP1252.items() if char})
_TO_BYTES = str.maketrans({char: byte for byte, char in _CP1252.items() if char})

# The well-formed sequences of two to four bytes, each byte as the character of that number (Unicode, table 3-7).
_UTF8_SEQUENCE = re.compile(
    "[\xc2-\xdf][\x80-\xbf]"
    "|\xe0[\xa0-\xbf][\x80-\xbf]|\xed[\x80-\x9f][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}"
    "|\xf0[\x90-\xbf][\x80-\xbf]{2}|\xf4[\x80-\x8f][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}"
)


def repair_mojibake(text: str) -> str:
    """The text with `donâ€™t` as `don’t`, and control characters such as U+0092 as the Windows-1252 `’` that they were.

    Repeated until nothing changes, for text can have been garbled twice. Right text is left alone, except where an
    accented capital stands before a curly quote or a symbol and the two could be one garbled character.

    After FB3's 1st place (`resolve_encodings_and_normalize`, first published for FB1).
    """
    # Windows-1252's own characters back to their bytes, so that there is one form of each garbled sequence.
    garbled = text.translate(_TO_BYTES)
    decoded = _UTF8_SEQUENCE.sub(lambda sequence: sequence[0].encode("latin-1").decode("utf-8"), garbled)
    repaired = decoded.translate(_FROM_BYTES)
    return repaired if repaired == text else repair_mojibake(repaired)
