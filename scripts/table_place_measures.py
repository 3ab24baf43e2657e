"""Questions on places that a number answers: how far north, how many people, how high, how far from Paris."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from table_geography import Gazetteer, Place
from table_scales import above
from table_traits import rows

__all__ = ["NO", "YES", "PlaceQuestion", "distance_questions", "kilometers", "position_questions", "size_questions"]

YES, NO = 0.97, 0.03
PlaceQuestion = tuple[str, str, Callable[[Place], float]]
"""Text, family, P(yes) of a place."""
_PEOPLE = {
    "100,000": 1e5, "300,000": 3e5, "half a million": 5e5, "a million": 1e6, "two million": 2e6,
    "three million": 3e6, "five million": 5e6, "ten million": 1e7, "thirty million": 3e7, "a hundred million": 1e8,
}  # fmt: skip
_NATIONS = {
    "five million": 5e6, "twenty million": 2e7, "fifty million": 5e7, "eighty million": 8e7, "two hundred million": 2e8
}  # fmt: skip
_AREAS = {"Belgium": 3e4, "Portugal": 9.2e4, "Germany": 3.57e5, "Egypt": 1e6, "Argentina": 2.76e6}
"""Square kilometers."""
_HEIGHTS = (3000, 4000, 4500, 5500, 7000, 8000, 8180, 8400)
_LENGTHS = (2400, 4000)
_REACHES = (200, 500, 1000, 2000, 4000)


def _hubs(gazetteer: Gazetteer, purpose: str) -> Iterator[tuple[str, Place]]:
    """The reference cities that serve for one purpose: spoken name, place."""
    for line in rows("places.txt"):
        kind, *fields = line.split(" | ")
        if kind == "hub" and purpose in fields[2].split():
            yield fields[1], gazetteer.find(fields[0])


def position_questions(gazetteer: Gazetteer) -> Iterator[PlaceQuestion]:
    """North and south, east and west."""
    yield "Is it north of the equator?", "position", lambda p: above(p.latitude, 0, width=1.0, most=0.98)
    yield "Is it in the Southern Hemisphere?", "position", lambda p: above(-p.latitude, 0, width=1.0, most=0.98)
    for name, hub in _hubs(gazetteer, "n"):
        line = hub.latitude
        yield f"Is it farther north than {name}?", "position", lambda p, line=line: above(p.latitude, line, width=0.9)
    for name, hub in _hubs(gazetteer, "e"):
        line = hub.longitude
        yield f"Is it farther east than {name}?", "position", lambda p, line=line: above(p.longitude, line, width=1.2)
    for side, axis in (("north", "latitude"), ("east", "longitude")):
        yield (f"Is it {side} of its country's capital?", "position",
               lambda p, axis=axis: _beside_capital(gazetteer, p, axis))  # fmt: skip


def _beside_capital(gazetteer: Gazetteer, place: Place, axis: str) -> float:
    facts = gazetteer.countries[place.countries[0]]
    seat = gazetteer.find(f"{facts['capital'].lower()} {facts['name'].lower()}")
    if place.kind == "country" or place.capital or seat is None:
        return 0.2
    return above(getattr(place, axis), getattr(seat, axis), width=0.4, most=0.95)


def size_questions(gazetteer: Gazetteer) -> Iterator[PlaceQuestion]:
    """Inhabitants, area, height and length."""
    for text, number in _PEOPLE.items():
        yield (f"Does it have more than {text} inhabitants?", "population",
               lambda p, number=number: _more_people(p, number))  # fmt: skip
    for text, number in _NATIONS.items():
        yield (f"Does its country have more than {text} inhabitants?", "population",
               lambda p, n=number: _exceeds(_mean(gazetteer, p, "population"), n, width=0.07))  # fmt: skip
    for text, number in _AREAS.items():
        yield (f"Is its country larger than {text}?", "population",
               lambda p, n=number: _exceeds(_mean(gazetteer, p, "areakm2"), n, width=0.06))  # fmt: skip
    largest: dict[str, tuple[int, float]] = {}
    for city in gazetteer.cities:
        largest.setdefault(city["countrycode"], (city["population"], city["latitude"]))
    yield ("Is it the largest city of its country?", "population",
           lambda p: YES if (p.people, p.latitude) == largest.get(p.countries[0]) else NO)  # fmt: skip
    for height in _HEIGHTS:
        yield (f"Is it a mountain higher than {height:,} meters?", "mountain",
               lambda p, h=height: above(p.height, h, width=12) if p.kind != "river" else NO)  # fmt: skip
    for length in _LENGTHS:
        yield (f"Is it a river longer than {length:,} kilometers?", "mountain",
               lambda p, n=length: above(p.height, n, width=60) if p.kind == "river" else NO)  # fmt: skip


def _more_people(place: Place, number: float) -> float:
    width = 0.11 if place.kind == "country" else 0.21  # a city's limits are a matter of opinion
    return _exceeds(place.people, number, width=width) if place.people > 1 else 0.06


def _exceeds(value: float, number: float, *, width: float) -> float:
    return above(math.log10(value + 1), math.log10(number), width=width)


def _mean(gazetteer: Gazetteer, place: Place, fact: str) -> float:
    return sum(gazetteer.countries[code][fact] or 0 for code in place.countries) / len(place.countries)


def distance_questions(gazetteer: Gazetteer) -> Iterator[PlaceQuestion]:
    """Within so many kilometers of a well-known city."""
    for name, hub in _hubs(gazetteer, "d"):
        for reach in _REACHES:
            yield (f"Is it within {reach:,} kilometers of {name}?", "distance",
                   lambda p, hub=hub, reach=reach: _within(p, hub, reach))  # fmt: skip


def _within(place: Place, hub: Place, reach: int) -> float:
    return above(-math.log(kilometers(place, hub) + 30), -math.log(reach), width=0.1, most=0.95)


def kilometers(a: Place, b: Place) -> float:
    """Great-circle distance."""
    phi, psi, turn = math.radians(a.latitude), math.radians(b.latitude), math.radians(a.longitude - b.longitude)
    cosine = math.sin(phi) * math.sin(psi) + math.cos(phi) * math.cos(psi) * math.cos(turn)
    return 6371 * math.acos(max(-1.0, min(1.0, cosine)))
