"""A table as LaTeX; packages: booktabs, graphicx."""

from analysis.build import Table
from analysis.text import grid, heads, remarks

TEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "—": "---", "λ": r"$\lambda$", '"': "''", "|": r"\textbar{}",
})  # fmt: skip
FIT = r"\resizebox{\ifdim\width>\linewidth \linewidth\else\width\fi}{!}{%"  # wide tables shrink, others stay
BESIDE = {"printed": r"\quad\textit{printed}", "difference": r"\quad\textit{difference}"}


def latex(table: Table) -> str:
    """A table environment; printed values and differences stand in italics below each row."""
    head, *rows = grid(table)
    lines = ["% packages: booktabs, graphicx", r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{escaped(table.headline)}}}", rf"\label{{tab:{table.id}}}", FIT]
    lines += [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines += _head(table)
    lines += [r"\midrule", *map(_row, rows), r"\bottomrule", r"\end{tabular}}", r"\par\smallskip\footnotesize"]
    lines += [rf"{escaped(remark)}\par" for remark in remarks(table)]
    if table.command:
        lines.append(rf"To train what is missing: {_breakable(table.command)}\par")
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def escaped(text: str) -> str:
    """Plain text as LaTeX prints it."""
    return text.translate(TEX)


def _row(line: list[str]) -> str:
    label, *fields = line
    if label in BESIDE:
        return " & ".join([BESIDE[label], *(rf"\textit{{{escaped(field)}}}" for field in fields)]) + r" \\"
    return " & ".join(map(escaped, line)) + r" \\"


def _head(table: Table) -> list[str]:
    """One line of labels, or two: what neighbours have in common over the rest."""
    over, labels = heads(table)
    lines = [_row([table.head[0], *labels])]
    if not over:
        return lines
    names, rules, column = [], [], 2
    for name, width in over:
        names.append(rf"\multicolumn{{{width}}}{{c}}{{{escaped(name)}}}")
        rules.append(rf"\cmidrule(lr){{{column}-{column + width - 1}}}")
        column += width
    return [" & ".join(["", *names]) + r" \\", "".join(rules), *lines]


def _breakable(command: str) -> str:
    """In typewriter letters, with a line break allowed after each comma and before each word."""
    words = escaped(command).replace(",", r",\allowbreak{}")
    return rf"{{\ttfamily\raggedright {words}}}"
