"""The page of a report, as text and in a real browser, and what a notebook shows."""

import dataclasses
import functools
import html.parser
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import example_reports as examples
from jaxgradsweep import _figure, plot, text
from jaxgradsweep import html as page
from jaxgradsweep._cause import Cause
from jaxgradsweep._consistency import Consistency
from jaxgradsweep._hessian import HessianReport
from jaxgradsweep._locate import Blame
from jaxgradsweep._report import Part, Report
from jaxgradsweep._wording import Law, Reason, Verdict

SCRIPT = "<script>document.title = 'broken in'</script>"
NASTY = f"{SCRIPT}<img src=http://192.0.2.1/x onerror=alert(1)>`{SCRIPT}`"


def blame(path, count=6):
    values = np.arange(1.0, count + 1)
    wrong = values > 4
    return Blame(
        path=path,
        shape=(2, count // 2),
        indices=np.argwhere(wrong.reshape(2, -1)),
        claimed=2 * values[wrong],
        estimate=values[wrong],
        uncertainty=np.full(wrong.sum(), 1e-12),
        complete=True,
        pattern="row 1",
        looked_at=np.argwhere(np.ones((2, count // 2))),
        wrong=wrong,
        seen_claimed=np.where(wrong, 2, 1) * values,
        seen_estimate=values,
        seen_uncertainty=np.full(count, 1e-12),
        probes=9,
    )


def explained(path="['conv']['kernel']", sentence="The claim is `2 x` the right derivative."):
    """A wrong report with all that can be said of one."""
    wrong = examples.wrong()
    cause = Cause(name="constant-factor", path=path, factor=2.0, confidence=1.0, sentence=sentence)
    law = Consistency(law=Law.SYMMETRY, residual=0.25, roundoff=1e-15, limit=1e-14, advice=Law.SYMMETRY.advice)
    environment = wrong.environment | {"call": "check_grad(loss, args, grad=backward, key=7)", "key": "7"}
    more = {"blame": (blame(path),), "causes": (cause,), "consistency": (law,), "notes": ("a note",)}
    return dataclasses.replace(wrong, environment=environment, **more)


def hessian():
    fields = {field.name: getattr(examples.wrong(), field.name) for field in dataclasses.fields(Report)}
    matrix = np.arange(9.0).reshape(3, 3)
    own = {"claimed": matrix, "estimate": matrix.T, "uncertainty": matrix * 1e-12, "leaves": ("['a']", "['b']")}
    return HessianReport(**fields, **own, offsets=(0, 1, 3), structure=("zero blocks: none",))


def joined():
    parts = (Part(name="float64", report=examples.kink()), Part(name="points", report=explained()))
    return dataclasses.replace(explained(), parts=parts, summary="wrong at one of two")


@functools.cache
def source_of(make):
    return page.render(make())


EVERY = pytest.mark.parametrize("make", [*examples.EVERY, explained, hessian, joined], ids=lambda make: make.__name__)


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and the text of the page outside of style and script."""

    def __init__(self, source):
        super().__init__()
        self.found, self.words, self.within = [], [], ""
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.within = tag if tag in ("style", "script") else ""

    def handle_endtag(self, tag):
        self.within = ""

    def handle_data(self, data):
        if not self.within:
            self.words.append(data)

    @property
    def said(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def whole():
    return source_of(explained)


# ---- what the page says


def test_the_verdict_stands_first_with_a_mark_for_readers_without_colours(whole):
    heading = re.search(r"<h1>(.*?)</h1>", whole, re.DOTALL)[1]
    assert re.sub(r"<[^>]*>", "", heading).strip() == "✕WRONG"
    assert Elements(whole).said.index("The claimed derivative is not") < Elements(whole).said.index("Likely cause")


def test_the_page_says_what_the_text_says(whole):
    said = Elements(whole).said
    for words in (
        "off by 9.9e-3",
        "the right derivative",
        "the central differences converge to another value than the claim",
        "wrong: row 1",
        "['conv']['kernel'][1, 1]",
        "No Hessian is unsymmetric",
        "a note",
        "deeplearning.ai",
        "1,234 evaluations of the function",
    ):
        assert words in said
    assert "<code>2 x</code>" in whole


@EVERY
def test_every_report_becomes_a_page_that_loads_nothing(make):
    source = source_of(make)
    for tag, attributes in Elements(source).found:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address)
        assert tag not in ("iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on")]
    style = re.search(r"<style>(.*?)</style>", source, re.DOTALL)[1]
    assert "@import" not in style
    assert "url(" not in style


@EVERY
def test_no_two_elements_of_a_page_have_the_same_id(make):
    ids = [attributes["id"] for _, attributes in Elements(source_of(make)).found if "id" in attributes]
    assert len(ids) == len(set(ids))


@EVERY
def test_every_reference_inside_a_figure_has_its_target(make):
    source = source_of(make)
    ids = {attributes["id"] for _, attributes in Elements(source).found if "id" in attributes}
    assert set(re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)) <= {(name, "") for name in ids} | {
        ("", name) for name in ids
    }


def test_what_the_user_named_is_shown_as_text():
    report = explained(path=f"[{NASTY!r}]", sentence=NASTY)
    leaf = dataclasses.replace(report.findings[0], path=f"[{NASTY!r}]", advice=NASTY)
    parts = (Part(name=NASTY, report=examples.kink()),)
    environment = dict.fromkeys(("call", "jax", "backend", "partial", NASTY), NASTY)
    report = dataclasses.replace(
        report, findings=(leaf, *report.findings[1:]), notes=(NASTY,), parts=parts, environment=environment
    )
    elements = Elements(page.render(report))
    assert [tag for tag, _ in elements.found].count("script") == 1
    assert not [attributes for tag, attributes in elements.found if tag == "img"]
    assert SCRIPT in "".join(elements.words)
    assert "<script" not in report._repr_html_()


def test_all_leaves_are_listed_with_the_numbers_that_they_are_sorted_by():
    errors = (3e-12, -2e-9, float("nan"))
    leaves = [examples.finding(f"['{i}']", Verdict.WRONG, Reason.MISMATCH, error=e) for i, e in enumerate(errors)]
    report = examples.report([examples.probe(np.exp, 1.0, 1.0) for _ in leaves], leaves)
    cells = re.findall(r'<td class="number" data-by="([^"]*)">[^<]* ± ', page.render(report).split("</table>")[0])
    assert cells == ["3e-12", "2e-09", "nan"]


def test_a_table_longer_than_that_of_the_text_is_whole():
    leaves = [examples.finding(f"['{i}']") for i in range(2 * text.MOST_ROWS)]
    report = examples.report([examples.probe(np.exp, 1.0, 1.0) for _ in leaves], leaves)
    source = page.render(report)
    assert all(f"[&#39;{i}&#39;]" in source for i in range(len(leaves)))
    assert "and 40 more leaves" not in source


def test_the_parts_of_a_joined_report_are_shown_but_for_the_one_that_decided():
    source = source_of(joined)
    said = Elements(source).said
    assert "What follows is the check that decided, points ." in said
    assert source.count("<summary><span") == 1
    assert "kink at the point" in said


def test_the_call_that_made_a_report_is_given_again(whole):
    assert "report = jgs.check_grad(loss, args, grad=backward, key=7)" in whole
    assert "# jax 0.10.2" in whole


def test_a_report_that_does_not_know_its_call_says_so():
    report = examples.right()
    report = dataclasses.replace(report, kind="curvature", environment={"key": "3", "dtype": "native"})
    assert "check_hvp(fun, args, via='function', key=3, dtype='native')" in page.call_of(report)
    assert "does not say how it was called" in Elements(page.render(report)).said


# ---- figures


def test_a_figure_holds_words_and_names_of_its_own():
    svg = plot.render_svg(examples.wrong())
    assert ">relative step h</text>" in svg
    names = re.findall(r' id="(\w+)-', svg)
    assert len(set(names)) == 1
    assert names[0] != re.findall(r' id="(\w+)-', plot.render_svg(examples.kink()))[0]
    assert svg == plot.render_svg(examples.wrong())
    assert "<metadata" not in svg


def test_words_that_look_like_a_name_inside_a_figure_stay_as_they_are():
    words = """[' id="a" href="#b" url(#c)']"""
    report = examples.report([examples.probe(np.exp, 1.0, 1.0)], [examples.finding(words)])
    assert words in Elements(plot.render_svg(report)).said


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    page.render(explained())
    assert dict(matplotlib.rcParams) == before


def test_a_figure_of_very_many_points_becomes_an_image(monkeypatch):
    monkeypatch.setattr(page, "LARGEST", 1000)
    source = page.render(examples.right())
    assert "<svg" not in source
    assert '<img alt="" src="data:image/png;base64,' in source


def test_the_dark_page_finds_the_black_and_white_of_figures_where_it_looks_for_them():
    svg = plot.render_svg(examples.kink())
    style = page.resources.files("jaxgradsweep").joinpath("_page", "report.css").read_text(encoding="utf-8")
    for colour in ("fill: #ffffff", "stroke: #000000", "stroke: #cccccc"):
        assert f'[style*="{colour}"]' in style
        assert re.search(f'style="[^"]*{colour}', svg)


def test_a_figure_shows_itself_where_pyplot_is_not_loaded():
    assert _figure.as_png(examples.right().plot()).startswith(b"\x89PNG")
    for figure in (examples.right().plot(), hessian().plot(), blame("['w']").plot()):
        assert figure._repr_png_().startswith(b"\x89PNG")


# ---- files


def test_a_page_is_written_whole_and_replaces_what_was_there(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    examples.right().save_html(target)
    assert target.read_text(encoding="utf-8") == page.render(examples.right())
    assert list(tmp_path.iterdir()) == [target]


def test_a_page_that_cannot_be_made_leaves_what_was_there(tmp_path, monkeypatch):
    target = tmp_path / "report.html"
    target.write_text("old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        page.save(examples.right(), target)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_without_jinja2_the_page_is_refused_with_what_to_install_and_a_notebook_does_without(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(ModuleNotFoundError, match=re.escape('pip install "jaxgradsweep[report]"')):
        page.render(examples.right())
    assert "CORRECT" in examples.right()._repr_html_()


# ---- in a browser


@pytest.fixture(scope="module")
def browse(tmp_path_factory):
    """Opens a page in Chromium and returns its DOM and what the console said."""
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip(f"there is no browser: none of {', '.join(names)} is on PATH")

    def open_page(source, *, dark=False):
        folder = tmp_path_factory.mktemp("page")
        (folder / "report.html").write_text(source, encoding="utf-8")
        command = [
            *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"),
            *("--enable-logging=stderr", "--v=0", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars"),
            *("--window-size=1000,900", f"--blink-settings=preferredColorScheme={0 if dark else 1}"),
            *("--virtual-time-budget=5000", "--dump-dom", (folder / "report.html").as_uri()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return open_page


ASK = """<script>
const told = {};
const click = (column) => {
  document.querySelectorAll("table.sortable")[0].tHead.rows[0].cells[column].querySelector("button").click();
  const rows = [...document.querySelectorAll("table.sortable")[0].tBodies[0].rows];
  return rows.map((row) => row.cells[0].textContent);
};
const titles = () => [...document.querySelectorAll("table.sortable")[0].tHead.rows[0].cells];
told.before = [...document.querySelectorAll("table.sortable")[0].tBodies[0].rows].map((r) => r.cells[0].textContent);
told.error = click(4);
told.state = titles().map((title) => title.getAttribute("aria-sort"));
told.again = click(4);
told.path = click(0);
told.slope = click(6);
told.slopeAgain = click(6);
told.verdict = click(2);
told.focus = (titles()[2].querySelector("button").focus(), document.activeElement.textContent);
told.requests = performance.getEntriesByType("resource").map((entry) => entry.name);
told.width = [document.documentElement.scrollWidth, innerWidth];
const light = (colour) => Math.max(...colour.match(/[\\d.]+/g).slice(0, 3).map(Number));
const drawn = document.querySelector(".drawing");
told.text = light(getComputedStyle(drawn.querySelector("text")).fill);
told.ground = light(getComputedStyle(drawn.querySelector("path")).fill);
told.paper = light(getComputedStyle(document.body).backgroundColor);
parent.document.body.append(Object.assign(document.createElement("output"), { textContent: JSON.stringify(told) }));
</script>"""


def mixed():
    """Leaves whose errors, paths, verdicts and slopes are in different orders; one without a slope."""
    leaf = lambda path, verdict, error, slope: examples.finding(path, verdict, error=error, slope=slope)
    leaves = [
        leaf("['b']", Verdict.CORRECT, 2e-12, None),
        leaf("['c']", Verdict.WRONG, -0.5, 2.0),
        leaf("['a' * 200]" + "['long']" * 30, Verdict.UNRESOLVED, 1e-3, 4.0),
        leaf("['d']", Verdict.CORRECT, float("nan"), 10.0),
    ]
    return examples.report([examples.probe(np.exp, 1.0, 1.0) for _ in leaves], leaves)


def without_policy(source):
    """A page that a browser would let run and load anything."""
    opened = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", source)
    assert opened != source
    return opened


@pytest.fixture(scope="module")
def asked(browse):
    """What a page answers to clicks, in a frame as narrow as a phone, since no window gets below 500 pixels."""
    inside = html.escape(without_policy(page.render(mixed())).replace("</body>", f"{ASK}</body>"))
    frame = (
        f'<meta name="color-scheme" content="light dark"><iframe width="360" height="800" srcdoc="{inside}"></iframe>'
    )
    answers = {}
    for name in ("light", "dark"):
        dom, _ = browse(frame, dark=name == "dark")
        answers[name] = json.loads(html.unescape(re.search("<output>(.*?)</output>", dom)[1]))
    return answers


def test_a_page_opens_without_a_word_on_the_console(browse, whole):
    dom, console = browse(whole)
    assert console == []
    assert dom.count("<button") > 8


def test_choosing_a_title_sorts_the_table(asked):
    seen = asked["light"]
    name = lambda paths: [path[2] for path in paths]
    assert name(seen["before"]) == ["b", "c", "a", "d"]
    assert name(seen["error"]) == ["d", "c", "a", "b"]
    assert seen["state"] == [None] * 4 + ["descending"] + [None] * 3
    assert name(seen["again"]) == ["b", "a", "c", "d"]
    assert name(seen["path"]) == ["a", "b", "c", "d"]
    assert name(seen["slope"]) == ["d", "a", "c", "b"]
    assert name(seen["slopeAgain"]) == ["c", "a", "d", "b"]
    assert name(seen["verdict"])[:2] == ["c", "a"]
    assert "verdict" in seen["focus"]


def test_a_page_asks_for_nothing_even_without_its_policy(asked):
    assert asked["light"]["requests"] == []


def test_a_narrow_screen_scrolls_tables_and_not_the_page(asked):
    page_width, screen = asked["light"]["width"]
    assert page_width <= screen == 360


def test_figures_can_be_read_in_light_and_dark(asked):
    light, dark = asked["light"], asked["dark"]
    assert light["paper"] > 200 > 100 > dark["paper"]
    assert light["text"] < 50 < 200 < light["ground"]
    assert dark["ground"] < 80 < 180 < dark["text"]


def test_a_script_in_a_name_does_not_run(browse):
    leaf = examples.finding(f"[{NASTY!r}]", Verdict.WRONG, Reason.MISMATCH, error=0.5, advice=NASTY)
    report = examples.report([examples.probe(np.exp, 1.0, 1.0)], [leaf], notes=(NASTY,))
    dom, console = browse(without_policy(page.render(report)))
    assert "<title>WRONG: check_grad</title>" in dom
    assert SCRIPT in "".join(Elements(dom).words)
    assert console == []


# ---- in a notebook


@EVERY
def test_every_report_pickles(make):
    report = make()
    again = pickle.loads(pickle.dumps(report))
    assert type(again) is type(report)
    assert again.to_json() == report.to_json()
    assert str(again) == str(report)


RELOADED = """
import os, sys, time
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
def run(code):
    shell.run_cell(code).raise_error()
run("%load_ext autoreload")
run("%autoreload 2")
run('''
import example_reports as examples, jaxgradsweep as jgs
old = [make() for make in examples.EVERY]
before = [str(report) for report in old]
wording = jgs.Verdict
''')
folder = Path(sys.argv[1])
for names in [path.stem for path in folder.glob("*.py")], ["_wording", "_report"], ["text", "_tables"]:
    for name in names:
        path = folder / f"{name}.py"
        path.write_text(path.read_text(encoding="utf-8") + "# touched\\n", encoding="utf-8")
        os.utime(path, (time.time() + 5,) * 2)
    run("1")
    run('''
import sys
assert [str(report) for report in old] == before
assert [report.ok for report in old] == [report.verdict.name == "CORRECT" for report in old]
assert all(report.verdict == jgs.Verdict[report.verdict.name] for report in old)
assert all(jgs.Report.from_json(report.to_json()).to_json() == report.to_json() for report in old)
old[1].plot(), old[1]._repr_html_(), old[0].raise_unless_correct()
''')
print(shell.user_ns["wording"] is sys.modules["jaxgradsweep._wording"].Verdict, shell.user_ns["jgs"].__file__)
"""


def test_old_reports_survive_a_reload_of_the_package(tmp_path):
    shutil.copytree(Path(page.__file__).parent, tmp_path / "jaxgradsweep", ignore=shutil.ignore_patterns("__pycache__"))
    paths = [str(tmp_path), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"IPYTHONDIR": str(tmp_path / "ipython"), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", RELOADED, str(tmp_path / "jaxgradsweep")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f"False {tmp_path / 'jaxgradsweep' / '__init__.py'}"
