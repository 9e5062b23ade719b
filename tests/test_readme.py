"""The README's Python runs as it stands, finds the mistakes that it says are there, and prints what stands below it."""

import re
from pathlib import Path

import pytest

from helpers import words

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture
def heading_to_code():
    """The Python of each section that has some, in the README's order."""
    sections = re.split(r"^#+ (.*)$", README.read_text(encoding="utf-8"), flags=re.MULTILINE)
    code = {
        heading: "\n".join(re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
        for heading, text in zip(sections[1::2], sections[2::2], strict=True)
    }
    return {heading: text for heading, text in code.items() if text}


def outputs():
    """The outputs that the README shows of its Python, in its order."""
    shown = re.findall(
        r"^<!-- output: (\w+) -->\n```text\n(.*?)^```$", README.read_text(encoding="utf-8"), flags=re.M | re.S
    )
    return [text for name, text in shown if name != "demo"]


def test_the_examples_run_in_order_and_find_their_mistakes(heading_to_code, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    namespace, verdicts, wrong = {}, {}, {}
    for heading, code in heading_to_code.items():
        exec(compile(code, f"README.md, {heading}", "exec"), namespace)
        report = namespace["report"]
        verdicts[heading] = report.verdict.name
        wrong[heading] = [finding.path for finding in report.findings if finding.verdict.name == "WRONG"]

    assert verdicts["A gradient"] == "WRONG"
    assert len(wrong["A gradient"]) == 1
    assert "offset" in wrong["A gradient"][0]
    assert verdicts["A `custom_vjp`"] == "WRONG"
    assert words(capsys.readouterr().out) == words("".join(outputs()))
    namespace["test_the_backward_pass"]()
    assert (tmp_path / "report.json").exists()
