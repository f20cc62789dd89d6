"""Tables of hyper-parameters: what a recipe resolves to, beside what the paper prints."""

import json
from collections.abc import Mapping, Sequence

from analysis.composing import composed
from analysis.layout import Arrange, Fact, Item, Layout
from analysis.papers import matching, printed_values
from analysis.protocol import Spec
from spfde_exp.config import flatten
from spfde_exp.sparse.methods import METHODS


def settings(table: str, columns: Mapping[str, tuple[str, ...]], corner: str) -> Arrange:
    """A layout with a row for each printed setting, in the printed order, and a column for each of `columns`.

    Args:
        table: id of the printed values; their quantities are configuration keys.
        columns: head of a column -> overrides that begin with its recipe.
        corner: what the columns are.
    """

    def arrange(cells: Sequence[Spec]) -> Layout:
        rows = dict.fromkeys((row["system"], row.get("method.name", ""), row["quantity"]) for row in _rows(table))
        lines: list[tuple[str, tuple[Item, ...]]] = []
        for system, method, key in rows:
            name = f"{system}, {METHODS[method].title}" if method else system
            lines.append((f"{name} ({key})", tuple(_fact(table, words, method, key) for words in columns.values())))
        return Layout((corner, *columns), tuple(lines))

    return arrange


def _rows(table: str) -> Sequence[Mapping[str, str]]:
    return list(printed_values(table))


def _fact(table: str, words: tuple[str, ...], method: str, key: str) -> Fact:
    values = flatten(composed((*words, *([f"method={method}"] if method else []))))
    recipe = words[0].removeprefix("recipe=")
    printed = [row["value"] for row in matching(table, recipe, values) if row["quantity"] == key]
    value = values[key]
    return Fact(value if isinstance(value, str) else json.dumps(value), ", ".join(printed) or None)
