"""Columns align, narrow terminals lose the least important first, and pipes lose nothing."""

from __future__ import annotations

from rich.cells import cell_len

from devtrace.views.layout import Across, Cells, Column, lay_out

COLUMNS = (Column(), Column(right=True, drop=1), Column(flex=True), Column())


def texts(rows, width, columns=COLUMNS, indent=0):
    made = [row if isinstance(row, Across) else Cells([[(cell, "")] for cell in row]) for row in rows]
    return ["".join(text for text, _ in line) for line in lay_out(columns, made, width, indent)]


def test_columns_are_as_wide_as_their_widest_cell():
    assert texts([["a", "1", "x", "id"], ["bbb", "100", "xyz", "i"]], 40) == [
        "a      1  x    id",
        "bbb  100  xyz  i",
    ]


def test_the_flexible_column_is_cut_with_an_ellipsis():
    (line,) = texts([["a", "1", "x" * 50, "id"]], 40)

    assert line == "a  1  " + "x" * 29 + "…  id"
    assert cell_len(line) == 40


def test_wide_characters_are_cut_by_cells_not_letters():
    (line,) = texts([["a", "1", "日本語" * 10, "id"]], 40)

    assert cell_len(line) <= 40
    assert line.endswith("id")


def test_a_narrow_terminal_drops_the_droppable_column():
    assert texts([["a", "12345678", "x" * 50, "id"]], 36)[0].startswith("a  xxx")


def test_no_line_is_ever_wider_than_the_terminal():
    rows = [["clock", "1234", "x" * 80, "identity"], Across([("y" * 100, "")])]

    assert {max(map(cell_len, texts(rows, width))) <= width for width in range(1, 120)} == {True}


def test_a_pipe_gets_everything():
    assert texts([["a", "1", "x" * 500, "id"]], None) == ["a  1  " + "x" * 500 + "  id"]


def test_in_a_pipe_short_rows_align_and_long_ones_push():
    lines = texts([["a", "1", "short", "id1"], ["a", "1", "x" * 80, "id2"]], None)

    assert lines == ["a  1  short" + " " * 67 + "  id1", "a  1  " + "x" * 80 + "  id2"]


def test_a_column_without_content_takes_no_room():
    assert texts([["a", "", "x", "id"], ["b", "", "y", "id"]], 40) == ["a  x  id", "b  y  id"]


def test_a_filling_column_pushes_the_last_one_to_the_edge():
    (line,) = texts([["a", "1", "x", "id"]], 40, (Column(), Column(), Column(fill=True, flex=True), Column()))

    assert line.endswith("  id")
    assert len(line) == 40


def test_least_widths_hold_from_batch_to_batch():
    columns = (Column(least=5), Column(right=True, least=4), Column(flex=True), Column())

    assert texts([["a", "1", "x", "id"]], 40, columns) == ["a         1  x  id"]


def test_nothing_trails():
    assert texts([["a", "1", "x", ""], ["a", "1", "xxx", "id"]], 40)[0] == "a  1  x"


def test_lines_across_are_not_measured_as_columns():
    assert texts([Across([("a long line across", "")]), ["a", "1", "x", "id"]], 40)[1] == "a  1  x  id"
