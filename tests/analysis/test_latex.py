"""LaTeX: what compiles, and how heads of several columns look."""

import shutil
import subprocess
from dataclasses import replace

import pytest

from analysis.build import build
from analysis.latex import escaped, latex
from analysis.tables import find_table, table_ids

DOCUMENT = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}%s\end{document}"


def test_what_neighbouring_columns_share_stands_over_them():
    text = latex(build(find_table("T2"), []))
    assert r" & \multicolumn{2}{c}{90 \%} & \multicolumn{2}{c}{95 \%} & \multicolumn{2}{c}{98 \%} \\" in text
    assert r"\cmidrule(lr){2-3}\cmidrule(lr){4-5}\cmidrule(lr){6-7}" in text
    assert r"Method & FLOPs e15 & accuracy \% & FLOPs e15" in text


def test_printed_values_stand_in_italics_below_what_was_measured():
    lines = latex(build(find_table("T2"), [])).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith("SNIP"))
    assert lines[row + 1].startswith(r"\quad\textit{printed} & \textit{1.32} & \textit{68.89} &")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex (Debian: texlive-latex-recommended)")
@pytest.mark.slow
def test_every_table_compiles(tmp_path):
    tables = [latex(build(find_table(name), [])) for name in table_ids()]
    hostile = replace(build(find_table("A4"), []), title=r"100 % of $x_1$ & {\#} ~^ <|> ± — \end{table}")
    (tmp_path / "all.tex").write_text(DOCUMENT % (r"\clearpage ".join([*tables, latex(hostile)])))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stdout[-2000:]
    assert f"({len(tables) + 1} pages" in answer.stdout
    assert "Overfull" not in answer.stdout


def test_no_letter_of_the_text_is_left_to_tex():
    assert escaped("a_b 5 % #1 & $") == r"a\_b 5 \% \#1 \& \$"
