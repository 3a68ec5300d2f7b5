"""What notebooks show: the graph, curves and findings, as SVG and HTML that a parser takes."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

import bpcore as bp
from bpcore.base import svg
from bpcore.inspection import picture

SPACE = "{http://www.w3.org/2000/svg}"


def branched():
    a, b = bp.Input((8,), name="a"), bp.Input((3,), name="<b> & 'c'")
    hidden = bp.layers.Dense(4, "relu", name="twice")
    top = bp.layers.Concatenate(name="joined")([hidden(hidden(bp.layers.Dense(4)(a))), b, a])
    return bp.Model([a, b], [bp.layers.Dense(2)(top), bp.layers.Dense(1)(top)], seed=0)


def boxes(drawn):
    """The boxes of a picture by their first line: (left, top, right, bottom)."""
    root = ElementTree.fromstring(drawn)
    rects, texts = root.findall(f"{SPACE}rect"), root.findall(f"{SPACE}text")
    found = []
    for k, rect in enumerate(rects):
        x, y, w, h = (float(rect.get(key)) for key in ("x", "y", "width", "height"))
        found.append((texts[2 * k].text, texts[2 * k + 1].text, (x, y, x + w, y + h)))
    return found


def test_a_graph_shows_every_call_and_every_value(tmp_path):
    model = branched()
    drawn = model.plot(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text() == drawn.svg == drawn._repr_svg_()
    found = boxes(drawn.svg)
    names = [name for name, _, _ in found]
    assert len(found) == 8 and sum(name.startswith("twice") for name in names) == 2
    assert "<b> & 'c' (InputLayer)" in names  # escaped in the file, whole for a reader
    told = dict(zip(names, [line for _, line, _ in found], strict=True))
    assert told["joined (Concatenate)"] == "(N, 15)"
    assert "(N, 4), shared" in [line for _, line, _ in found]
    # an arrow and its head for each value: 1 + 1 + 1 + 3 + 2
    assert drawn.svg.count("l-4 5z") == 8
    with pytest.raises(ValueError, match=r"ends in \.svg"):
        model.plot(tmp_path / "net.png")
    with pytest.raises(bp.errors.NotBuiltError):
        bp.Sequential([bp.layers.Dense(1)]).plot()


@pytest.mark.parametrize("seed", range(8))
def test_boxes_stand_below_what_they_take_and_apart(seed):
    rng = np.random.default_rng(seed)
    made = [bp.Input((4,))]
    for _ in range(25):
        a, b = rng.choice(len(made), 2)
        made.append(bp.layers.Dense(4)(made[a]) if a == b else bp.layers.Add()([made[a], made[b]]))
    model = bp.Model(made[0], bp.layers.Add()(made[-5:]), seed=0)
    places = {name.split(" (")[0]: box for name, _, box in boxes(model.plot().svg)}
    root = ElementTree.fromstring(model.plot().svg)
    width, height = float(root.get("width")), float(root.get("height"))
    for left, top, right, bottom in places.values():
        assert 0 <= left < right <= width + 1 and 0 <= top < bottom <= height
    every = list(places.values())
    for i, a in enumerate(every):
        for b in every[:i]:
            assert a[3] <= b[1] or b[3] <= a[1] or a[2] <= b[0] or b[2] <= a[0]
    for node in model._engine.nodes:
        for source in node.inputs:
            above, below = places[source.node.layer.name], places[node.layer.name]
            assert above[3] < below[1]


def test_a_path_of_an_arrow_keeps_clear_of_boxes():
    """The straight parts of long arrows lie in no box's columns."""
    model = branched()
    found = [box for _, _, box in boxes(model.plot().svg)]
    for path in re.findall(r"<path d='(M[^']*)' fill='none'", model.plot().svg):
        for x, y, end in re.findall(r" ([\d.]+) ([\d.]+)V([\d.]+)", path):
            for left, top, right, bottom in found:
                beside = float(x) < left or float(x) > right
                assert beside or float(end) <= top or float(y) >= bottom


def test_notebooks_show_models_histories_and_diagnoses():
    model = branched()
    page = model._repr_html_()
    assert page.count("<svg") == 1 and "&lt;b&gt; &amp;" in page and "<b> &" not in page
    ElementTree.fromstring(page)  # every element is closed
    assert f"parameters: {model.count_params():,}" in page
    unbuilt = bp.Sequential([bp.layers.Dense(1)])
    assert unbuilt._repr_html_() is None

    x = np.random.default_rng(0).normal(size=(60, 3))
    small = bp.Sequential([bp.Input((3,)), bp.layers.Dense(2)], seed=0)
    small.compile("adam", "cross_entropy", metrics=["accuracy"])
    history = small.fit(x, (x[:, 0] > 0).astype(int), epochs=3, verbose=0, validation_split=0.2)
    page = history._repr_html_()
    charts = list(ElementTree.fromstring(page).iter(f"{SPACE}svg"))
    assert len(charts) == 2  # loss and accuracy, each with its validation
    assert all(len(list(chart.iter(f"{SPACE}polyline"))) == 2 for chart in charts)
    diagnosis = small.diagnose(1e4 * x, (x[:, 0] > 0).astype(int))
    page = ElementTree.fromstring(diagnosis._repr_html_())
    assert len(list(page.iter("li"))) == len(diagnosis.findings) > 0
    assert len(list(page.iter("tr"))) == 1 + len(diagnosis.layers)


def test_curves_stand_where_their_numbers_are():
    root = ElementTree.fromstring(svg.curves("t", {"a": ([1, 2, 3], [0.0, 5.0, 10.0])}))
    (line,) = root.iter(f"{SPACE}polyline")
    points = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x0 < x1 < x2 and y0 > y1 > y2 and y0 - y1 == pytest.approx(y1 - y2)
    gone = svg.curves("t", {"a": ([1, 2], [float("nan"), float("inf")])})
    assert "no finite value" in gone
    one = ElementTree.fromstring(svg.curves("t", {"a": ([1], [2.0])}))
    (point,) = one.iter(f"{SPACE}circle")
    told = {t.text: (float(t.get("x")), float(t.get("y"))) for t in one.iter(f"{SPACE}text")}
    assert len(told) == 4  # title, name, and each number once, beside and below the point
    assert abs(told["2"][1] - float(point.get("cy"))) < 6
    assert told["1"][0] == pytest.approx(float(point.get("cx")), abs=0.1)


def test_charts_of_epochs_have_their_numbers_at_the_ends():
    root = ElementTree.fromstring(svg.curves("t", {"a": ([1, 4], [0.5, 2.0])}))
    (line,) = root.iter(f"{SPACE}polyline")
    (x0, y0), (x1, y1) = (tuple(map(float, p.split(","))) for p in line.get("points").split())
    told = {t.text: (float(t.get("x")), float(t.get("y"))) for t in root.iter(f"{SPACE}text")}
    assert told["1"][0] == pytest.approx(x0, abs=0.1) and told["4"][0] == pytest.approx(x1, abs=0.1)
    assert abs(told["0.5"][1] - y0) < 6 and abs(told["2"][1] - y1) < 6


def test_numbers_of_tables_stand_to_the_right_and_words_to_the_left():
    rows = [["dense", "(N, 64)", "4,160", "12%", "", "1e+05"], ["add", "(N, 1)", "0", "", "", "-2"]]
    root = ElementTree.fromstring(svg.table(list("abcdef"), rows))
    for line in root.iter("tr"):
        sides = [re.search(r"text-align:(\w+)", cell.get("style")).group(1) for cell in line]
        assert sides == ["left", "left", "right", "right", "right", "right"]
    assert "<tbody></tbody>" in svg.table(["a"], [])
    long = "one, two, three, four, five, six, seven"
    short, broken = ElementTree.fromstring(svg.table(["a", "b"], [["(N, None, 4)", long]])).iter(
        "td"
    )
    assert "nowrap" in short.get("style") and "nowrap" not in broken.get("style")


def test_a_wide_picture_shrinks_to_its_column():
    """Both are needed: the width is bounded, and the height follows by the viewBox."""
    root = ElementTree.fromstring(svg.document(3000, 600, [], "t"))
    assert root.get("viewBox") == "0 0 3000 600" and root.get("width") == "3000"
    assert root.get("style") == "max-width:100%;height:auto"


def test_rows_are_the_longest_ways():
    class Node:
        def __init__(self, *sources):
            self.inputs = [type("T", (), {"node": s}) for s in sources]

    a = Node()
    b = Node(a)
    c = Node(a, b)
    rows = picture._rows([a, b, c], lambda node: ("x",))
    assert [sum(bool(box.lines) for box in row) for row in rows] == [1, 1, 1]
    assert [len(row) for row in rows] == [1, 2, 1]  # the arrow from a to c passes row 1
