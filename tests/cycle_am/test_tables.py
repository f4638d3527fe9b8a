"""Tables as spreadsheets and other programs save them."""

import pytest

from cycle_am.errors import UserError
from cycle_am.tables import read_table

COLUMNS = ("image", "label", "patient_id", "spacing_mm", "coordX")
ROWS = [["i0.npy", "0", "P0", "0.7"], ["i1.npy", "1", "P1", "0.8"]]
EXPECTED = [dict(zip(COLUMNS, row, strict=False)) for row in ROWS]


def table(separator=",", rows=ROWS, header=COLUMNS[:4], end="\n", tail=""):
    return "".join(separator.join(row) + tail + end for row in (header, *rows))


def read(tmp_path, text, encoding="utf-8"):
    path = tmp_path / "cases.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return [line.cells for line in read_table(path, COLUMNS, ("image", "patient_id"))]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_separator_is_found(tmp_path, separator, end):
    assert read(tmp_path, table(separator, end=end)) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_with_a_mark(tmp_path, encoding):
    rows = [[ROWS[0][0], "0", "Müller", "0.7"]]
    assert read(tmp_path, table(rows=rows), encoding)[0]["patient_id"] == "Müller"


@pytest.mark.parametrize("tail", [",", ",,,", " , "])
def test_separators_too_many_at_the_end_do_not_move_the_columns(tmp_path, tail):
    head, *rest = table().splitlines()
    assert read(tmp_path, "\n".join([head, *(row + tail for row in rest)])) == EXPECTED
    assert read(tmp_path, table(tail=tail)) == EXPECTED
    assert read(tmp_path, "\n".join([head + tail, *rest])) == EXPECTED


def test_lines_without_content_do_not_count_but_keep_their_numbers(tmp_path):
    head, *rest = table().splitlines()
    (tmp_path / "cases.csv").write_text("\n".join([head, "", rest[0], ",,,", rest[1], ",,,", "", ""]))
    assert [line.number for line in read_table(tmp_path / "cases.csv", COLUMNS)] == [3, 5]


def test_the_line_that_names_the_separator_is_no_header(tmp_path):
    assert read(tmp_path, "sep=;\n" + table(";")) == EXPECTED
    assert read(tmp_path, '"sep=,"\n' + table()) == EXPECTED
    assert read(tmp_path, table(rows=[*ROWS, ["sep=1", "0", "P2", "1"]]))[2]["image"] == "sep=1"


def test_capitals_blanks_and_quotes_in_the_header_do_not_matter(tmp_path):
    header = ['"Image" ', ' "LABEL"', "Patient ID", "Spacing-mm", "coordx"]
    text = table(header=header, rows=[[*ROWS[0], "3"]])
    assert read(tmp_path, text) == [EXPECTED[0] | {"coordX": "3"}]


def test_a_decimal_comma_is_one_where_cells_are_separated_otherwise(tmp_path):
    rows = [["a,1.npy", "1,0", "1,5", "0,703"]]
    (cells,) = read(tmp_path, table(";", rows))
    assert cells == {"image": "a,1.npy", "label": "1.0", "patient_id": "1,5", "spacing_mm": "0.703"}
    (cells,) = read(tmp_path, table(",", [["a", "1", "P", '"0,703"']]))
    assert cells["spacing_mm"] == "0,703"  # may be a thousand: whoever reads a number refuses it


def test_quoted_cells_hold_separators_quotes_and_lines(tmp_path):
    cells = read(tmp_path, table(rows=[['"a,""b"".npy"', "1", '"two\nlines"', "1"], ROWS[1]]))
    assert cells == [
        {"image": 'a,"b".npy', "label": "1", "patient_id": "two\nlines", "spacing_mm": "1"},
        EXPECTED[1],
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        (",,\n\n", "it is empty"),
        (table(rows=[]), "has no rows"),
        (table(rows=[["a", "1", "P"]]), "line 2 has 3 cells, the header 4"),
        (table(rows=[["a", "1", "P", "1", "2"]]), "line 2 has 5 cells, the header 4"),
        (table(rows=[["i0.npy", "1", "P", '"1'], *ROWS]), "line 4: unexpected end"),
        (table(header=["image", "label", "Label", "spacing_mm"]), "two columns label"),
        (
            table(rows=[["a", "1", "Müller", "1"]]).encode("cp1252"),
            r"UTF-8 \(line 2\); save it as 'CSV UTF-8'",
        ),
        (bytes(range(256)), "UTF-8"),
    ],
)
def test_what_is_no_table_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
    assert "cases.csv" in str(caught.value)


def test_a_column_with_nearly_the_name_of_an_absent_one_is_pointed_out(tmp_path, recwarn):
    read(tmp_path, table(header=["image", "label", "patient_id", "spacing"]))
    (warning,) = recwarn
    assert "has a column spacing, which is ignored; is spacing_mm meant?" in str(warning.message)
    read(tmp_path, table(header=["image", "label", "patient_id", "comment"]))
    assert len(recwarn) == 1
