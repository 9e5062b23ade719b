# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # When it is wrong
#
# `WRONG` starts the work: which component, and which line of code? This notebook plants the usual mistakes of a
# backward pass, one at a time, and shows what the report says of each. Every claim of the text is asserted in the cell
# that shows it.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import jaxgradsweep as jgs

# %% [markdown]
# ## A small network with an embedding
#
# Words are embedded, averaged and sent through one hidden layer. There is an L2 penalty on one of the weights.

# %%
random = np.random.default_rng(0)
words = np.array([[1, 4, 4], [2, 7, 1], [7, 3, 5], [0, 2, 6]])
labels = np.array([0, 2, 1, 2])
params = {
    "embed": random.normal(size=(9, 5)),
    "hidden": random.normal(size=(5, 5)) / 2,
    "bias": random.normal(size=5),
    "out": random.normal(size=(5, 3)),
}


def loss(p, words, labels):
    hidden = jnp.tanh(jnp.mean(p["embed"][words], axis=1) @ p["hidden"] + p["bias"])
    scores = hidden @ p["out"]
    penalty = 0.05 * jnp.sum(p["hidden"] ** 2)
    return jnp.mean(jax.nn.logsumexp(scores, axis=-1) - scores[jnp.arange(len(labels)), labels]) + penalty


def backward(p, words, labels, *, mean=True, slope=None, penalty=0.1, transposed=False, add=True, stopped=False):
    """The backward pass by hand, with a switch for each mistake."""
    x = jnp.mean(p["embed"][words], axis=1)
    z = x @ p["hidden"] + p["bias"]
    a = jnp.tanh(z)
    scores = jax.nn.softmax(a @ p["out"]) - jax.nn.one_hot(labels, 3)
    scores = scores / len(labels) if mean else scores
    inner = (scores @ p["out"].T) * (1 - a**2 if slope is None else slope(z, a))
    rows = jnp.repeat((inner @ p["hidden"].T)[:, None] / words.shape[1], words.shape[1], axis=1)
    table = jnp.zeros_like(p["embed"]).at[words]
    return {
        "embed": table.add(rows) if add else table.set(rows),
        "hidden": (x.T @ inner).T + penalty * p["hidden"] if transposed else x.T @ inner + penalty * p["hidden"],
        "bias": jnp.zeros_like(p["bias"]) if stopped else inner.sum(0),
        "out": a.T @ scores,
    }


def ask(**mistake):
    return jgs.check_grad(loss, (params, words, labels), grad=lambda *args: backward(*args, **mistake))


right = ask()
print(right)
assert right.ok
assert right.blame == right.causes == ()

# %% [markdown]
# ## One mistake at a time

# %%
PASSES = {
    "a sum over the batch, not a mean": ({"mean": False}, "branch"),
    "tanh' at its argument": ({"slope": lambda z, a: 1 - z**2}, "activation"),
    "tanh' left out": ({"slope": lambda z, a: jnp.ones_like(z)}, "activation"),
    "the penalty forgotten": ({"penalty": 0.0}, "weight-decay"),
    "the penalty doubled": ({"penalty": 0.2}, "weight-decay"),
    "set for add": ({"add": False}, "repeated-index"),
    "a bias that is detached": ({"stopped": True}, "zero"),
    "one term of two transposed": ({"transposed": True}, "transposed"),
}


def tell(name, report, cause):
    """Print what a report says of a mistake, which must be that cause and no other."""
    print(f"--- {name}")
    for sentence in dict.fromkeys(cause.sentence for cause in report.causes):
        print("   ", sentence)
    assert report.verdict is jgs.Verdict.WRONG
    assert {each.name for each in report.causes} == {cause}, {each.name for each in report.causes}


for name, (mistake, cause) in PASSES.items():
    tell(name, ask(**mistake), cause)

# %% [markdown]
# The first of these is no simple factor: the leaf `hidden` has a penalty, which the forgotten mean does not touch. One
# path through the function has the wrong factor, and the report names the line where it enters.
#
# The other mistakes are planted in the gradient itself.


# %%
def late(g, p):
    """The gradient at the parameters before a step of descent."""
    step = lambda _, before: jax.tree.map(lambda x, d: x + 0.1 * d, p, backward(before, words, labels))
    return backward(jax.lax.fori_loop(0, 60, step, p), words, labels)


def last_of_batch(g, p):
    return {**g, "out": backward(p, words[-1:], labels[-1:])["out"] / len(labels)}


def of(leaf, change):
    return lambda g, p: {**g, leaf: change(g[leaf])}


EDITS = {
    "a wrong sign": ("sign", of("bias", lambda g: -g)),
    "a factor of one over the batch": ("constant-factor", of("out", lambda g: g / 4)),
    "a transposed matrix": ("transposed", of("hidden", lambda g: g.T)),
    "an axis reversed": ("flipped", of("out", lambda g: g[::-1])),
    "rows off by one": ("rolled", of("embed", lambda g: jnp.roll(g, 1, 0))),
    "columns in another order": ("permuted", of("out", lambda g: g[jnp.array([3, 0, 4, 1, 2])])),
    "one index wrong": ("index", of("out", lambda g: g.at[1, 2].set(g[1, 1]))),
    "a sum that is repeated": ("broadcast-sum", of("out", lambda g: jnp.broadcast_to(g.sum(0), g.shape))),
    "a constant added": ("offset", of("embed", lambda g: g + 0.01)),
    "a chain rule left out": ("chain-rule", lambda g, p: {**g, "out": g["out"] / p["out"]}),
    "a cast to bfloat16": ("low-precision", of("hidden", lambda g: g.astype(jnp.bfloat16).astype(g.dtype))),
    "the last example only": ("part-of-batch", last_of_batch),
    "parameters from before the step": ("stale", late),
}
for name, (cause, edit) in EDITS.items():
    tell(name, jgs.check_grad(loss, (params, words, labels), grad=lambda p, *_: edit(backward(p, *_), p)), cause)  # noqa: B023

# %% [markdown]
# And some need a function of more than one output, or of leaves that are alike.


# %%
def rotation(p):
    return jnp.tanh(p["left"] @ jnp.sin(p["right"]) + 0.3 * p["left"])


def rule(change):
    def vjp(p):
        out, pull = jax.vjp(rotation, p)
        return out, lambda u: (change(pull, u),)

    return vjp


pair = {"left": random.normal(size=(3, 3)), "right": random.normal(size=(3, 3))}
swapped = lambda pull, u: {"left": pull(u)[0]["right"], "right": pull(u)[0]["left"]}
copied = lambda pull, u: {**pull(u)[0], "right": pull(u)[0]["right"] + pull(u)[0]["left"]}
RULES = {
    "two leaves exchanged": ("swapped", swapped),
    "a term in the wrong leaf": ("copied", copied),
    "the cotangent ignored": ("ignores-cotangent", lambda pull, u: pull(jnp.ones_like(u))[0]),
    "the cotangent clipped": ("nonlinear-in-cotangent", lambda pull, u: pull(jnp.clip(u, -0.3, 0.3))[0]),
}
for name, (cause, change) in RULES.items():
    tell(name, jgs.check_vjp(rotation, (pair,), vjp=rule(change)), cause)

matrix, x = random.normal(size=(4, 4)), random.normal(size=4)
mixed = lambda x: jnp.tanh(matrix @ x)
forward = lambda x: (mixed(x), lambda u: (jax.jvp(mixed, (x,), (u,))[1],))
tell("J u for J^T u", jgs.check_vjp(mixed, (x,), vjp=forward), "jacobian-transposed")
at_value = lambda x: (jnp.arcsinh(x), lambda u: (u / jnp.sqrt(1 + jnp.arcsinh(x) ** 2),))
tell("a slope at the value", jgs.check_vjp(jnp.arcsinh, (x,), vjp=at_value), "elsewhere")
phases = lambda z: jnp.sum(jnp.abs(jnp.sin(z)) ** 2)
z = random.normal(size=4) + 1j * random.normal(size=4)
conjugated = lambda z: jnp.conj(jax.grad(phases)(z))
tell("a missing conjugate", jgs.check_grad(phases, (z,), grad=conjugated), "conjugate")
tell("a kink from neither side", jgs.check_grad(jnp.abs, (0.0,), grad=lambda x: x + 3.0), "subgradient")

# %% [markdown]
# A mistake that is none of these has no cause: a wrong one would be worse than none. The picture still shows where.

# %%
report = jgs.check_grad(
    loss, (params, words, labels), grad=lambda *a: of("hidden", lambda g: g.at[1:3].set(g[1:3] ** 2))(backward(*a), 0)
)
(blame,) = report.blame
print(blame.pattern)
assert blame.pattern.startswith("rows 1 to 2")
assert report.causes == ()
blame.plot()

# %% [markdown]
# ## Few wrong components of many
#
# Three numbers among forty thousand are wrong by a few percent. Groups of components are probed along random signs, and
# the wrong groups are halved until single components are left.


# %%
def energy(w, places):
    return jnp.sum(jnp.sin(w) * jnp.exp(w / 3))


def tampered(w, places):
    return jax.grad(energy)(w, places).at[tuple(places)].mul(1.05)


weights = random.normal(size=(200, 200))
places = np.array([[3, 77, 150], [141, 5, 66]])
report = jgs.check_grad(energy, (weights, places), grad=tampered)
(blame,) = report.blame
print(blame.pattern, "found with", blame.probes, "probes")
assert blame.complete
assert sorted(map(tuple, blame.indices.tolist())) == sorted(zip(*places.tolist(), strict=True))
assert blame.probes < weights.size / 100

# %% [markdown]
# ## Which output, and which stage
#
# A `custom_vjp` that treats one of its outputs wrongly is blamed for that output, and a chain of stages for the stage.


# %%
def polar(x):
    return {"radius": jnp.sqrt(jnp.sum(x**2)), "angles": jnp.arctan2(x[1:], x[:-1])}


def polar_vjp(x):
    out, pull = jax.vjp(polar, x)
    return out, lambda u: pull({"radius": u["radius"], "angles": -u["angles"]})


report = jgs.check_vjp(polar, (jnp.array([0.4, 1.2, -0.7, 0.3]),), vjp=polar_vjp)
print({blame.path: blame.pattern for blame in report.blame})
assert "output['angles']" in {blame.path for blame in report.blame}
assert "output['radius']" not in {blame.path for blame in report.blame}


def halved(x):
    out, pull = jax.vjp(jnp.tanh, x)
    return out, lambda u: (pull(u)[0] / 2,)


report = jgs.check_stages({"scale": lambda x: 2 * x, "squash": (jnp.tanh, halved), "sum": jnp.sum}, (jnp.ones(3) / 3,))
print(report.summary)
assert report.summary == "the backward pass of stage squash is wrong, and no other"

# %% [markdown]
# ## What to take home
#
# * `report.blame` says where: indices, claimed and measured values with error bars, and what they have in common.
# * `report.causes` says why, where one known mistake explains the whole error, and is empty where none does.
# * `check_stages` judges each backward pass of a chain at its own input.
