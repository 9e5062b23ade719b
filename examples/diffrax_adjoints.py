"""Two adjoints of Diffrax: one differentiates the solver's own steps, the other solves an equation backwards.

The first is the derivative of what the solver computes. The second is that of the exact solution, solved again with
errors of its own: with large steps it is off by far more than rounding, and the check says by how much.
"""

import diffrax
import jax.numpy as jnp
import numpy as np

import jaxgradsweep as jgs

YEARS = np.arange(1900.0, 1908.0)
HARES = np.array([30.0, 47.2, 70.2, 77.4, 36.3, 20.6, 18.1, 21.4])  # thousands of pelts, Hudson's Bay Company
LYNXES = np.array([4.0, 6.1, 9.8, 35.2, 59.4, 41.7, 19.0, 13.0])
PARAMS = {
    "birth": 0.55,
    "eaten": 0.028,
    "death": 0.84,
    "grown": 0.026,
}  # as the pelts of the Hudson Bay Company have it


def growth(t, populations, params):
    """Lotka and Volterra's equations."""
    hares, lynxes = populations
    return (
        hares * (params["birth"] - params["eaten"] * lynxes),
        lynxes * (params["grown"] * hares - params["death"]),
    )


def misfit(adjoint):
    """How far pelts and populations are apart, as a function of the rates and of the populations at first."""

    def loss(params, start, years, pelts):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(growth),
            diffrax.Heun(),
            t0=years[0],
            t1=years[-1],
            dt0=0.25,
            y0=start,
            args=params,
            saveat=diffrax.SaveAt(ts=years),
            adjoint=adjoint,
            max_steps=128,
        )
        return sum(
            jnp.mean((jnp.log(ours) - jnp.log(theirs)) ** 2) for ours, theirs in zip(solution.ys, pelts, strict=True)
        )

    return loss


def checked(adjoint, **settings):
    return jgs.check_grad(misfit(adjoint), (PARAMS, (33.0, 5.9), YEARS, (HARES, LYNXES)), **settings)


def right():
    """Through the steps of the solver."""
    return checked(diffrax.RecursiveCheckpointAdjoint())


def wrong():
    """Backwards in time: an approximation, as its documentation says."""
    return checked(diffrax.BacksolveAdjoint(), locate=False)  # no line of it is to blame


def main():
    """Print what the checks say."""
    print(right(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
