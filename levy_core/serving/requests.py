"""What a registered model may be asked for; light, so that the registry is written without loading a network."""

import os
from collections.abc import Iterable, Mapping
from typing import Any

from levy_core.base.errors import LevyError
from levy_core.base.typed import mapping, real, text, whole

SAMPLER = "sampler.json"  # in the artifact: the best solver at each number of evaluations, and which is the default
MEASURED_BY = "measured_by"  # in the artifact: a folder of what its samples were measured by, such as a classifier
# key -> type; `n` or counts in `classes` must be there, which a signature cannot say
COLUMNS = {
    "n": "long",
    "class": "string",
    "classes": "string",
    "seed": "long",
    "solver": "string",
    "discretisation": "string",
    "grid": "string",
    "steps": "long",
    "eta": "double",
    "guide": "string",
    "strength": "double",
    "guide_rho_max": "double",
    "guide_rho_min": "double",
    "boost": "double",
    "observed": "object",
    "event": "object",
}
MOST_STEPS = 100_000  # where nobody waits at the other end: as many as params.yaml takes
# The environment of whoever serves a model -> the most that one call of `predict` may ask for; of all its rows together, but for steps and
# observed values, of which guides make matrices.
LIMITS = {
    "LEVY_MAX_STEPS": (1_000, "steps"),
    "LEVY_MAX_EVALUATIONS": (1_000_000, "network evaluations (those of a sample x n)"),
    "LEVY_MAX_VALUES": (100_000_000, "values (n x the values of a sample)"),
    "LEVY_MAX_OBSERVED": (2_000, "observed values at once"),
    "LEVY_MAX_BYTES": (2**30, "bytes of memory, with the answers under way, for their text"),
}
# The same of what is found out while it draws (`levy_core.serving.workload`, where MLflow's server answers in as many threads as
# cores + 4), and the most samples of a batch that requests share (`levy_core.serving.batching`).
USUAL = {name: usual for name, (usual, _) in LIMITS.items()} | {"LEVY_MAX_LONG": 3, "LEVY_BATCH": 0}


def typed(request: Mapping[Any, Any]) -> dict[str, Any]:
    """The request with plain Python values.

    Whole numbers may come as floats that are whole: tables with gaps hold no others.

    Raises:
        LevyError: a key that is not known, or a value that is not of the type that ``COLUMNS`` says; nothing is rounded or converted.
    """
    refuse_unknown(request)
    return {key: _READERS[COLUMNS[key]](key, value) for key, value in request.items()}


def refuse_unknown(keys: Iterable[Any]) -> None:
    """Refuses keys that no request has.

    Raises:
        LevyError: names the first and those that are known.
    """
    unknown = sorted(str(key) for key in keys if key not in COLUMNS)
    if unknown:
        raise LevyError(f"unknown request key {unknown[0]!r}: allowed are {', '.join(COLUMNS)}")


def check_steps(steps: int) -> None:
    """Refuses more steps than anybody means, whose table alone may fill the memory.

    Raises:
        LevyError: more than ``MOST_STEPS``.
    """
    if steps > MOST_STEPS:
        raise LevyError(f"steps is {steps:,}, but {MOST_STEPS:,} are the most: ask for fewer")


def check_limit(name: str, asked: int) -> None:
    """Refuses what would keep a server busy, or its memory full, for too long.

    Raises:
        LevyError: names what is asked for, the limit, and the variable that sets it.
    """
    limit = limit_of(name)
    if asked > limit:
        raise LevyError(
            f"the request asks for {asked:,} {LIMITS[name][1]}, but {limit:,} is the limit: ask for less at a time, or set {name} "
            "where the model is loaded"
        )


def limit_of(name: str) -> int:
    """The environment's limit, or the usual one.

    Raises:
        LevyError: the environment has something else than a whole number.
    """
    text = os.environ.get(name, str(USUAL.get(name)))
    if not text.isdecimal():
        raise LevyError(f"{name} is {text!r} in the environment, but a whole number is expected")
    return int(text)


_READERS = {"long": whole, "double": real, "string": text, "object": mapping}
