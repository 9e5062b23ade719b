"""Solvers, factorisations, eigenvalues, singular values and functions of matrices."""

import jax
import jax.numpy as jnp
import numpy as np

from corpus.build import array, normal, positive_definite
from corpus.case import F32, F64, Collection

CASES = Collection()


def linalg(name, fun, x, **details):
    points = lambda dtype: tuple(array(part, dtype) for part in x) if isinstance(x, tuple) else array(x, dtype)
    CASES.add(f"linalg.{name}", lambda dtype: (fun, (points(dtype),)), "linalg", **details)


def symmetric(a):
    return (a + a.T) / 2


linalg("det_5x5_rank_n-2", jnp.linalg.det, np.diag([1.0, 2.0, 3.0, 0.0, 0.0]), note="gradient is exactly zero")
linalg("slogdet_tiny", lambda a: jnp.linalg.slogdet(a)[1], 1e-8 * normal(31, 5, 5))
linalg("inv_cond1e6", jnp.linalg.inv, positive_definite(33, 4, 1e6), undecidable=(F32,), note="condition number 1e6")
linalg("solve", lambda t: jnp.linalg.solve(*t), (normal(34, 4, 4) + 2 * np.eye(4), normal(35, 4)))
linalg(
    "solve_cond1e8",
    lambda t: jnp.linalg.solve(*t),
    (positive_definite(36, 4, 1e8), normal(37, 4)),
    undecidable=(F64, F32),
    dtypes=(F64,),
)
linalg("cholesky", lambda a: jnp.linalg.cholesky(symmetric(a)), positive_definite(40, 4))
linalg(
    "cholesky_edge",
    lambda a: jnp.linalg.cholesky(symmetric(a)),
    np.diag([1.0, 1e-5, 1.0]),
    note="smallest eigenvalue 1e-5: not positive definite one step of 1e-4 away",
)
linalg("qr_r", lambda a: jnp.linalg.qr(a)[1], normal(44, 5, 3))
linalg("qr_q", lambda a: jnp.linalg.qr(a)[0], normal(45, 4, 4))
linalg(
    "eigvalsh",
    lambda a: jnp.linalg.eigvalsh(symmetric(a)),
    np.diag([1.0, 2.0, 4.0, 7.0]) + 0.1 * symmetric(normal(46, 4, 4)),
)
linalg(
    "eigh_vectors",
    lambda a: jnp.abs(jnp.linalg.eigh(symmetric(a))[1]),
    np.diag([1.0, 2.0, 4.0, 7.0]) + 0.3 * symmetric(normal(47, 4, 4)),
)
linalg(
    "eigh_close_1e-3",
    lambda a: jnp.linalg.eigh(symmetric(a))[1] ** 2,
    np.diag([1.0, 1.001, 4.0]) + 2e-4 * symmetric(normal(48, 3, 3)),
    undecidable=(F32,),
    note="eigenvectors, gap 1e-3",
)
linalg(
    "svd_recompose",
    lambda a: (lambda u, s, v: (u * jnp.tanh(s)) @ v)(*jnp.linalg.svd(a, full_matrices=False)),
    normal(50, 5, 3),
)
linalg("nuclear_norm", lambda a: jnp.linalg.norm(a, ord="nuc"), normal(51, 4, 3))
linalg("spectral_norm", lambda a: jnp.linalg.norm(a, ord=2), normal(52, 4, 3))
linalg("expm_large", jax.scipy.linalg.expm, 6.0 * normal(55, 3, 3), undecidable=(F32,))
linalg("expm_nilpotent", jax.scipy.linalg.expm, np.array([[0.0, 1, 2], [0, 0, 3], [0, 0, 0]]))
linalg("lstsq", lambda t: jnp.linalg.lstsq(t[0], t[1])[0], (normal(56, 6, 3), normal(57, 6)))
linalg("matrix_power_neg", lambda a: jnp.linalg.matrix_power(a, -2), normal(60, 3, 3) + 2 * np.eye(3))
linalg("cond2", jnp.linalg.cond, normal(61, 4, 4))
linalg(
    "tensorsolve",
    lambda t: jnp.linalg.tensorsolve(t[0].reshape(2, 3, 6), t[1]),
    (normal(65, 6, 6) + 3 * np.eye(6), normal(66, 2, 3)),
)
linalg(
    "quad_form_inv",
    lambda t: t[1] @ jnp.linalg.solve(symmetric(t[0]), t[1]),
    (positive_definite(68, 5, 100.0), normal(69, 5)),
)
linalg("lu_factor", lambda a: jax.scipy.linalg.lu(a)[2], normal(70, 4, 4))
linalg(
    "polar_u",
    lambda a: jax.scipy.linalg.polar(a)[0],
    normal(72, 3, 3) + 2 * np.eye(3),
    dtypes=(F64,),
    modes=("fwd",),
    note="QDWH iteration in a while_loop: forward mode only",
)
linalg("trace_inv_sqrt", lambda a: jnp.sum(jnp.linalg.eigvalsh(symmetric(a)) ** -0.5), positive_definite(78, 5, 1e4))
