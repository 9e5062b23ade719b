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
# # Accelerators and scale
#
# What precision does to the floor of a check, how to spread a check over devices and machines, and how to read and set
# the memory that it takes. Every claim of the text is asserted in the cell that shows it.
#
# This notebook asks for eight devices of one CPU, so that it runs anywhere; on a machine with eight GPUs nothing else
# would change.

# %%
import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxgradsweep as jgs

random = np.random.default_rng(0)
params = {
    "first": jnp.asarray(random.normal(size=(64, 128)) / 8, jnp.float32),
    "second": jnp.asarray(random.normal(size=(128, 10)) / 11, jnp.float32),
}
inputs = jnp.asarray(random.normal(size=(32, 64)), jnp.float32)
labels = jnp.asarray(random.integers(0, 10, 32))


def loss(p, inputs, labels):
    scores = jnp.tanh(inputs @ p["first"]) @ p["second"]
    return jnp.mean(jax.nn.logsumexp(scores, axis=-1) - scores[jnp.arange(len(labels)), labels])


print(len(jax.devices()), "devices")

# %% [markdown]
# ## What precision does to the floor
#
# The same function, evaluated in double precision, in the single precision that its arrays have, and in bfloat16. The
# detection limit is what a check could have seen, and it follows the precision. That is why the default is double
# precision, whatever the arrays are: it checks the formula. `dtype="native"` checks the arithmetic that ships.

# %%
short = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
limits = {
    "float64": jgs.check_grad(loss, (params, inputs, labels)).resolution,
    "float32": jgs.check_grad(loss, (params, inputs, labels), dtype="native").resolution,
    "bfloat16": jgs.check_grad(loss, (short, inputs.astype(jnp.bfloat16), labels), dtype="native").resolution,
}
for name, limit in limits.items():
    print(f"{name:9} an error above {limit:.1e} would have been seen")
assert limits["float64"] < 1e-9 < limits["float32"] < limits["bfloat16"]

# %% [markdown]
# On an accelerator there is one more floor: by default, matrix products of float32 may be computed from fewer bits
# (TF32 on NVIDIA GPUs, bfloat16 on TPUs). While a check lasts they run at the highest precision, and the setting is as
# before when it is over.

# %%
before = jax.config.jax_default_matmul_precision
jgs.check_grad(loss, (params, inputs, labels), dtype="native")
assert jax.config.jax_default_matmul_precision == before

# %% [markdown]
# A function that casts inside has that floor in double precision too. The report says so, and judges by it.


# %%
def hidden(p, inputs, labels):
    return loss(jax.tree.map(lambda x: x.astype(jnp.float32), p), inputs.astype(jnp.float32), labels)


cast = jgs.check_grad(hidden, (params, inputs, labels))
print(cast.verdict, f"limit {cast.resolution:.1e}")
assert 1e-9 < cast.resolution < 1e-2

# %% [markdown]
# ## Over devices
#
# Each device takes some of the probes. What is measured of a probe depends on that probe alone, so that one device and
# eight give the same numbers, bit for bit.

# %%
one = jgs.check_grad(loss, (params, inputs, labels), devices=1)
eight = jgs.check_grad(loss, (params, inputs, labels), devices=8, directions=2)
assert np.array_equal(one.sweep.difference, eight.sweep.difference)
print(eight)

# %% [markdown]
# Parameters that are too large for one device are spread over several. They stay where they are, and directions are
# drawn on the devices that hold them.

# %%
mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("data", "model"))
where = {
    "first": NamedSharding(mesh, PartitionSpec("data", "model")),
    "second": NamedSharding(mesh, PartitionSpec("model")),
}
spread = jax.tree.map(jax.device_put, params, where)
sharded = jgs.check_grad(loss, (spread, inputs, labels))
assert sharded.ok
assert spread["first"].sharding.spec == PartitionSpec("data", "model")
print(sharded.verdict, "with", len(spread["first"].addressable_shards), "pieces of the first leaf")

# %% [markdown]
# ## Over processes and machines
#
# With `jax.distributed.initialize()` at the start of each process, the same call in every process gives the same report
# in every process. On machines that know nothing of each other, use the command line:
#
# ```sh
# jaxgradsweep run loss.py:loss --args loss.py:args --shard 1/3 --out part1
# jaxgradsweep merge part1 part2 part3
# ```
#
# ## A long check survives
#
# With `checkpoint=` every finished part is kept in a folder. The same call, after a kill or tomorrow, goes on from
# there and ends with the same report. A checkpoint of another function, point or setting is refused, and the error says
# what differs.

# %%
with tempfile.TemporaryDirectory() as folder:
    first = jgs.check_grad(loss, (params, inputs, labels), checkpoint=folder)
    again = jgs.check_grad(loss, (params, inputs, labels), checkpoint=folder)  # measures nothing
    assert first.to_json() == again.to_json()
    try:
        jgs.check_grad(loss, (params, inputs, labels), checkpoint=folder, key=1)
    except ValueError as error:
        print(str(error).replace(folder, "FOLDER"))

# %% [markdown]
# ## Memory
#
# A check evaluates a batch of points at once: each takes the size of the parameters for x + h v, the same for the
# direction v, and the activations. `memory` is a budget for all that, by default half of what the device has free. The
# compiled program tells what it needs before it runs: with less, fewer points are evaluated at once, and what does not
# fit at all is an error with the figures.

# %%
small = jgs.check_grad(loss, (params, inputs, labels), memory=2**20)
assert small.ok
try:
    jgs.check_grad(loss, (params, inputs, labels), memory=1000)
except ValueError as error:
    print(error)

# %% [markdown]
# ## What it evaluates
#
# By default 16 of the 40 steps are tried first. They decide where every leaf is right to a finer limit than any
# measured tolerance; `thorough=True` evaluates at all steps, as a figure of the whole sweep needs.

# %%
quick = jgs.check_grad(loss, (params, inputs, labels))
whole = jgs.check_grad(loss, (params, inputs, labels), thorough=True)
print(quick.evaluations, "evaluations at", quick.environment["steps"], "steps;", whole.evaluations, "at all")
assert quick.verdict is whole.verdict
assert 2 * quick.evaluations < whole.evaluations
whole.plot()
