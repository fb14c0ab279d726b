"""The album, the report and the comparison, on figures made up here."""

import json
import re
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from fetfast import image
from fetfast.errors import BadInput
from fetfast.evaluate import PROTOCOLS, summary
from fetfast.evaluate.album import KEPT, Album, jpeg
from fetfast.evaluate.compare import cell, compare, read, table
from fetfast.evaluate.compare import write as write_figures
from fetfast.evaluate.figures import Record, add_up
from fetfast.evaluate.report import descriptions, page, write

FRAME = np.random.default_rng(0).integers(0, 255, (80, 100, 3), np.uint8)
M = np.array([[70, 0, 10], [0, 70, 5]], np.float32)


def made(plan="p", shift=0.0, people=6):
    records = [
        Record(figure, method, f"person {n}", value + shift * (method == "plan") + n / 100)
        for figure, low in (("blink", 0.4), ("blink: half", 0.3), ("face, dB", 30.0), ("<b>", 0.1))
        for method, value in (("plan", low), ("copy", 0.0))
        for n in range(people)
    ]
    known = {
        f"person {n}": {"skin": "light" if n < 3 else "dark", "beard": "yes" if n < 2 else "no"} for n in range(people)
    }
    about = {"plan": plan, "digest": "d" * 64, "backend": "none", "quick": False, "without_face": ["wall.png"]}
    machine = {"device": "Abacus 9", "commit": "abc1234"}
    return about | {"machine": machine} | summary({"actions": add_up(records)}, known)


def test_the_worst_and_the_best_of_each_person_are_kept():
    album = Album(open=True)
    for n in range(40):
        for score in (n, n + 0.5):
            album.add("p", score, f"person {n}", f"case {score}", {"result": (FRAME, M)})
    worst, best = album.pages()["p"]
    assert [shot.score for shot in worst] == list(range(KEPT))
    assert [shot.score for shot in best] == [39.5 - n for n in range(KEPT)]
    assert len({shot.person for shot in worst}) == KEPT
    album.add("p", float("nan"), "nobody", "", {"result": (FRAME, M)})
    assert album.pages()["p"] == (worst, best)


def test_a_closed_album_keeps_nothing():
    album = Album()
    album.add("p", 1, "a", "", {"result": (FRAME, M)})
    assert album.pages() == {}


def test_pictures_are_the_faces_own_resolution_and_marked(tmp_path):
    picture = Image.open(BytesIO(jpeg(FRAME, M)))
    assert picture.size == (70, 70)
    (tmp_path / "a.jpg").write_bytes(jpeg(FRAME, M))
    assert image.is_marked(tmp_path / "a.jpg")
    assert Image.open(BytesIO(jpeg(FRAME, M * 100))).size == (640, 640)


class Page(HTMLParser):
    """Tags that are opened, and every address that a browser would fetch."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.addresses, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.addresses += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_needs_no_network_and_says_what_it_shows(tmp_path):
    album = Album(open=True)
    for n in range(3):
        album.add("actions", n, f"person {n}", "blink", {"target": (FRAME, M), "result": (FRAME, M)})
    write(tmp_path / "r.html", made(), album)
    text = (tmp_path / "r.html").read_text()
    seen = Page(text)
    assert seen.addresses and all(address.startswith("data:image/jpeg;base64,") for address in seen.addresses)
    assert "script" not in seen.tags and "link" not in seen.tags and "url(" not in text
    words = " ".join(seen.words)
    assert "Abacus 9" in words and "abc1234" in words and "do not publish" in words
    assert "<b>" in words and "b" not in seen.tags, "names are escaped"
    assert seen.tags.count("img") == 2 * 3 * 2, "worst and best, target and result"
    assert "skin: light" in words and "0.41" in words
    circles = re.findall(r"<circle cx=([\d.]+)", text)
    assert len(circles) > 6


def test_small_groups_are_not_shown():
    split = made()["groups"]["actions"]["blink"]
    assert set(split) == {"skin: light", "skin: dark", "beard: no"}, "two beards are too few"
    assert split["skin: light"][0] == pytest.approx(0.41) and split["skin: dark"][0] == pytest.approx(0.44)
    assert split["skin: dark"][3] == 3 and split["beard: no"][3] == 4
    assert "blink: half" not in made()["groups"]["actions"] and "face, dB" in made()["groups"]["actions"]


def test_every_protocol_is_described():
    says = descriptions()
    assert set(says) == set(PROTOCOLS) and all(says.values())
    assert says["itself"] == "a face driven by itself"


def test_the_table_and_its_cells():
    text = table(made())
    assert "actions (6)" in text and "wall.png" in text and re.search(r"blink +0\.42 \[0\.41, 0\.4\d\]", text)
    assert cell([-0.001, -0.2, 0.1]) == "0.00 [-0.20, 0.10]"
    assert cell(None) == "—" and cell([0.5, 0.5, 0.5]) == "0.50" and cell([31.27, 30.0, 33.0]) == "31.3 [30.0, 33.0]"


def test_two_plans_are_compared_person_by_person():
    text = compare(made("a"), made("b", 0.05, people=5))
    (line,) = [line for line in text.splitlines() if "actions: blink " in line]
    assert "0.05" in line and line.endswith("*"), "what differs from person to person is the same in both"
    (line,) = [line for line in compare(made("a"), made("a")).splitlines() if "actions: blink " in line]
    assert not line.endswith("*")
    with pytest.raises(BadInput, match="in common"):
        compare(made("a"), made("b") | {"sums": {"other": {}}})


def test_files_of_figures_are_read_and_others_refused(tmp_path):
    file = tmp_path / "f.json"
    write_figures(file, made())
    assert read(file) == json.loads(json.dumps(made())) and "0.425, 0.4" in file.read_text()
    for content in ("{", "[]", '{"plan": 3, "sums": {}}', '{"plan": "p"}'):
        file.write_text(content)
        with pytest.raises(BadInput, match="no file of figures"):
            read(file)
    with pytest.raises(BadInput):
        read(tmp_path / "absent.json")


def test_page_of_one_person_without_groups_or_album():
    figures = made(people=1)
    assert figures["groups"] == {} and "blink" in page(figures, Album())
