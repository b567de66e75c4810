"""Reads the clauses under `search:` (`{log: [1e-5, 1e-4]}`, `{choice: [...]}`) into domains, checked by a `Config`."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import dataclass
from math import isfinite
from random import Random
from typing import Any

from ell_tune.config import InvalidConfig, StrictConfig, validate
from ell_tune.dotted import get_at, set_at
from ell_tune.spaces.space import Alternative, Choice, Domain, Label, Numeric, OutsideDomain, Space

_KINDS = ("choice", "int", "float", "log")
_NUM_DRAWS = 1000  # of the other fields, before a value counts as never legal; about .2 ms each
_DRAWN_FRAC = 0.7  # of the other fields: those that are left have their first value, which often is what a value needs

ClausePath = tuple[str | int, ...]


class ClauseError(ValueError):
    """What is wrong with a clause, and where it stands below `search:`."""

    def __init__(self, clause_path: ClausePath, message: str) -> None:
        self.clause_path = clause_path
        keys = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in clause_path)
        super().__init__(f"search{''.join(keys)}: {message}")


def is_under(path: str, ancestor: str) -> bool:
    """Whether a dotted path is `ancestor` or lies inside it."""
    return path == ancestor or path.startswith(ancestor + ".")


def parse_domains(config: type[StrictConfig], base: Mapping[str, Any], clauses: Mapping[str, Any]) -> Space:
    """The space of all clauses over a resolved `base` config, into which the clauses' first values are filled.

    The first value of a field is the clause's `default`, else what `base` holds there. A field can be searched only if
    `base` has it: `swa.start_frac` is refused while `swa` is off, because its search would be under a condition on
    something that is not searched. Bounds and alternatives are checked one at a time: each must be legal with some
    values of the other searched fields. A combination that is not shows when it is drawn, as a failed trial.

    Raises:
        ClauseError: an ill-formed clause, a field that `base` lacks, a value that is not legal, or a first value
            outside its clause.
    """
    check_forms(clauses)
    for path in clauses:
        _check_in_base(base, path)
    first = _first_config(config, base, clauses)
    legality = _Legality(config, first, clauses)
    space = Space(first, {path: _domain(legality, path, clause, (path,)) for path, clause in clauses.items()})
    for path, domain in space.domains.items():
        try:
            domain.encode(path, get_at(first, path))
        except OutsideDomain as error:
            raise ClauseError(
                (path,),
                f"the search must hold the first trial's value, but {error}; set `default:` to the value to try first, "
                f"or widen the search",
            ) from None
    return space


def check_forms(clauses: Mapping[str, Any]) -> None:
    """Refuses what is no clause, whatever the config.

    Raises:
        ClauseError: of the first ill-formed one, be it nested in another's alternative.
    """
    for path, clause in clauses.items():
        _check_form(clause, (path,))


def with_defaults(base: Mapping[str, Any], clauses: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the `default:` of every well-formed clause that has one: what the first trial runs."""
    first = deepcopy(dict(base))
    for path, clause in clauses.items():
        if "default" in clause:
            set_at(first, path, _default(clause))
    return first


def _check_in_base(base: Mapping[str, Any], path: str) -> None:
    component: Any = base
    keys = path.split(".")
    for depth, key in enumerate(keys):
        if not isinstance(component, Mapping) or key not in component:
            parent, inside = ".".join(keys[:depth]), keys[depth:]
            alternative = "..."
            for name in reversed(inside):
                alternative = f"{{{name}: {alternative}}}"
            found = "off" if component is None else repr(component)
            raise ClauseError(
                (path,),
                f"a searched field must be there in every config, but {parent} is {found} in the base config; fix "
                f"{parent} under base to a component that has {'.'.join(inside)}, or search the component: "
                f"`{parent}: {{choice: [..., {alternative}]}}`",
            )
        component = component[key]


def _is_clause(value: Any) -> bool:
    return isinstance(value, Mapping) and any(kind in value for kind in _KINDS)


def _check_form(clause: Any, clause_path: ClausePath) -> None:
    """Refuses a clause that is ill-formed whatever the field, be it nested in another's alternative."""
    kinds = [kind for kind in _KINDS if isinstance(clause, Mapping) and kind in clause]
    allowed = {*kinds, "default"} | ({"step"} if kinds == ["int"] else set())
    if len(kinds) != 1 or not set(clause) <= allowed:
        raise ClauseError(
            clause_path,
            f"one of `choice: [...]`, `int: [low, high]` (with an optional `step:`), `float: [low, high]`, "
            f"`log: [low, high]` is needed, with an optional `default:`, but got {clause!r}; a field of a component is "
            f"searched by its dotted path (optimizer.lr)",
        )
    if kinds != ["choice"]:
        _check_bounds(kinds[0], clause, clause_path)
        return
    values = clause["choice"]
    if not isinstance(values, list) or len(values) < 2:
        raise ClauseError(
            clause_path, f"`choice` takes a list of at least two values (one alone stands under `base`), got {values!r}"
        )
    for index, value in enumerate(values):
        for keys, inner in _parts(value):
            if _is_clause(inner):
                _check_form(inner, (*clause_path, "choice", index, *keys))


def _check_bounds(kind: str, clause: Mapping[str, Any], clause_path: ClausePath) -> None:
    bounds, step = clause[kind], clause.get("step", 1)
    noun = {"int": "whole numbers", "float": "numbers", "log": "numbers above 0"}[kind]
    is_pair = isinstance(bounds, list) and len(bounds) == 2 and all(_is_number(bound, kind) for bound in bounds)
    if not is_pair or not bounds[0] < bounds[1]:
        raise ClauseError(clause_path, f"`{kind}` takes [low, high], two {noun}, low < high, got {bounds!r}")
    if not _is_number(step, "int") or step < 1 or (kind == "int" and (bounds[1] - bounds[0]) % step):
        raise ClauseError(
            clause_path, f"`step` must be a whole number above 0 that divides high - low of {bounds!r}, got {step!r}"
        )


def _is_number(value: Any, kind: str) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if kind == "int" else int | float):
        return False
    return isfinite(value) and (kind != "log" or value > 0)


def _parts(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every clause and every plain value inside an alternative, with its keys."""
    if not isinstance(value, Mapping) or (keys and (not value or _is_clause(value))):
        yield keys, value
        return
    for key, inner in value.items():
        yield from _parts(inner, (*keys, key))


def _without_clauses(alternative: Any) -> Any:
    """The alternative as its first trial runs it: clauses give way to their `default`, or to the `Config`'s own."""
    if not isinstance(alternative, Mapping):
        return alternative
    plain: dict[str, Any] = {}
    for keys, value in _parts(alternative):
        if not _is_clause(value):
            set_at(plain, ".".join(keys), deepcopy(value))
        elif "default" in value:
            set_at(plain, ".".join(keys), _default(value))
    return plain


def _default(clause: Mapping[str, Any]) -> Any:
    """A clause's `default:`, which may be the label of an alternative."""
    default = clause["default"]
    for alternative in clause.get("choice", []):
        if isinstance(alternative, Mapping) and _label(alternative) == default:
            return _without_clauses(alternative)
    return default


def _first_config(config: type[StrictConfig], base: Mapping[str, Any], clauses: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return validate(config, with_defaults(base, clauses)).model_dump()
    except InvalidConfig as error:
        wrong = next((path for path in clauses if is_under(error.path, path)), None)
        if wrong is None:
            raise ClauseError((), f"base and every `default:` must be a legal config together, but {error}") from None
        alternatives = clauses[wrong].get("choice", [])
        # YAML reads `off` as false, and false is meant only beside true (to which 1 is equal).
        is_flag = any(each is True for each in alternatives)
        labels = ["off" if each is False and not is_flag else str(_label(each)) for each in alternatives]
        choices = f" The alternatives are {', '.join(labels)}." if labels else ""
        raise ClauseError((wrong, "default"), f"{error}{choices}") from None


@dataclass(frozen=True)
class _Legality:
    """Which values may be searched: those that are legal with some values of the other searched fields."""

    config: type[StrictConfig]
    base: Mapping[str, Any]  # a legal config
    clauses: Mapping[str, Any]  # dotted path → clause, of every field that is searched, be it inside an alternative

    def with_value(self, path: str, value: Any, clause_path: ClausePath) -> dict[str, Any]:
        """A legal config with the value at `path`, every default filled in: `base` if it can be, else a drawn one."""
        try:
            return self._config({path: value})
        except InvalidConfig as error:
            problem = error
        others = {
            other: clause
            for other, clause in self.clauses.items()
            if not is_under(path, other) and not is_under(other, path)
        }
        generator = Random(0)  # the same space is legal or not, each time that it is read
        for _ in range(_NUM_DRAWS if others else 0):
            changed = {
                other: _drawn(clause, generator) for other, clause in others.items() if generator.random() < _DRAWN_FRAC
            }
            with suppress(InvalidConfig):
                return self._config({**changed, path: value})
        raise ClauseError(clause_path, f"every searched value must be legal, but {value!r} is not: {problem}")

    def inside(self, base: Mapping[str, Any], clauses: Mapping[str, Any]) -> "_Legality":
        """The same inside an alternative, which `base` has, and whose own clauses these are."""
        return _Legality(self.config, base, {**self.clauses, **clauses})

    def _config(self, values: Mapping[str, Any]) -> dict[str, Any]:
        candidate = deepcopy(dict(self.base))
        for path, value in values.items():
            set_at(candidate, path, deepcopy(value))
        return validate(self.config, candidate).model_dump()


def _bounds(clause: Mapping[str, Any]) -> list[int | float]:
    kind = next(kind for kind in _KINDS if kind in clause)
    return [int(bound) if kind == "int" else float(bound) for bound in clause[kind]]


def _drawn(clause: Mapping[str, Any], generator: Random) -> Any:
    """An alternative or a bound of a well-formed clause; of the clauses inside an alternative, some are drawn too."""
    if "choice" not in clause:
        return generator.choice(_bounds(clause))
    alternative = generator.choice(clause["choice"])
    if not isinstance(alternative, Mapping):
        return alternative
    plain = _without_clauses(alternative)
    for keys, inner in _parts(alternative):
        if _is_clause(inner) and generator.random() < _DRAWN_FRAC:
            set_at(plain, ".".join(keys), _drawn(inner, generator))
    return plain


def _domain(legality: _Legality, path: str, clause: Mapping[str, Any], clause_path: ClausePath) -> Domain:
    """The domain of a well-formed clause for the field at `path`, each of its values checked."""
    if "choice" in clause:
        return _choice(legality, path, clause["choice"], (*clause_path, "choice"))
    kind = next(kind for kind in _KINDS if kind in clause)
    low, high = _bounds(clause)
    for bound in (low, high):
        legality.with_value(path, bound, (*clause_path, kind))
    return Numeric(kind, low, high, clause.get("step", 1))


def _choice(legality: _Legality, path: str, values: list[Any], clause_path: ClausePath) -> Choice:
    alternatives: list[Alternative] = []
    for index, value in enumerate(values):
        here = (*clause_path, index)
        whole = legality.with_value(path, _without_clauses(value), here)
        clauses = {keys: inner for keys, inner in _parts(value) if _is_clause(inner)}
        within = legality.inside(whole, {".".join((path, *keys)): inner for keys, inner in clauses.items()})
        nested = {
            ".".join(keys): _domain(within, ".".join((path, *keys)), inner, (*here, *keys))
            for keys, inner in clauses.items()
        }
        resolved = get_at(whole, path)
        label = _label(value if isinstance(value, Mapping) else resolved)
        if str(label) in (str(earlier.label) for earlier in alternatives):
            raise ClauseError(
                here,
                f"alternatives must differ in `name` or value, but {label} stands twice; make them one, "
                f"with a nested choice for what differs",
            )
        alternatives.append(Alternative(label, resolved, nested))
    return Choice(tuple(alternatives))


def _label(alternative: Any) -> Label:
    """What the sampler, the leaderboard and a `default:` call an alternative; a component without a name is called
    by what is fixed in it."""
    if isinstance(alternative, Mapping):
        if "name" in alternative:
            return str(alternative["name"])
        fixed = [f"{'.'.join(keys)}={value}" for keys, value in _parts(alternative) if not _is_clause(value)]
        return ",".join(fixed) or "on"
    if alternative is None:
        return "off"
    return alternative if isinstance(alternative, str | int | float | bool) else str(alternative)
