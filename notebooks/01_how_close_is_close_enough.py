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
# # How close is close enough?
#
# You wrote a gradient. You compared it with finite differences. In most layers the two agree to twelve digits, but in
# the first layer some numbers agree to three digits only. Is that close enough, or is it a bug?
#
# The number of digits cannot tell you, and this notebook shows why, with pictures. Each number below is computed here,
# and each claim of the text is asserted in the cell that shows it. We look at functions of one variable only, since
# everything that can go wrong goes wrong there already.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import jaxgradsweep as jgs
from jaxgradsweep.text import render_classic

# Okabe and Ito's colours stay distinct for every common kind of colour vision; markers and dashes differ as well.
BLUE, ORANGE, GREEN, PINK = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
plt.rcParams.update({"figure.figsize": (6.4, 4.2), "figure.dpi": 72, "figure.constrained_layout.use": True})

# %% [markdown]
# ## 1. One step
#
# Take $f(\theta) = \theta^3$ at $\theta = 1$. Its derivative there is $3$. Two ways to see that from values of $f$
# alone, with a step of $h = 0.01$:
#
# * one-sided: $\dfrac{f(\theta + h) - f(\theta)}{h}$
# * two-sided (central): $\dfrac{f(\theta + h) - f(\theta - h)}{2h}$


# %%
def cube(theta):
    return theta**3


def one_sided(function, theta, h):
    return (function(theta + h) - function(theta)) / h


def two_sided(function, theta, h):
    with jax.enable_x64(True):  # double precision, also for functions written with jax.numpy
        return np.asarray((function(theta + h) - function(theta - h)) / (2 * h))


theta, slope, h = 1.0, 3.0, 0.01
error_one_sided = one_sided(cube, theta, h) - slope
error_two_sided = two_sided(cube, theta, h) - slope
print(f"one-sided error: {error_one_sided:.4f}")
print(f"two-sided error: {error_two_sided:.4f}")

assert np.isclose(error_one_sided, 3 * h + h**2)  # 3 + 3h + h², for a cube
assert np.isclose(error_two_sided, h**2)  # the terms in h cancel

# %% [markdown]
# The same function, the same derivative, the same step: one formula agrees to two digits, the other to four or five.
# So the number of digits says something about the *formula*. The next picture shows where the difference comes from,
# with a step large enough to see.

# %%
wide = 0.5
x = np.linspace(0.2, 1.8, 200)
fig, ax = plt.subplots()
ax.plot(x, cube(x), color="black", label=r"$\theta^3$")
ax.plot(x, cube(theta) + slope * (x - theta), color=BLUE, label="tangent, slope 3")
for name, left, colour, dashes in [("one-sided", theta, ORANGE, "--"), ("two-sided", theta - wide, GREEN, "-.")]:
    ends = np.array([left, theta + wide])
    rise = (cube(ends[1]) - cube(ends[0])) / (ends[1] - ends[0])
    ax.axline((ends[0], cube(ends[0])), slope=rise, color=colour, linestyle=dashes, label=f"{name}, slope {rise:.4g}")
    ax.plot(ends, cube(ends), "o", color=colour)
ax.set(xlabel=r"$\theta$", ylabel="value", xlim=(0.2, 1.8), ylim=(-1.5, 5.5))
ax.legend()
plt.show()
# %% [markdown]
# *In the figure:* the curve $\theta^3$ with its tangent at 1, and two secants for $h = 0.5$. The one-sided secant
# starts on the curve at 1 and is clearly too steep. The two-sided one passes above that point, yet it runs almost
# parallel to the tangent: what it overshoots on one side, it nearly makes up for on the other.

# %% [markdown]
# ## 2. The V
#
# Two-sided it is, then, and a smaller step must be better still? Let us try all of them.

# %%
steps = np.logspace(-13, -0.5, 101)
errors_one_sided = np.abs(one_sided(cube, theta, steps) - slope)
errors_two_sided = np.abs(two_sided(cube, theta, steps) - slope)

roundoff = np.finfo(float).eps / steps  # a value near 1 is rounded to about eps; the difference is divided by h
crossover = np.finfo(float).eps ** (1 / 3)  # where h² = eps / h

fig, ax = plt.subplots()
ax.loglog(steps, errors_one_sided, "s", color=ORANGE, markersize=4, markerfacecolor="white", label="one-sided")
ax.loglog(steps, errors_two_sided, "o", color=BLUE, markersize=4, label="two-sided")
ax.loglog(steps, steps**2, "--", color=BLUE, linewidth=1, label="$h^2$ (truncation)")
ax.loglog(steps, roundoff, "-.", color=GREEN, label="$1/h$ (roundoff)")
ax.axvline(crossover, linestyle=":", color=PINK, linewidth=2, label="crossover")
ax.set(xlabel="step h", ylabel="error of the difference", ylim=(1e-13, 3))
ax.legend(fontsize="small")
plt.show()

# %% [markdown]
# *In the figure:* the error against the step, both on logarithmic axes. Two-sided differences (filled circles) fall
# along $h^2$ from the right, reach their best near $h = 10^{-5}$, and scatter upwards along $1/h$ to the left.
# One-sided differences (open squares) fall only along $h$, and meet the same roundoff much higher up.
#
# The right arm is **truncation**: the curve bends within the step. The left arm is **roundoff**: the two values agree
# in almost all of their digits, the subtraction leaves the few that were rounded, and dividing by $h$ magnifies them.
# Where the two meet is the **crossover**, and even there the error is far above what double precision can hold.


# %%
def slope_of(errors, steps, low, high):
    chosen = (steps > low) & (steps < high) & (errors > 0)
    return np.polyfit(np.log(steps[chosen]), np.log(errors[chosen]), 1)[0]


right_arm = slope_of(errors_two_sided, steps, 1e-3, 1e-1)
left_arm = slope_of(errors_two_sided, steps, 1e-13, 1e-7)
best = np.argmin(errors_two_sided)
print(f"slope of the right arm: {right_arm:+.2f}")
print(f"slope of the left arm:  {left_arm:+.2f}")
print(f"crossover expected at h = {crossover:.1e}, least error {errors_two_sided[best]:.0e} at h = {steps[best]:.1e}")

assert abs(right_arm - 2) < 0.01
assert abs(left_arm + 1) < 0.3
assert crossover / 30 < steps[best] < crossover * 30
assert errors_two_sided[best] > 10 * np.finfo(float).eps or errors_two_sided[best] == 0

# %% [markdown]
# ## 3. Why no single step can answer
#
# We know the crossover of $\theta^3$ now. But it depends on the function: on how sharply it bends, and on how large
# its values are. Here are three functions with their **right** derivatives. As a contrast, a fourth pair is $\theta^3$
# with a **wrong** one, larger than it should be by one part in a million. The usual step is $10^{-4}$.

# %%
STEP = 1e-4
WRONG_BY = 1e-6


def wiggle(theta):
    return jnp.sin(1000 * theta)


def offset(theta):
    return theta**3 + 1e6


def cs231n(claimed, numeric):  # the figure of Stanford's CS231n notes
    return abs(claimed - numeric) / max(1e-8, abs(claimed) + abs(numeric))


pairs = {
    "cube": (cube, 3.0),
    "wiggle": (wiggle, 1000 * np.cos(1000)),
    "offset": (offset, 3.0),
    "cube, wrong": (cube, 3.0 * (1 + WRONG_BY)),
}
one_step = {name: cs231n(claim, two_sided(function, 1.0, STEP)) for name, (function, claim) in pairs.items()}
for name, figure in one_step.items():
    print(f"{name:12}  |a - n| / (|a| + |n|) = {figure:.1e}")

assert one_step["wiggle"] > 100 * one_step["cube, wrong"]
assert one_step["wiggle"] > 1e-4  # "uncomfortable", says the rule of thumb
assert 1e-7 < one_step["cube, wrong"] < 1e-4  # "okay for functions with kinks"

# %% [markdown]
# Here a right derivative is more than a hundred times further off than a wrong one. A common rule of thumb, of the
# CS231n course, accepts less than $10^{-7}$ happily and below $10^{-4}$ where there are kinks, and calls more than
# $10^{-4}$ uncomfortable. It would worry about the right derivative of `wiggle`, and pass the wrong one of `cube`.
#
# No other limit would help, and no other step: the picture shows all steps at once.

# %%
styles = {
    "cube": {"color": BLUE, "marker": "o"},
    "wiggle": {"color": ORANGE, "marker": "^"},
    "offset": {"color": GREEN, "marker": "s", "markerfacecolor": "white"},
    "cube, wrong": {"color": "black", "marker": "x"},
}
best_step = {}
fig, ax = plt.subplots()
for name, (function, claim) in pairs.items():
    errors = np.abs(two_sided(function, 1.0, steps) - claim) / abs(claim)
    best_step[name] = steps[np.argmin(errors)]
    ax.loglog(steps, errors, linestyle="", markersize=4, label=name, **styles[name])
ax.axvline(STEP, linestyle=":", color=PINK, linewidth=2, label="the usual step")
ax.set(xlabel="step h", ylabel="relative error of the difference", ylim=(1e-13, 10))
ax.legend(fontsize="small", ncols=2)
plt.show()
# %% [markdown]
# *In the figure:* three V's of right derivatives, far apart. That of `wiggle` (triangles) lies to the left, that of
# `offset` (open squares) to the right and high up. At the usual step, a dotted line, one is at its best, one still in
# truncation, one on the way. The wrong derivative (crosses) is different: it has no V. It follows the curve of `cube`
# down, dips where truncation and mistake happen to cancel, and then stays on a **plateau**, over many steps, until
# roundoff drowns it.

# %%
print({name: f"{at:.0e}" for name, at in best_step.items()})
assert best_step["wiggle"] < best_step["cube"] < best_step["offset"]
assert best_step["offset"] > 1e3 * best_step["wiggle"]

# %% [markdown]
# That is the idea of a sweep. A right derivative leaves an error that depends on $h$; a wrong one leaves an error that
# does not. One step sees one point of such a curve. Many steps see its shape.

# %% [markdown]
# ## 4. The sweep, and its error bar
#
# The right arm of the V is so regular that it can be used. For a smooth function
#
# $$D(h) = f'(\theta) + c_1 h^2 + c_2 h^4 + \dots$$
#
# so drawn against $h^2$, the differences lie on a nearly straight line, and where that line meets $h = 0$ is the
# derivative. The steps may stay comfortably large, away from the roundoff. We take a function which is less polite
# than a cube, $f(x) = e^{\sin 3x}$, whose derivative is $3 \cos 3x \; e^{\sin 3x}$.


# %%
def f(x):
    return jnp.exp(jnp.sin(3 * x))


truth = 3 * np.cos(3) * np.exp(np.sin(3))
h = np.array([0.01, 0.02, 0.03, 0.04])
D = two_sided(f, 1.0, h)
line = np.polynomial.Polynomial.fit(h**2, D, 2).convert()

fig, ax = plt.subplots()
dense = np.linspace(0, 0.045**2, 100)
ax.plot(dense, line(dense), "--", color=ORANGE, label="polynomial in $h^2$ through the differences")
ax.plot(h**2, D, "o", color=BLUE, label="D(h)")
ax.plot(0, truth, "*", color="black", markersize=14, label="the derivative")
ax.set(xlabel="$h^2$", ylabel="D(h)")
ax.legend()
plt.show()
# %% [markdown]
# *In the figure:* four differences against $h^2$, on a line that is almost straight. Its end at $h = 0$ meets the
# star, the true derivative.

# %%
print(f"error of the smallest step, h = {h[0]}: {abs(D[0] - truth):.0e}")
print(f"error of the extrapolation:         {abs(line(0) - truth):.0e}")
assert abs(line(0) - truth) < abs(D[0] - truth) / 1e4

# %% [markdown]
# A sweep does this with many steps, and with care: it takes the noise from the left arm, tries many windows of steps
# and several degrees of the polynomial, discards those that do not fit within the noise, and compares neighbours to
# say how far the best one can be off. The claimed derivative takes no part in any of it.

# %%
value, uncertainty = jgs.estimate_grad(f, (1.0,))
steps_of_two = 2.0 ** -np.arange(1, 41)
best_of_all = np.min(np.abs(two_sided(f, 1.0, steps_of_two) - truth))
print(f"estimate:    {value:.15f} ± {uncertainty:.0e}")
print(f"truth:       {truth:.15f}")
print(f"its error:   {abs(value - truth):.0e}")
print(f"best single step, known only afterwards: {best_of_all:.0e}")

assert abs(value - truth) <= uncertainty
assert uncertainty < best_of_all / 5

# %% [markdown]
# The error bar is honest, and smaller than the error of the best single step: the one that you could only pick if you
# knew the answer. Now the check: is the gradient that JAX computes right? By default 16 of the 40 steps decide that,
# since they clearly can; `thorough=True` asks for all, to see the whole sweep.

# %%
right = jgs.check_grad(f, (1.0,), thorough=True)
print(right)
assert right.verdict is jgs.Verdict.CORRECT
assert right.resolution < 1e-11

# %%
right.plot()

# %% [markdown]
# *In the figure:* the V again, but with what the sweep measured: the line of truncation, the line of roundoff, and
# their crossover. The steps in the grey area are those that it trusts for the extrapolation. The blue band at the
# bottom is the uncertainty of the result, below the lowest point of the V. Filled points lie above the claim, open
# ones below: truncation keeps one sign, roundoff has both.
#
# Steps are relative here: a step of 1 moves the argument by about its own size.

# %% [markdown]
# ## 5. A bug's plateau
#
# Now a gradient that is wrong by one part in a million. To make the size of the mistake easy to change, it is an
# argument that the function ignores.


# %%
def function(x, mistake):
    return f(x)


def claimed_gradient(x, mistake):
    return (1 + mistake) * jax.grad(f)(x)


wrong = jgs.check_grad(function, (1.0, WRONG_BY), grad=claimed_gradient)
print(wrong)

finding = wrong.findings[0]
assert wrong.verdict is jgs.Verdict.WRONG
assert np.isclose(finding.claimed / finding.estimate - 1, WRONG_BY, rtol=1e-5)
assert WRONG_BY / 2 < abs(finding.error) < WRONG_BY * 2

# %%
wrong.plot()

# %% [markdown]
# *In the figure:* from the right, the points follow $h^2$ as before, with an impeccable slope of 2. Then they stop
# falling. Over many powers of ten of the step they stay on the horizontal line at the error of the claim, high above
# the two arms of the V that the function itself has.
#
# "Directional derivative" is the derivative along a random direction: for one variable, a multiple of the derivative.
# The relative error is measured against the typical size over such directions, so it may differ a little from the
# $10^{-6}$ that we planted; the ratio of the claimed and the estimated number is $1 + 10^{-6}$, and that is asserted
# above.
#
# What would the classic rules of thumb have said, with numbers as good as those of the sweep?

# %%
print(render_classic(wrong))
says = wrong.classic[0].rules_of_thumb()
assert says["cs231n"] == "ok with kinks"
assert says["ratio"] == "fair"
assert says["sum_ratio"] == "too large"

# %% [markdown]
# Two of the three pass it. And they were given the extrapolated derivative; with a single step of 0.01, truncation
# hides the mistake altogether:

# %%
for h in (1e-2, 1e-3, 1e-4):
    numeric = two_sided(f, 1.0, h)
    figures = cs231n(truth, numeric), cs231n((1 + WRONG_BY) * truth, numeric)
    print(f"h = {h:.0e}:  right claim {figures[0]:.3e},  wrong claim {figures[1]:.3e}")

numeric = two_sided(f, 1.0, 1e-2)
assert np.isclose(cs231n(truth, numeric), cs231n((1 + WRONG_BY) * truth, numeric), rtol=0.02)

# %% [markdown]
# ## 6. The detection limit and the measured tolerance
#
# How small a mistake can a sweep see? It says so itself: the **detection limit** is the smallest relative error that
# this check could have seen. An error above it would have shown. We plant smaller and smaller mistakes.

# %%
planted = 3 * 10.0 ** -np.arange(4, 15, 2)
reports = [jgs.check_grad(function, (1.0, mistake), grad=claimed_gradient) for mistake in planted]
measured = np.array([abs(report.findings[0].error) for report in reports])
for mistake, report, error in zip(planted, reports, measured, strict=True):
    seen = "seen" if error > report.resolution else "not seen"
    print(f"planted {mistake:.0e}: {report.verdict!s:8} measured {error:.1e} (limit {report.resolution:.1e}: {seen})")

limit, tolerance = right.resolution, right.tolerance
above = planted > 3 * limit
assert np.all(measured[above] / planted[above] < 2)
assert np.all(measured[above] / planted[above] > 0.5)
assert measured[-1] < reports[-1].resolution  # the smallest lies under the limit, and nothing is seen of it
verdicts = [report.verdict for report in reports]
assert verdicts == [jgs.Verdict.WRONG if mistake > tolerance else jgs.Verdict.CORRECT for mistake in planted]

# %%
fig, ax = plt.subplots()
called_wrong = np.array([verdict is jgs.Verdict.WRONG for verdict in verdicts])
ax.loglog(planted, planted, "-", color="grey", linewidth=1, label="measured = planted")
ax.loglog(planted[called_wrong], measured[called_wrong], "X", color=ORANGE, markersize=9, label="called WRONG")
ax.loglog(planted[~called_wrong], measured[~called_wrong], "o", color=BLUE, markersize=8, label="called CORRECT")
ax.axhline(tolerance, linestyle="--", color=GREEN, label="tolerance")
ax.axhline(limit, linestyle=":", color=PINK, linewidth=2, label="detection limit")
ax.set(xlabel="planted relative error", ylabel="measured relative error")
ax.legend(fontsize="small")
plt.show()
# %% [markdown]
# *In the figure:* measured against planted errors. Down to the dotted line, the detection limit, they agree; the last
# point lies below it, where the measurement cannot see. The dashed line is the tolerance. Crosses above it are called
# `WRONG`, circles below it `CORRECT`.
#
# Between the two lines a mistake is seen, but it is so small that it rarely matters: an approximation of a library
# function, a sum in another order. So it is `CORRECT`, and the report does not hide it:

# %%
print(reports[3])
assert "measurably off" in str(reports[3])

# %% [markdown]
# The **tolerance** is measured, too: it is the detection limit of this check, but no finer than $10^{-9}$ in double
# precision and $10^{-4}$ in single. If you know how large an error matters to you, say so. Then `CORRECT` means that
# the whole interval, error ± bound, lies below what you asked for.

# %%
strict = jgs.check_grad(function, (1.0, planted[3]), grad=claimed_gradient, rtol=1e-11)
strict_right = jgs.check_grad(function, (1.0, 0.0), grad=claimed_gradient, rtol=1e-11)
print(f"wrong by {planted[3]:.0e}, rtol=1e-11: {strict.verdict}")
print(f"right,          rtol=1e-11: {strict_right.verdict}")
assert strict.verdict is jgs.Verdict.WRONG
assert strict_right.verdict is jgs.Verdict.CORRECT

# %% [markdown]
# ## 7. A kink
#
# Some functions have no derivative at some points: $|x|$ at 0, ReLU at 0, a maximum at a tie. There, the slopes before
# and after the point differ, and a two-sided difference is the mean of the two.

# %%
h = 2.0 ** -np.arange(1, 41)
before, after = one_sided(abs, 0.0, -h), one_sided(abs, 0.0, h)
middle = two_sided(abs, 0.0, h)
for name, slopes in {"before": before, "after": after, "two-sided": middle}.items():
    print(f"{name:10} from {slopes.min():+g} to {slopes.max():+g} over all steps")
assert np.all(before == -1)
assert np.all(after == 1)
assert np.all(middle == 0)

# %% [markdown]
# Every two-sided difference is 0, exactly, at every step. Somebody who claims that the derivative is 0 finds perfect
# agreement, to all digits. Somebody who claims 1, as JAX does, finds a plateau, just as with a bug. Neither is to be
# believed. What gives the kink away is the *second* difference, $f(h) - 2 f(0) + f(-h)$: it should vanish as $h^2$,
# and here it vanishes only as $h$.

# %%
kinked = {claim: jgs.check_grad(jnp.abs, (0.0,), grad=np.float64(claim)) for claim in (0.0, 1.0)}
for claim, report in kinked.items():
    print(f"claim {claim:.0f}: {report.verdict} because of {report.findings[0].reason}")
print()
print(kinked[0.0])

assert float(jax.grad(jnp.abs)(0.0)) == 1.0
assert all(report.verdict is jgs.Verdict.UNRESOLVED for report in kinked.values())
assert all(report.findings[0].reason is jgs.Reason.KINK for report in kinked.values())

# %% [markdown]
# `UNRESOLVED` is an answer, not a failure. There is no derivative to be right about, so the check neither accuses nor
# acquits. It says which slopes it sees, and what to do: look a little aside.
#
# ### A kink a little aside
#
# Far more often the kink is not *at* the point, but near it. A network with ReLU has thousands of kinks, and a weight
# of the first layer, which moves everything behind it, crosses some of them with almost any step. Here is one: a
# smooth function, plus a small part of a ReLU that switches on at a distance of $10^{-5}$.

# %%
DISTANCE = 1e-5


def near_a_kink(x):
    return jnp.sin(x) + 0.001 * jax.nn.relu(x - 1 + DISTANCE)


slope = np.cos(1) + 0.001
for h in (STEP, DISTANCE / 4):
    relative = abs(two_sided(near_a_kink, 1.0, h) - slope) / slope
    print(f"h = {h:.1e}: relative error {relative:.0e}, about {-np.log10(relative):.0f} digits agree")

digits = [-np.log10(abs(two_sided(near_a_kink, 1.0, h) - slope) / slope) for h in (STEP, DISTANCE / 4)]
assert 2.9 < digits[0] < 3.5
assert digits[1] > 8

aside = jgs.check_grad(near_a_kink, (1.0,), thorough=True)
assert aside.verdict is jgs.Verdict.CORRECT
assert aside.resolution < 1e-8
aside.plot()

# %% [markdown]
# *In the figure:* to the right, where steps reach across the kink, the points lie high: a few digits agree, no more.
# To the left of it they drop, all at once, onto the V of a smooth function. The sweep trusts the steps on this side
# only, and calls the gradient `CORRECT`, with the detection limit in the title.
#
# So this is one honest way to agree to three digits in the first layer and to twelve elsewhere. With the step of
# $10^{-4}$, this right gradient looks as bad as one that is wrong by almost a part in a thousand.

# %% [markdown]
# ## 8. A float32 floor
#
# Single precision keeps about seven digits instead of sixteen. The left arm of the V starts much higher, so the V is
# much shorter. By default the check runs in double precision, whatever the arrays are, and finds mistakes. With
# `dtype="native"` it runs in the precision that ships. And sometimes single precision hides *inside* a function that
# takes and returns float64: one forgotten cast is enough.


# %%
def float32_inside(x):
    return f(x.astype(jnp.float32)).astype(x.dtype)


native = jgs.check_grad(f, (np.float32(1),), dtype="native")
inside = jgs.check_grad(float32_inside, (1.0,), thorough=True)

looks = {
    "float64": (right, {"color": BLUE, "marker": "o"}, "--"),
    "float32 inside": (inside, {"color": GREEN, "marker": "s", "markersize": 7, "markerfacecolor": "none"}, ":"),
    "native float32": (native, {"color": ORANGE, "marker": "^"}, "-."),
}
fig, ax = plt.subplots()
for name, (report, style, dashes) in looks.items():
    claimed, D = report.findings[0].claimed, report.sweep.derivative[report.findings[0].probe]
    ax.loglog(report.sweep.steps, np.abs(D / claimed - 1), linestyle="", label=name, **({"markersize": 4} | style))
    ax.axhline(report.resolution, color=style["color"], linestyle=dashes, label=f"limit of {name}")
ax.set(xlabel="relative step h", ylabel="relative error of D(h)", ylim=(1e-14, 1e6))
ax.legend(fontsize="small", ncols=2, loc="upper center")
plt.show()

# %% [markdown]
# *In the figure:* three sweeps of the same function, each with its detection limit as a horizontal line. In double
# precision (circles) the V reaches down to a relative error of about $10^{-11}$, and the limit lies deeper still. In
# single precision (triangles) the same right arm meets roundoff near $h = 10^{-3}$, at about $10^{-5}$. With single
# precision inside of a double-precision function (open squares) the floor is the same. For steps so small that the
# cast rounds them away, that function does not move at all, and the relative error is one.
#
# Nobody told the check about the cast. It measured the noise, and judges by what can be seen through it.

# %%
print(inside)
print()
print(render_classic(native).split("\n\n")[1])
assert native.ok
assert inside.ok
assert all(1e-7 < report.resolution < 1e-3 for report in (native, inside))
assert inside.tolerance >= inside.resolution > 1e4 * right.resolution
assert "float32" in inside.findings[0].advice

# %% [markdown]
# A limit of $10^{-7}$ or $10^{-9}$, fit for double precision, would be absurd here. And one loose enough for single
# precision would pass the bug of section 5 in double precision. With the same mistake of one part in a million:

# %%
blurred = jgs.check_grad(function, (np.float32(1), np.float32(WRONG_BY)), grad=claimed_gradient, dtype="native")
coarse = jgs.check_grad(function, (np.float32(1), np.float32(1e-3)), grad=claimed_gradient, dtype="native")
print(f"native float32, wrong by 1e-6: {blurred.verdict}, tolerance {blurred.tolerance:.0e}")
print(f"native float32, wrong by 1e-3: {coarse.verdict}, detection limit {coarse.resolution:.0e}")
print(f"float64,        wrong by 1e-6: {wrong.verdict}, detection limit {wrong.resolution:.0e}")
assert blurred.ok
assert blurred.tolerance > WRONG_BY
assert coarse.verdict is jgs.Verdict.WRONG
assert wrong.verdict is jgs.Verdict.WRONG

# %% [markdown]
# The first of these is `CORRECT`, and that is no contradiction: the report says that errors under the tolerance do not
# count there. To find mistakes, use double precision, the default.

# %% [markdown]
# ## 9. So, how close is close enough?
#
# All cases of this notebook side by side: how many digits one step of $10^{-4}$ makes agree, what the rule of thumb
# says of that step, and what the sweep says.


# %%
def rule_of_thumb(figure):  # the words of Stanford's CS231n notes, in short
    limits = {1e-2: "probably wrong", 1e-4: "uncomfortable", 1e-7: "ok with kinks"}
    return next((words for limit, words in limits.items() if figure > limit), "happy")


with jax.enable_x64(True):
    rise = float32_inside(jnp.array(1 + STEP)) - float32_inside(jnp.array(1 - STEP))
    numeric_inside = float(rise) / (2 * STEP)

cases = [
    # name, is it right?, claimed, numeric, report
    ("cube", True, 3.0, two_sided(cube, 1.0, STEP), jgs.check_grad(cube, (1.0,))),
    ("wiggle", True, pairs["wiggle"][1], two_sided(wiggle, 1.0, STEP), jgs.check_grad(wiggle, (1.0,))),
    ("offset", True, 3.0, two_sided(offset, 1.0, STEP), jgs.check_grad(offset, (1.0,))),
    ("kink aside", True, slope, two_sided(near_a_kink, 1.0, STEP), aside),
    ("float32 inside", True, truth, numeric_inside, inside),
    ("a bug of 1e-6", False, truth * (1 + WRONG_BY), two_sided(f, 1.0, STEP), wrong),
]
print("claim           is     digits  rule of thumb   sweep    detection limit")
digits = {}
for name, is_right, claimed, numeric, report in cases:
    figure = cs231n(claimed, numeric)
    digits[name] = -np.log10(abs(claimed - numeric) / abs(claimed))
    known, says = "right" if is_right else "wrong", rule_of_thumb(figure)
    print(f"{name:14}  {known}  {digits[name]:6.1f}  {says:14}  {report.verdict!s:7}  {report.resolution:.1e}")

assert all(report.ok == is_right for _, is_right, _, _, report in cases)
bug = digits.pop("a bug of 1e-6")
assert sum(agree < bug for agree in digits.values()) >= 3  # right, and yet with fewer digits than the bug

# %% [markdown]
# The wrong claim agrees to more digits than several of the right ones. Sort this table by digits, and no line through
# it separates right from wrong. The last two columns do.
#
# So do not ask how many digits agree. Ask
#
# 1. **how the error depends on the step.** Does it fall as $h^2$ and rise as $1/h$, or does it stay?
# 2. **what you could have seen.** The detection limit is measured on your function, at your point, in your precision.
#    A discrepancy well above it is an error of the claim; one below it is not visible at all.
# 3. **what matters to you.** If it is not what the check assumes, set `rtol`.
#
# And where the check says `UNRESOLVED`, read the reason. The point is on a kink, the function is noisy, or coarsely
# rounded: no number of digits would have told you that either.
#
# The demo, `jaxgradsweep demo`, does all of this on a convolutional network with a backward pass written by hand.
