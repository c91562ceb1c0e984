"""Whatever is interleaved, killed or begun again, an alias ends at the move that was written down last, and nothing blocks."""

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from levy_core.base.errors import LevyError
from tasks.registry import promotions

NAME = "levy-digits"
VERSIONS = st.sampled_from("1234")


@dataclass
class Registry:
    """MLflow's registry as far as aliases go (`test_promotions.py` uses the real one)."""

    tags: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=lambda: set("1234"))
    seen: list[tuple[str, str]] = field(default_factory=list)

    def get_registered_model(self, name):
        return SimpleNamespace(tags=dict(self.tags), aliases=dict(self.aliases))

    def search_model_versions(self, query):
        return [SimpleNamespace(version=v) for v in self.kept]

    def set_registered_model_tag(self, name, key, value):
        self.tags[key] = value

    def set_registered_model_alias(self, name, alias, version):
        self.aliases[alias] = version
        self.seen.append((alias, version))


class Killed(BaseException):
    pass


class Process:
    """A process that stops before each of its calls of the registry until it may go on, or is killed there."""

    def __init__(self, registry, work):
        self._registry, self._alive = registry, True
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.ended, self.error = False, None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def __getattr__(self, name):
        call = getattr(self._registry, name)

        def stop_and_call(*arguments):
            self._stopped.release()
            self._go.acquire()
            if not self._alive:
                raise Killed
            return call(*arguments)

        return stop_and_call

    def _run(self, work):
        try:
            work(self)
        except (Killed, LevyError):
            pass
        except Exception as error:
            self.error = error
        self.ended = True
        self._stopped.release()

    def step(self):
        self._go.release()
        self._stopped.acquire()
        if self.error:
            raise self.error

    def kill(self):
        self._alive = False
        self.step()
        self._thread.join()

    def finish(self):
        while not self.ended:
            self.step()


class Interleavings(RuleBasedStateMachine):
    """Up to three processes that move, roll back and settle one alias, one call at a time."""

    def __init__(self):
        super().__init__()
        self.registry, self.processes = Registry(), []

    def start(self, work):
        self.processes = [p for p in self.processes if not p.ended]
        if len(self.processes) < 3:
            self.processes.append(Process(self.registry, work))

    @rule(version=VERSIONS)
    def promote(self, version):
        self.start(lambda client: promotions.move(client, NAME, "champion", version, "by a person or a gate"))

    @rule()
    def roll_back(self):
        self.start(lambda client: promotions.roll_back(client, NAME))

    @rule()
    def settle(self):
        self.start(lambda client: promotions.settle(client, NAME))

    @rule(version=VERSIONS, alias=st.sampled_from(["champion one", "latest", "v3", ""]))
    def mistype(self, version, alias):
        self.start(lambda client: promotions.move(client, NAME, alias, version, "mistyped"))

    @precondition(lambda self: len(self.registry.kept) > 2)
    @rule(version=VERSIONS)
    def delete(self, version):
        if version not in self.registry.aliases.values():
            self.registry.kept.discard(version)

    @precondition(lambda self: any(not p.ended for p in self.processes))
    @rule(which=st.integers(0, 2), calls=st.integers(1, 8))
    def go_on(self, which, calls):
        alive = [p for p in self.processes if not p.ended]
        process = alive[which % len(alive)]
        for _ in range(calls):
            if not process.ended:
                process.step()

    @precondition(lambda self: any(not p.ended for p in self.processes))
    @rule(which=st.integers(0, 2))
    def kill(self, which):
        alive = [p for p in self.processes if not p.ended]
        alive[which % len(alive)].kill()

    @invariant()
    def every_version_that_an_alias_pointed_at_has_its_line(self):
        lines = {(m.alias, m.after) for m in promotions.history(self.registry, NAME)}
        assert set(self.registry.seen) <= lines

    @invariant()
    def nothing_is_written_down_that_cannot_be_done(self):
        assert {m.alias for m in promotions.history(self.registry, NAME)} <= {"champion"}

    def teardown(self):
        for process in self.processes:
            process.finish()
        promotions.settle(self.registry, NAME)
        moves = promotions.history(self.registry, NAME)
        assert not any(m.pending for m in moves)
        if moves and moves[-1].after in self.registry.kept:
            assert moves[-1].done
            assert self.registry.aliases["champion"] == moves[-1].after
        last = sorted(self.registry.kept)[0]
        assert promotions.move(self.registry, NAME, "champion", last, "after all that").done
        assert self.registry.aliases["champion"] == last


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=400, stateful_step_count=25, deadline=None, derandomize=True)
