"""The one exception for mistakes that a person can mend."""


class LevyError(Exception):
    """Bad input: the message says what was found, where, what was expected and what to do."""


def choose(kind: str, name: object, table: dict) -> object:
    """The entry of ``table`` called ``name``.

    Raises:
        LevyError: names the kind, the unknown name and every allowed one.
    """
    if name not in table:
        raise LevyError(f"unknown {kind} {name!r}: choose one of {', '.join(sorted(table))}")
    return table[name]
