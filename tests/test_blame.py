"""Where a claim is wrong, and why: planted mistakes are found in place, described, and named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep._cause import Evidence, causes_of, meaning_of
from jaxgradsweep._pattern import in_words
from jaxgradsweep.heatmap import tiles

RANDOM = np.random.default_rng(1)
WEIGHTS, INPUT = RANDOM.normal(size=(20, 30)) / 8, RANDOM.normal(size=30)
PARAMS = {
    "w": RANDOM.normal(size=(5, 5)) / 2,
    "b": RANDOM.normal(size=5),
    "out": RANDOM.normal(size=(5, 5)) / 2,
    "embed": RANDOM.normal(size=(9, 4)),
}
FEATURES, TARGETS, PLACES = RANDOM.normal(size=(12, 5)), RANDOM.normal(size=(12, 5)), np.array([0, 3, 3, 1, 7])


def layer(w, edit):
    return jnp.sum(jnp.tanh(w @ INPUT))


def edited(w, edit):
    """The gradient of `layer` with one of several mistakes: one program for all."""
    right = jax.grad(layer)(w, edit)
    inner = jnp.zeros_like(right).at[1:-1, 1:-1].set(right[1:-1, 1:-1])
    wrong = [
        right.at[3, 4].mul(1.01),
        right.at[-1].set(0),
        right.at[:, 0].mul(2),
        inner,
        2 * right,
        right.at[:, ::3].mul(2),
        right.at[2:5, 7:9].mul(2),
    ]
    return jax.lax.switch(edit, [lambda each=each: each for each in wrong])


def found(edit, **settings):
    report = jgs.check_grad(layer, (WEIGHTS, np.int32(edit)), grad=edited, **settings)
    assert report.verdict.name == "WRONG"
    return report


# ---- where


def test_one_wrong_component_is_found_with_its_numbers():
    report = found(0)
    (blame,) = report.blame
    assert blame.indices.tolist() == [[3, 4]]
    assert blame.complete
    assert blame.claimed / blame.estimate == pytest.approx(1.01)
    with jax.enable_x64(True):
        exact = np.asarray(jax.grad(layer)(WEIGHTS, 0))[3, 4]
    assert blame.estimate[0] == pytest.approx(exact, rel=1e-6)
    assert "[3, 4]" in str(report)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (1, "row 19 (the last)"),
        (2, "column 0"),
        (3, "the border of width 1"),
        (4, "every component"),
        (5, "every 3rd column, from 0 on"),
        (6, "the block of rows 2 to 4, columns 7 to 8"),
    ],
)
def test_what_wrong_components_have_in_common_is_said(edit, words):
    (blame,) = found(edit).blame
    assert blame.pattern is not None
    assert blame.pattern.startswith(words)
    with jax.enable_x64(True):
        wrong = np.asarray(edited(WEIGHTS, edit) != jax.grad(layer)(WEIGHTS, edit))
    assert wrong[tuple(blame.looked_at.T)].tolist() == blame.wrong.tolist()
    assert not blame.complete or wrong.sum() == len(blame.indices)


def test_every_component_is_measured_on_request_and_none_if_not_wanted():
    (blame,) = found(3, locate=True).blame
    assert blame.complete
    assert len(blame.looked_at) == WEIGHTS.size
    report = found(3, locate=False)
    assert report.blame == report.causes == ()
    with pytest.raises(ValueError, match="`locate` must be"):
        found(3, locate="all")


def test_the_search_keeps_its_budget():
    alone, whole = found(5, locate=False), found(5)
    segments = 6 * 20 * 22  # six probes, twenty steps, two quadratures
    assert whole.evaluations - alone.evaluations < 3 * (alone.evaluations + 3 * segments)


def test_few_wrong_components_of_many_are_found():
    def fun(w, places):
        return jnp.sum(w**3)

    def gradient(w, places):
        return (3 * w**2).at[places].mul(jnp.array([1.1, 0.0]))

    report = jgs.check_grad(fun, (RANDOM.normal(size=30_000), np.array([17, 23_456])), grad=gradient)
    (blame,) = report.blame
    assert sorted(blame.indices.ravel().tolist()) == [17, 23_456]
    assert blame.complete
    assert blame.probes < 300


def test_a_backward_pass_is_blamed_for_its_outputs_too():
    def several(w):
        return {"a": jnp.tanh(w @ INPUT), "b": jnp.sum(w**2)}

    def vjp(w):
        out, pull = jax.vjp(several, w)
        return out, lambda u: pull({"a": u["a"].at[7].mul(2), "b": u["b"]})

    report = jgs.check_vjp(several, (WEIGHTS,), vjp=vjp)
    blames = {blame.path: blame for blame in report.blame}
    assert set(blames) == {"", "output['a']"}
    assert blames["output['a']"].indices.tolist() == [[7]]
    assert blames[""].pattern is not None
    assert blames[""].pattern.startswith("row 7")


def test_complex_components_are_found():
    def fun(z):
        return jnp.sum(jnp.abs(jnp.sin(z)) ** 2)

    z = np.array([0.3 + 0.2j, -1.1 + 0.5j, 0.7 - 0.4j])
    report = jgs.check_grad(fun, (z,), grad=lambda z: jax.grad(fun)(z).at[1].mul(1j))
    (blame,) = report.blame
    assert blame.indices.tolist() == [[1]]
    with jax.enable_x64(True):
        exact = np.asarray(jax.grad(fun)(jnp.asarray(z)))[1]
    assert blame.estimate[0] == pytest.approx(exact)
    again = jgs.Report.from_json(report.to_json())
    assert np.array_equal(again.blame[0].estimate, blame.estimate)
    assert str(again) == str(report)


def test_a_right_claim_has_neither_blame_nor_cause():
    report = jgs.check_grad(layer, (WEIGHTS, np.int32(0)))
    assert report.blame == report.causes == ()


# ---- patterns


def flags(shape, *places):
    mask = np.zeros(shape, bool)
    for place in places:
        mask[place] = True
    return mask


def all_of(shape):
    return np.stack([axis.ravel() for axis in np.indices(shape)], axis=1)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (np.eye(5, dtype=bool), "the diagonal"),
        (~np.eye(5, dtype=bool), "all but the diagonal"),
        (np.triu(np.ones((4, 6), bool), 1), "the upper triangle"),
        (np.tril(np.ones((4, 4), bool)), "the lower triangle and the diagonal"),
        (flags((12,), slice(1, None, 4)), "every 4th component, from 1 on"),
        (flags((7, 3), [0, 6]), "rows 0, 6"),
        (flags((3, 4, 5), np.s_[:, 2]), "index 2 of axis 1"),
        (flags((3, 4, 5), np.s_[:, :, 1:3]), "indices 1 to 2 of axis 2"),
        (flags((9,), slice(5)), "components 0 to 4"),
        (flags((2, 3, 5, 5), np.s_[:, :, [0, -1]], np.s_[:, :, :, [0, -1]]), "the border of width 1 of every filter"),
        (flags((6, 6), (1, 2), (4, 0)), "[1, 2], [4, 0]"),
        (RANDOM.random((9, 9)) > 0.5, None),
        (np.zeros((3, 3), bool), None),
    ],
)
def test_patterns_have_words(mask, words):
    assert in_words(mask.shape, all_of(mask.shape), mask.ravel(), complete=True) == words


def test_a_row_is_not_claimed_for_some_of_its_components():
    mask = flags((50, 50), (3, 7), (3, 30))
    assert (
        in_words(mask.shape, np.argwhere(mask), np.ones(2, bool), complete=True) == "the block of row 3, columns 7, 30"
    )


# ---- why


def network(p, features, targets, places):
    hidden = jnp.tanh(features @ p["w"] + p["b"])
    squares = jnp.mean(jnp.sum((jax.nn.sigmoid(hidden) @ p["out"] - targets) ** 2, -1))
    return squares + jnp.sum(jnp.sin(p["embed"][places])) + 0.01 * jnp.sum(p["w"] ** 2)


def changed(leaf, change):
    def gradient(p, *data):
        right = jax.grad(network)(p, *data)
        return {**right, leaf: change(right[leaf], p[leaf])}

    return gradient


def set_not_add(p, features, targets, places):
    right = jax.grad(network)(p, features, targets, places)
    return {**right, "embed": jnp.zeros_like(p["embed"]).at[places].set(jnp.cos(p["embed"][places]))}


def first_example(p, features, targets, places):
    one = jax.grad(network)(p, features[:1], targets[:1], places)
    return {**jax.grad(network)(p, features, targets, places), "out": one["out"] / 12}


def late(p, *data):
    def step(_, before):
        return jax.tree.map(lambda x, g: x + 0.03 * g, p, jax.grad(network)(before, *data))

    return jax.grad(network)(jax.lax.fori_loop(0, 60, step, p), *data)


@jax.custom_jvp
def slope_at_its_argument(z):
    return jnp.tanh(z)


slope_at_its_argument.defjvp(lambda primals, tangents: (jnp.tanh(*primals), (1 - primals[0] ** 2) * tangents[0]))


def misplaced(p, features, targets, places):
    def fun(p):
        hidden = slope_at_its_argument(features @ p["w"] + p["b"])
        squares = jnp.mean(jnp.sum((jax.nn.sigmoid(hidden) @ p["out"] - targets) ** 2, -1))
        return squares + jnp.sum(jnp.sin(p["embed"][places])) + 0.01 * jnp.sum(p["w"] ** 2)

    return jax.grad(fun)(p)


WHY = {
    "weight-decay": (changed("w", lambda g, x: g - 0.02 * x), 0.02, "lacks 0.02 times the parameters"),
    "constant-factor": (changed("out", lambda g, x: 12 * g), 12, "a sum where a mean is right"),
    "transposed": (changed("out", lambda g, x: g.T), None, "axes 0 and 1"),
    "repeated-index": (set_not_add, None, "`.at[i].add`"),
    "index": (changed("out", lambda g, x: g.at[1, 2].set(g[1, 1])), None, "[1, 2] has the value of [1, 1]"),
    "part-of-batch": (first_example, 1 / 12, "the first of 12"),
    "stale": (late, 0.03, "a step of descent"),
    "activation": (misplaced, None, "is taken as 1 - z**2 at its argument"),
}


@pytest.mark.parametrize("name", WHY)
def test_a_planted_mistake_is_named(name):
    gradient, factor, words = WHY[name]
    report = jgs.check_grad(network, (PARAMS, FEATURES, TARGETS, PLACES), grad=gradient)
    assert {cause.name for cause in report.causes} == {name}
    assert {cause.path for cause in report.causes} == {blame.path for blame in report.blame}
    cause = report.causes[0]
    assert cause.factor == (None if factor is None else pytest.approx(factor))
    assert cause.confidence > 0.99
    assert words in cause.sentence
    assert "likely cause" in str(report)


# ---- what flows through one operation


def normalised(p, features, targets):
    hidden = jnp.tanh(features @ p["w"])
    mean = hidden.mean(-1, keepdims=True)
    spread = ((hidden - mean) ** 2).mean(-1, keepdims=True)
    hidden = (hidden - mean) / jnp.sqrt(spread + 1e-5)
    hidden = hidden + jnp.maximum(hidden @ p["out"], 0)
    penalty = 0.1 * jnp.sum(p["w"] ** 2 * jnp.exp(-p["w"]))
    return jnp.mean((hidden - targets) ** 2) + penalty


def constant_spread(p, features, targets):
    hidden = jnp.tanh(features @ p["w"])
    mean = hidden.mean(-1, keepdims=True)
    spread = jax.lax.stop_gradient(((hidden - mean) ** 2).mean(-1, keepdims=True))
    hidden = (hidden - mean) / jnp.sqrt(spread + 1e-5)
    hidden = hidden + jnp.maximum(hidden @ p["out"], 0)
    penalty = 0.1 * jnp.sum(p["w"] ** 2 * jnp.exp(-p["w"]))
    return jnp.mean((hidden - targets) ** 2) + penalty


def without_penalty(p, features, targets):
    return normalised(p, features, targets) - 0.1 * jnp.sum(p["w"] ** 2 * jnp.exp(-p["w"]))


def twice_the_penalty(p, features, targets):
    return normalised(p, features, targets) + 0.1 * jnp.sum(p["w"] ** 2 * jnp.exp(-p["w"]))


def recurrent(p, rows, ends):
    turn = lambda h, row: (jnp.tanh(h @ p["out"] + row @ p["w"]), None)
    return jnp.sum((jax.lax.scan(turn, jnp.zeros(5), rows)[0] - ends) ** 2)


def truncated(p, rows, ends):
    turn = lambda h, row: (jnp.tanh(jax.lax.stop_gradient(h) @ p["out"] + row @ p["w"]), None)
    return jnp.sum((jax.lax.scan(turn, jnp.zeros(5), rows)[0] - ends) ** 2)


def recurrent_misplaced(p, rows, ends):
    turn = lambda h, row: (slope_at_its_argument(h @ p["out"] + row @ p["w"]), None)
    return jnp.sum((jax.lax.scan(turn, jnp.zeros(5), rows)[0] - ends) ** 2)


@pytest.mark.parametrize(
    ("fun", "wrong", "name", "factor", "words"),
    [
        (normalised, constant_spread, "branch", 0, "spread = ((hidden - mean) ** 2)"),
        (normalised, without_penalty, "branch", 0, "`penalty = 0.1 * jnp.sum("),
        (normalised, twice_the_penalty, "branch", 2, "is counted twice"),
        (recurrent, truncated, "branch", 0, "1st operand of dot_general"),
        (recurrent, recurrent_misplaced, "activation", None, "is taken as 1 - z**2 at its argument"),
    ],
)
def test_a_wrong_factor_on_one_path_is_named_with_its_line(fun, wrong, name, factor, words):
    params = {name: PARAMS[name] for name in ("w", "out")}
    data = (FEATURES, TARGETS if fun is normalised else TARGETS[0])
    report = jgs.check_grad(fun, (params, *data), grad=lambda *args: jax.grad(wrong)(*args))
    assert {cause.name for cause in report.causes} == {name}
    assert {cause.path for cause in report.causes} == {f.path for f in report.findings if f.verdict.name == "WRONG"}
    assert all(cause.factor == (None if factor is None else pytest.approx(factor)) for cause in report.causes)
    assert words in report.causes[0].sentence


def test_a_choice_whose_mask_is_the_wrong_way_round_is_named():
    @jax.custom_jvp
    def leaky(z):
        return jnp.where(z > 0, z, 0.1 * z)

    leaky.defjvp(lambda primals, tangents: (leaky(*primals), jnp.where(primals[0] > 0, 0.1, 1) * tangents[0]))

    def loss(w, features, targets):
        return jnp.mean((leaky(features @ w) - targets) ** 2)

    report = jgs.check_grad(loss, (PARAMS["w"], FEATURES, TARGETS))
    assert {cause.name for cause in report.causes} == {"activation"}
    assert "the mask is inverted" in report.causes[0].sentence


@pytest.mark.parametrize(
    ("name", "value", "slope"),
    [
        ("elsewhere", jnp.arcsinh, lambda x, u: u / jnp.sqrt(1 + jnp.arcsinh(x) ** 2)),
        ("jacobian-transposed", lambda x: PARAMS["w"] @ jnp.sin(x), lambda x, u: PARAMS["w"] @ (jnp.cos(x) * u)),
    ],
)
def test_the_derivative_of_something_else_is_named(name, value, slope):
    fun = jax.custom_vjp(value)
    fun.defvjp(lambda x: (value(x), x), lambda x, u: (slope(x, u),))
    report = jgs.check_vjp(fun, (PARAMS["b"],))
    assert {cause.name for cause in report.causes} == {name}


def test_a_mistake_without_a_pattern_is_not_named():
    noise = np.random.default_rng(3).normal(size=(5, 5))
    report = jgs.check_grad(
        network, (PARAMS, FEATURES, TARGETS, PLACES), grad=changed("out", lambda g, x: g + jnp.asarray(noise, g.dtype))
    )
    assert report.causes == ()
    assert report.blame[0].pattern == "every component"


@pytest.mark.parametrize(
    ("name", "rule"), [("ignores-cotangent", lambda u: jnp.ones_like(u)), ("nonlinear-in-cotangent", jnp.abs)]
)
def test_what_a_backward_pass_does_with_its_cotangent_is_named(name, rule):
    def fun(w):
        return jnp.tanh(w @ INPUT)

    def vjp(w):
        out, pull = jax.vjp(fun, w)
        return out, lambda u: pull(rule(u))

    report = jgs.check_vjp(fun, (WEIGHTS,), vjp=vjp)
    assert name in {cause.name for cause in report.causes}


def evidence(claimed, right, point=None, **more):
    right = np.asarray(right)
    point = RANDOM.normal(size=right.shape) if point is None else point
    known = {"others": {}, "sizes": {}, **more}
    return Evidence(path="", point=point, claimed=np.asarray(claimed), right=right, bar=1e-12 + 0 * abs(right), **known)


RIGHT, SQUARE = np.random.default_rng(5).normal(size=(4, 6)), np.random.default_rng(6).normal(size=(4, 4))


@pytest.mark.parametrize(
    ("name", "claimed", "more"),
    [
        ("zero", 0 * RIGHT, {}),
        ("sign", -RIGHT, {}),
        ("flipped", RIGHT[:, ::-1], {}),
        ("rolled", np.roll(RIGHT, 1, 0), {}),
        ("transposed", RIGHT.T.reshape(RIGHT.shape), {}),
        ("transposed", SQUARE.T + 0.2 * RIGHT[:, :4], {"right": SQUARE + 0.2 * RIGHT[:, :4]}),
        ("broadcast-sum", RIGHT.sum(0) + 0 * RIGHT, {}),
        ("low-precision", np.asarray(RIGHT, np.float16).astype(float), {}),
        ("conjugate", np.conj(RIGHT + 1j * RIGHT[::-1]), {"right": RIGHT + 1j * RIGHT[::-1]}),
        ("swapped", RIGHT[::-1] ** 2, {"others": {"['b']": RIGHT[::-1] ** 2}}),
        ("copied", RIGHT + 0.3 * RIGHT**2, {"others": {"['b']": RIGHT**2}}),
        ("constant-factor", np.where(np.arange(6) == 2, 3, 1) * RIGHT, {}),
        ("permuted", RIGHT[[2, 0, 3, 1]], {}),
        ("permuted", np.sort(RIGHT, axis=None).reshape(RIGHT.shape), {}),
        ("chain-rule", RIGHT / np.exp(RIGHT[::-1]), {"point": RIGHT[::-1]}),
        ("chain-rule", RIGHT * RIGHT[::-1], {"beside": (("the weights", RIGHT[::-1]),)}),
        ("offset", RIGHT + 0.3, {}),
        (None, RIGHT**2, {}),
        (None, RIGHT, {}),
    ],
)
def test_a_mistake_is_told_from_numbers_alone(name, claimed, more):
    right = more.get("right", RIGHT)
    more = {key: more[key] for key in more if key != "right"}
    assert {cause.name for cause in causes_of(evidence(claimed, right, **more))} == ({name} if name else set())


def test_wrong_components_that_an_argument_marks_are_said_to_be_those():
    mask = (RIGHT > 0).astype(float)
    beside = (("the argument `mask`", mask),)
    (cause,) = causes_of(evidence(np.where(mask, 2, 1) * RIGHT, RIGHT, beside=beside))
    assert cause.sentence.endswith("where the argument `mask` is true.")


@pytest.mark.parametrize(("factor", "names"), [(2.0, {"constant-factor"}), (1.2345, set()), (-1.0, {"sign"})])
def test_any_factor_explains_one_number_so_that_only_a_meaningful_one_is_named(factor, names):
    assert {cause.name for cause in causes_of(evidence(np.array(factor * 0.7), np.array(0.7)))} == names
    one = RIGHT.copy()
    one[1, 2] *= factor
    assert {cause.name for cause in causes_of(evidence(one, RIGHT))} == names


@pytest.mark.parametrize(
    ("value", "words"),
    [(32, "a sum where a mean"), (1 / 32, "a mean where a sum"), (32 / 31, "n - 1 where n"), (32**0.5, "root of 32")],
)
def test_a_factor_is_explained_by_a_length(value, words):
    assert words in meaning_of(value, {32: "the length of axis 0 of the data"})
    assert "the sign, and" in meaning_of(-value, {32: "the length of axis 0 of the data"})
    assert meaning_of(1.2345, {32: "the length"}) == "no number that is known here"


# ---- shown


def test_a_leaf_is_drawn_with_what_was_not_measured_in_grey():
    (blame,) = found(3).blame
    figure = blame.plot()
    image = figure.axes[0].images[0].get_array()
    assert image.shape == WEIGHTS.shape
    seen = np.zeros(WEIGHTS.shape, bool)
    seen[tuple(blame.looked_at.T)] = True
    assert np.array_equal(~np.ma.getmaskarray(np.ma.masked_invalid(image)), seen)
    wrong = blame.looked_at[blame.wrong]
    assert (np.asarray(image)[tuple(wrong.T)] > -9).all()


def test_claimed_against_measured_shows_the_ratio():
    (blame,) = found(4).blame
    labels = [text.get_text() for text in blame.plot().axes[1].get_legend().get_texts()]
    assert "claimed = 2 measured" in labels


@pytest.mark.parametrize(
    ("shape", "drawn"), [((3, 4), (3, 4)), ((2, 3, 4), (3, 9)), ((2, 3, 5, 5), (11, 17)), ((3, 3, 4, 8), (15, 31))]
)
def test_filters_are_drawn_as_tiles(shape, drawn):
    image = tiles(np.arange(float(np.prod(shape))).reshape(shape))
    assert image.shape == drawn
    assert np.isfinite(image).sum() == np.prod(shape)


def test_a_notebook_shows_where():
    assert found(1)._repr_html_().count("<svg") == 2


# ---- stages


def double(x):
    return jnp.tanh(x), lambda u: (2 * u * (1 - jnp.tanh(x) ** 2),)


def test_the_wrong_stage_of_a_chain_is_named():
    report = jgs.check_stages({"first": jnp.sin, "second": (jnp.tanh, double), "third": jnp.exp}, (INPUT / 2,))
    assert report.verdict.name == "WRONG"
    assert report.summary == "the backward pass of stage second is wrong, and no other"
    assert [part.report.verdict.name for part in report.parts] == ["CORRECT", "WRONG", "CORRECT"]
    assert jgs.check_stages([jnp.sin, jnp.tanh], (INPUT / 2,)).summary == "all 2 stages are right"


def test_bad_stages_are_named():
    with pytest.raises(TypeError, match="VJP of stage '0: tanh'"):
        jgs.check_stages([(jnp.tanh, 3.0)], (INPUT,))
    with pytest.raises(ValueError, match="at least one function"):
        jgs.check_stages([], (INPUT,))
    with pytest.raises(ValueError, match="leave out `points`"):
        jgs.check_stages([jnp.sin], (INPUT,), points=2)
