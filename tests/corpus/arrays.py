"""Reductions, convolutions, pooling, images, indexing, Fourier transforms and interpolation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax import nn as jnn

from corpus.build import array, normal, uniform
from corpus.case import BF16, F32, F64, Collection

ALL = (F64, F32, BF16)

CASES = Collection()


# ---- reductions


def reduction(name, fun, x, **details):
    CASES.add(f"reduce.{name}", lambda dtype: (fun, (array(x, dtype),)), "reduction", **details)


reduction("sum", jnp.sum, normal(10, 4, 5), dtypes=ALL)
reduction("prod", jnp.prod, [0.5, -2.0, 3.0, 0.1])
reduction("prod_two_zeros", jnp.prod, [0.5, 0.0, 3.0, 0.0], note="gradient is exactly zero")
reduction("var", lambda x: jnp.var(x, axis=1), normal(12, 3, 6))
reduction("var_offset", jnp.var, normal(12, 6) + 1e4, undecidable=(F32,), note="variance of data with a large mean")
reduction("norm2", jnp.linalg.norm, normal(14, 7))
reduction("norm3", lambda x: jnp.linalg.norm(x, ord=3), normal(14, 7))
reduction("norm_tiny", jnp.linalg.norm, normal(14, 7) * 1e-12, note="a step of 1e-4 crosses the cone tip")
reduction("max", jnp.max, [0.5, -2.0, 3.0, 0.1])
reduction("max_close", jnp.max, [1.0, 1.0 + 1e-5, 0.3], undecidable=(F32,), note="runner-up 1e-5 behind")
reduction("min_axis", lambda x: jnp.min(x, axis=1), normal(15, 3, 4))
reduction("ptp", jnp.ptp, normal(16, 6))
reduction("percentile_nearest", lambda x: jnp.percentile(x, 37.0, method="nearest"), normal(17, 9))
reduction("nanmean", lambda x: jnp.nanmean(jnp.concatenate([x, jnp.full((1,), jnp.nan, x.dtype)])), normal(18, 4))
reduction("weighted_softmin", lambda x: -jnn.logsumexp(-x * 50) / 50, [0.1, 0.11, 0.5])
reduction(
    "kahan_bait",
    lambda x: jnp.sum(jnp.concatenate([jnp.full((1,), 1e7, x.dtype), jnp.sin(x), jnp.full((1,), -1e7, x.dtype)])),
    [0.3, 0.4],
    undecidable=(F32,),
    note="large terms cancel",
)
reduction("polyval", lambda x: jnp.polyval(x, jnp.asarray(1.7, x.dtype)), normal(24, 6))
reduction("gradient", jnp.gradient, normal(28, 7))
reduction("kaiser", lambda b: jnp.kaiser(7, b[0]), [4.0], dtypes=(F64,))


# ---- convolutions, pooling, images


@CASES.case("conv.same", "conv-pool", dtypes=ALL)
def _(dtype):
    return (lambda t: lax.conv_general_dilated(t[0], t[1], (1, 1), "SAME")), (
        (array(normal(110, 2, 3, 6, 6), dtype), array(normal(111, 4, 3, 3, 3), dtype)),
    )


@CASES.case("conv.strided_dilated_grouped", "conv-pool")
def _(dtype):
    return (
        lambda t: lax.conv_general_dilated(
            t[0], t[1], (2, 1), [(1, 2), (0, 1)], rhs_dilation=(2, 1), feature_group_count=2
        )
    ), ((array(normal(112, 1, 4, 7, 6), dtype), array(normal(113, 4, 2, 2, 3), dtype)),)


@CASES.case("conv.signal_fft", "conv-pool")
def _(dtype):
    return (lambda t: jax.scipy.signal.fftconvolve(t[0], t[1], mode="same")), (
        (array(normal(116, 12), dtype), array(normal(117, 5), dtype)),
    )


@CASES.case("pool.max", "conv-pool")
def _(dtype):
    return (lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")), (
        array(normal(118, 2, 6, 6, 2), dtype),
    )


@CASES.case("pool.avg", "conv-pool")
def _(dtype):
    return (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 3, 3, 1), (1, 2, 2, 1), "SAME") / 9), (
        array(normal(119, 2, 6, 6, 2), dtype),
    )


@CASES.case("image.resize_cubic", "conv-pool")
def _(dtype):
    return (lambda x: jax.image.resize(x, (7, 9), "cubic")), (array(normal(120, 4, 5), dtype),)


@CASES.case(
    "image.map_coordinates", "conv-pool", note="bilinear interpolation, differentiated with respect to the coordinates"
)
def _(dtype):
    return (lambda c, im: jax.scipy.ndimage.map_coordinates(im, [c[0], c[1]], order=1)), (
        array(uniform(121, 0.2, 2.8, 2, 5), dtype),
        array(normal(122, 4, 4), dtype),
    )


@CASES.case("image.translate", "conv-pool")
def _(dtype):
    def f(t, im):
        return jax.image.scale_and_translate(im, (6, 6), (0, 1), t["s"], t["o"], "linear", antialias=False)

    return f, ({"s": array([1.21, 0.93], dtype), "o": array([0.13, -0.27], dtype)}, array(normal(123, 6, 6), dtype))


# ---- indexing


def indexing(name, fun, x, *rest, **details):
    make = lambda dtype: (fun, (array(x, dtype), *map(jnp.asarray, rest)))
    CASES.add(f"index.{name}", make, "index", **details)


indexing("sort", jnp.sort, normal(130, 8))
indexing("sort_key_val", lambda x: lax.sort_key_val(x**2, jnp.sin(x))[1], normal(131, 7))
indexing("gather_oob_fill", lambda x, i: x.at[i].get(mode="fill", fill_value=0), normal(134, 6), np.array([0, 9, 3]))
indexing("gather_2d", lambda x, i, j: x[i, j], normal(135, 4, 4), np.array([0, 3, -1]), np.array([1, 1, 2]))
indexing(
    "scatter_add_dups", lambda x, i: jnp.zeros(4, x.dtype).at[i].add(x**2), normal(137, 6), np.array([0, 3, 3, 1, 1, 1])
)
indexing(
    "segment_max", lambda x, i: jax.ops.segment_max(x, i, num_segments=3), normal(142, 6), np.array([0, 0, 1, 2, 2, 2])
)
indexing(
    "segment_softmax",
    lambda x, i: (lambda e: e / jax.ops.segment_sum(e, i, num_segments=3)[i])(jnp.exp(x)),
    normal(143, 6),
    np.array([0, 0, 1, 2, 2, 2]),
)
indexing("where_safe_sqrt", lambda x: jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1.0)), 0.0), [0.5, 2.0, -1.0, -0.3])
indexing("boolean_mask_sum", lambda x: jnp.sum(jnp.where(x > 0, x**2, -x)), normal(148, 7))
indexing("roll_pad_flip", lambda x: jnp.pad(jnp.roll(x, 2)[::-1], (1, 2), mode="reflect"), normal(149, 6))
indexing("pad_negative", lambda x: lax.pad(x, jnp.zeros((), x.dtype), ((-1, 2, 1),)), normal(150, 6))
indexing("tril_mask", lambda x: jnp.tril(x) @ x, normal(151, 4, 4))


# ---- FFT


def fourier(name, fun, x, **details):
    CASES.add(f"fft.{name}", lambda dtype: (fun, (array(x, dtype),)), "fft", **details)


fourier(
    "rfft_irfft_filter",
    lambda x: jnp.fft.irfft(jnp.fft.rfft(x) * jnp.exp(-jnp.arange(5.0).astype(x.dtype)), n=8),
    normal(161, 8),
)
fourier("irfft_odd", lambda x: jnp.fft.irfft(x[:4] + 1j * x[4:], n=7), normal(162, 8))
fourier("hfft", lambda x: jnp.fft.hfft(x[:4] + 1j * x[4:], n=6), normal(165, 8))
fourier(
    "stft_loss",
    lambda x: jnp.sum(
        jnp.abs(jnp.fft.rfft(jnp.stack([x[0:8], x[4:12], x[8:16]]) * jnp.hanning(8).astype(x.dtype))) ** 1.5
    ),
    normal(168, 16),
)
fourier("welch_log", lambda x: jnp.log(jax.scipy.signal.welch(x, nperseg=8)[1][1:]), normal(169, 32), dtypes=(F64,))


# ---- interpolation


@CASES.case("interp.x", "interpolation")
def _(dtype):
    return (lambda x, xp, fp: jnp.interp(x, xp, fp)), (
        array([0.3, 1.7, 2.2], dtype),
        array([0.0, 1.0, 2.0, 3.0], dtype),
        array([1.0, -1.0, 4.0, 2.0], dtype),
    )


@CASES.case("interp.bspline_basis", "interpolation")
def _(dtype):
    def f(c):
        t = jnp.linspace(0, 0.99, 5).astype(c.dtype)
        b = jnp.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3]) / 6
        return b.T @ c

    return f, (array(normal(172, 4, 2), dtype),)
