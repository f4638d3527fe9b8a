"""The blind check finds what it is told to look for, however it is wrapped, and nothing in what is blind."""

import base64
import hashlib
import struct
from io import BytesIO

import pytest
from PIL import Image, PngImagePlugin

from cycle_am.reader_study.design.blind import find_leaks
from cycle_am.reader_study.files import Key, KeyItem, opaque

KEY = Key(
    study_id=opaque(),
    methods={"cycle_am": "CycleAM", "lrp": "LRP"},
    items={opaque(): KeyItem("LIDC-IDRI-0001-1-2", 1, "cycle_am"), opaque(): KeyItem("7", 0, "lrp")},
)


def picture(info=None):
    stream = BytesIO()
    Image.new("L", (8, 8)).save(stream, "png", pnginfo=info)
    return stream.getvalue()


def commented(text, packed=False):
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", text, zip=packed)
    return picture(info)


@pytest.mark.parametrize(
    "data",
    [
        b"<html><title>Study</title>Lesion 1 of 26, 7 of 26</html>",
        b'{"items": {"' + opaque().encode() + b'": {"overlay": "x.png"}}, "label": "Rating of it"}',
        "Rot spricht für bösartig, blue speaks for benign".encode(),
        picture(),
        b"",
    ],
    ids=["page", "json", "words", "picture", "nothing"],
)
def test_blind_data_is_blind(data):
    assert find_leaks(data, KEY) == []


@pytest.mark.parametrize(
    ("data", "leak"),
    [
        (b'<img src="/images/cycle-AM_3.png">', "cycle_am"),
        (b"Set-Cookie: m=LRP;", "lrp"),
        (b'{"case": "lidc-idri-0001-1-2"}', "LIDC-IDRI-0001-1-2"),
        (b'"x": "' + base64.b64encode(b"shown: cycle_am") + b'"', "cycle_am"),
        (b"token=" + base64.urlsafe_b64encode(b"??>>?? cycle_am").rstrip(b"="), "cycle_am"),
        (b"LIDC-IDRI-0001-1-2".hex().encode(), "LIDC-IDRI-0001-1-2"),
        (hashlib.sha256(b"cycle_am").hexdigest()[:16].encode(), "digest of cycle_am"),
        (hashlib.md5(b"LIDC-IDRI-0001-1-2").hexdigest().encode(), "digest of LIDC-IDRI-0001-1-2"),
        (b'{"item": "a", "label": 1}', "label"),
        (b"label='malignant'", "label"),
        (commented("nothing"), "a chunk tEXt"),
        (commented("by cycle_am"), "names cycle_am"),
        (commented("made by cycle_am " * 9, packed=True), "names cycle_am"),
        (picture() + b"cycle_am", "names cycle_am"),
        (picture() + b"0", "bytes after its end"),
        (picture()[:-12] + struct.pack(">I4s7s", 7, b"tIME", bytes(7)) + bytes(4) + picture()[-12:], "tIME"),
    ],
)
def test_leaks_are_found(data, leak):
    assert any(leak in one for one in find_leaks(data, KEY)), find_leaks(data, KEY)


def test_label_words_count_where_asked():
    assert find_leaks(b"malignant_03.png", KEY) == []
    assert find_leaks(b"malignant_03.png", KEY, labels=True) == ["holds a label: malignant"]


def test_compressed_pixels_are_not_mistaken_for_text():
    chance = struct.pack(">I4s5s", 5, b"IDAT", b" lrp ") + bytes(4)
    assert find_leaks(picture()[:-12] + chance + picture()[-12:], KEY) == []
