"""A banded solver of SciPy in JAX: a plume that flows and spreads, and the adjoint that its backward pass solves.

The matrix of a flow is not symmetric, so that the adjoint needs its transpose.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.linalg import solve_banded

import jaxgradsweep as jgs

CELLS, WIND = 8, 8.0
WIDTH = 1 / CELLS


def on_host(spread, source, transposed):
    """Upwind differences: `WIND c' - (spread c')' = source`; `spread` is that of the faces between cells."""
    spread = np.asarray(spread, float) / WIDTH**2
    own = spread[:-1] + spread[1:] + WIND / WIDTH
    before, after = np.append(-spread[1:-1] - WIND / WIDTH, 0), np.insert(-spread[1:-1], 0, 0)
    if transposed:
        before, after = np.append(after[1:], 0), np.insert(before[:-1], 0, 0)
    return solve_banded((1, 1), np.stack([after, own, before]), source, check_finite=False).astype(source.dtype)


def solved(spread, source, *, transposed):
    shape = jax.ShapeDtypeStruct(source.shape, source.dtype)
    return jax.pure_callback(
        lambda *arrays: on_host(*arrays, transposed), shape, spread, source, vmap_method="sequential"
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
