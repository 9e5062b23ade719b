"""Arguments that are trees of arrays, of mixed dtypes or complex."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from corpus.build import array, complex_dtype, normal
from corpus.case import BF16, F32, F64, Collection

CASES = Collection()


# ---- pytrees


@functools.partial(jax.tree_util.register_dataclass, data_fields=["w", "b"], meta_fields=["act"])
@dataclasses.dataclass(frozen=True)
class Layer:
    w: Any
    b: Any
    act: str = "tanh"


@CASES.case("tree.nested_dict", "pytree", dtypes=(F64, F32, BF16))
def _(dtype):
    p = {"a": {"w": array(normal(180, 2, 3), dtype)}, "b": [array(normal(181, 3), dtype), (array(0.4, dtype),)]}
    return (lambda p: jnp.tanh(p["a"]["w"] @ p["b"][0]) * p["b"][1][0]), (p,)


@CASES.case("tree.dataclass_static", "pytree")
def _(dtype):
    return (lambda layer, x: getattr(jnp, layer.act)(layer.w @ x + layer.b)), (
        Layer(array(normal(182, 3, 2), dtype), array(normal(183, 3), dtype)),
        array(normal(184, 2), dtype),
    )


@CASES.case("tree.python_int_leaf", "pytree", note="the integer is held fixed")
def _(dtype):
    return (lambda p: jnp.sum(p["w"] ** p["n"])), ({"w": array([1.0, 2.0], dtype), "n": 3},)


@CASES.case("tree.raw_key_leaf", "pytree", note="an old-style uint32 key among the parameters, held fixed")
def _(dtype):
    def f(p):
        return jnp.sum(jnp.sin(p["w"]) * jax.random.normal(p["rng"], (3,), p["w"].dtype))

    return f, ({"w": array([1.0, 2.0, 3.0], dtype), "rng": jax.random.PRNGKey(0)},)


@CASES.case("tree.python_floats_dict", "pytree")
def _(dtype):
    return (lambda p, x: p["amp"] * jnp.exp(-p["rate"] * x)), ({"amp": 2.0, "rate": 0.3}, array([0.5, 2.0], dtype))


@CASES.case("tree.only_empty", "pytree", note="no parameter at all")
def _(dtype):
    return (lambda x: jnp.sum(x)), (jnp.zeros((0,), dtype),)


@CASES.case("tree.shared_leaf", "pytree", note="the same array object appears twice")
def _(dtype):
    w = array([1.0, 2.0], dtype)
    return (lambda p: jnp.sum(p["enc"] * jnp.sin(p["dec"]))), ({"enc": w, "dec": w},)


@CASES.case("tree.mixed_dtype", "pytree", dtypes=(F64,), note="float32 and float64 leaves")
def _(dtype):
    def f(p):
        return jnp.sum(jnp.sin(p["a"]).astype(jnp.float64) * p["b"])

    return f, ({"a": array([0.3, 0.4], F32), "b": array([1.0, 2.0], F64)},)


@CASES.case(
    "tree.mixed_dtype_f32_out", "pytree", dtypes=(F64,), note="float64 parameters, float32 computation and output"
)
def _(dtype):
    return (lambda p: jnp.sum(jnp.tanh(p["a"].astype(jnp.float32)) * p["b"].astype(jnp.float32))), (
        {"a": array([0.3, 0.4], F64), "b": array([1.0, 2.0], F64)},
    )


@CASES.case("tree.mixed_f16_f32", "pytree", dtypes=(F32,), undecidable=(F32,))
def _(dtype):
    return (lambda p: jnp.sum(p["h"].astype(jnp.float32) ** 2 * p["w"])), (
        {"h": array([0.3, 0.4], "float16"), "w": array([1.0, 2.0], F32)},
    )


@CASES.case(
    "tree.physical_units",
    "pytree",
    note="lens maker: nanometres, metres and refractive index in one tree",
    dtypes=(F64,),
)
def _(dtype):
    def f(p):
        inv_f = (p["n"] - 1) * (1 / p["r1"] - 1 / p["r2"] + (p["n"] - 1) * p["d"] / (p["n"] * p["r1"] * p["r2"]))
        return 1 / inv_f + 2 * jnp.pi * p["n"] * p["d"] / p["lam"] * 1e-6

    return f, (
        {
            "n": array(1.517, dtype),
            "r1": array(0.1, dtype),
            "r2": array(-0.12, dtype),
            "d": array(5e-3, dtype),
            "lam": array(5.5e-7, dtype),
        },
    )


@CASES.case("tree.tuple_output", "pytree")
def _(dtype):
    return (lambda x: (jnp.sin(x), {"s": jnp.sum(x), "n": None})), (array([1.0, 2.0], dtype),)


# ---- complex


def complex_case(name, fun, z, rest=(), **details):
    make = lambda dtype: (fun, tuple(jnp.asarray(part, complex_dtype(dtype)) for part in (z, *rest)))
    CASES.add(f"complex.{name}", make, "complex", **details)


Z3 = normal(190, 3) + 1j * normal(191, 3)
M4 = normal(192, 4, 4) + 1j * normal(193, 4, 4)
complex_case("exp", jnp.exp, Z3, holomorphic=True)
complex_case("log", jnp.log, Z3, holomorphic=True)
complex_case("sqrt", jnp.sqrt, Z3, holomorphic=True)
complex_case("tanh", jnp.tanh, Z3, holomorphic=True)
complex_case("arcsinh", jnp.arcsinh, Z3, holomorphic=True)
complex_case("poly", lambda z: (z - 1) * (z + 2j) / (z**2 + 3), Z3, holomorphic=True)
complex_case("solve", lambda a, b: jnp.linalg.solve(a, b), M4, (Z3[:1].repeat(4),), holomorphic=True)
complex_case("angle", jnp.angle, Z3)
complex_case("least_squares", lambda z, a, b: jnp.sum(jnp.abs(a @ z - b) ** 2), M4[0], (M4, M4[1]))
complex_case("phase_retrieval", lambda z, a: jnp.sum((jnp.abs(a @ z) ** 2 - 1) ** 2), M4[0], (M4,))
complex_case("eigvalsh_hermitian", lambda a: jnp.linalg.eigvalsh((a + a.conj().T) / 2), M4)
complex_case("cholesky", lambda a: jnp.abs(jnp.linalg.cholesky(a @ a.conj().T + jnp.eye(4))), M4)
complex_case("real_imag", lambda z: z.real**2 + jnp.sin(z.imag), Z3)


@CASES.case("complex.quantum_circuit", "complex", note="real angles in, complex states inside, real expectation out")
def _(dtype):
    c = complex_dtype(dtype)
    X = jnp.array([[0, 1], [1, 0]], c)
    ZZ = jnp.array([1, -1, -1, 1], c)

    def f(th):
        def rot(t):
            return jnp.cos(t / 2) * jnp.eye(2, dtype=c) - 1j * jnp.sin(t / 2) * X

        s = jnp.zeros(4, c).at[0].set(1)
        for k in range(3):
            s = jnp.kron(rot(th[k, 0]), rot(th[k, 1])) @ s
            s = s * jnp.exp(1j * th[k, 2] * ZZ)
        return jnp.real(jnp.vdot(s, ZZ * s))

    return f, (array(normal(194, 3, 3), dtype),)
