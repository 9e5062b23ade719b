"""Custom rules, and how a function with a mistake and its right twin become two cases."""

import jax

from corpus.case import F32, F64


def with_backward(fun, backward):
    """`fun` with a custom VJP: `backward(inputs, output, cotangent)` returns a cotangent per input."""
    ruled = jax.custom_vjp(fun)

    def forward(*inputs):
        out = fun(*inputs)
        return out, (inputs, out)

    ruled.defvjp(forward, lambda saved, cotangent: backward(*saved, cotangent))
    return ruled


def with_forward(fun, forward):
    """`fun` with a custom JVP: `forward(inputs, tangents)` returns the tangent."""
    ruled = jax.custom_jvp(fun)
    ruled.defjvp(lambda inputs, tangents: (fun(*inputs), forward(inputs, tangents)))
    return ruled


def planted(cases, name, cause, error, modes=("rev",), twin=True, **details):
    """Add `make(dtype, wrong)` to the cases, as a wrong one and as a right one."""

    def decorate(make):
        def truth():
            fun, args, *claimed = make(F64, False)
            if claimed:
                return claimed[0](*args)
            scalar = jax.eval_shape(fun, *args).shape == ()
            return (jax.grad if scalar else jax.jacrev if "rev" in modes else jax.jacfwd)(fun)(*args)

        names = (f"planted.{name}", f"planted.{name}_right")
        cases.add(
            names[0],
            lambda dtype: make(dtype, True),
            "planted mistake",
            kind="wrong",
            **{
                "dtypes": (F64, F32) if error > 2e-3 else (F64,),
                "modes": modes,
                "cause": cause,
                "error": error,
                "truth": truth,
                "twin": names[1] if twin else None,
                **details,
            },
        )
        if twin:
            cases.add(
                names[1],
                lambda dtype: make(dtype, False),
                "custom rule, right",
                modes=modes,
                twin=names[0],
                truth=truth,
            )
        return make

    return decorate
