"""A sparse solver of SciPy in JAX: a plume that flows and spreads, and the adjoint that its backward pass solves.

The matrix of a flow is not symmetric, so that the adjoint needs its transpose.
"""

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import spsolve

import jaxgradsweep as jgs

CELLS, WIND = 8, 8.0
WIDTH = 1 / CELLS


def matrix(spread):
    """Upwind differences of `WIND c' - (spread c')'`; `spread` is that of the faces between cells."""
    own = (spread[:-1] + spread[1:]) / WIDTH**2 + WIND / WIDTH
    return sparse.diags(
        [own, -spread[1:-1] / WIDTH**2 - WIND / WIDTH, -spread[1:-1] / WIDTH**2], [0, -1, 1], format="csc"
    )


def solved(spread, source, *, transposed):
    def on_host(spread, source):
        a = matrix(np.asarray(spread, float))
        return spsolve(a.T.tocsc() if transposed else a, np.asarray(source, float)).astype(source.dtype)

    return jax.pure_callback(
        on_host, jax.ShapeDtypeStruct(source.shape, source.dtype), spread, source, vmap_method="sequential"
    )


def plume_with(transposed):
    """Concentrations as a function of the spread; `transposed` says which system the backward pass solves."""

    @jax.custom_vjp
    def plume(spread, source):
        return solved(spread, source, transposed=False)

    def forward(spread, source):
        concentration = plume(spread, source)
        return concentration, (spread, concentration)

    def backward(kept, cotangent):
        spread, concentration = kept
        adjoint = solved(spread, cotangent, transposed=transposed)
        steps = jnp.diff(jnp.pad(concentration, 1)) * jnp.diff(jnp.pad(adjoint, 1))
        return -steps / WIDTH**2, adjoint

    plume.defvjp(forward, backward)
    return plume


def checked(transposed):
    places = np.linspace(0, 1, CELLS)
    spread = jnp.asarray(0.5 + 0.3 * np.sin(7 * np.linspace(0, 1, CELLS + 1)))
    return jgs.check_vjp(
        plume_with(transposed), (spread, jnp.asarray(np.exp(-50 * (places - 0.3) ** 2))), argnums=(0, 1)
    )


def right():
    """The adjoint solves the transposed system."""
    return checked(transposed=True)


def wrong():
    """The adjoint solves the system itself."""
    return checked(transposed=False)


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
