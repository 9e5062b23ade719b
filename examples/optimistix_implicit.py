"""The implicit derivative of a deep equilibrium model, by Optimistix and by hand.

Each patient has the state z with z = tanh(W z + U x + b). Its derivative solves a linear system with I - J, and that of
a backward pass one with its transpose.
"""

import jax
import jax.numpy as jnp
import optimistix
from sklearn.datasets import load_diabetes

import jaxgradsweep as jgs

WIDTH, PATIENTS = 5, 6


def turn(state, given):
    params, inputs = given
    return jnp.tanh(state @ params["recurrent"].T + inputs @ params["inner"] + params["bias"])


def settled(params, inputs, tolerance):
    """The equilibrium, differentiated implicitly."""
    start = jnp.zeros((len(inputs), WIDTH), inputs.dtype)
    solver = optimistix.FixedPointIteration(rtol=tolerance, atol=tolerance)
    return optimistix.fixed_point(turn, solver, start, (params, inputs), max_steps=500).value


@jax.custom_vjp
def settled_by_hand(params, inputs):
    """The equilibrium, with a backward pass by hand."""
    return settled(params, inputs, 1e-14)


def forward(params, inputs):
    state = settled_by_hand(params, inputs)
    return state, (params, inputs, state)


def backward(kept, cotangent):
    params, inputs, state = kept
    slopes = 1 - state**2
    jacobians = slopes[:, :, None] * params["recurrent"]
    adjoint = jnp.linalg.solve(jnp.eye(WIDTH) - jacobians, cotangent[..., None])[..., 0]  # the mistake: no transpose
    return jax.vjp(lambda given: turn(state, given), (params, inputs))[1](adjoint)[0]


settled_by_hand.defvjp(forward, backward)


def checked(equilibrium):
    data = load_diabetes()
    keys = jax.random.split(jax.random.key(0), 4)
    params = {
        "recurrent": 0.3 * jax.random.normal(keys[0], (WIDTH, WIDTH)),
        "inner": 10 * jax.random.normal(keys[1], (data.data.shape[1], WIDTH)),
        "bias": 0.1 * jax.random.normal(keys[2], (WIDTH,)),
        "readout": jax.random.normal(keys[3], (WIDTH,)),
    }

    def loss(params, inputs, targets):
        layer = {name: leaf for name, leaf in params.items() if name != "readout"}
        return jnp.mean((equilibrium(layer, inputs) @ params["readout"] - targets) ** 2)

    return jgs.check_grad(loss, (params, data.data[:PATIENTS], data.target[:PATIENTS] / 100))


def right():
    """Optimistix, with a tight tolerance."""
    return checked(lambda params, inputs: settled(params, inputs, 1e-14))


def loose():
    """Optimistix, with a loose tolerance: the exact derivative of another function than what is computed."""
    return checked(lambda params, inputs: settled(params, inputs, 1e-3))


def wrong():
    """The linear system of the backward pass is not transposed."""
    return checked(settled_by_hand)


def main():
    """Print what the checks say."""
    print(right(), loose(), wrong(), sep="\n\n")


if __name__ == "__main__":
    main()
