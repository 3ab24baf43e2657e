"""Questions on places, answered from a gazetteer: what it is, on which continent, in what sort of country."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from table_geography import Gazetteer, Place
from table_place_measures import NO, YES, PlaceQuestion, distance_questions, position_questions, size_questions
from table_traits import rows

__all__ = ["NOT_A_PLACE", "Named", "place_questions"]

NOT_A_PLACE = 0.012
Named = dict[str, float]
"""P(yes) by name, instead of a function of the place."""
_KINDS = {
    "Is it a country?": ("country",),
    "Is it a city or a town?": ("city", "town", "capital town"),
    "Is it a mountain?": ("mountain", "volcano"),
    "Is it a mountain that erupts or once did?": ("volcano",),
    "Is it a river?": ("river",),
    "Is it a natural place rather than a man-made one?": ("mountain", "volcano", "river"),
    "Is it a state, a province or a region of a country?": ("region", "state", "island"),
}
_CONTINENTS = {
    "EU": "Europe", "AS": "Asia", "AF": "Africa", "NA": "North America", "SA": "South America",
    "OC": "Australia or Oceania",
}  # fmt: skip
_TWO_CONTINENTS = {
    "RU": ("EU", "AS"), "TR": ("AS", "EU"), "GE": ("AS", "EU"), "AM": ("AS", "EU"), "AZ": ("AS", "EU"),
    "CY": ("EU", "AS"),
}  # fmt: skip
_URAL = 59.0  # degrees east
_CURRENCIES = ("dollar", "franc", "peso", "pound", "dinar", "rupee", "krona")
_ARTICLE = (
    "United States", "United Kingdom", "United Arab Emirates", "Netherlands", "Philippines", "Bahamas", "Gambia",
    "Czech Republic", "Dominican Republic", "Maldives", "Seychelles", "Marshall Islands", "Solomon Islands",
    "Central African Republic", "Republic of the Congo", "Comoros", "Democratic Republic of the Congo",
)  # fmt: skip


def place_questions(gazetteer: Gazetteer, places: list[Place]) -> list[PlaceQuestion | tuple[str, str, Named]]:
    """All questions; which are worth keeping is decided elsewhere. ``places`` say which countries are asked for."""
    parts = (_kinds(), _continents(gazetteer), _countries(gazetteer, places), _currencies(gazetteer),
             position_questions(gazetteer), size_questions(gazetteer), distance_questions(gazetteer),
             _listed())  # fmt: skip
    return [question for part in parts for question in part]


def _share(place: Place, codes: set[str], yes: float = YES) -> float:
    share = sum(code in codes for code in place.countries) / len(place.countries)
    return NO + (yes - NO) * (share if share in (0, 1) else 0.35 + 0.4 * share)


def _kinds() -> Iterator[PlaceQuestion]:
    for text, kinds in _KINDS.items():
        yield text, "place kind", lambda p, kinds=kinds: YES if p.kind in kinds else NO
    yield ("Does it lie on the border of two countries?", "place kind",
           lambda p: YES if p.kind in ("mountain", "volcano") and len(p.countries) > 1 else 0.06)  # fmt: skip
    yield ("Is it a capital city?", "place kind",
           lambda p: YES if p.capital else 0.5 if p.name == "singapore" else NO)  # fmt: skip
    yield ("Is it a city that is not a capital?", "place kind",
           lambda p: YES if p.kind == "city" and not p.capital else NO)  # fmt: skip


def _continents(gazetteer: Gazetteer) -> Iterator[PlaceQuestion]:
    def answer(place: Place, continent: str) -> float:
        facts = gazetteer.countries
        found = [_TWO_CONTINENTS.get(code, (facts[code]["continentcode"],)) for code in place.countries]
        if not any(continent in codes for codes in found):
            return NO
        if "RU" in place.countries and place.kind == "city":
            return YES if (continent == "AS") == (place.longitude > _URAL) else NO
        return YES if all(codes == (continent,) for codes in found) else 0.6 if continent == found[0][-1] else 0.75

    for code, name in _CONTINENTS.items():
        yield f"Is it in {name}?", "continent", lambda p, code=code: answer(p, code)
    yield "Is it in the Americas?", "continent", lambda p: max(answer(p, "NA"), answer(p, "SA"))
    yield "Is it in Europe or Asia?", "continent", lambda p: max(answer(p, "EU"), answer(p, "AS"))


def _countries(gazetteer: Gazetteer, places: list[Place]) -> Iterator[PlaceQuestion]:
    counts = Counter(code for place in places for code in place.countries)
    for code, facts in gazetteer.countries.items():
        name, near = _spoken(facts["name"]), set(facts["neighbours"].split(",")) - {""}
        if counts[code] >= 3:
            text = f"Is it {name} or a place in {name}?"
            yield text, "country", lambda p, code=code: _share(p, {code}, 0.98)
        if len(near) >= 3 and counts[code] and facts["population"]:
            yield f"Does its country border {name}?", "neighbours", lambda p, near=near: _share(p, near, 0.95)
    for state, code in gazetteer.states.items():
        if sum(place.state == code for place in places) >= 3:
            yield f"Is it in {state.title()}?", "country", lambda p, code=code: YES if p.state == code else NO


def _currencies(gazetteer: Gazetteer) -> Iterator[PlaceQuestion]:
    names = {code: (facts["currencyname"] or "").lower() for code, facts in gazetteer.countries.items()}
    euro = {code for code, name in names.items() if name == "euro"}
    yield "Do people there pay with the euro?", "country", lambda p: _share(p, euro)
    for word in _CURRENCIES:
        codes = {code for code, name in names.items() if word[:4] in name}
        text = f"Is the currency there called the {word} or something very like it?"
        yield text, "country", lambda p, codes=codes: _share(p, codes, 0.9)


def _listed() -> Iterator[PlaceQuestion | tuple[str, str, Named]]:
    for line in rows("places.txt"):
        kind, text, *rest = line.split(" | ")
        if kind == "countries":
            sure = {code for code in rest[0].split() if code[-1] not in "?-"}
            either = {code[:-1] for code in rest[0].split() if code[-1] == "?"}
            yield text, "country facts", lambda p, sure=sure, either=either: _listed_country(p, sure, either)
        elif kind == "names":
            strength = {"?": 0.45, "-": 0.06}
            yield text, "place facts", {n.rstrip("?-"): strength.get(n[-1], 0.9) for n in rest[0].split("|")}


def _listed_country(place: Place, sure: set[str], either: set[str]) -> float:
    return 0.45 if set(place.countries) & either else _share(place, sure, 0.93)


def _spoken(country: str) -> str:
    """A country's everyday name, with the article where it takes one."""
    name = country.removeprefix("The ")
    return f"the {name}" if name in _ARTICLE else name
