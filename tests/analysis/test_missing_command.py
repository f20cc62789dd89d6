"""The command under a table trains all that the table misses, and nothing that is not of the table."""

import shlex

from hypothesis import given
from hypothesis import strategies as st

from analysis.command import command
from analysis.protocol import Protocol
from spfde_exp.launch.sweepfile import expand, load_sweep
from spfde_exp.options import accept_numbers


def make(table, overrides=(), seeds=(0, 1, 2)):
    return Protocol(load_sweep(table), tuple(overrides), seeds, (), False)


def jobs(text):
    """The runs that a command line asks for, as sets of overrides."""
    words = shlex.split(text)
    assert words[:4] == ["python", "-m", "spfde_exp", "-m"]
    accept_numbers()
    return {frozenset(w for w in job if not w.startswith("+sweep=")) for job in expand(words[4:], None)}


def runs(protocol, chosen):
    """The same for chosen cells and seeds of a table, put together by hand."""
    replaced = {word.split("=")[0] for word in protocol.overrides}
    answer = set()
    for index, seed in chosen:
        cell = protocol.sweep.base | protocol.sweep.cells[index] | {"seed": str(seed)}
        settings = {f"{key}={value}" for key, value in cell.items() if key not in replaced}
        answer.add(frozenset(settings | set(protocol.overrides)))
    return answer


@given(
    st.sampled_from(["A8", "A10", "T2", "M1", "MK1"]), st.sampled_from([(), ("recipe=digits", "epochs=20")]), st.data()
)
def test_it_covers_what_is_missing_and_stays_in_the_table(table, overrides, data):
    protocol = make(table, overrides)
    everything = [(cell, seed) for cell in range(len(protocol.sweep.cells)) for seed in protocol.seeds]
    missing = data.draw(st.sets(st.sampled_from(everything), min_size=1))
    asked = jobs(command(protocol, missing, "runs"))
    assert runs(protocol, missing) <= asked <= runs(protocol, everything)


def test_a_whole_table_needs_no_narrowing():
    protocol = make("A8", ["recipe=digits"])
    everything = {(cell, seed) for cell in range(18) for seed in range(3)}
    assert command(protocol, everything, "runs") == "python -m spfde_exp -m +sweep=A8 recipe=digits"


def test_a_corner_of_a_grid_is_asked_for_alone():
    missing = {(9 + 1, 2), (9 + 3, 2)}  # 90 %, 10 and 20 %, seed 2
    text = command(make("A8"), missing, "my runs")
    assert text == "python -m spfde_exp -m +sweep=A8 sparsity=0.9 freeze=0.1,0.2 seed=2 'runs_dir=my runs'"
    assert len(jobs(text)) == 2


def test_listed_cells_are_narrowed_only_to_cells_of_the_list():
    one = command(make("A10"), {(1, 0)}, "runs")
    assert one.endswith("+sweep=A10 freeze=0.275 sieve=none seed=0")
    # freeze=0.15,0.2 sieve=0.15,0.2 would also train 15 % + 20 %, which is no cell
    assert command(make("A10"), {(0, 0), (3, 0)}, "runs").endswith("+sweep=A10 +cell=1,4 seed=0")


def test_cells_that_set_different_things_are_asked_for_by_number():
    text = command(make("T2", ["recipe=digits"]), {(0, 0), (29, 0)}, "runs")
    assert text.endswith("+sweep=T2 recipe=digits +cell=1,30 seed=0")
    assert any({"recipe=digits", "method=lth", "sparsity=0.9"} <= job for job in jobs(text))


def test_seeds_asked_for_beside_the_files_are_kept():
    protocol = make("A10", seeds=(0, 1, 2, 3))
    everything = {(cell, seed) for cell in range(6) for seed in range(4)}
    assert len(jobs(command(protocol, everything, "runs"))) == 24
