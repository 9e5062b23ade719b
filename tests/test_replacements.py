"""What people write around a gradient check, and the one line that replaces it.

Every test has the habit as test suites of JAX libraries have it, shows what it does to a right or a wrong derivative,
and that the line instead decides rightly. The mistakes are of the size that these habits let pass.
"""

import dataclasses
import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import jaxgradsweep as jgs


def planted(fun, mistake):
    """A function whose derivative is off by a factor of `1 + mistake`."""
    wrong = jax.custom_jvp(fun)
    wrong.defjvp(lambda primals, tangents: jax.jvp(fun, primals, jax.tree.map(lambda v: v * (1 + mistake), tangents)))
    return wrong


def accepts(*args, **kwargs):
    """Whether JAX's own check passes."""
    try:
        check_grads(*args, **kwargs)
    except AssertionError:
        return False
    return True


# ---- the global flag: `jax.config.update("jax_enable_x64", True)`, or tests that are skipped without it


def log_sum(x):
    return 100 + jax.nn.logsumexp(3 * x)  # the offset costs float32 its digits


POINT = jnp.array([0.3, -0.2, 0.7], jnp.float32)


def test_no_global_flag_is_needed_for_double_precision():
    assert not accepts(
        log_sum, (POINT,), order=1
    )  # a right derivative: without the flag, single precision is too short

    report = jgs.check_grad(log_sum, (POINT,))
    assert report.ok
    assert report.resolution < 1e-9
    assert not jax.config.jax_enable_x64
    assert jgs.check_grad(planted(log_sum, 1e-6), (POINT,)).verdict is jgs.Verdict.WRONG


# ---- a step that was found by trying: `eps=1e-2`, `eps=1e-6`


def resonance(frequency):
    """The response of a weakly damped oscillator: its peak is 1e-5 wide."""
    return 1e-5 / jnp.hypot(1 - frequency**2, 1e-5 * frequency)


PEAK = (np.float64(1.000004),)


def test_no_step_has_to_be_found():
    with jax.enable_x64(True):
        assert not accepts(resonance, PEAK, order=1)
        assert accepts(resonance, PEAK, order=1, eps=1e-9, atol=1e-2, rtol=1e-2)  # it took some trying
        assert accepts(planted(resonance, 1e-3), PEAK, order=1, eps=1e-9, atol=1e-2, rtol=1e-2)

    jgs.check_grads(resonance, PEAK, order=1)
    with pytest.raises(jgs.DerivativeWrong):
        jgs.check_grads(planted(resonance, 1e-3), PEAK, order=1)


# ---- a tolerance that was raised until the test passed: `atol=tol, rtol=tol` with 1e-1 in single precision


def swing(angle, damping):
    """Where a pendulum that is let go near the top is after a while, by Runge and Kutta's method."""

    def slope(state):
        return jnp.array([state[1], -damping * state[1] - 9.8 * jnp.sin(state[0])])

    def step(state, _):
        first = slope(state)
        second = slope(state + 0.025 * first)
        third = slope(state + 0.025 * second)
        last = slope(state + 0.05 * third)
        return state + 0.05 / 6 * (first + 2 * second + 2 * third + last), None

    return jax.lax.scan(step, jnp.stack([angle, jnp.zeros_like(angle)]), length=20)[0]


RELEASE = (jnp.float32(np.pi - 0.1), jnp.float32(0.25))


def test_no_tolerance_has_to_be_raised():
    wrong = planted(swing, 0.03)
    assert accepts(wrong, RELEASE, order=1, modes=["fwd"], atol=1e-1, rtol=1e-1)

    jgs.check_grads(swing, RELEASE, order=1)
    with pytest.raises(jgs.DerivativeWrong):
        jgs.check_grads(wrong, RELEASE, order=1)


# ---- a pytree that is split by hand: `partition`, `ravel_pytree`, closures over what is no float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Model:
    """A table of embeddings with a readout, and what else a model has."""

    table: jax.Array
    readout: jax.Array
    steps: jax.Array
    key: jax.Array
    name: str = dataclasses.field(metadata={"static": True})


MODEL = Model(
    table=jax.random.normal(jax.random.key(0), (5, 3)),
    readout=jnp.array([0.5, -1.0, 2.0]),
    steps=jnp.array(7),
    key=jax.random.key(1),
    name="tiny",
)
WORDS = jnp.array([0, 3, 3, 1])


def energy(model, words):
    noise = 0.1 * jax.random.normal(model.key, (len(words), 3))
    return jnp.sum(jnp.tanh(model.table[words] + noise) @ model.readout) / model.steps


def test_no_pytree_has_to_be_split():
    with pytest.raises(Exception, match=r".*"):  # which one depends on the leaf that it meets first
        check_grads(energy, (MODEL, WORDS), order=1, modes=["rev"])

    report = jgs.check_grad(energy, (MODEL, WORDS))
    assert report.ok
    assert [finding.path for finding in report.findings] == [".table", ".readout"]


def test_no_leaf_is_drowned_by_a_larger_one_as_in_a_raveled_tree():
    tree = {"large": np.full(50, 100.0), "small": np.array(0.01)}

    def fun(tree):
        return jnp.sum(tree["large"] ** 2) + jnp.sin(tree["small"])

    def gradient(tree):
        right = jax.grad(fun)(tree)
        return {**right, "small": 2 * right["small"]}

    wrong = jax.custom_vjp(fun)
    wrong.defvjp(lambda tree: (fun(tree), tree), lambda tree, ct: (jax.tree.map(lambda g: ct * g, gradient(tree)),))
    with jax.enable_x64(True):
        flat, unravel = jax.flatten_util.ravel_pytree(tree)
        assert accepts(lambda x: wrong(unravel(x)), (flat,), order=1, modes=["rev"], atol=1e-2, rtol=1e-2)

    report = jgs.check_grad(wrong, (tree,))
    assert [f.path for f in report.findings if f.verdict is jgs.Verdict.WRONG] == ["['small']"]


# ---- a list of modes: `modes=["rev"]`, since forward mode raises; what nobody asks is then not checked


@jax.custom_vjp
def clipped_norm(x):
    return jnp.sqrt(1 + jnp.sum(x**2))


clipped_norm.defvjp(lambda x: (clipped_norm(x), (x, clipped_norm(x))), lambda kept, ct: (ct * kept[0] / kept[1],))


def test_no_list_of_modes_has_to_be_kept():
    with pytest.raises(TypeError, match="forward-mode"):
        check_grads(clipped_norm, (POINT,), order=1)

    assert jgs.check_grad(clipped_norm, (POINT,)).ok
    assert jgs.check_vjp(settled, (POINT,)).ok  # in forward mode: a loop whose end is not known has no other


def settled(x):
    """A few turns of a fixed-point iteration."""
    return jax.lax.while_loop(lambda state: state[0] < 5, lambda state: (state[0] + 1, jnp.sin(state[1])), (0, x))[1]


# ---- a list of what is skipped: kinks, low precisions


def total_variation(x):
    return jnp.sum(jnp.abs(jnp.diff(x)))


def test_a_kink_is_no_reason_to_skip_a_function():
    flat = jnp.array([0.2, 0.7, 0.7, 1.0])
    assert not accepts(total_variation, (flat,), order=1, modes=["rev"])  # so it goes onto the list

    report = jgs.check_grad(total_variation, (flat,), points=2)
    assert report.parts[0].report.findings[0].reason is jgs.Reason.KINK
    assert all(part.report.ok for part in report.parts[1:])
    wrong = jgs.check_grad(planted(total_variation, 0.01), (flat,), points=2)
    assert wrong.verdict is jgs.Verdict.WRONG


def soft_maximum(x):
    return jax.nn.logsumexp(x)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_low_precision_is_no_reason_to_skip_a_function(dtype):
    x = POINT.astype(dtype)
    assert not accepts(soft_maximum, (x,), order=1, modes=["rev"]) or dtype == jnp.float32
    assert jgs.check_grad(soft_maximum, (x,), dtype="both").ok
    assert jgs.check_grad(planted(soft_maximum, 0.01), (x,), dtype="both").verdict is jgs.Verdict.WRONG


# ---- a difference quotient by hand: `(f(x + eps) - f(x - eps)) / (2 * eps)` and `allclose`


def test_a_difference_quotient_by_hand_is_a_line_with_error_bars():
    x = np.array([0.3, -0.2, 0.7])

    def fun(x):
        return jnp.sum(jnp.sin(40 * x))

    eps, exact = 1e-2, 40 * np.cos(40 * x)
    quotients = [(fun(x + eps * unit) - fun(x - eps * unit)) / (2 * eps) for unit in np.eye(3)]
    assert not np.allclose(quotients, exact, rtol=1e-2)

    value, bar = jgs.estimate_grad(fun, (x,))
    assert (abs(value - exact) <= bar).all()
    assert (bar < 1e-9 * abs(exact)).all()


# ---- a seed inside, so that it does not matter: `sample(seed=0)`; keywords and state bound by closures


def sampled(scale, count, *, key, temperature):
    return jnp.mean(jax.nn.softplus(scale * jax.random.normal(key, (count,)) / temperature))


def test_keys_and_keywords_are_bound_in_a_line():
    with_key = functools.partial(sampled, count=16, key=jax.random.key(0), temperature=0.5)
    assert jgs.check_grad(lambda scale: with_key(scale), (jnp.float32(1.3),)).ok

    report = jgs.check_grad(jgs.pure(sampled, 16, key=jax.random.key(0), temperature=0.5), (jnp.float32(1.3),))
    assert report.ok
    assert any("PRNG keys are held fixed" in note for note in report.notes)
