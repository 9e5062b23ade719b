"""The demo: its backward pass against JAX's, its mistakes against what they should spoil, and the whole run."""

import io
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep import demo
from jaxgradsweep import demo_network as network


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def scene():
    with jax.enable_x64(True):
        return network.train()


@pytest.fixture(scope="module")
def one_step(scene):
    with jax.enable_x64(True):
        return demo.take_one_step(scene)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory):
    out, stream = tmp_path_factory.mktemp("demo") / "not" / "yet" / "made", io.StringIO()
    with jax.enable_x64(False):
        code = demo.main(out, stream)
        flag_after = jax.config.jax_enable_x64
    return SimpleNamespace(out=out, text=stream.getvalue(), code=code, flag_after=flag_after)


class Terminal(io.StringIO):
    def isatty(self):
        return True


def relative_errors(claimed, right):
    """The relative error of each leaf, by its path."""
    return {
        jax.tree_util.keystr(path): float(jnp.linalg.norm(leaf - truth) / jnp.linalg.norm(truth))
        for (path, leaf), truth in zip(
            jax.tree_util.tree_leaves_with_path(claimed), jax.tree.leaves(right), strict=True
        )
    }


def loss_in_jax_words(params, images, labels):
    """The same loss from JAX's own convolution and pooling."""

    def convolve(images, kernel, padding):
        return jax.lax.conv_general_dilated(images, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    z1 = convolve(images, params["conv1"]["filter"], "SAME") + params["conv1"]["bias"]
    pooled = jax.lax.reduce_window(jax.nn.relu(z1), -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    a2 = jnp.tanh(convolve(pooled, params["conv2"]["filter"], "VALID") + params["conv2"]["bias"])
    a3 = jnp.tanh(a2.reshape(len(images), -1) @ params["dense"]["weight"] + params["dense"]["bias"])
    scores = a3 @ params["output"]["weight"] + params["output"]["bias"]
    right = jnp.take_along_axis(jax.nn.log_softmax(scores), labels[:, None], axis=1)
    squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params) if leaf.ndim > 1)
    return -jnp.mean(right) + network.PENALTY / 2 * squares


def test_the_network_is_the_one_that_jax_would_build(scene):
    assert network.loss(*scene.point) == pytest.approx(float(loss_in_jax_words(*scene.point)), rel=1e-14)


@pytest.mark.parametrize("seed", [0, 1, None])
def test_the_backward_pass_by_hand_equals_that_of_jax(scene, seed):
    params = scene.params if seed is None else network.initial_parameters(seed)
    by_hand = network.gradient(params, scene.images, scene.labels)
    by_jax = jax.grad(loss_in_jax_words)(params, scene.images, scene.labels)
    assert max(relative_errors(by_hand, by_jax).values()) < 1e-14


@pytest.mark.parametrize("number", range(7))
def test_a_planted_mistake_spoils_just_the_leaves_that_it_names(scene, number):
    mistake = network.mistakes(scene.previous)[number]
    errors = relative_errors(mistake.gradient(*scene.point), network.gradient(*scene.point))
    assert {path for path, error in errors.items() if error > 1e-3} == mistake.leaves
    assert {path for path, error in errors.items() if error > 0} == mistake.leaves


def test_there_are_seven_mistakes_and_each_is_different(scene):
    planted = network.mistakes(scene.previous)
    slopes = [np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(m.gradient(*scene.point))]) for m in planted]
    assert len(planted) == 7
    assert len(np.unique(np.stack(slopes), axis=0)) == 7


def test_the_usual_check_loses_its_digits_just_where_it_crosses_a_kink(one_step):
    crossed = np.isfinite(one_step.kinks)
    assert crossed.sum() >= 4
    assert set(one_step.layers[crossed]) == {"conv1"}
    assert one_step.digits[crossed].max() < 4
    assert one_step.digits[~crossed].min() > 5
    assert one_step.digits[~crossed & (one_step.layers == "conv1")].max() > 10


def test_steps_that_stay_inside_the_kink_find_the_digits_again(scene, one_step):
    parameter = int(np.argmin(one_step.kinks))
    flat, unravel = jax.flatten_util.ravel_pytree(scene.params)
    h = one_step.kinks[parameter] / 2

    def loss_at(distance):
        return network.loss(unravel(flat.at[parameter].add(distance)), scene.images, scene.labels)

    assert one_step.numeric[parameter] != pytest.approx(one_step.calculated[parameter], rel=1e-4)
    assert (loss_at(h) - loss_at(-h)) / (2 * h) == pytest.approx(one_step.calculated[parameter], rel=1e-7)


@pytest.mark.parametrize("channel", range(4))
def test_a_bias_meets_its_nearest_kink_where_the_largest_of_a_window_crosses_zero(scene, channel):
    def params_at(distance):
        conv1 = {**scene.params["conv1"], "bias": scene.params["conv1"]["bias"].at[channel].add(distance)}
        return {**scene.params, "conv1": conv1}

    z1 = network.forward(scene.params, scene.images).z1
    expected = jnp.min(jnp.abs(jnp.max(network.pool_windows(z1), axis=3))[..., channel])
    within = 4 * float(expected)
    found = jax.jit(lambda: network.nearest_kink(params_at, scene.images, within=within))()
    assert found == pytest.approx(float(expected), abs=within / 2**19)
    assert network.nearest_kink(params_at, scene.images, within=float(expected) / 2) == jnp.inf


def test_the_usual_check_is_printed_for_every_layer_with_its_sign_and_digits(one_step):
    row = demo.row(one_step, int(np.argmin(one_step.digits)))
    assert row[0].startswith("conv1 filter")
    assert row[4:] == ("yes", "3")


def test_the_whole_demo_comes_out_as_it_should(whole_run):
    assert whole_run.code == 0, whole_run.text
    assert "Everything came out as it should" in whole_run.text


def test_every_mistake_gets_one_line_that_calls_it_wrong(whole_run, scene):
    lines = whole_run.text.splitlines()
    for mistake in network.mistakes(scene.previous):
        (line,) = (line for line in lines if line.strip().startswith(mistake.name))
        assert " WRONG " in line
        assert demo.name_leaves(mistake.leaves) in line


def test_the_truth_is_told_of_every_layer(whole_run):
    for layer in ("conv1", "conv2", "dense", "output"):
        assert f"\n{layer}: right to " in whole_run.text


def test_reports_and_figures_are_written_and_named(whole_run):
    names = sorted(file.name for file in whole_run.out.iterdir())
    assert names == ["filter-not-flipped.json", "filter-not-flipped.png", "right.json", "right.png"]
    for name in names:
        assert str(whole_run.out / name) in whole_run.text
    for name, ok in {"right": True, "filter-not-flipped": False}.items():
        assert jgs.Report.from_json((whole_run.out / f"{name}.json").read_text()).ok is ok
        assert (whole_run.out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_piped_output_holds_no_control_codes(whole_run):
    assert all(character.isprintable() or character == "\n" for character in whole_run.text)


def test_the_demo_leaves_the_precision_flag_alone(whole_run):
    assert whole_run.flag_after is False


def test_a_terminal_gets_a_progress_bar_and_colours(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    console = demo.console_for(stream)
    with demo.stages(console) as stage:
        stage("looking")
    console.print("good", style="green")
    assert "looking" in stream.getvalue()
    assert "\x1b[32mgood\x1b[0m" in stream.getvalue()


def test_a_terminal_without_colours_gets_none(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    demo.console_for(stream).print("good", style="green")
    assert stream.getvalue() == "good\n"


def test_something_that_is_not_a_terminal_gets_no_progress_bar(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    stream = io.StringIO()
    with demo.stages(demo.console_for(stream)) as stage:
        stage("looking")
    assert stream.getvalue() == ""


def report_of(verdict, but=()):
    """A stand-in with a verdict for every leaf."""
    verdicts = dict.fromkeys(network.ALL, verdict) | dict(but)
    return SimpleNamespace(findings=[SimpleNamespace(path=path, verdict=v) for path, v in verdicts.items()])


def test_the_demo_fails_and_names_the_leaf_that_did_not_come_out():
    stream = io.StringIO()
    right = report_of(jgs.Verdict.CORRECT, {"['conv1']['bias']": jgs.Verdict.UNRESOLVED})
    mistake = network.Mistake("everything", network.gradient, network.ALL)
    wrong = {mistake: report_of(jgs.Verdict.WRONG, {"['dense']['weight']": jgs.Verdict.CORRECT})}
    assert demo.conclude(demo.console_for(stream), right, wrong) == 1
    assert "the right backward pass: conv1 bias is UNRESOLVED, not CORRECT" in stream.getvalue()
    assert "everything: dense weight is CORRECT, not WRONG" in stream.getvalue()


def test_the_demo_succeeds_if_every_verdict_comes_out():
    mistake = network.Mistake("nothing", network.gradient, frozenset())
    right, same = report_of(jgs.Verdict.CORRECT), report_of(jgs.Verdict.CORRECT)
    assert demo.conclude(demo.console_for(io.StringIO()), right, {mistake: same}) == 0
