"""Sizes and durations as people write them. Decimal units (1 GB = 10^9 bytes), as Kaggle's limits use them."""

from __future__ import annotations

import re

__all__ = ["format_duration", "format_size", "parse_size"]

_FACTORS = {"": 1, "B": 1}
for _power, _letter in enumerate("KMGT", start=1):
    _FACTORS.update({_letter: 1000**_power, f"{_letter}B": 1000**_power, f"{_letter}IB": 1024**_power})


def format_size(size: float) -> str:
    """``size`` in bytes with three to four digits and a decimal unit.

    >>> [format_size(n) for n in (0, 999, 1000, 27_199_665, 999_999, 18_500_000_000)]
    ['0 B', '999 B', '1.00 kB', '27.2 MB', '1.00 MB', '18.5 GB']
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if unit == "B" and size < 1000:
            return f"{size:.0f} B"
        if unit != "B" and (size < 999.5 or unit == "TB"):
            digits = 2 if size < 9.995 else 1 if size < 99.95 else 0
            return f"{size:.{digits}f} {unit}"
        size /= 1000
    raise AssertionError("unreachable")


def format_duration(seconds: float) -> str:
    """
    >>> format_duration(0.42), format_duration(75), format_duration(3700)
    ('0.4 s', '1 min 15 s', '1 h 01 min')
    """
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def parse_size(text: str) -> int:
    """Bytes from a number with a unit; ``MB`` is 10^6, ``MiB`` is 2^20, no unit means bytes.

    Raises:
        ValueError: not a positive size.

    >>> parse_size("20GB"), parse_size("197.7 MiB"), parse_size("512")
    (20000000000, 207303475, 512)
    """
    match = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([A-Za-z]{0,3})\s*", text)
    factor = _FACTORS.get(match.group(2).upper()) if match else None
    if factor is None or not (size := int(float(match.group(1)) * factor)):
        raise ValueError(f"{text!r} is not a size; expected a positive number and a unit, such as 20GB or 197.7MiB")
    return size
