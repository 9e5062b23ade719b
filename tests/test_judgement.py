"""The judgement benchmark: what it counts, its peers on toys, what they are known to misjudge, and lost workers."""

import os
import sys
import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from corpus.case import CORRECT, F16, F32, F64, UNRESOLVED, WRONG, Case

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import judgement
import peers
from judgement import NOT_RUN, Outcome


def case_of(kind="right", **details):
    return Case(name=f"toy.{kind}", make=lambda dtype: None, family="toys", kind=kind, **details)


# ------------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize(
    ("kind", "verdict", "expected"),
    [
        ("right", CORRECT, judgement.RIGHT),
        ("right", WRONG, judgement.FALSE_ALARM),
        ("right", UNRESOLVED, judgement.WRONGLY),
        ("wrong", WRONG, judgement.RIGHT),
        ("wrong", CORRECT, judgement.MISS),
        ("wrong", UNRESOLVED, judgement.WRONGLY),
        ("kink", UNRESOLVED, judgement.RIGHTLY),
        ("jump", CORRECT, judgement.CALLED_RIGHT),
        ("noise", WRONG, judgement.CALLED_WRONG),
        ("kink", NOT_RUN, judgement.NOT_RUN),
    ],
)
def test_score(kind, verdict, expected):
    assert judgement.score(case_of(kind), F64, verdict) == expected


def test_the_answers_of_a_case_come_before_those_of_its_kind():
    kink = case_of("kink", answers=frozenset({WRONG, UNRESOLVED}))
    assert judgement.score(kink, F64, WRONG) == judgement.RIGHT
    assert judgement.score(kink, F64, CORRECT) == judgement.CALLED_RIGHT


def test_undecided_is_right_where_rounding_hides_the_answer():
    case = case_of("wrong", undecidable=(F32,))
    assert judgement.score(case, F32, UNRESOLVED) == judgement.RIGHTLY
    assert judgement.score(case, F64, UNRESOLVED) == judgement.WRONGLY
    assert judgement.score(case, F32, CORRECT) == judgement.MISS


def test_a_true_answer_is_no_mistake_where_none_was_to_be_had():
    assert judgement.score(case_of("right", answers=frozenset({UNRESOLVED})), F64, CORRECT) == judgement.RIGHT


def test_explained():
    kink = case_of("kink", reasons=frozenset({"KINK"}))
    assert judgement.explained(kink, Outcome(UNRESOLVED, "NOISE, KINK"))
    assert judgement.explained(kink, Outcome(UNRESOLVED, "NOISE")) is False
    assert judgement.explained(kink, Outcome(WRONG, "KINK")) is None
    assert judgement.explained(case_of("kink"), Outcome(UNRESOLVED, "NOISE")) is None


def table_of_toys():
    kinds = ("right", "wrong", "kink")
    cases = {f"toy.{kind}": case_of(kind, reasons=frozenset({"KINK"})) for kind in kinds}
    found = {
        ("toy.right", F64, "Taylor rate"): Outcome(WRONG, "rate -1", -1.0, seconds=2.0),
        ("toy.right", F64, "jaxgradsweep"): Outcome(CORRECT, "CONVERGES", 1e-13, 1e-12, 3.0, "['w']"),
        ("toy.wrong", F64, "jaxgradsweep"): Outcome(CORRECT, "CONVERGES", 1e-13, 1e-12, 1.0, "['w']"),
        ("toy.kink", F64, "jaxgradsweep"): Outcome(UNRESOLVED, "NOISE", 1e-13, 1e-12, 5.0, "['w']"),
        ("toy.right", F32, "jaxgradsweep"): Outcome(NOT_RUN, "took more than 180 s", seconds=180.0),
    }
    return cases, found


def test_rows_of_the_table():
    rows = [dict(zip(judgement.HEADER, row, strict=True)) for row in judgement.rows(*table_of_toys())]
    assert [(row["checker"], row["dtype"]) for row in rows] == [
        ("jaxgradsweep", F64),
        ("Taylor rate", F64),
        ("jaxgradsweep", F32),
    ]
    assert rows[0] == {
        "checker": "jaxgradsweep",
        "dtype": F64,
        "cases judged": "3 of 3",
        "right": "1",
        "false alarms": "0",
        "misses": "1",
        "no derivative, called right": "0",
        "no derivative, called wrong": "0",
        "undecided, rightly": "1",
        "undecided, wrongly": "0",
        "reason right, where there is no derivative": "0 of 1",
        "seconds, median": "3",
        "seconds, total": "9",
        "not run": "0",
    }
    assert rows[1]["false alarms"] == "1"
    assert (rows[2]["cases judged"], rows[2]["seconds, median"], rows[2]["not run"]) == ("0 of 1", "-", "1")


def test_mistakes_say_what_was_expected():
    lines = list(judgement.mistakes(*table_of_toys()))
    assert lines[0] == "wrong reason: toy.kink (float64, jaxgradsweep): UNRESOLVED, NOISE; at ['w']; " \
        "error 1.0e-13; limit 1.0e-12"  # fmt: skip
    assert lines[1] == "    expected UNRESOLVED, kink; KINK"
    assert [line.split(":")[0] for line in lines[::2]] == ["wrong reason", "not run", "false alarm", "miss"]


# --------------------------------------------------------------------------------------------------- single cases


def smooth(x):
    return jnp.sum(jnp.sin(x) * jnp.exp(x / 3))


def toy(factor, dtypes=(F64, F32)):
    def make(dtype):
        x = np.linspace(-1, 2, 7).astype(dtype)
        return smooth, (x,), lambda x: factor * (jnp.cos(x) + jnp.sin(x) / 3) * jnp.exp(x / 3)

    return Case(name="toy", make=make, family="toys", kind="right" if factor == 1 else "wrong", dtypes=dtypes)


@pytest.mark.parametrize("checker", judgement.CHECKERS)
@pytest.mark.parametrize("factor", [1, 1.5])
def test_a_toy_is_judged_rightly(checker, factor):
    outcome = judgement.judge_case(toy(factor), F64, checker)
    assert outcome.verdict == (CORRECT if factor == 1 else WRONG), outcome
    assert outcome.seconds > 0


def outputs_and_complex_numbers(dtype):
    kind = np.complex128 if dtype == F64 else np.complex64
    z = (np.linspace(-1, 1, 4) + 1j * np.linspace(0.5, 2, 4)).astype(kind)
    point = {"z": z, "x": np.linspace(0.5, 1, 3).astype(dtype), "n": np.arange(2)}
    return lambda p: {"y": jnp.sin(p["z"]) * jnp.conj(p["z"]), "s": jnp.sum(p["x"] ** 3) * p["n"][1]}, (point,)


@pytest.mark.parametrize(
    ("checker", "modes"),
    [*((checker, ("rev",)) for checker in judgement.CHECKERS), *((peer, ("fwd", "rev")) for peer in peers.PEERS)],
)
def test_vector_outputs_complex_numbers_and_integers(checker, modes):
    case = Case(name="toy", make=outputs_and_complex_numbers, family="toys", modes=modes)
    assert judgement.judge_case(case, F64, checker).verdict == CORRECT


@pytest.mark.parametrize("checker", judgement.CHECKERS)
def test_second_order(checker):
    case = Case(name="toy", make=lambda dtype: (lambda x: x**3 / 3, (1.5,)), family="toys", order=2)
    assert judgement.judge_case(case, F64, checker).verdict == CORRECT


@pytest.mark.parametrize("checker", judgement.CHECKERS)
def test_holomorphic(checker):
    def make(dtype):
        return lambda z: jnp.sum(jnp.exp(z) / z), (np.array([1 + 1j, -0.5 + 2j]),)

    case = Case(name="toy", make=make, family="toys", holomorphic=True)
    assert judgement.judge_case(case, F64, checker).verdict == CORRECT


def test_lower_precision_is_native():
    outcome = judgement.judge_case(toy(1.5, (F16,)), F16)
    assert outcome.verdict == WRONG
    assert outcome.resolution > 1e-5


def test_what_raises_is_not_run():
    def make(dtype):
        raise ImportError("no such package")

    outcome = judgement.judge_case(Case(name="toy", make=make, family="toys"), F64)
    assert (outcome.verdict, outcome.reason) == (NOT_RUN, "ImportError: no such package")


def test_noise_is_not_compiled_away():
    random = np.random.default_rng(0)
    subject = peers.subject_of(lambda x: jnp.sum(x) + random.normal(), (np.ones(3),))
    assert subject.phi(subject.point) != subject.phi(subject.point)


# ---------------------------------------------------------------------------------------------------- known facts


@pytest.mark.parametrize("fact", peers.FACTS, ids=lambda fact: f"{fact.peer} {fact.what}")
def test_known_facts(fact):
    case = judgement.fact_case(fact)
    theirs, ours = (judgement.judge_case(case, fact.dtype, checker) for checker in (fact.peer, "jaxgradsweep"))
    assert judgement.score(case, fact.dtype, theirs.verdict) in (judgement.MISS, judgement.FALSE_ALARM), theirs
    assert judgement.score(case, fact.dtype, ours.verdict) == judgement.RIGHT, ours


# -------------------------------------------------------------------------------------------------------- workers


def awkward():
    def answer(name, checker):
        if name == "dies":
            os._exit(3)
        if name == "hangs":
            time.sleep(600)
        return Outcome(CORRECT, f"{name}, {checker}")

    return answer


def test_workers_that_hang_or_die_are_replaced():
    keys = [("dies", F64, "b"), ("fine", F64, "c"), ("hangs", F64, "a")]
    found = {}
    judgement.run_cases([keys], [judgement.Worker(awkward, patience=1)], found.__setitem__)
    assert [found[key].verdict for key in keys] == [NOT_RUN, CORRECT, NOT_RUN]
    assert [found[key].reason for key in keys] == [
        "the process died, exit code 3",
        "fine, c",
        "took more than 1 s",
    ]


def test_a_cut_line_is_left_out(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    path.write_text(
        '\n{"case": "a", "dtype": "float64", "checker": "b", "verdict": "WRONG", "error": Infinity}\n{"case'
    )
    assert judgement.read(path) == {("a", F64, "b"): Outcome(WRONG, error=np.inf)}
    assert judgement.read(tmp_path / "nothing") == {}


def test_the_quoted_command_has_no_paths(tmp_path):
    options = judgement.options_from(["--only", "a|b", "--out", str(tmp_path / "x"), "--workers", "1", "--write"])
    assert judgement.command(options) == ["--dtype", "float64", "--only", "'a|b'"]
    assert judgement.command(judgement.options_from(["peers"])) == ["peers"]


def test_an_old_file_is_not_mixed_with_a_new_run(tmp_path, capsys):
    (tmp_path / "old").write_text("")
    with pytest.raises(SystemExit):
        judgement.options_from(["--out", str(tmp_path / "old")])
    assert "--resume" in capsys.readouterr().err
    assert judgement.options_from(["--out", str(tmp_path / "old"), "--resume"]).resume
