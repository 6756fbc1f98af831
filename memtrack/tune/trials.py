"""The loop of a worker, which runs trials of a study until there are enough."""

from __future__ import annotations

import signal
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Any, TypeVar

import optuna
from optuna.samplers import GridSampler
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import Study
from optuna.trial import Trial, TrialState

from memtrack.core.scores import Need, compute
from memtrack.tune.artifacts import attach
from memtrack.tune.evaluator import SettingEvaluator
from memtrack.tune.space import Space
from memtrack.tune.study import DONE, MACHINE, RETRIES, _lock, cost_of, finished

Item = TypeVar("Item")


class HeldBack:
    """Delays Ctrl-C and SIGTERM until something is computed or the block ends.

    If one of them arrives while a trial begins or ends, Optuna's heartbeat never stops; if one arrives while
    the study's database is written, its connection can keep the lock, and the next write waits in vain.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> HeldBack:
        self._waiting: list[tuple[int, FrameType | None]] = []
        self._before: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():  # no other thread gets signals
            self._before = {number: signal.getsignal(number) for number in self.SIGNALS}
        self._hold()
        return self

    def __exit__(self, *error: object) -> None:
        self._release()

    def let_through(self, items: Iterator[Item]) -> Iterator[Item]:
        """The same items. While they are computed, signals are handled at once."""
        while True:
            try:
                self._release()
                item = next(items)
            except StopIteration:
                return
            finally:
                self._hold()
            yield item

    def _hold(self) -> None:
        for number, handler in self._before.items():
            if callable(handler):
                signal.signal(number, lambda *received: self._waiting.append(received))

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        while self._waiting:
            number, frame = self._waiting.pop()
            self._before[number](number, frame)


class TrialLoop(ABC):
    """Runs trials of a study until it has enough."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self._lock = _lock()
        self._seen: set[int] = set()

    def work(self, trials: int, deadline: float) -> Generator[None, None, None]:
        """Begin trials until the study has `trials` finished ones or time.time() is past `deadline`.

        A trial whose worker was killed is marked as failed and run again, as long as one worker is left.
        Yields after each trial.
        """
        while time.time() < deadline:
            begun = False
            with self._lock, HeldBack() as held_back:  # held until others count the trial that has begun
                self._fail_stale_trials()
                states = Counter(trial.state for trial in self.study.get_trials(deepcopy=False))
                running = states[TrialState.RUNNING]
                enough = sum(states[state] for state in DONE) + running >= trials or self._exhausted()
                if not enough:
                    self._optimize(held_back)
                    begun = True
            if begun:
                yield
            elif running:
                time.sleep(0.5)
            else:
                return

    def _fail_stale_trials(self) -> None:
        """Mark trials whose workers were killed as failed, and queue them again.

        Optuna never fails a trial that was killed before its first heartbeat, so this records a heartbeat.
        Call it with the lock held: a trial that has failed and is not queued yet is missing to others, who
        would begin another one for it.
        """
        running = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in running:
            if trial._trial_id not in self._seen:
                self._seen.add(trial._trial_id)
                self.study._storage.record_heartbeat(trial._trial_id)  # type: ignore[attr-defined]
        fail_stale_trials(self.study)

    def _optimize(self, held_back: HeldBack) -> None:
        begun: Trial | None = None

        def objective(trial: Trial) -> float | tuple[float, float]:
            nonlocal begun
            begun = trial
            self._lock.release()
            return self.objective(trial, held_back)

        try:
            self.study.optimize(objective, n_trials=1)
        except BaseException as error:
            taken = begun is not None and self._taken_over(begun)
            if begun is not None and not taken:
                self._put_back(begun)
            if not taken or not isinstance(error, Exception):
                raise
        finally:
            if begun is not None:
                self._lock.acquire()

    @abstractmethod
    def objective(self, trial: Trial, held_back: HeldBack) -> float | tuple[float, float]:
        """The value of a trial. It computes within `held_back.let_through`."""

    def _exhausted(self) -> bool:
        grid = self.study.sampler
        return isinstance(grid, GridSampler) and grid.is_exhausted(self.study)

    def _taken_over(self, trial: Trial) -> bool:
        """Whether other workers considered this worker dead and queued the trial again."""
        history = RetryHeartbeatStaleTrialCallback.retry_history
        known = self.study.get_trials(deepcopy=False)
        return any(history(other)[-1:] == [trial.number] for other in known)

    def _put_back(self, trial: Trial) -> None:
        """Queue a trial that was interrupted, or failed, to be run again."""
        storage = self.study._storage
        if storage.get_trial(trial._trial_id).state is TrialState.RUNNING:
            storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        frozen = storage.get_trial(trial._trial_id)
        if frozen.state is TrialState.FAIL:
            RetryHeartbeatStaleTrialCallback(RETRIES)(self.study, frozen)


class Worker(TrialLoop):
    """Runs trials of the search for h and n."""

    def __init__(self, study: Study, space: Space, evaluator: SettingEvaluator) -> None:
        super().__init__(study)
        self.space, self.evaluator = space, evaluator

    def objective(self, trial: Trial, held_back: HeldBack) -> float | tuple[float, float]:
        """The value of a trial, reported after each checkpoint, and its cost if that is an objective."""
        setting = self.space.suggest(trial)
        cost = cost_of(setting, self.study)
        trial.set_user_attr("cost", cost)
        trial.set_user_attr("machine", MACHINE)
        single = len(self.study.directions) == 1
        truth = self.evaluator.truth
        for step, known in enumerate(held_back.let_through(self.evaluator.steps(setting)), 1):
            last = step == len(setting.epochs)
            if single or last:
                values = compute(setting.score, {Need.EPOCHS: known})
                value = truth.value(values)
            if single:
                trial.report(value, step)
                if not last and trial.should_prune():
                    raise optuna.TrialPruned
        if all(other.params != trial.params for other in finished(self.study)):
            attach(trial, values, truth.flags, f"{truth.title} {value:.4f}")
        return value if single else (value, cost)
