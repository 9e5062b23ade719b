"""Whether this installation can check: what is installed, what it runs on, and a planted mistake that must be found."""

import dataclasses
import importlib
import os
import platform
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from jaxgradsweep._layout import Table, printable

PACKAGES = ("jaxgradsweep", "jax", "jaxlib", "numpy", "matplotlib", "rich", "jaxtyping")
OLDEST_JAX = (0, 8, 0)
GIB = 2**30

NOT_INSTALLED = "{name} is not installed: run `{python} -m pip install {name}`"
OLD_JAX = "jax {version} is older than 0.8.0, and has no `jax.enable_x64`: run `{python} -m pip install -U jax jaxlib`"
APART = "jax {jax} and jaxlib {jaxlib} are not of one release: run `{python} -m pip install -U jax jaxlib`"
NO_IMPORT = "jax cannot be imported ({error}): run `{python} -m pip install --force-reinstall jax jaxlib`"
NO_DEVICE = (
    "JAX cannot start its devices ({error}). See JAX_PLATFORMS below; with JAX_PLATFORMS=cpu the processor is used"
)
UNUSED_GPU = (
    "this machine has an NVIDIA GPU, and JAX does not use it: run `{python} -m pip install -U 'jax[cuda13]'` (or "
    "jax[cuda12], for an older driver), and see JAX_PLATFORMS below. Checks on the processor are right, and slower"
)
FAST_MATH = "XLA_FLAGS turn on fast math, which changes how numbers are rounded: take {flag} out"
NO_JIT = "JAX_DISABLE_JIT is set, and a check must compile the function: unset it"
CACHE_CLOSED = "JAX's compilation cache {path} cannot be written: give it rights, or set JAX_COMPILATION_CACHE_DIR"
NOT_RUN = "the self-test could not run ({error}): mend what is said above, or send this page with the error"
BLIND = (
    "the self-test says {said} of a derivative that is {truth}: checks on this machine cannot be trusted. Unset "
    "XLA_FLAGS, try JAX_PLATFORMS=cpu, and install the newest jax and jaxlib; if it stays, send this page with a bug "
    "report"
)
HINT_CACHE = "off; with JAX_COMPILATION_CACHE_DIR=~/.cache/jax what was compiled once is found again by the next check"
X64 = {True: "on", False: "off; checks turn double precision on for themselves"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkup:
    """What was found about an installation.

    Attributes:
        facts: what is there, by name.
        problems: what is wrong, and what to do about each.
        healthy: whether a right derivative was called correct and a wrong one wrong.
    """

    facts: Mapping[str, str]
    problems: tuple[str, ...]
    healthy: bool


def examine() -> Checkup:
    """Look at the installation and check two derivatives, one of them wrong.

    Returns:
        What was found. Nothing is raised, whatever is broken.
    """
    facts, problems = versions()
    facts |= {"python": f"{platform.python_version()}, {sys.executable}", "platform": platform.platform()}
    try:
        jax = importlib.import_module("jax")
    except Exception as error:
        problems.append(NO_IMPORT.format(error=_line(error), python=sys.executable))
        return Checkup(facts=facts | surroundings(), problems=tuple(problems), healthy=False)
    for look in (devices, configuration, self_test):
        found, wrong = look(jax)
        facts |= found
        problems += wrong
    healthy = facts["right derivative"] == "CORRECT" and facts["planted mistake"] == "WRONG"
    return Checkup(facts=facts | surroundings(), problems=tuple(dict.fromkeys(problems)), healthy=healthy)


def versions() -> tuple[dict[str, str], list[str]]:
    """What is installed."""
    facts, problems = {}, []
    for name in PACKAGES:
        try:
            facts[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            facts[name] = "not installed"
            if name != "jaxgradsweep":  # it may run from its source
                problems.append(NOT_INSTALLED.format(name=name, python=sys.executable))
    known = {name: _release(facts[name]) for name in ("jax", "jaxlib")}
    if all(known.values()):
        if known["jax"] < OLDEST_JAX:
            problems.append(OLD_JAX.format(version=facts["jax"], python=sys.executable))
        elif known["jaxlib"] > known["jax"] or known["jaxlib"][:2] < known["jax"][:2]:
            problems.append(APART.format(jax=facts["jax"], jaxlib=facts["jaxlib"], python=sys.executable))
    return facts, problems


def devices(jax: Any) -> tuple[dict[str, str], list[str]]:
    """What JAX computes on, and the memory of each."""
    try:
        found = jax.devices()
    except Exception as error:
        return {}, [NO_DEVICE.format(error=_line(error))]
    facts = {f"device {each.id}": f"{each.platform}, {each.device_kind}{_memory_of(each)}" for each in found}
    unused = Path("/proc/driver/nvidia/version").exists() and found[0].platform == "cpu"
    return facts, [UNUSED_GPU.format(python=sys.executable)] if unused else []


def _memory_of(device: Any) -> str:
    """Memory of a device, free and in all; of a processor, that of the machine."""
    stats = device.memory_stats() or {}  # a processor has none
    if "bytes_limit" in stats:
        free = stats["bytes_limit"] - stats.get("bytes_in_use", 0)
        return f", {free / GIB:.1f} of {stats['bytes_limit'] / GIB:.1f} GiB free"
    from jaxgradsweep import _memory

    free = _memory.free_memory()
    return f", {free / GIB:.1f} GiB of the machine free" if free != _memory.UNKNOWN else ""


def configuration(jax: Any) -> tuple[dict[str, str], list[str]]:
    """How JAX is set up: precision, and where compiled programs are kept."""
    cache = jax.config.jax_compilation_cache_dir
    facts = {
        "double precision (x64)": X64[bool(jax.config.jax_enable_x64)],
        "matmul precision": str(jax.config.jax_default_matmul_precision or "default"),
        "compilation cache": cache or HINT_CACHE,
    }
    closed = cache and "://" not in cache and not os.access(_nearest(Path(cache)), os.W_OK)
    return facts, [
        *([CACHE_CLOSED.format(path=cache)] if closed else []),
        *[FAST_MATH.format(flag=flag) for flag in os.environ.get("XLA_FLAGS", "").split() if is_fast_math(flag)],
        *([NO_JIT] if jax.config.jax_disable_jit else []),
    ]


def is_fast_math(flag: str) -> bool:
    """Whether a flag turns on fast math; those for its details only restrict it."""
    return flag.partition("=")[0].endswith("_enable_fast_math") and not flag.lower().endswith(("=false", "=0"))


def _nearest(path: Path) -> Path:
    """A folder, or the nearest above it that exists."""
    return next((each for each in (path, *path.absolute().parents) if each.exists()), path)


def self_test(jax: Any) -> tuple[dict[str, str], list[str]]:
    """Check a right derivative and one with a planted mistake."""
    facts, problems = {}, []
    for truth, name, factor in (("right", "right derivative", 1.0), ("wrong", "planted mistake", 1.000001)):
        try:
            facts[name] = verdict_on(jax, factor)
        except Exception as error:
            facts[name] = "could not be checked"
            problems.append(NOT_RUN.format(error=_line(error)))
            continue
        if facts[name] != {"right": "CORRECT", "wrong": "WRONG"}[truth]:
            problems.append(BLIND.format(said=facts[name], truth=truth))
    return facts, problems


def verdict_on(jax: Any, factor: float) -> str:
    """The verdict on a custom gradient that is so many times the right one."""
    import jaxgradsweep as jgs

    @jax.custom_vjp
    def wave(x: Any) -> Any:
        return jax.numpy.sin(x) * jax.numpy.exp(x / 3)

    def backward(x: Any, cotangent: Any) -> tuple[Any]:
        return (factor * cotangent * (jax.numpy.cos(x) + jax.numpy.sin(x) / 3) * jax.numpy.exp(x / 3),)

    wave.defvjp(lambda x: (wave(x), x), backward)
    point = jax.numpy.linspace(0.5, 2.5, 5)
    return jgs.check_grad(lambda x: jax.numpy.sum(wave(x)), (point,), locate=False).verdict.name


def surroundings() -> dict[str, str]:
    """Variables of the environment that JAX and its compiler read."""
    starts = ("JAX_", "XLA_", "TF_XLA", "CUDA_VISIBLE", "NVIDIA_TF32", "LD_LIBRARY_PATH", "TPU_")
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(starts)}


def blocks(checkup: Checkup) -> list[str | Table]:
    """Return what was found: whether checks work, what is there, and what to mend."""
    verdict = "checks work here" if checkup.healthy else "checks do NOT work here"
    count = len(checkup.problems)
    told = f"; {count} {'thing' if count == 1 else 'things'} to mend" if count else ""
    problems = "\n".join(["what to mend", *(f"  {printable(problem)}" for problem in checkup.problems)])
    rows = tuple((printable(name), printable(value)) for name, value in checkup.facts.items())
    facts = Table(columns=("what", "is"), rows=rows, whole=True)
    return [f"{verdict}{told}", facts, *([problems] if count else [])]


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version: (0, 10, 2)."""
    numbers = version.split("+")[0].split(".")[:3]
    return tuple(int(number) for number in numbers) if all(number.isdigit() for number in numbers) else ()


def _line(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
