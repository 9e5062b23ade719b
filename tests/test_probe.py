"""Where a check looks: directions that can be added exactly, of the leaf's own size, seeded by the leaf's path."""

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgradsweep as jgs
from jaxgradsweep._probe import (
    BASIS,
    COMPONENT,
    LEAF,
    Probes,
    cotangents,
    draw,
    scale_of,
    seed_words,
    step_grid,
)
from jaxgradsweep._stencil import tangent


@jax.jit
def drawn(leaf, seed, scale, index):
    return tangent([leaf], [scale_of(leaf)], 0, scale, index, seed)[0]


@jax.jit
def tangent_of(moving, *probe):
    moving = [jnp.asarray(leaf) for leaf in moving]
    return tangent(moving, [scale_of(leaf) for leaf in moving], *probe)


cotangents_of = jax.jit(cotangents)


def direction_of(leaf, scale=LEAF, *, index=0, number=0, key=0, path="w", x64=True):
    """One direction for a leaf, as a NumPy array."""
    with jax.enable_x64(x64):
        return np.array(drawn(jnp.asarray(leaf), seed_words(key, f"{path}/{number}"), scale, index))


def is_short(values):
    """Whether numbers are a sign times 1, 1 + 1/32, ... 1 + 31/32 times a power of two."""
    mantissa, _ = np.frexp(np.asarray(values, np.float64))
    return bool(np.all((np.abs(mantissa) * 64) % 1 == 0))


POINT = np.random.default_rng(0).uniform(0.5, 2, size=(8, 16)) * np.random.default_rng(1).choice([-1, 1], (8, 16))


# ---- one direction


@pytest.mark.parametrize("scale", [LEAF, COMPONENT])
def test_a_direction_has_a_short_mantissa_and_both_signs(scale):
    v = direction_of(POINT, scale)
    assert is_short(v)
    assert np.any(v > 0)
    assert np.any(v < 0)
    assert len(np.unique(np.abs(np.frexp(v)[0]))) == 32


@pytest.mark.parametrize("dtype", [np.float32, np.float16, jnp.bfloat16])
def test_a_direction_is_the_same_in_every_precision(dtype):
    """So what is measured in two of them can be compared."""
    leaf = (POINT * 8).astype(int) / 8
    np.testing.assert_array_equal(direction_of(leaf.astype(dtype), x64=False).astype(np.float64), direction_of(leaf))


def test_two_directions_seldom_move_two_components_alike():
    """Else the swap of two derivatives would not be seen along them."""
    v = np.stack([direction_of(np.ones(2000), number=number) for number in (0, 1)])
    alike = np.mean(np.all(v[:, ::2] == v[:, 1::2], axis=0))
    assert alike < 1 / 500  # 1/4096 by chance


@pytest.mark.parametrize("scale", [LEAF, COMPONENT])
@pytest.mark.parametrize("size", [2, 5, 8])
def test_no_error_in_two_components_of_a_small_leaf_is_orthogonal_to_both_directions(size, scale):
    few, pairs = np.ones(size), np.triu_indices(size, 1)
    for key in range(100):
        probes = draw(("w",), [size], [0], scale, range(2), key)
        v, w = (np.array(drawn(jnp.asarray(few), seed, scale, 0), float) for seed in probes.seed)
        assert np.min(np.abs(np.outer(v, w) - np.outer(w, v))[pairs]) >= 2**-6


def test_directions_are_drawn_again_only_where_they_move_two_components_in_proportion():
    again = 0
    for key in range(100):
        seeds = draw(("w",), [8], [0], LEAF, range(3), key).seed
        first = [seed_words(key, f"w/leaf/{number}") for number in range(3)]
        np.testing.assert_array_equal(seeds[[0, 2]], [first[0], first[2]])
        again += not np.array_equal(seeds[1], first[1])
    assert 5 < again < 40


def test_a_direction_has_the_shape_and_dtype_of_its_leaf():
    for dtype in (np.float32, np.float64, np.complex64, np.complex128, jnp.bfloat16, np.float16):
        v = direction_of(POINT.astype(dtype))
        assert (v.shape, v.dtype) == (POINT.shape, dtype)


def test_all_components_move_by_about_the_size_of_the_leaf():
    leaf = POINT * 300
    rms = np.sqrt(np.mean(leaf**2))
    v = np.abs(direction_of(leaf))
    powers = 2.0 ** np.floor(np.log2(v))
    assert np.unique(powers).size == 1
    assert rms / 2 < powers[0, 0] <= rms


def test_at_component_scale_each_component_moves_by_about_its_own_size():
    leaf = np.array([1e-8, 1.0, 1e8, -3.0])
    powers = 2.0 ** np.floor(np.log2(np.abs(direction_of(leaf, COMPONENT))))
    np.testing.assert_array_equal(powers, 2.0 ** np.floor(np.log2(np.abs(leaf))))


def test_at_component_scale_a_zero_moves_by_the_size_of_the_leaf():
    v = direction_of(np.array([0.0, 8.0, 8.0, 0.0]), COMPONENT)
    assert np.all((np.abs(v) >= 4) & (np.abs(v) < 16))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_leaf_of_zeros_moves_by_about_one(dtype):
    v = np.abs(direction_of(np.zeros(5, dtype), x64=dtype == np.float64))
    assert np.all((v >= 1) & (v < 2))


@pytest.mark.parametrize("scale", [LEAF, COMPONENT])
def test_steps_along_a_direction_are_exact(scale):
    leaf = POINT.astype(np.float32).astype(np.float64)  # numbers with bits to spare, as most are that people write
    v = direction_of(leaf, scale)
    for h in step_grid(52):
        for sign in (h, -h):
            moved = leaf + sign * v
            exact = [Fraction(x) + Fraction(float(sign)) * Fraction(d) for x, d in zip(leaf.flat, v.flat, strict=True)]
            assert [Fraction(x) for x in moved.flat] == exact


def test_steps_along_a_float32_direction_are_exact():
    leaf = POINT.astype(np.float16).astype(np.float32)
    v = direction_of(leaf, x64=False)
    for h in step_grid(23)[:-2].astype(np.float32):
        exact = leaf.astype(np.float64) + np.float64(h) * v
        np.testing.assert_array_equal((leaf + h * v).astype(np.float64), exact)


@pytest.mark.parametrize("scale", [LEAF, COMPONENT])
@pytest.mark.parametrize(
    ("size", "dtype"),
    [(1e-30, np.float32), (1e30, np.float32), (1e-200, np.float64), (1e200, np.float64), (1e-300, np.float64)],
)
def test_neither_tiny_nor_huge_leaves_under_or_overflow(size, dtype, scale):
    leaf = (POINT * size).astype(dtype)
    v = direction_of(leaf, scale, x64=dtype == np.float64)
    ratio = np.abs(v.astype(np.float64) / size)
    assert np.all((ratio > 0.1) & (ratio < 10))
    assert np.all(np.isfinite(leaf + v))


def test_a_component_that_is_not_finite_does_not_spoil_the_others():
    v = direction_of(np.array([np.inf, 2.0, 3.0, np.nan]))
    assert np.all(np.isfinite(v))
    assert np.all((np.abs(v) > 0.5) & (np.abs(v) < 8))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_a_complex_direction_is_short_in_both_parts_and_turns_every_way(dtype):
    v = direction_of((POINT + 1j * POINT[::-1]).astype(dtype), x64=dtype == np.complex128)
    assert is_short(v.real)
    assert is_short(v.imag)
    assert {(a > 0, b > 0) for a, b in zip(v.real.flat, v.imag.flat, strict=True)} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
    assert len(np.unique(v.imag / v.real)) > 10


def test_a_basis_direction_moves_one_component_alone():
    for index in range(3):
        v = direction_of(np.array([1.0, 2.0, 4.0]), BASIS, index=index)
        assert list(np.flatnonzero(v)) == [index]


def test_a_basis_of_a_complex_leaf_has_real_and_imaginary_directions():
    leaf = np.array([1 + 1j, 2 - 1j])
    found = [direction_of(leaf, BASIS, index=index) for index in range(4)]
    assert [list(np.flatnonzero(v.real)) for v in found] == [[0], [1], [], []]
    assert [list(np.flatnonzero(v.imag)) for v in found] == [[], [], [0], [1]]


# ---- seeds


def test_directions_differ_by_path_and_number_and_key():
    seen = [
        direction_of(POINT),
        direction_of(POINT, number=1),
        direction_of(POINT, path="b"),
        direction_of(POINT, key=1),
    ]
    for i, one in enumerate(seen):
        for other in seen[:i]:
            agreement = np.mean(one == other)
            assert agreement < 0.1  # 1/64 by chance


def test_the_same_seed_draws_the_same_direction():
    np.testing.assert_array_equal(direction_of(POINT, key=5), direction_of(POINT, key=5))


def test_adding_a_leaf_re_rolls_no_other():
    few = draw(("['b']", "['c']"), [4, 9], [0, 1], LEAF, range(2), key=0)
    more = draw(("['a']", "['b']", "['c']"), [3, 4, 9], [0, 1, 2], LEAF, range(2), key=0)
    np.testing.assert_array_equal(few.seed, more.seed[2:])


def test_a_larger_leaf_beside_it_leaves_the_direction_of_a_leaf_alone():
    small, large = jnp.ones(3), jnp.ones(1000)
    words = seed_words(0, "small/0")
    alone = tangent_of([small], 0, LEAF, 0, words)[0]
    beside = tangent_of([large, small], 1, LEAF, 0, words)
    np.testing.assert_array_equal(alone, beside[1])
    assert not np.any(beside[0])


def separable(params):
    return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(params))


def test_a_check_claims_the_same_of_a_leaf_when_another_joins():
    b = np.linspace(0.3, 1.1, 4)
    alone = jgs.check_grad(separable, ({"b": b},))
    joined = jgs.check_grad(separable, ({"a": np.linspace(1, 2, 9), "b": b},))
    one, other = alone.findings[0], joined.findings[1]
    assert one.path == other.path
    np.testing.assert_array_equal(alone.sweep.claimed[list(one.probes)], joined.sweep.claimed[list(other.probes)])


def test_a_probe_moves_its_own_leaf_only():
    found = tangent_of([jnp.ones(3), jnp.ones(2)], 1, LEAF, 0, seed_words(0, "x/0"))
    assert not np.any(found[0])
    assert np.all(found[1] != 0)


def test_rows_of_probes_stay_together():
    probes = draw(("a", "b"), [20, 30], [0, 1], COMPONENT, range(3), key=0)
    assert isinstance(probes, Probes)
    assert list(probes.leaf) == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(probes.rows(slice(4, 5)).seed, probes.seed[4:5])


# ---- cotangents


def test_a_lone_real_number_has_the_cotangent_one():
    assert cotangents([jnp.float32(7)], seed_words(0, "x/0"), LEAF) == [1]


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e30])
def test_cotangents_weigh_every_output_by_about_one_over_its_size(size):
    outputs = [jnp.full(50, size, jnp.float32), jnp.full((3, 4), -size, jnp.float32)]
    for y, u in zip(outputs, cotangents_of(outputs, seed_words(0, "x/0"), LEAF), strict=True):
        weight = np.abs(np.asarray(u, np.float64) * np.asarray(y, np.float64))
        assert u.shape == y.shape
        assert np.all((weight > 0.2) & (weight < 8))


def test_cotangents_of_different_probes_differ():
    outputs = [jnp.ones(50)]
    one, two = (cotangents_of(outputs, seed_words(0, f"x/{number}"), LEAF)[0] for number in (0, 1))
    assert np.mean(np.asarray(one) == np.asarray(two)) < 0.3


def test_a_complex_output_has_a_complex_cotangent():
    u = np.asarray(cotangents_of([jnp.ones(20, jnp.complex64)], seed_words(0, "x/0"), LEAF)[0])
    assert np.all(u.real != 0)
    assert np.all(u.imag != 0)


# ---- steps


@pytest.mark.parametrize(("bits", "dtype"), [(52, np.float64), (23, np.float32), (10, np.float16), (7, jnp.bfloat16)])
def test_steps_are_powers_of_two_down_to_what_the_precision_resolves(bits, dtype):
    steps = step_grid(bits)
    assert np.all(np.log2(steps) % 1 == 0)
    np.testing.assert_array_equal(steps[1:], steps[:-1] / 2)
    assert len(steps) >= 8
    assert steps[-1] >= float(jnp.finfo(dtype).eps)


def test_steps_start_inside_and_go_outward_from_there():
    inside, outside = step_grid(52), step_grid(52, outward=True)
    assert inside[0] <= 1 < outside[0]
    np.testing.assert_array_equal(np.append(outside, inside)[1:], np.append(outside, inside)[:-1] / 2)
