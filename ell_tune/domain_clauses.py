"""Reads the clauses under `search:` (`{log: [1e-5, 1e-4]}`, `{choice: [...]}`) into domains, checked against a `Config`."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from ell_tune.config import InvalidConfig, StrictConfig, validate
from ell_tune.dotted import get_at, set_at
from ell_tune.space import Alternative, Choice, Domain, Label, Numeric, OutsideDomain, Space

_KINDS = ("choice", "int", "float", "log")


class ClauseError(ValueError):
    """What is wrong with a clause, and where it stands below `search:`."""

    def __init__(self, clause_path: tuple[str | int, ...], message: str) -> None:
        self.clause_path = clause_path
        super().__init__(message)


def is_under(path: str, ancestor: str) -> bool:
    """Whether a dotted path is `ancestor` or lies inside it."""
    return path == ancestor or path.startswith(ancestor + ".")


def parse_domains(config: type[StrictConfig], base: Mapping[str, Any], clauses: Mapping[str, Any]) -> Space:
    """The space of all clauses over a resolved `base` config, into which the clauses' first values are filled.

    The first value of a field is the clause's `default`, else the `Config`'s own default.

    Raises:
        ClauseError: an ill-formed clause, a value outside the field's legal range, or a first value outside the clause.
    """
    base = deepcopy(dict(base))
    domains: dict[str, Domain] = {}
    for path, clause in clauses.items():
        domains[path] = _Clause(config, base, path).parse(clause)
    space = Space(base, domains)
    for path, domain in domains.items():
        try:
            domain.encode(path, get_at(base, path))
        except OutsideDomain as error:
            raise ClauseError(
                (path,),
                f"search.{path}: the first trial runs the defaults, but {error}; "
                f"add `default:` with the value to try first, or widen the search",
            ) from None
    return space


def _is_clause(value: Any) -> bool:
    return isinstance(value, Mapping) and any(kind in value for kind in _KINDS)


class _Clause:
    """Reads one searched path's clause. Fills its first value into `base`."""

    def __init__(self, config: type[StrictConfig], base: dict[str, Any], path: str) -> None:
        self._config, self._base, self._path = config, base, path

    def parse(self, clause: Any) -> Domain:
        domain = self._domain(clause, (self._path,))
        if "default" in clause:
            default = clause["default"]
            if isinstance(domain, Choice):
                default = next((a.value for a in domain.alternatives if a.label == _label_of(default)), default)
            set_at(self._base, self._path, self._resolved(default, (self._path, "default")))
        for corner in domain.corners():
            self._resolved(corner, (self._path,))
        return domain

    def _resolved(self, value: Any, clause_path: tuple[str | int, ...]) -> Any:
        """The value with every default filled in, if the whole config is legal with it."""
        candidate = deepcopy(self._base)
        set_at(candidate, self._path, value)
        try:
            return get_at(validate(self._config, candidate).model_dump(), self._path)
        except InvalidConfig as error:
            raise ClauseError(clause_path, f"search.{self._path}: {str(error).rstrip('.')}") from None

    def _domain(self, clause: Any, clause_path: tuple[str | int, ...]) -> Domain:
        where = f"search.{'.'.join(map(str, clause_path))}"
        kinds = [kind for kind in _KINDS if isinstance(clause, Mapping) and kind in clause]
        allowed = {*kinds, "default"} | ({"step"} if kinds == ["int"] else set())
        if len(kinds) != 1 or not set(clause) <= allowed:
            raise ClauseError(
                clause_path,
                f"{where}: one of `choice: [...]`, `int: [low, high]` (with `step:`), `float: [low, high]`, "
                f"`log: [low, high]` is needed, each with an optional `default:`, but got {clause!r}",
            )
        values = clause[kinds[0]]
        if kinds == ["choice"]:
            return self._choice(values, (*clause_path, "choice"), where)
        return _numeric(kinds[0], values, clause.get("step", 1), clause_path, where)

    def _choice(self, values: Any, clause_path: tuple[str | int, ...], where: str) -> Choice:
        if not isinstance(values, list) or len(values) < 2:
            raise ClauseError(clause_path, f"{where}: `choice` takes a list of at least two values, got {values!r}")
        alternatives = tuple(self._alternative(value, (*clause_path, index)) for index, value in enumerate(values))
        labels = [str(alternative.label) for alternative in alternatives]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ClauseError(
                clause_path, f"{where}: alternatives must be told apart by `name` or value, but {twice} stand twice"
            )
        return Choice(alternatives)

    def _alternative(self, value: Any, clause_path: tuple[str | int, ...]) -> Alternative:
        nested: dict[str, Domain] = {}
        template = deepcopy(value)
        for inner_path, keys, clause in _inner_clauses(value):
            domain = nested[inner_path] = self._domain(clause, (*clause_path, *keys))
            set_at(template, inner_path, clause.get("default", next(domain.corners())))
        return Alternative(_label_of(value), self._resolved(template, clause_path), nested)


def _inner_clauses(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...], Mapping[str, Any]]]:
    """Every clause inside an alternative: its dotted path, its keys, itself."""
    if keys and _is_clause(value):
        yield ".".join(keys), keys, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _inner_clauses(inner, (*keys, str(key)))


def _label_of(value: Any) -> Label:
    """What the sampler, the leaderboard and a `default:` call an alternative."""
    if isinstance(value, Mapping):
        fixed = [f"{key}={inner}" for key, inner in value.items() if not isinstance(inner, Mapping)]
        return str(value["name"]) if "name" in value else ",".join(fixed) or "on"
    if value is None or value is False:
        return "off"
    return value if isinstance(value, str | int | float | bool) else str(value)


def _numeric(kind: str, bounds: Any, step: Any, clause_path: tuple[str | int, ...], where: str) -> Numeric:
    number = int if kind == "int" else (int, float)
    if (
        not isinstance(bounds, list)
        or len(bounds) != 2
        or not all(isinstance(bound, number) and not isinstance(bound, bool) for bound in bounds)
        or not bounds[0] < bounds[1]
        or (kind == "log" and bounds[0] <= 0)
    ):
        noun = {"int": "whole numbers", "float": "numbers", "log": "numbers above 0"}[kind]
        raise ClauseError(clause_path, f"{where}: `{kind}` takes [low, high], two {noun}, low < high, got {bounds!r}")
    if not isinstance(step, int) or step < 1 or (kind == "int" and (bounds[1] - bounds[0]) % step):
        raise ClauseError(clause_path, f"{where}: `step` must be a whole number that divides high - low, got {step!r}")
    convert = int if kind == "int" else float
    return Numeric(kind, convert(bounds[0]), convert(bounds[1]), step)
