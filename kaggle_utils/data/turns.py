r"""One cell of a preference file to the turns of a conversation, whatever is in the cell.

Nothing in a cell is ever executed. What each kind of cell becomes:

==============================================  ===================================================================
cell                                            turns
==============================================  ===================================================================
``["a", "b"]`` (a file of JSON lists)           ``("a", "b")``
``["a", null]``                                 ``("a", null_text)``; ``null_text`` is ``""`` unless chosen
``[]``, ``null``, an empty cell, None, NaN      ``()``: no turn was written
``[""]``                                        ``("",)``: one turn, empty
``"text"``, ``42``, ``true`` (JSON scalars)     one turn; numbers and booleans in the spelling of the file
``["\ud83d\ude00"]`` (an escaped emoji)         the emoji, one character
half an emoji (a lone surrogate)                U+FFFD; two halves that meet are joined
raw tabs and line breaks inside JSON strings    kept (``strict=False``)
not JSON, objects, lists in lists               ``UnreadableCellError`` with the reason
any text in a file of plain strings             one turn, that text, brackets and ``null`` included
a list or array in a cell (parquet, frames)     its items, as the items of a JSON list
==============================================  ===================================================================

The module knows nothing of files, rows or tokenizers.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from typing import Any, Literal

__all__ = ["TextFormat", "UnreadableCellError", "detect_format", "is_missing", "parse_turns", "repair_surrogates"]

_logger = logging.getLogger(__name__)

TextFormat = Literal["json", "plain"]
"""How a file writes conversations: JSON lists of turns (LMSYS), or plain strings of one turn (WSDM)."""

# Lists as Python prints them too: they are no JSON, and shall be reported as such instead of read as text.
_LIST = re.compile(r"""\[\s*(?:["'\]]|null\b)""")
_SURROGATE = re.compile("[\ud800-\udfff]")


class UnreadableCellError(ValueError):
    """A cell that holds no conversation; the message is the reason."""


def repair_surrogates(text: str) -> str:
    r"""Return ``text`` with surrogate halves that meet joined, and lone ones replaced by U+FFFD.

    Tokenizers refuse any string with a surrogate in it, with an error that names neither the row nor the cause.

    >>> repair_surrogates("\ud83d\ude00 \ud83d")
    '😀 �'
    """
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_missing(value: Any) -> bool:
    """Tell whether a cell of a frame or a parquet file stands for nothing: None, NaN, NaT, pandas' NA.

    >>> [is_missing(value) for value in (None, float("nan"), "", "null", 0)]
    [True, True, False, False, False]
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def detect_format(cells: Iterable[Any]) -> TextFormat:
    """Decide for a whole file how it writes conversations: "json" when at least half of the texts look like lists.

    One decision per file, not per cell: among plain strings ``[1, 2]`` is a text, among lists a text that is not JSON
    is a damaged cell. A file of both kinds is logged as a warning.

    >>> detect_format(['["Hi"]', '["a", "b"]', "damaged"]), detect_format(["Hi", "[see below]", "null"])
    ('json', 'plain')
    """
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    texts = [text for text in texts if text and text != "null"]
    if not texts:
        return "json"
    share = sum(text[-1] == "]" and _LIST.match(text) is not None for text in texts) / len(texts)
    found: TextFormat = "json" if share >= 0.5 else "plain"
    if 0.05 < share < 0.95:
        _logger.warning("%.0f%% of the texts look like JSON lists; read as %r (text= decides)", 100 * share, found)
    return found


def parse_turns(cell: Any, *, text: TextFormat = "json", null_text: str = "") -> tuple[str, ...]:
    r"""Return the turns that a cell holds; see the table at the top of this module.

    >>> parse_turns('["Hi \\ud83d\\ude00", null]'), parse_turns("null"), parse_turns("null", text="plain")
    (('Hi 😀', ''), (), ('null',))

    Raises:
        UnreadableCellError: a list was expected and the cell is something else; the message says what.
    """
    if is_missing(cell):
        return ()
    if isinstance(cell, str):
        if text == "plain":
            return (repair_surrogates(cell),)
        return _from_json(cell, null_text) if cell.strip() else ()
    if hasattr(cell, "tolist"):  # a numpy array or scalar
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return tuple(_turn(item, number, null_text) for number, item in enumerate(cell, 1))
    if isinstance(cell, (bool, int, float)):
        return (json.dumps(cell),)
    raise UnreadableCellError(f"a {type(cell).__name__}, expected text or a list of turns")


def _from_json(cell: str, null_text: str) -> tuple[str, ...]:
    try:
        # Numbers stay as they are spelled: int() of a very long one is an error, float() of one is another number.
        value = json.loads(cell, strict=False, parse_int=str, parse_float=str, parse_constant=str)
    except RecursionError:
        raise UnreadableCellError("JSON nested too deeply") from None
    except ValueError as error:
        raise UnreadableCellError(f"not JSON ({error}){_hint(cell)}; it begins {cell[:40]!r}") from None
    if value is None:
        return ()
    items = value if isinstance(value, list) else [value]
    return tuple(_turn(item, number, null_text) for number, item in enumerate(items, 1))


def _turn(item: Any, number: int, null_text: str) -> str:
    if isinstance(item, str):
        return repair_surrogates(item)
    if is_missing(item):
        return null_text
    if isinstance(item, (bool, int, float)):
        return json.dumps(item)
    raise UnreadableCellError(f"turn {number} is a {type(item).__name__}, expected text")


def _hint(cell: str) -> str:
    if cell.lstrip().startswith(("['", "('")):
        return ", but a list as Python prints it: write such files with json.dumps"
    return ""
