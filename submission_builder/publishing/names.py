"""Titles, slugs and references as Kaggle accepts them.

The rules are those of the official client (kaggle 2.2) and of its documentation; where the two differ, as for slugs of
three to five characters, the stricter one counts, because the client refuses before Kaggle is asked. Whether a name is
still free, and whether a source exists, only Kaggle knows.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = [
    "competition_problems",
    "dataset_source_problems",
    "kernel_source_problems",
    "length_problems",
    "model_source_problems",
    "owner_problems",
    "slug_problems",
    "slugify",
]

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_OWNER = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+)*")


def slugify(title: str) -> str:
    """The slug that Kaggle makes of a title: lower case, ASCII letters and digits, single hyphens.

    >>> slugify("LLM 20 Questions: a vérified submission!")
    'llm-20-questions-a-verified-submission'
    """
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


def length_problems(what: str, text: str, *, lowest: int, highest: int) -> list[str]:
    """A text that is too short or too long, in characters.

    >>> length_problems("subtitle", "short", lowest=20, highest=80)
    ["subtitle 'short' has 5 characters, expected 20 to 80"]
    """
    if lowest <= len(text) <= highest and text == text.strip() and text.isprintable():
        return []
    if lowest <= len(text) <= highest:
        return [f"{what} {text!r} starts or ends with a blank or holds a control character; remove it"]
    shown = text if len(text) <= 100 else text[:97] + "..."
    return [f"{what} {shown!r} has {len(text)} characters, expected {lowest} to {highest}"]


def slug_problems(slug: str, *, lowest: int, highest: int = 50, what: str = "slug") -> list[str]:
    """A slug of other characters than a-z, 0-9 and single hyphens inside, or of another length.

    >>> slug_problems("My_Wheels", lowest=6)
    ["slug 'My_Wheels' may hold only a-z, 0-9 and single hyphens between them; 'my-wheels' would do"]
    """
    problems = []
    if not _SLUG.fullmatch(slug):
        better = slugify(slug)
        hint = f"; {better!r} would do" if better else ""
        problems.append(f"{what} {slug!r} may hold only a-z, 0-9 and single hyphens between them{hint}")
    if not lowest <= len(slug) <= highest:
        problems.append(f"{what} {slug!r} has {len(slug)} characters, expected {lowest} to {highest}")
    return problems


def owner_problems(owner: str) -> list[str]:
    """An owner that cannot be a user's or an organisation's name in an address.

    >>> owner_problems("ada-lovelace"), owner_problems("Ada Lovelace")[0][:33]
    ([], "owner 'Ada Lovelace' is no Kaggle")
    """
    if _OWNER.fullmatch(owner):
        return []
    return [
        f"owner {owner!r} is no Kaggle user name; give the one in the address of your profile (kaggle.com/NAME): "
        "lower case, digits, single hyphens or underscores"
    ]


def dataset_source_problems(source: str) -> list[str]:
    """A data source that is not ``owner/slug`` or ``owner/slug/version``.

    >>> dataset_source_problems("ada/wheels"), dataset_source_problems("wheels")
    ([], ["dataset 'wheels' is not owner/slug, such as ada/my-wheels"])
    """
    return _parts_problems("dataset", source, 2, 3, "owner/slug, such as ada/my-wheels")


def kernel_source_problems(source: str) -> list[str]:
    """A notebook whose output is used that is not ``owner/slug``; its slug has at least five characters.

    >>> kernel_source_problems("ada/eda")
    ["notebook 'ada/eda' has a slug of 3 characters; Kaggle's have at least 5"]
    """
    problems = _parts_problems("notebook", source, 2, 3, "owner/slug, such as ada/my-notebook")
    slug = source.split("/")[1] if not problems else ""
    if slug and len(slug) < 5:
        problems.append(f"notebook {source!r} has a slug of {len(slug)} characters; Kaggle's have at least 5")
    return problems


def model_source_problems(source: str) -> list[str]:
    """A model that is not ``owner/model/framework/variation/version`` with a whole number at the end.

    >>> model_source_problems("google/gemma-2/transformers/gemma-2-2b-it/2")
    []
    >>> model_source_problems("google/gemma-2")[0][:45]
    "model 'google/gemma-2' is not owner/model/fra"
    """
    shape = "owner/model/framework/variation/version, such as google/gemma-2/transformers/gemma-2-2b-it/2"
    problems = _parts_problems("model", source, 5, 5, shape)
    if not problems and not re.fullmatch(r"[1-9][0-9]*", source.split("/")[-1]):
        return [f"model {source!r} ends with {source.split('/')[-1]!r}; expected the number of a version, such as 2"]
    return problems


def competition_problems(slug: str) -> list[str]:
    """A competition that is no slug (an address, or its title, for example).

    >>> competition_problems("LLM 20 Questions")[0].split("; ")[1]
    "'llm-20-questions' would do"
    """
    return slug_problems(slug, lowest=3, highest=100, what="competition")


def _parts_problems(what: str, source: str, lowest: int, highest: int, shape: str) -> list[str]:
    parts = source.split("/")
    clean = all(part and not re.search(r"[\s\\:?#{}]", part) for part in parts)
    return [] if clean and lowest <= len(parts) <= highest else [f"{what} {source!r} is not {shape}"]
