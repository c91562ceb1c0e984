"""`python -m tasks STAGE --dataset NAME ...`: one stage as a program, as dvc.yaml calls it."""

import argparse
import os
from importlib import import_module

from tasks.runtime import garbage, leash
from tasks.runtime.silence import silence

# name -> its module, what it is asked for, and what it does; the stages in the order of dvc.yaml
PROGRAMS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "prepare": ("tasks.prepare", ("dataset",), "raw data -> a packed store, checked, with its statistics"),
    "reference": ("tasks.reference", ("dataset",), "what samples are measured with"),
    "train": ("tasks.train", ("dataset", "design"), "one design on one data set; interrupted, it goes on"),
    "tune": ("tasks.tune", ("dataset", "design"), "the best sampler at each number of network evaluations"),
    "sample": ("tasks.sample", ("dataset", "design"), "the grid of samplers, and those that tune found"),
    "observe": (
        "tasks.observe",
        ("dataset", "design"),
        "held-out data of which a part is observed, and the rest drawn",
    ),
    "evaluate": ("tasks.evaluate", ("dataset", "design"), "every cell of the grid against the real data"),
    "compare": ("tasks.compare", ("dataset",), "all designs in one table, and the winner"),
    "report": ("tasks.report", ("dataset",), "one page for people"),
    "census": ("tasks.runtime.census", ("dataset",), "count what raw data hold, as JSON"),
    "drift": (
        "tasks.runtime.drift",
        ("dataset",),
        "hold counts of new data against those before, both as JSON on standard input",
    ),
}


def main() -> None:
    """Runs the program that the command line names."""
    # Before the seconds of importing torch: a stage whose DVC is killed meanwhile would otherwise live on.
    if "DVC_STAGE" in os.environ:
        leash.die_with_parent(int(os.environ.get(leash.PARENT, os.getppid())))
    garbage.collect_seldom()
    silence()
    parser = argparse.ArgumentParser(prog="python -m tasks", description="One stage of dvc.yaml.")
    programs = parser.add_subparsers(dest="program", required=True, metavar="STAGE")
    for program, (_, names, purpose) in PROGRAMS.items():
        arguments = programs.add_parser(program, help=purpose, description=f"{program}: {purpose}.")
        for name in names:
            arguments.add_argument(
                f"--{name}", required=True, metavar="NAME", help=f"a name in `{name}s` of params.yaml"
            )
    asked = vars(parser.parse_args())
    program = asked.pop("program")
    module = import_module(PROGRAMS[program][0])
    from tasks.params.loading import load  # late: `--help` needs none of what it imports
    from tasks.runtime import stage

    stage.run(getattr(module, program), load, **asked)


if __name__ == "__main__":
    main()
