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
# # Second derivatives
#
# A gradient can be right to the last bit while the Hessian is wrong. Nothing warns you: the loss falls, the gradient
# check passes, and only Newton's method, a Laplace approximation or an influence function goes astray. This notebook
# shows three such mistakes, and how each is found. Each number below is computed here, and each claim of the text is
# asserted in the cell that shows it.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxgradsweep as jgs

plt.rcParams.update({"figure.figsize": (6.4, 4.2), "figure.dpi": 72, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. A product with a factor of 2 missing
#
# Somebody wrote the product of the Hessian of Rosenbrock's function with a vector by hand, and forgot that the
# derivative of a square has a factor of 2.


# %%
def rosenbrock(x):
    return jnp.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def product_by_hand(primals, tangents, factor=1.0):
    (x,), (v,) = primals, tangents
    inner, outer = x[:-1], x[1:]
    first = (1200 * inner**2 - 400 * outer + factor) * v[:-1] - 400 * inner * v[1:]
    second = 200 * v[1:] - 400 * inner * v[:-1]
    return jnp.pad(first, (0, 1)) + jnp.pad(second, (1, 0))


def right_product(primals, tangents):
    return product_by_hand(primals, tangents, factor=2.0)


point = jnp.array([-1.2, 1.0, 0.8, 1.3])
wrong = jgs.check_hvp(rosenbrock, (point,), hvp=product_by_hand)
print(wrong)
assert wrong.verdict is jgs.Verdict.WRONG
assert jgs.check_hvp(rosenbrock, (point,), hvp=right_product).ok

# %% [markdown]
# The missing 1 stands beside numbers of about 2000, so that a look at the product shows nothing. The check holds it
# against differences of the gradient over many steps, and first of all holds that gradient against the function: the
# second row of the table says that the gradient is right, so it is the product that is wrong.
#
# The error leaves a plateau, as a wrong gradient does:

# %%
figure, ax = plt.subplots()
wrong.plot(ax)
plt.close(figure)
figure

# %% [markdown]
# ## 2. A rule that is right once, and wrong twice
#
# `softplus` has a rule of its own, and its slope, the logistic function, has one too. The rule for the slope is wrong
# by a sign. The gradient never uses it: it only evaluates the slope.


# %%
@jax.custom_jvp
def logistic(x):
    return jax.nn.sigmoid(x)


@logistic.defjvp
def _(primals, tangents):
    s = logistic(*primals)
    return s, s * (1 + s) * tangents[0]  # the mistake: s (1 - s) is right


@jax.custom_jvp
def softplus(x):
    return jnp.logaddexp(x, 0.0)


@softplus.defjvp
def _(primals, tangents):
    return softplus(*primals), logistic(primals[0]) * tangents[0]


KEYS = jax.random.split(jax.random.key(0), 3)
FEATURES = jax.random.normal(KEYS[0], (40, 3))
NOISE = jax.random.logistic(KEYS[1], (40,))
LABELS = jnp.sign(FEATURES @ jnp.array([1.5, -2.0, 0.5]) + NOISE)


def loss(weights, features, labels, activation):
    return jnp.mean(activation(-labels * (features @ weights))) + 0.01 * jnp.sum(weights**2)


start = jnp.array([0.2, -0.1, 0.3])
first = jgs.check_grad(loss, (start, FEATURES, LABELS, softplus))
second = jgs.check_hvp(loss, (start, FEATURES, LABELS, softplus))
print("first derivative: ", first.verdict)
print("second derivative:", second.verdict)
print(second.summary)
assert first.ok
assert first.resolution < 1e-10
assert second.verdict is jgs.Verdict.WRONG

# %% [markdown]
# The gradient passes at a detection limit of better than 1e-10, and no check of first derivatives will ever see this
# mistake. Was the gradient perhaps trusted wrongly? `via="function"` trusts none: it takes second differences of the
# function itself.

# %%
alone = jgs.check_hvp(loss, (start, FEATURES, LABELS, softplus), via="function")
print(alone)
assert alone.verdict is jgs.Verdict.WRONG
assert jgs.check_hvp(loss, (start, FEATURES, LABELS, jax.nn.softplus), via="function").ok

# %% [markdown]
# ## 3. A Newton step that fails because of it
#
# Newton's method divides the gradient by the Hessian. With a Hessian that is too large its steps are too short, and it
# creeps where it should double the number of right digits in every step.


# %%
def newton(activation, steps):
    with jax.enable_x64(True):
        weights, data = jnp.asarray(start, float), (jnp.asarray(FEATURES, float), jnp.asarray(LABELS, float))
        norms = []
        for _ in range(steps):
            gradient = jax.grad(loss)(weights, *data, activation)
            norms.append(float(jnp.linalg.norm(gradient)))
            weights = weights - jnp.linalg.solve(jax.hessian(loss)(weights, *data, activation), gradient)
        return np.array(norms)


norms = {"right": newton(jax.nn.softplus, 8), "wrong": newton(softplus, 8)}
figure, ax = plt.subplots()
for (name, values), marker in zip(norms.items(), "os", strict=True):
    ax.semilogy(np.maximum(values, 1e-17), marker=marker, label=f"{name} second derivative")
ax.set(xlabel="Newton step", ylabel="norm of the gradient")
ax.legend()
plt.close(figure)
assert norms["right"][-1] < 1e-14
assert norms["wrong"][-1] > 1e-6
figure

# %% [markdown]
# ## 4. Implicit differentiation of a root
#
# The root $s(a)$ of $F(s, a) = s - \cos(a s) = 0$ has the derivative $s' = -F_a / F_s$ by the implicit function
# theorem. People put `stop_gradient` around the root inside the rule, to keep JAX from differentiating the solver.
# That is right for the first derivative, and wrong for the second, where $s$ in $F_a$ and $F_s$ moves with $a$.


# %%
def solve(a):
    def turn(_, s):
        return s - (s - jnp.cos(a * s)) / (1 + a * jnp.sin(a * s))

    return jax.lax.fori_loop(0, 30, turn, jnp.ones_like(a))


def root_with(hold):
    @jax.custom_jvp
    def root(a):
        return solve(a)

    @root.defjvp
    def _(primals, tangents):
        (a,), (da,) = primals, tangents
        s = root(a)
        at = hold(s)
        return s, -at * jnp.sin(a * at) / (1 + a * jnp.sin(a * at)) * da

    return root


for name, root in (("stopped", root_with(jax.lax.stop_gradient)), ("right", root_with(lambda s: s))):
    gradient, product = jgs.check_grad(root, (0.8,)), jgs.check_hvp(root, (0.8,))
    print(f"{name:8} first derivative: {gradient.verdict!s:8} second derivative: {product.verdict}")
    assert gradient.ok
    assert product.verdict is (jgs.Verdict.WRONG if name == "stopped" else jgs.Verdict.CORRECT)

# %% [markdown]
# ## 5. Which entries are wrong?
#
# For a small problem, `check_hessian` measures every entry. Here somebody wrote the Hessian of an energy of two groups
# of parameters and forgot the upper half of one mixed block. `check_hvp` sees at once that the product is not
# symmetric, without a single difference; the matrix shows where.


# %%
def energy(p):
    return jnp.sum(jnp.tanh(p["w"] @ jnp.sin(p["b"])) ** 2) + jnp.sum(jnp.exp(p["b"])) + p["scale"] ** 3


def hessian_by_hand(p):
    found = jax.hessian(energy)(p)
    found["b"]["w"] = found["b"]["w"].at[0].set(0)  # the mistake: one row of the mixed block is left out
    return found


params = {"b": jnp.array([0.4, -0.7, 0.2]), "scale": jnp.array(2.0), "w": jnp.arange(1.0, 7).reshape(2, 3) / 5}
report = jgs.check_hessian(energy, (params,), hessian=hessian_by_hand)
print(report.summary)
print(*report.structure, sep="\n")
assert report.verdict is jgs.Verdict.WRONG
assert {law.law for law in report.consistency if not law.holds} == {jgs.Law.SYMMETRY}
assert any("['b'] x ['w']" in sentence for sentence in report.structure)

# %%
report.plot()

# %% [markdown]
# The blank row and column of `scale` are exact zeros: it does not interact with the others.
#
# ## What to take home
#
# * Check second derivatives by themselves wherever you use them: a right gradient says nothing about them.
# * `check_hvp` says whether the product is the derivative of the gradient, and whether that gradient is right.
# * `check_hessian` shows which entries are wrong, and symmetry needs no differences at all.
# * `via="function"` needs no gradient at all, and sees relative errors down to about a millionth.
