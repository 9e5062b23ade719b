"""Is this backward pass right? What one fixed step leaves open, and what a sweep over many steps answers.

`demo_network` holds a small convolutional network with a backward pass written by hand. The demo

1. compares its gradient with differences of one fixed step, the way it is usually done: most numbers match to 8 digits
   or more, some of the first convolution only to 3. Close enough, or a bug?
2. sweeps over many steps, prints the verdict, and says for each layer where the missing digits went;
3. plants the classical mistakes one at a time, and shows each being called;
4. writes reports and figures.

Every verdict is held against what is known to be true, and the demo fails if one does not come out.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Float
from rich.box import SIMPLE_HEAD
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import jaxgradsweep as jgs
from jaxgradsweep import demo_network as network
from jaxgradsweep.demo_network import Mistake, Scene
from jaxgradsweep.terminal import Console

STEP = 1e-4  # the one fixed step of the usual check
WIDTH_WHEN_PIPED = 100
STAGES = 12
COLOURS = {jgs.Verdict.CORRECT: "green", jgs.Verdict.WRONG: "red", jgs.Verdict.UNRESOLVED: "yellow"}


def main(out: Path, stream: TextIO) -> int:
    """Run the demo.

    Args:
        out: The folder to write reports and figures to; made if it is missing.
        stream: Where to print. A terminal gets colours and a progress bar, anything else plain text.

    Returns:
        0 if the right backward pass is called correct and each planted mistake wrong, in just the leaves that it makes
        wrong; otherwise 1.
    """
    console = console_for(stream)
    with jax.enable_x64(True), stages(console) as stage:
        stage("training a small network")
        scene = network.train()
        introduce(console, scene)

        stage("taking one fixed step")
        one_step = take_one_step(scene)
        print_one_step(console, one_step)

        stage("sweeping over many steps")
        right = jgs.check_grad(network.loss, scene.point, grad=network.gradient, thorough=True)
        print_truth(console, right, one_step)

        wrong = {}
        for mistake in network.mistakes(scene.previous):
            stage(f"planting a mistake: {mistake.name}")
            wrong[mistake] = jgs.check_grad(network.loss, scene.point, grad=mistake.gradient(*scene.point))
        print_mistakes(console, wrong)

        stage("drawing")
        print_files(console, write(out, right, wrong))
    return conclude(console, right, wrong)


def console_for(stream: TextIO) -> Console:
    """Colours and control codes for a terminal (no colours where NO_COLOR is set), plain text for anything else."""
    terminal = stream.isatty()
    width = None if terminal else WIDTH_WHEN_PIPED
    return Console(file=stream, force_terminal=terminal, force_jupyter=False, width=width, highlight=False)


@contextmanager
def stages(console: Console) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what is being done; elsewhere show nothing."""
    columns = BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}")
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=STAGES)
        yield lambda words: progress.update(task, description=words, advance=1)


@dataclass(frozen=True, kw_only=True)
class OneStep:
    """The usual check: for each parameter of the network, the gradient and a difference of one fixed step."""

    names: list[str]
    layers: np.ndarray
    calculated: Float[np.ndarray, " parameters"]
    numeric: Float[np.ndarray, " parameters"]
    kinks: Float[np.ndarray, " parameters"]  # how far a ReLU or the max-pool switches; infinite beyond the step

    @property
    def digits(self) -> Float[np.ndarray, " parameters"]:
        """How many digits of the two agree."""
        largest = np.maximum(np.abs(self.calculated), np.abs(self.numeric))
        difference = np.abs(self.calculated - self.numeric) / np.maximum(largest, np.finfo(float).tiny)
        return -np.log10(np.clip(difference, 1e-16, 1))


def take_one_step(scene: Scene) -> OneStep:
    """Move each parameter by the one fixed step, back and forth, and look what the loss does."""
    flat, unravel = ravel_pytree(scene.params)
    calculated, _ = ravel_pytree(network.gradient(*scene.point))

    def moved(parameter, distance):
        return unravel(flat.at[parameter].add(distance))

    def slope(parameter):
        ahead, behind = (network.loss(moved(parameter, h), scene.images, scene.labels) for h in (STEP, -STEP))
        return (ahead - behind) / (2 * STEP)

    def kink(parameter):
        return network.nearest_kink(lambda distance: moved(parameter, distance), scene.images, within=STEP)

    def both(parameters):  # the batch divides the number of parameters: a remainder would be compiled once more
        return jax.lax.map(lambda parameter: (slope(parameter), kink(parameter)), parameters, batch_size=63)

    slopes, kinks = jax.jit(both)(jnp.arange(flat.size))
    leaves = jax.tree_util.tree_leaves_with_path(scene.params)
    places = [(path, index) for path, leaf in leaves for index in np.ndindex(leaf.shape)]
    return OneStep(
        names=[f"{short(jax.tree_util.keystr(path))} {','.join(map(str, index))}" for path, index in places],
        layers=np.array([path[0].key for path, _ in places]),
        calculated=np.asarray(calculated),
        numeric=np.asarray(slopes),
        kinks=np.asarray(kinks),
    )


def introduce(console: Console, scene: Scene) -> None:
    """Say what is checked."""
    size = sum(leaf.size for leaf in jax.tree.leaves(scene.params))
    heading(console, "A backward pass written by hand")
    console.print(
        f"A convolutional network with {size} parameters, after {network.DESCENTS} steps of gradient descent on "
        f"{network.IMAGES} images of digits. Its gradient comes from a backward pass written by hand: is it right?"
    )


def print_one_step(console: Console, one_step: OneStep) -> None:
    """Print what the usual check says: some parameters of each layer."""
    heading(console, f"The usual check: one step of {STEP:.0e}")
    table = Table("parameter", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for column in ("calculated", "numeric", "differ-\nence", "same\nsign?", "digits"):
        table.add_column(column, justify="right")
    for layer in np.unique(one_step.layers):
        members = np.flatnonzero(one_step.layers == layer)
        ranked = members[np.argsort(one_step.digits[members])]
        middle = len(ranked) // 2
        for parameter in (*ranked[:2], *ranked[middle : middle + 2], *ranked[-2:]):
            table.add_row(*row(one_step, parameter))
        table.add_section()
    console.print(table)
    console.print(
        "\nOf each layer the two parameters that agree least, the two in the middle and the two that agree best. "
        "Is that close enough, or a bug? One step cannot say."
    )


def row(one_step: OneStep, parameter: int) -> tuple[str, ...]:
    """Compare one parameter's two slopes, as the usual check does."""
    calculated, numeric = one_step.calculated[parameter], one_step.numeric[parameter]
    return (
        one_step.names[parameter],
        f"{calculated:.12f}",
        f"{numeric:.12f}",
        f"{abs(calculated - numeric):.0e}",
        "yes" if np.sign(calculated) == np.sign(numeric) else "no",
        f"{one_step.digits[parameter]:.0f}",
    )


def print_truth(console: Console, right: jgs.Report, one_step: OneStep) -> None:
    """Print the report of the sweep, and for each layer where the digits of the one step went."""
    heading(console, "The sweep: many steps")
    console.print(str(right), markup=False, soft_wrap=True)
    heading(console, "So what happened to the digits?")
    for layer in np.unique(one_step.layers):
        findings = [finding for finding in right.findings if finding.path.startswith(f"['{layer}']")]
        console.print(f"{layer}: {truth(findings)} {explanation(one_step, one_step.layers == layer)}", markup=False)


def truth(findings: list[jgs.Finding]) -> str:
    """Say what the sweep found in one layer."""
    bound = max(finding.error_bound for finding in findings)
    verdicts = {finding.verdict for finding in findings}
    if verdicts == {jgs.Verdict.CORRECT}:
        return f"right to {bound:.0e}."
    if jgs.Verdict.WRONG in verdicts:
        return f"wrong, by up to {bound:.0e}."
    return "not settled by the sweep."


def explanation(one_step: OneStep, layer: np.ndarray) -> str:
    """Say why the one step agreed to as many digits as it did in one layer."""
    difference = np.max(np.abs(one_step.calculated - one_step.numeric)[layer])
    near = layer & np.isfinite(one_step.kinks)
    if not near.any():
        return (
            f"One step agreed to {digits(one_step, layer)} digits. It crossed no kink: its truncation and roundoff, at "
            f"most {difference:.0e}, look large only beside small slopes."
        )
    return (
        f"For {near.sum()} of its {layer.sum()} parameters the one step crossed a kink, where the ReLU or the max-pool "
        f"switches, the nearest at {one_step.kinks[near].min():.1e}: those agreed to {digits(one_step, near)} digits, "
        f"the others to {digits(one_step, layer & ~near)}."
    )


def digits(one_step: OneStep, members: np.ndarray) -> str:
    """Say to how many digits these parameters agree, such as "3 to 4"."""
    agreeing = one_step.digits[members]
    fewest, most = f"{agreeing.min():.0f}", f"{agreeing.max():.0f}"
    return fewest if fewest == most else f"{fewest} to {most}"


def print_mistakes(console: Console, wrong: Mapping[Mistake, jgs.Report]) -> None:
    """Print one line for each planted mistake: what the check says of it."""
    heading(console, "Mistakes, planted one at a time")
    table = Table("mistake", "verdict", "wrong leaves", box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    table.add_column("relative\nerror", justify="right")
    table.add_column("detection\nlimit", justify="right")
    for mistake, report in wrong.items():
        blamed = [finding for finding in report.findings if finding.verdict is jgs.Verdict.WRONG]
        worst = max(blamed or report.findings, key=lambda finding: abs(finding.error))
        table.add_row(
            mistake.name,
            Text(report.verdict.name, style=COLOURS[report.verdict]),
            name_leaves({finding.path for finding in blamed}),
            f"{abs(worst.error):.1e}",
            f"{worst.resolution:.0e}",
        )
    console.print(table)


def name_leaves(paths: Collection[str]) -> str:
    """Name leaves in a few words."""
    if paths == network.ALL:
        return "all"
    if paths == network.PENALISED:
        return "all but the biases"
    whole = {name: leaves for name, leaves in network.LAYERS.items() if leaves <= set(paths)}
    single = sorted(short(path) for path in set(paths).difference(*whole.values()))
    return ", ".join([*whole, *single]) or "none"


def short(path: str) -> str:
    """Turn a leaf's path into words: "['conv1']['filter']" into "conv1 filter"."""
    return path.strip("[]'").replace("']['", " ")


def write(out: Path, right: jgs.Report, wrong: Mapping[Mistake, jgs.Report]) -> list[Path]:
    """Write a report and a figure of the right backward pass and of one planted mistake."""
    out.mkdir(parents=True, exist_ok=True)
    mistake = next(mistake for mistake in wrong if "flipped" in mistake.name)
    written = []
    for name, report in {"right": right, "filter-not-flipped": wrong[mistake]}.items():
        report.save(out / f"{name}.json")
        figure = report.plot()
        figure.savefig(out / f"{name}.png", dpi=150)  # pyright: ignore[reportAttributeAccessIssue]
        written += [out / f"{name}.json", out / f"{name}.png"]
    return written


def print_files(console: Console, files: list[Path]) -> None:
    """Name the files written."""
    heading(console, "Reports and figures")
    for file in files:
        console.print(str(file), markup=False, soft_wrap=True)


def conclude(console: Console, right: jgs.Report, wrong: Mapping[Mistake, jgs.Report]) -> int:
    """Hold every verdict against what is known to be true, and return the exit code."""
    surprises = unexpected("the right backward pass", right, frozenset())
    for mistake, report in wrong.items():
        surprises += unexpected(mistake.name, report, mistake.leaves)
    console.print()
    if surprises:
        console.print("Not everything came out as it should:", *surprises, sep="\n", style="red", markup=False)
        return 1
    console.print(
        "Everything came out as it should: the backward pass is correct, and each of the "
        f"{len(wrong)} mistakes was found in just the leaves that it makes wrong.",
        style="green",
    )
    return 0


def unexpected(name: str, report: jgs.Report, wrong: Collection[str]) -> list[str]:
    """List the leaves whose verdict is not what is known to be true."""
    found = {finding.path: finding.verdict for finding in report.findings}
    expected = {path: jgs.Verdict.WRONG if path in wrong else jgs.Verdict.CORRECT for path in network.ALL}
    return [
        f"{name}: {short(path)} is {found.get(path)}, not {expected[path]}"
        for path in sorted(expected)
        if found.get(path) is not expected[path]
    ]


def heading(console: Console, words: str) -> None:
    """Print a heading, with room above it."""
    console.print(f"\n[bold]{words}[/bold]")
