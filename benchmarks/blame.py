"""Whether blame finds the wrong components, and names the mistake.

python benchmarks/blame.py [sparse] [causes] [time] [--trials N] [--write]
"""

import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from record import parser_of, run_parts, section, table

import jaxgradsweep as jgs

Gradient = Callable[..., Any]
RANDOM = np.random.default_rng(7)

# -------------------------------------------------------------------------------------------------------- sparse

SIDE = 1000  # of a leaf of a million components
MOST_WRONG = 3


def cubic(w: Any, weights: Any, places: Any, errors: Any) -> Any:
    return jnp.sum(weights * w**3)


def cubic_gradient(w: Any, weights: Any, places: Any, errors: Any) -> Any:
    """Right but for some components; those given as -1 are none."""
    right = 3 * weights * w**2
    typical = jnp.sqrt(jnp.mean(right**2))
    wrong = right.ravel().at[places].add(jnp.where(places >= 0, errors * typical, 0), mode="drop")
    return wrong.reshape(right.shape)


def sparse_section(trials: int, write: bool) -> None:
    random = np.random.default_rng(0)
    w, weights = random.normal(size=(2, SIDE, SIDE))
    exact, shares, counts = 0, [], []
    for trial in range(trials):
        count = 1 + trial % MOST_WRONG
        places = np.full(MOST_WRONG, SIDE**2)  # out of bounds: dropped
        places[:count] = random.choice(SIDE**2, count, replace=False)
        errors = 10 ** random.uniform(-2, 0, MOST_WRONG) * random.choice([-1.0, 1.0], MOST_WRONG)
        report = jgs.check_grad(cubic, (w, weights, places, errors), grad=cubic_gradient)
        found = {tuple(index) for blame in report.blame for index in blame.indices.tolist()}
        planted = {tuple(map(int, np.unravel_index(place, (SIDE, SIDE)))) for place in places[:count]}
        exact += found == planted and report.blame[0].complete
        shares.append(report.blame[0].probes / SIDE**2 if report.blame else np.nan)
        counts.append(report.blame[0].probes if report.blame else 0)
        print(trial, count, report.verdict.name, found == planted, counts[-1], flush=True)
    rows = [
        [
            f"{trials}",
            f"{exact} ({trials})",
            f"{np.median(counts):.0f}, {np.max(counts)}",
            f"{100 * np.nanmax(shares):.3f} % (1 %)",
        ]
    ]
    body = f"""
1 to {MOST_WRONG} wrong components among a million, each off by 1 % to 100 % of a typical component, at random places,
with default settings. Probes are those of the search; a numeric gradient needs a million.

{table(["trials", "found exactly (target)", "probes, median and most", "share of a numeric gradient's (target)"], rows)}
"""
    section("blame-sparse", "Few wrong components among a million", body, write=write)


# -------------------------------------------------------------------------------------------------------- causes


def attention(p: Any, tokens: Any) -> Any:
    q, k, v = (tokens @ p[name] for name in ("query", "key", "value"))
    mixed = jax.nn.softmax(q @ jnp.swapaxes(k, -1, -2) / 2.0) @ v
    return jnp.mean(jnp.sum(jnp.sin(mixed @ p["out"]) ** 2, (1, 2)))


def convolutions(p: Any, images: Any, targets: Any) -> Any:
    hidden = jax.nn.sigmoid(jax.lax.conv(images, p["first"], (1, 1), "SAME") + p["bias"][:, None, None])
    out = jnp.tanh(jax.lax.conv(hidden, p["second"], (2, 2), "SAME"))
    return jnp.mean((out.reshape(len(images), -1) @ p["head"] - targets) ** 2) + 0.05 * jnp.sum(p["head"] ** 2)


def recurrent(p: Any, series: Any) -> Any:
    def turn(h: Any, x: Any) -> Any:
        gate = jax.nn.sigmoid(x @ p["wz"] + h @ p["uz"])
        new = jnp.tanh(x @ p["wh"] + h @ p["uh"])
        return gate * h + (1 - gate) * new, None

    h = jnp.zeros((series.shape[1], p["uz"].shape[0]))
    for x in series:
        h, _ = turn(h, x)
    return jnp.sum(h**2)


def poisson(p: Any, features: Any, counts: Any) -> Any:
    rate = jnp.exp(features @ p["coefficients"] + p["intercept"])
    return jnp.sum(rate - counts * jnp.log(rate)) + 0.1 * jnp.sum(jnp.abs(p["coefficients"]))


def bag(p: Any, words: Any, labels: Any) -> Any:
    z = jnp.sum(p["embed"][words], 1) @ p["decode"]
    return jnp.mean(jax.nn.logsumexp(z, -1) - z[jnp.arange(len(labels)), labels])


def fir(p: Any, signal: Any, wanted: Any) -> Any:
    return jnp.sum(jnp.abs(jnp.convolve(signal, p["taps"], mode="same") - wanted) ** 2)


def residual(p: Any, rows: Any, wanted: Any) -> Any:
    """Layer normalisation, a gated residual block, and a penalty."""
    hidden = jax.nn.silu(rows @ p["inward"])
    mean = jnp.mean(hidden, -1, keepdims=True)
    spread = jnp.mean((hidden - mean) ** 2, -1, keepdims=True)
    scaled = (hidden - mean) * jax.lax.rsqrt(spread + 1e-3) * p["gain"]
    block = jnp.tanh(scaled @ p["block"])
    out = (scaled + block) @ p["outward"]
    fit = jnp.mean(jnp.sum((out - wanted) ** 2, -1))
    penalty = 0.03 * jnp.sum(jnp.cosh(p["inward"]))
    return fit + penalty


def scanned(p: Any, series: Any, wanted: Any) -> Any:
    def turn(state: Any, row: Any) -> Any:
        new = jnp.tanh(row @ p["inward"] + state @ p["back"])
        mixed = p["keep"] * state + (1 - p["keep"]) * new
        return mixed, mixed @ p["outward"]

    _, out = jax.lax.scan(turn, jnp.zeros(4), series)
    return jnp.sum((out - wanted) ** 2)


def pinball(p: Any, rows: Any, wanted: Any) -> Any:
    z = rows @ p["slopes"] + p["level"]
    miss = wanted - jnp.where(z > 0, z, 0.2 * z)
    return jnp.mean(jnp.where(miss > 0, 0.7 * miss, -0.3 * miss) * jnp.abs(miss)) + jnp.sum(
        jnp.cumsum(p["slopes"]) ** 2
    )


def pinball_with(p: Any, rows: Any, wanted: Any, leaky: Callable, cumsum: Callable) -> Any:
    """`pinball` with functions of one's own."""
    miss = wanted - leaky(rows @ p["slopes"] + p["level"])
    return jnp.mean(jnp.where(miss > 0, 0.7 * miss, -0.3 * miss) * jnp.abs(miss)) + jnp.sum(cumsum(p["slopes"]) ** 2)


def normal(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape) / np.sqrt(shape[0])


MODELS: dict[str, tuple[Callable, tuple[Any, ...]]] = {
    "attention": (
        attention,
        ({k: normal(6, 6) for k in ("query", "key", "value", "out")}, RANDOM.normal(size=(7, 5, 6))),
    ),
    "convolutions": (
        convolutions,
        (
            {"first": normal(4, 2, 3, 3), "bias": normal(4), "second": normal(3, 4, 3, 3), "head": normal(27, 2)},
            RANDOM.normal(size=(8, 2, 6, 6)),
            RANDOM.normal(size=(8, 2)),
        ),
    ),
    "recurrent": (
        recurrent,
        (
            {"wz": normal(3, 5), "uz": normal(5, 5), "wh": normal(3, 5), "uh": normal(5, 5)},
            RANDOM.normal(size=(4, 6, 3)),
        ),
    ),
    "Poisson": (
        poisson,
        (
            {"coefficients": normal(9) + 0.2, "intercept": np.array(0.3)},
            RANDOM.normal(size=(15, 9)) / 3,
            RANDOM.poisson(2.0, 15).astype(float),
        ),
    ),
    "bag of words": (
        bag,
        (
            {"embed": normal(11, 4), "decode": normal(4, 3)},
            np.array([[1, 4, 4], [2, 9, 1], [7, 3, 5]]),
            np.array([0, 2, 1]),
        ),
    ),
    "residual": (
        residual,
        (
            {"inward": normal(4, 6), "gain": normal(6) + 1, "block": normal(6, 6), "outward": normal(6, 2)},
            RANDOM.normal(size=(9, 4)),
            RANDOM.normal(size=(9, 2)),
        ),
    ),
    "scan": (
        scanned,
        (
            {"inward": normal(3, 4), "back": normal(4, 4), "keep": RANDOM.uniform(0.2, 0.8, 4)}
            | {"outward": normal(4, 2)},
            RANDOM.normal(size=(7, 3)),
            RANDOM.normal(size=(7, 2)),
        ),
    ),
    "pinball": (
        pinball,
        ({"slopes": normal(5), "level": np.array(0.2)}, RANDOM.normal(size=(40, 5)), RANDOM.normal(size=40)),
    ),
    "complex filter": (
        fir,
        (
            {"taps": normal(5) + 1j * normal(5)},
            RANDOM.normal(size=20) + 1j * RANDOM.normal(size=20),
            RANDOM.normal(size=20) + 0j,
        ),
    ),
}  # fmt: skip


def changed(fun: Callable, leaf: str, change: Callable) -> Gradient:
    def gradient(p: Any, *data: Any) -> Any:
        right = jax.grad(fun)(p, *data)
        return {**right, leaf: change(right[leaf], p[leaf])}

    return gradient


def replaced(fun: Callable, old: str, new: Callable) -> Gradient:
    """The gradient with the slope of one activation wrong: `jnp.tanh` or `jax.nn.sigmoid` while it is traced."""
    home, name = {"tanh": (jnp, "tanh"), "sigmoid": (jax.nn, "sigmoid"), "exp": (jnp, "exp")}[old]

    def gradient(p: Any, *data: Any) -> Any:
        kept = getattr(home, name)
        setattr(home, name, new)
        try:
            return jax.grad(fun)(p, *data)
        finally:
            setattr(home, name, kept)

    return gradient


def with_slope(value: Callable, slope: Callable) -> Callable:
    rule = jax.custom_jvp(value)
    rule.defjvp(lambda primals, tangents: (value(*primals), slope(*primals) * tangents[0]))
    return rule


def late(fun: Callable, rate: float) -> Gradient:
    """The gradient at the parameters before the last step of descent: found by fixed point iteration."""

    def gradient(p: Any, *data: Any) -> Any:
        def earlier(_: Any, before: Any) -> Any:
            return jax.tree.map(lambda x, g: x + rate * g, p, jax.grad(fun)(before, *data))

        return jax.grad(fun)(jax.lax.fori_loop(0, 80, earlier, p), *data)

    return gradient


def edited(fun: Callable, *edits: tuple[str, str]) -> Gradient:
    """The gradient of the function with some words of its source replaced: of another function of the same value."""
    source = inspect.getsource(fun)
    for old, new in edits:
        if old not in source:
            raise ValueError(f"{old!r} is not in {fun.__name__}")
        source = source.replace(old, new)
    space = {"jax": jax, "jnp": jnp, "Any": Any, "stop": jax.lax.stop_gradient}
    exec(source, space)  # the source of a function above
    return lambda p, *data: jax.grad(space[fun.__name__])(p, *data)


def turned_cumsum(x: Any) -> Any:
    """The sum from the front, with the derivative of the sum from the back."""
    back = jnp.cumsum(x[::-1])[::-1]
    return jax.lax.stop_gradient(jnp.cumsum(x) - back) + back


def last_example(fun: Callable, leaf: str, batch: int) -> Gradient:
    def gradient(p: Any, *data: Any) -> Any:
        one = jax.grad(fun)(p, *(x[-1:] for x in data))
        return {**jax.grad(fun)(p, *data), leaf: one[leaf] / batch}

    return gradient


def set_not_add(p: Any, words: Any, labels: Any) -> Any:
    right = jax.grad(bag)(p, words, labels)
    z = jnp.sum(p["embed"][words], 1) @ p["decode"]
    slope = (jax.nn.softmax(z) - jax.nn.one_hot(labels, 3)) / len(labels) @ p["decode"].T
    rows = jnp.repeat(slope[:, None], words.shape[1], 1)
    return {**right, "embed": jnp.zeros_like(p["embed"]).at[words].set(rows)}


def swapped(fun: Callable, one: str, other: str) -> Gradient:
    def gradient(p: Any, *data: Any) -> Any:
        right = jax.grad(fun)(p, *data)
        return {**right, one: right[other], other: right[one]}

    return gradient


def added(fun: Callable, leaf: str, other: str, factor: float) -> Gradient:
    def gradient(p: Any, *data: Any) -> Any:
        right = jax.grad(fun)(p, *data)
        return {**right, leaf: right[leaf] + factor * right[other]}

    return gradient


def mistakes() -> Iterator[tuple[str, str, str, Gradient]]:
    """Cause, model, what was planted, and the wrong gradient."""
    edits: list[tuple[str, str, str, str, Callable]] = [
        ("zero", "attention", "key", "stop_gradient", lambda g, x: 0 * g),
        ("zero", "convolutions", "bias", "forgotten bias", lambda g, x: 0 * g),
        ("zero", "bag of words", "embed", "masked rows", lambda g, x: g.at[3:6].set(0)),
        ("sign", "recurrent", "wh", "sign", lambda g, x: -g),
        ("sign", "Poisson", "coefficients", "sign", lambda g, x: -g),
        ("sign", "bag of words", "decode", "sign", lambda g, x: -g),
        ("constant-factor", "attention", "out", "2", lambda g, x: 2 * g),
        ("constant-factor", "convolutions", "first", "1/2", lambda g, x: g / 2),
        ("constant-factor", "convolutions", "head", "batch", lambda g, x: 8 * g),
        ("constant-factor", "bag of words", "decode", "1/classes", lambda g, x: g / 3),
        ("constant-factor", "Poisson", "coefficients", "n/(n-1)", lambda g, x: g * 15 / 14),
        ("constant-factor", "recurrent", "uz", "sqrt of the width", lambda g, x: g * np.sqrt(5)),
        ("constant-factor", "attention", "value", "1.001", lambda g, x: 1.001 * g),
        ("constant-factor", "convolutions", "second", "one filter by 3", lambda g, x: g.at[1].mul(3)),
        ("constant-factor", "bag of words", "embed", "one column by 1/2", lambda g, x: g.at[:, 0].mul(0.5)),
        ("constant-factor", "complex filter", "taps", "2", lambda g, x: 2 * g),
        ("transposed", "attention", "query", "transposed", lambda g, x: g.T),
        ("transposed", "recurrent", "uh", "transposed", lambda g, x: g.T),
        ("transposed", "bag of words", "decode", "reshaped, not transposed", lambda g, x: g.T.reshape(g.shape)),
        ("transposed", "convolutions", "second", "height and width", lambda g, x: jnp.swapaxes(g, 2, 3)),
        ("flipped", "convolutions", "first", "filter not turned", lambda g, x: g[:, :, ::-1, ::-1]),
        ("flipped", "complex filter", "taps", "reversed", lambda g, x: g[::-1]),
        ("flipped", "attention", "out", "reversed rows", lambda g, x: g[::-1]),
        ("rolled", "recurrent", "wz", "rolled columns", lambda g, x: jnp.roll(g, 1, 1)),
        ("rolled", "bag of words", "embed", "rolled rows", lambda g, x: jnp.roll(g, -1, 0)),
        ("rolled", "complex filter", "taps", "rolled", lambda g, x: jnp.roll(g, 1)),
        ("weight-decay", "convolutions", "head", "L2 forgotten", lambda g, x: g - 0.1 * x),
        ("weight-decay", "convolutions", "head", "L2 doubled", lambda g, x: g + 0.1 * x),
        ("weight-decay", "attention", "value", "decay", lambda g, x: g + 1e-4 * x),
        ("weight-decay", "Poisson", "coefficients", "L1 forgotten", lambda g, x: g - 0.1 * jnp.sign(x)),
        ("weight-decay", "recurrent", "uh", "L1", lambda g, x: g + 0.01 * jnp.sign(x)),
        ("broadcast-sum", "attention", "key", "sum over rows", lambda g, x: jnp.broadcast_to(g.sum(0), g.shape)),
        ("broadcast-sum", "recurrent", "wz", "mean over columns",
         lambda g, x: jnp.broadcast_to(g.mean(1, keepdims=True), g.shape)),
        ("index", "convolutions", "second", "one index", lambda g, x: g.at[1, 2, 0, 1].set(g[1, 2, 0, 2])),
        ("index", "attention", "out", "two indices", lambda g, x: g.at[1, 2].set(g[1, 3]).at[4, 0].set(g[3, 0])),
        ("index", "Poisson", "coefficients", "one index", lambda g, x: g.at[4].set(g[5])),
        ("low-precision", "attention", "query", "bfloat16", lambda g, x: g.astype(jnp.bfloat16).astype(g.dtype)),
        ("low-precision", "recurrent", "wh", "float16", lambda g, x: g.astype(jnp.float16).astype(g.dtype)),
        ("low-precision", "bag of words", "decode", "float32", lambda g, x: g.astype(jnp.float32).astype(g.dtype)),
        ("conjugate", "complex filter", "taps", "conjugate", lambda g, x: jnp.conj(g)),
        ("permuted", "attention", "value", "columns permuted", lambda g, x: g[:, jnp.array([3, 0, 5, 1, 2, 4])]),
        ("permuted", "recurrent", "uz", "sorted", lambda g, x: jnp.sort(g.ravel()).reshape(g.shape)),
        ("chain-rule", "residual", "gain", "of log gain", lambda g, x: g * x),
        ("chain-rule", "Poisson", "coefficients", "of exp", lambda g, x: g / jnp.exp(x)),
        ("offset", "scan", "inward", "constant added", lambda g, x: g + 0.02),
        ("offset", "bag of words", "decode", "mean not subtracted", lambda g, x: g - 0.3),
        ("none", "residual", "block", "two factors", lambda g, x: g * jnp.where(x > 0, 1.7, 0.6)),
        ("none", "attention", "query", "noise", lambda g, x: g * (1 + 0.1 * jnp.sin(1e4 * g))),
        ("none", "recurrent", "uz", "square", lambda g, x: g * jnp.abs(g)),
        ("none", "Poisson", "coefficients", "clipped", lambda g, x: jnp.clip(g, -0.3, 0.3)),
    ]  # fmt: skip
    for cause, model, leaf, words, change in edits:
        yield cause, model, f"{leaf}: {words}", changed(MODELS[model][0], leaf, change)
    yield "swapped", "attention", "query and key", swapped(attention, "query", "key")
    yield "swapped", "recurrent", "wz and wh", swapped(recurrent, "wz", "wh")
    yield "swapped", "attention", "value and out", swapped(attention, "value", "out")
    yield "copied", "recurrent", "uz into uh", added(recurrent, "uh", "uz", 1.0)
    yield "copied", "attention", "key into query", added(attention, "query", "key", -0.5)
    yield "repeated-index", "bag of words", "set, not add", set_not_add
    yield "part-of-batch", "attention", "out: last of 7", last_example(attention, "out", 7)
    yield "part-of-batch", "convolutions", "first: last of 8", last_example(convolutions, "first", 8)
    yield "part-of-batch", "convolutions", "second: last of 8", last_example(convolutions, "second", 1)
    for model, rate in (("attention", 0.002), ("convolutions", 0.01), ("recurrent", 0.02), ("Poisson", 0.01)):
        yield "stale", model, f"before a step of {rate}", late(MODELS[model][0], rate)
    tanh, sigmoid = jnp.tanh, jax.nn.sigmoid
    slopes: list[tuple[str, str, str, Callable]] = [
        ("convolutions", "tanh", "of its argument", with_slope(tanh, lambda z: 1 - z**2)),
        ("convolutions", "sigmoid", "left out", with_slope(sigmoid, lambda z: jnp.ones_like(z))),
        ("recurrent", "tanh", "left out", with_slope(tanh, lambda z: jnp.ones_like(z))),
        ("recurrent", "tanh", "at its value", with_slope(tanh, lambda z: 1 - tanh(tanh(z)) ** 2)),
        ("recurrent", "sigmoid", "z (1 - z)", with_slope(sigmoid, lambda z: z * (1 - z))),
        ("recurrent", "sigmoid", "without 1 - a", with_slope(sigmoid, sigmoid)),
    ]
    branches: list[tuple[str, str, tuple[str, str]]] = [
        ("residual", "spread as a constant", ("rsqrt(spread", "rsqrt(stop(spread)")),
        ("residual", "mean as a constant", ("(hidden - mean) * ", "(hidden - stop(mean)) * ")),
        ("residual", "block detached", ("scaled + block", "scaled + stop(block) + 0 * block")),
        ("residual", "shortcut forgotten", ("(scaled + block)", "(stop(scaled) + block)")),
        ("residual", "shortcut twice", ("(scaled + block)", "(2 * scaled - stop(scaled) + block)")),
        ("residual", "penalty forgotten", ("fit + penalty", "fit + stop(penalty)")),
        ("residual", "penalty halved", ("fit + penalty", "fit + 0.5 * penalty + 0.5 * stop(penalty)")),
        ("residual", "penalty subtracted", ("fit + penalty", "fit - penalty + 2 * stop(penalty)")),
        ("scan", "cut after one turn", ("state @ p", "stop(state) @ p")),
        ("scan", "gate's old state", ('p["keep"] * state', 'p["keep"] * stop(state)')),
    ]
    for model, words, edit in branches:
        yield "branch", model, words, edited(MODELS[model][0], edit)
    slopes += [
        ("scan", "tanh", "at its value", with_slope(tanh, lambda z: 1 - tanh(tanh(z)) ** 2)),
        ("residual", "tanh", "without the square", with_slope(tanh, lambda z: 1 - tanh(z))),
    ]
    chosen = with_slope(lambda z: jnp.where(z > 0, z, 0.2 * z), lambda z: jnp.where(z > 0, 0.2, 1))
    yield (
        "activation",
        "pinball",
        "leak on the wrong side",
        lambda p, rows, wanted: jax.grad(lambda p: pinball_with(p, rows, wanted, chosen, jnp.cumsum))(p),
    )
    yield (
        "activation",
        "pinball",
        "sum from the other end",
        lambda p, rows, wanted: jax.grad(
            lambda p: pinball_with(p, rows, wanted, lambda z: jnp.where(z > 0, z, 0.2 * z), turned_cumsum)
        )(p),
    )
    for model, old, words, new in slopes:
        yield "activation", model, f"{old}: {words}", replaced(MODELS[model][0], old, new)


def vjp_mistakes() -> Iterator[tuple[str, Callable, tuple[Any, ...], str, Gradient]]:
    """Backward passes that are wrong: cause, function, arguments, what was planted, and the rule."""
    args = ({"query": MODELS["attention"][1][0]["query"]}, MODELS["attention"][1][1])
    matrix, x = normal(5, 5), RANDOM.normal(size=5)

    def several(p: Any, tokens: Any) -> Any:
        return jnp.tanh(tokens @ p["query"])

    def through(change: Callable) -> Gradient:
        def rule(p: Any, tokens: Any) -> Any:
            out, pull = jax.vjp(lambda p: several(p, tokens), p)
            return out, lambda u: (pull(change(u))[0], None)

        return rule

    def mixing(x: Any) -> Any:
        return jnp.tanh(matrix @ x)

    def swish(x: Any) -> Any:
        return x * jax.nn.sigmoid(x)

    yield "ignores-cotangent", several, args, "ones instead of the cotangent", through(jnp.ones_like)
    yield "nonlinear-in-cotangent", several, args, "clipped", through(lambda u: jnp.clip(u, -0.5, 0.5))
    yield "nonlinear-in-cotangent", several, args, "normalised", through(lambda u: u / jnp.linalg.norm(u))
    yield "jacobian-transposed", mixing, (x,), "J u", lambda x: (mixing(x), lambda u: (jax.jvp(mixing, (x,), (u,))[1],))
    yield (
        "elsewhere",
        jnp.arctan,
        (x,),
        "at its value",
        lambda x: (jnp.arctan(x), lambda u: (u / (1 + jnp.arctan(x) ** 2),)),
    )
    yield "elsewhere", swish, (x,), "at its value", lambda x: (swish(x), lambda u: jax.vjp(swish, swish(x))[1](u))


def causes_section(write: bool) -> None:
    told: list[tuple[str, set[str], float]] = []
    for cause, model, words, gradient in mistakes():
        fun, args = MODELS[model]
        begin = time.perf_counter()
        report = jgs.check_grad(fun, args, grad=gradient)
        spent = time.perf_counter() - begin
        names = {each.name for each in report.causes}
        told.append((cause, names, spent))
        print(f"{'ok ' if names == ({cause} - {'none'}) else 'NO '}", cause, model, words, names, flush=True)
    for cause, fun, args, words, rule in vjp_mistakes():
        report = jgs.check_vjp(fun, args, vjp=rule)
        names = {each.name for each in report.causes}
        told.append((cause, names, 0.0))
        print(f"{'ok ' if names == {cause} else 'NO '}", cause, words, names, flush=True)
    right = [jgs.check_grad(fun, args) for fun, args in MODELS.values()]
    planted = [(cause, names) for cause, names, _ in told if cause != "none"]
    rows = []
    for cause in sorted({cause for cause, _ in planted}):
        group = [names for name, names in planted if name == cause]
        rows.append(
            [
                cause,
                str(len(group)),
                str(sum(cause in names for names in group)),
                str(sum(bool(names - {cause}) for names in group)),
            ]
        )
    named = sum(cause in names for cause, names in planted)
    wrongly = sum(bool(names - {cause}) for cause, names, _ in told)
    rows.append(["all", str(len(planted)), f"{named} ({0.9 * len(planted):.0f})", f"{wrongly} of {len(told)} (2 %)"])
    body = f"""
Mistakes planted in the gradients of {len(MODELS)} models ({", ".join(MODELS)}), written
apart from the rules, three of which were mended after the first run, and in {len(list(vjp_mistakes()))} backward
passes. {len(told) - len(planted)} of them have no cause that is known, and count for wrong names only.
A cause was named on {sum(bool(report.causes) for report in right)} of {len(right)} right gradients (0).

{table(["cause", "planted", "named (target)", "another named (target)"], rows)}
"""
    section("blame-causes", "Mistakes named", body, write=write)


# ---------------------------------------------------------------------------------------------------------- time


def fresh(fun: Callable) -> Callable:
    """The same function under another identity, so that nothing of it is compiled yet."""
    return lambda *args: fun(*args)


def seconds(fun: Callable, args: Any, gradient: Gradient, locate: bool | None) -> float:
    begin = time.perf_counter()
    report = jgs.check_grad(fun, args, grad=gradient, locate=locate)
    spent = time.perf_counter() - begin
    assert report.verdict.name == "WRONG"
    return spent


def time_section(write: bool) -> None:
    chosen: dict[str, tuple[str, str, Gradient]] = {}
    for cause, model, words, gradient in mistakes():
        if cause in ("none", "activation", "branch"):  # those that take the longest search
            chosen.setdefault(model, (model, f"{cause}: {words}", gradient))
    rows = []
    for model, words, gradient in chosen.values():
        fun, args = MODELS[model]
        cold, warm = [], []
        for _ in range(3):
            one, other = (fresh(fun), fresh(gradient)), (fresh(fun), fresh(gradient))
            check, both = seconds(one[0], args, one[1], False), seconds(other[0], args, other[1], None)
            cold.append((check, both / check - 1))
            check, both = seconds(one[0], args, one[1], False), seconds(other[0], args, other[1], None)
            warm.append((check, both / check - 1))
        told = [np.median(column) for pair in (cold, warm) for column in np.array(pair).T]
        rows.append([model, words, f"{told[0]:.2f} s", f"{told[1]:.2f} (3)", f"{told[2]:.2f} s", f"{told[3]:.2f}"])
        print(rows[-1], flush=True)
    body = f"""
Seconds of a check without the search for what is wrong, and what the search for places and causes adds, as a multiple:
the first time, with all compilation, and once more. Medians of three.

{table(["model", "mistake", "first check", "blame adds, times (target)", "again", "blame adds, times"], rows)}
"""
    section("blame-time", "What blame costs", body, write=write)


def main() -> None:
    parser = parser_of(__doc__, "sparse, causes, time")
    parser.add_argument("--trials", type=int, default=100, help="of sparse")
    options = parser.parse_args()
    run = {
        "sparse": lambda: sparse_section(options.trials, options.write),
        "causes": lambda: causes_section(options.write),
        "time": lambda: time_section(options.write),
    }
    run_parts(parser, options.parts, run)


if __name__ == "__main__":
    main()
