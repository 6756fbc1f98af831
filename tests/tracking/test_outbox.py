"""The outbox: what is put in comes out, once, whole and in order, whoever dies in between."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from memtrack.tracking import outbox
from memtrack.tracking.outbox import FilesWait, Outbox, waiting

Message = dict[str, Any]
OPEN: Message = {"open": {"record": {"tracking_uri": "here"}}}
FORK = multiprocessing.get_context("fork")


def numbers(messages: list[Message]) -> list[int]:
    return [message["number"] for message in messages]


def left() -> list[str]:
    """What is in the folder of all outboxes."""
    return sorted(path.name for path in Path(".memtrack/mlflow").iterdir())


class Store:
    """Takes messages and the content of their files; fails or refuses when told to."""

    def __init__(self) -> None:
        self.run = "the run"
        self.taken: list[Message] = []
        self.failing: set[int] = set()
        self.no_files = False
        self.refused: dict[int, dict[str, str]] = {}
        self.refused_files: set[int] = set()

    def facts(self, message: Message) -> dict[str, str]:
        if message["number"] in self.failing:
            raise ConnectionError("the store is away")
        self.taken.append({**message, "files": {}})
        return self.refused.get(message["number"], {})

    def file(self, message: Message, name: str, path: Path) -> str | None:
        if self.no_files:
            raise ConnectionError("no files")
        if message["number"] in self.refused_files:
            return "it is not writable"
        inside = [one for one in path.rglob("*") if one.is_file()] if path.is_dir() else [path]
        content = {str(one.relative_to(path)): one.read_text() for one in inside}
        for taken in self.taken:
            if taken["place"] == message["place"]:
                taken["files"][name] = content
        return None


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def box() -> Outbox:
    """Five messages, each with a file; the first opens the run."""
    made = Outbox("run")
    for number in range(5):
        Path("one.txt").write_text(f"file of {number}")
        made.add({"some/one.txt": Path("one.txt")}, number=number, **({} if number else OPEN))
    return made


def file_of(number: int) -> dict[str, dict[str, str]]:
    return {"some/one.txt": {".": f"file of {number}"}}


# --- in and out ---------------------------------------------------------------------------------


def test_an_outbox_begins_empty(store: Store) -> None:
    made = Outbox("run")
    assert not made.exists
    assert made.messages() == []
    assert made.pending() == 0
    assert made.send(store) == 0
    assert waiting() == []


def test_messages_come_out_in_order_with_their_files(box: Outbox, store: Store) -> None:
    assert (box.exists, box.pending()) == (True, 5)
    assert box.send(store) == 5
    assert numbers(store.taken) == [0, 1, 2, 3, 4]
    assert [message["files"] for message in store.taken] == [file_of(number) for number in range(5)]
    assert (box.exists, box.pending(), box.send(store)) == (True, 0, 0)
    assert numbers(box.messages()) == [0, 1, 2, 3, 4]
    assert not [path for path in (box.folder / "files").rglob("*") if path.is_file()]


def test_values_come_back_as_they_were(store: Store) -> None:
    made, text = Outbox("run"), "line\nbreak\r\u2028\x85 \u00e9 \U0001f600 \x00 \"'\\"
    nested = {"a": [1, 2.5, None, True], "b": {"c": 1e-300, "d": 0.1 + 0.2, text: text}}
    made.add(number=0, tags=nested)
    made.add(number=1, metrics={"x": float("inf"), "y": -0.0})
    made.send(store)
    assert store.taken[0]["tags"] == nested
    assert [repr(value) for value in store.taken[1]["metrics"].values()] == ["inf", "-0.0"]


def test_messages_carry_the_time_at_which_they_were_added(box: Outbox, store: Store) -> None:
    before = time.time() * 1000
    box.add(number=5)
    after = time.time() * 1000
    times = [message["time"] for message in box.messages()]
    assert before - 1 <= times[5] <= after
    assert times == sorted(times)
    box.send(store)
    assert [message["time"] for message in store.taken] == times


def test_files_are_copies(store: Store) -> None:
    folder = Path("model")
    (folder / "data").mkdir(parents=True)
    for path in (folder / "MLmodel", folder / "data/weights", Path("plain.txt")):
        path.write_text("first")
    made = Outbox("run")
    made.add({"model": folder, "plain.txt": Path("plain.txt")}, number=0)
    (folder / "data/weights").write_text("second")
    (folder / "more").write_text("second")
    (folder / "MLmodel").unlink()
    Path("plain.txt").unlink()
    made.send(store)
    whole = {"MLmodel": "first", "data/weights": "first"}
    assert store.taken[0]["files"] == {"model": whole, "plain.txt": {".": "first"}}


def test_each_run_has_its_own_outbox(box: Outbox, store: Store) -> None:
    other = Outbox("other")
    other.add(number=10, **OPEN)
    assert [one.folder.name for one in waiting()] == ["run", "other"]  # as they were opened
    assert other.send(store) == 1
    assert numbers(store.taken) == [10]
    assert [one.folder.name for one in waiting()] == ["run"]
    assert box.pending() == 5


def test_the_outbox_is_in_the_project_when_the_stage_runs_in_a_copy(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "copy").mkdir()
    monkeypatch.chdir(project / "copy")
    monkeypatch.setenv("DVC_ROOT", str(project))
    Outbox("run").add(number=0, **OPEN)
    assert (project / ".memtrack/mlflow/run").is_dir()
    assert len(waiting()) == 1
    assert not any((project / "copy").iterdir())


@pytest.mark.parametrize("status", ["RUNNING", "KILLED", "FAILED", None])
def test_a_run_that_may_go_on_is_kept(status: str | None, box: Outbox, store: Store) -> None:
    box.add(number=5, status=status)
    assert box.send(store) == 6
    assert box.exists
    assert numbers(box.messages()) == [0, 1, 2, 3, 4, 5]
    assert waiting() == []
    box.add(number=6)
    assert [one.send(store) for one in waiting()] == [1]
    assert numbers(store.taken) == list(range(7))


def test_nothing_is_left_of_a_finished_run(box: Outbox, store: Store) -> None:
    box.add(number=5, status="FINISHED")
    store.failing = {5}
    with pytest.raises(ConnectionError):
        box.send(store)
    assert numbers(store.taken) == [0, 1, 2, 3, 4]
    assert (box.exists, box.pending()) == (True, 6)  # with the files of the first five
    store.failing = set()
    assert box.send(store) == 6
    assert not box.exists
    assert left() == []
    assert numbers(store.taken) == list(range(6))


def test_a_finished_run_to_which_more_is_told_is_kept(box: Outbox, store: Store) -> None:
    """Evaluation adds to a run that training could not send."""
    box.add(number=5, status="FINISHED")
    box.add(number=6)
    assert box.send(store) == 7
    assert box.exists
    box.add(number=7, status="FINISHED")
    assert box.send(store) == 1
    assert left() == []


# --- interruptions ------------------------------------------------------------------------------


def test_a_line_cut_off_anywhere_is_no_message_and_is_overwritten(box: Outbox, store: Store) -> None:
    journal = box.folder / "journal.jsonl"
    whole = journal.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    for length in [*range(start, len(whole), 7), len(whole) - 1]:
        journal.write_bytes(whole[:length])
        assert numbers(box.messages()) == [0, 1, 2, 3]
        assert box.pending() == 4
        Path("one.txt").write_text("file of 9")
        box.add({"some/one.txt": Path("one.txt")}, number=9)
        assert numbers(box.messages()) == [0, 1, 2, 3, 9]
    box.send(store)
    assert numbers(store.taken) == [0, 1, 2, 3, 9]
    assert store.taken[-1]["files"] == file_of(9)


def test_a_first_line_cut_off_is_an_empty_outbox(store: Store) -> None:
    made = Outbox("run")
    made.add(number=0)
    journal = made.folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-1])
    assert (made.messages(), made.pending(), waiting()) == ([], 0, [])
    assert made.send(store) == 0
    made.add(number=1)
    assert made.send(store) == 1
    assert numbers(store.taken) == [1]


@pytest.mark.parametrize("call", ["copy2", "copytree"])
def test_a_message_whose_files_cannot_be_copied_is_none(
    call: str, box: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("model")
    folder.mkdir()
    (folder / "a").write_text("file of 5")
    path = folder if call == "copytree" else folder / "a"

    def full(_: Path, target: Path, **__: object) -> None:
        target.mkdir() if call == "copytree" else target.write_text("the first half")
        raise OSError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, call, full)
        with pytest.raises(OSError, match="full"):
            box.add({"some/model": path}, number=5)
    assert numbers(box.messages()) == [0, 1, 2, 3, 4]
    box.add({"some/model": path}, number=5)
    box.send(store)
    inside = "a" if call == "copytree" else "."
    assert store.taken[5]["files"] == {"some/model": {inside: "file of 5"}}


def test_what_fails_stays_with_all_that_follows(box: Outbox, store: Store) -> None:
    store.failing = {2}
    for _ in range(3):
        with pytest.raises(ConnectionError):
            box.send(store)
        assert numbers(store.taken) == [0, 1]
        assert box.pending() == 5
    box.add(number=5)
    assert [one.pending() for one in waiting()] == [6]
    store.failing = {4}
    with pytest.raises(ConnectionError):
        box.send(store)
    store.failing = set()
    assert box.send(store) == 6
    assert numbers(store.taken) == [0, 1, 2, 3, 4, 5]
    assert [message["files"] for message in store.taken[:5]] == [file_of(number) for number in range(5)]


@pytest.mark.parametrize("last", range(5))
def test_a_message_that_was_taken_before_a_kill_comes_again_whole(
    last: int, box: Outbox, store: Store
) -> None:
    class Killed(Store):
        def facts(self, message: Message) -> dict[str, str]:
            store.facts(message)
            if message["number"] == last:
                raise KeyboardInterrupt
            return {}

    with pytest.raises(KeyboardInterrupt):
        box.send(Killed())
    Outbox("run").send(store)
    expected = [*range(last + 1), *range(last, 5)]
    assert numbers(store.taken) == expected
    assert [message["files"] for message in store.taken] == [file_of(number) for number in expected]


def killed_within_rmtree(*names: str) -> Callable[..., None]:
    """`shutil.rmtree` of a process that is killed when it has removed some of the files."""

    def rmtree(folder: Path, **_: object) -> None:
        for name in names:
            (Path(folder) / name).unlink()
        raise KeyboardInterrupt

    return rmtree


def test_killed_while_a_finished_run_is_forgotten_then_evaluated(
    box: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.send(store)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed_within_rmtree("journal.jsonl"))
        with pytest.raises(KeyboardInterrupt):
            box.forget()
    again = Outbox("run")
    again.add(number=7)
    assert again.pending() == 1
    again.send(store)
    assert numbers(store.taken)[5:] == [7]


def test_killed_while_a_finished_run_is_forgotten(
    box: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.send(store)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", killed_within_rmtree("progress"))
        with pytest.raises(KeyboardInterrupt):
            box.forget()
    for one in waiting():
        one.send(store)
    assert waiting() == []


# --- several at once ----------------------------------------------------------------------------


def add_many(name: str, count: int) -> None:
    """As one stage does."""
    made, path = Outbox("run"), Path(f"{name}.txt")
    for number in range(count):
        path.write_text(f"{name} {number}")
        made.add({"one.txt": path}, number=number, name=name)


def check_all(store: Store, names: list[str], count: int) -> None:
    """Every message of each adder is there once, in its order, with its own file."""
    for name in names:
        own = [message for message in store.taken if message["name"] == name]
        assert numbers(own) == list(range(count))
        assert [one["files"]["one.txt"]["."] for one in own] == [
            f"{name} {number}" for number in range(count)
        ]
    assert len(store.taken) == len(names) * count


def test_threads_and_processes_that_add_at_once_lose_nothing(store: Store) -> None:
    names = ["first", "second", "third", "fourth"]
    adders: list[Any] = [FORK.Process(target=add_many, args=(name, 25)) for name in names[:2]]
    adders += [threading.Thread(target=add_many, args=(name, 25)) for name in names[2:]]
    for adder in adders:
        adder.start()
    sent = 0
    while any(adder.is_alive() for adder in adders):
        sent += Outbox("run").send(store)  # another stage sends what is waiting
    for adder in adders:
        adder.join(60)
    sent += Outbox("run").send(store)
    assert sent == 100
    check_all(store, names, 25)


def test_two_that_send_at_once_send_each_message_once(box: Outbox, store: Store) -> None:
    usual = store.facts

    def slowly(message: Message) -> dict[str, str]:
        time.sleep(0.005)
        return usual(message)

    store.facts = slowly  # type: ignore[method-assign]
    sent: list[int] = []
    senders = [threading.Thread(target=lambda: sent.append(Outbox("run").send(store))) for _ in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert sorted(sent) == [0, 0, 5]
    assert Counter(numbers(store.taken)) == Counter(range(5))


# --- damage -------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["", '{"open": {'])
def test_a_journal_without_a_whole_line_is_no_outbox(content: str, store: Store) -> None:
    made = Outbox("cut")
    made.folder.mkdir(parents=True)
    (made.folder / "journal.jsonl").write_text(content)
    assert not made.exists
    assert made.pending() == 0
    made.add(number=1)
    assert made.send(store) == 1
    assert numbers(store.taken) == [1]


def damage(box: Outbox, line: int) -> None:
    """Change one byte in the middle of a line of the journal."""
    journal = box.folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    middle = len(lines[line]) // 2
    lines[line] = lines[line][:middle] + bytes([lines[line][middle] ^ 1]) + lines[line][middle + 1 :]
    journal.write_bytes(b"".join(lines))


@pytest.mark.parametrize("line", [1, 3, 4])
def test_a_damaged_line_is_said_and_costs_that_message_alone(line: int, box: Outbox, store: Store) -> None:
    damage(box, line)
    others = [number for number in range(5) if number != line]
    assert numbers(box.messages()) == others
    box.add(number=5)
    assert box.send(store) == 5
    assert numbers(store.taken) == [*others, 5]
    assert [one["files"] for one in store.taken[:4]] == [file_of(number) for number in others]
    assert box.refused() == [(f"line {line + 1}", f"{box.folder}/journal.jsonl is damaged there")]
    assert [one.folder.name for one in waiting(refused=True)] == ["run"]
    assert waiting() == []


def test_every_changed_byte_is_found(store: Store) -> None:
    made = Outbox("run")
    for number in range(3):
        made.add(number=number, metrics={"loss": 0.5}, **({} if number else OPEN))
    journal = made.folder / "journal.jsonl"
    whole, before = journal.read_bytes(), made.messages()
    start = whole.index(b"\n") + 1
    end = whole.index(b"\n", start)
    for place in [*range(start, start + 20), *range(start + 20, end, 9), end]:
        for value in b"\n", b"{", bytes([whole[place] ^ 4]):
            journal.write_bytes(whole[:place] + value + whole[place + 1 :])
            again = Outbox("run")
            found = again.messages()
            assert [one for one in before if one in found] == found
            assert bool(again.refused()) == (value != whole[place : place + 1])


def test_damage_of_the_first_line_stops_no_other_and_a_new_opening_mends_it(
    box: Outbox, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = Outbox("broken")
    broken.add(number=0, **OPEN)
    broken.add(number=1)
    damage(broken, 0)
    assert [one.folder.name for one in waiting()] == ["run"]
    assert f"remove {broken.folder} to discard it" in capsys.readouterr().err
    assert not broken.exists
    broken.add(number=2, **OPEN)
    assert broken.exists
    broken.send(store)
    assert numbers(store.taken) == [1, 2]


@pytest.mark.parametrize("content", [b"\x00\x00\n", b"[]\n", b"null\n{}\n", b"\xff" * 99 + b"\n", b"\n\n"])
def test_a_journal_of_something_else_stops_no_other(
    content: bytes, box: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    (box.folder.parent / "broken").mkdir()
    (box.folder.parent / "broken/journal.jsonl").write_bytes(content)
    assert [one.folder.name for one in waiting()] == ["run"]
    assert "broken/journal.jsonl cannot be sent" in capsys.readouterr().err


def test_a_journal_without_checksums_is_read(store: Store) -> None:
    """Earlier versions wrote such a one."""
    made = Outbox("run")
    made.folder.mkdir(parents=True)
    lines = [json.dumps({"time": number, "files": {}, "number": number}) for number in range(3)]
    (made.folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines))
    made.add(number=3)
    assert made.send(store) == 4
    assert numbers(store.taken) == [0, 1, 2, 3]


# --- refusals -----------------------------------------------------------------------------------


def test_what_is_refused_is_set_aside_and_the_rest_goes_on(box: Outbox, store: Store) -> None:
    store.refused = {1: {"metric a": "its name"}}
    store.refused_files = {2, 3}
    box.add(number=5, status="FINISHED")
    assert box.send(store) == 6
    assert numbers(store.taken) == [0, 1, 2, 3, 4, 5]
    assert [message["files"] for message in store.taken] == [file_of(0), file_of(1), {}, {}, file_of(4), {}]
    assert sorted(box.refused()) == [("metric a", "its name")] + [("some/one.txt", "it is not writable")] * 2
    assert (box.exists, box.pending(), waiting()) == (False, 0, [])
    assert box.send(store) == 0
    assert (box.folder / "files/2/some/one.txt").read_text() == "file of 2"

    store.refused, store.refused_files, store.taken = {}, {3}, []
    (again,) = waiting(refused=True)
    assert again.send(store, again=True) == 3
    assert numbers(store.taken) == [1]
    assert again.refused() == [("some/one.txt", "it is not writable")]
    store.refused_files = set()
    again.send(store, again=True)
    assert left() == []


class Failing(Store):
    """Answers 500 to some messages, or to their files."""

    def __init__(self) -> None:
        super().__init__()
        self.failing_files: set[int] = set()
        self.error: Exception = MlflowException("internal error 0x1f of request 17")

    def facts(self, message: Message) -> dict[str, str]:
        if message["number"] in self.failing:
            raise self.error
        return super().facts(message)

    def file(self, message: Message, name: str, path: Path) -> str | None:
        if message["number"] in self.failing_files:
            raise self.error
        return super().file(message, name, path)


def attempts(box: Outbox, store: Store, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many attempts to send, each half a minute after the one before, that fail."""
    for attempt in range(count):
        now = time.time() + 30 * attempt
        monkeypatch.setattr(outbox.time, "time", lambda: now)  # noqa: B023
        with pytest.raises((MlflowException, ConnectionError, FilesWait)):
            box.send(store)


def test_a_message_that_the_store_always_fails_at_is_set_aside(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Failing()
    store.failing = {2}
    attempts(box, store, 4, monkeypatch)
    assert numbers(store.taken) == [0, 1]
    store.error = MlflowException("internal error 0xff of request 18")  # the same error of another request
    box.send(store)
    assert numbers(store.taken) == [0, 1, 3, 4]
    assert box.pending() == 0
    (refused,) = box.refused()
    assert refused[0] == "message 2"
    assert refused[1].startswith("failed 5 times while other messages were taken: internal error")
    with pytest.raises(MlflowException):
        box.send(store, again=True)
    store.failing = set()
    assert box.send(store, again=True) == 1
    assert numbers(store.taken)[-1] == 2
    assert (box.refused(), box.pending()) == ([], 0)


def test_a_file_that_the_store_always_fails_at_is_set_aside(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Failing()
    store.failing_files = {1}
    attempts(box, store, 4, monkeypatch)
    assert [message["files"] for message in store.taken] == [file_of(0), {}, {}, {}, {}]
    box.send(store)
    assert [message["files"] for message in store.taken] == [file_of(0), {}, *map(file_of, (2, 3, 4))]
    assert [name for name, _ in box.refused()] == ["some/one.txt"]
    store.failing_files = set()
    box.send(store, again=True)
    assert store.taken[1]["files"] == file_of(1)


@pytest.mark.parametrize("failing", [{2, 3, 4}, {4}])
def test_nothing_is_set_aside_unless_a_later_message_is_taken(
    failing: set[int], box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Failing()
    store.failing = failing
    attempts(box, store, 9, monkeypatch)
    assert box.refused() == []
    store.failing = set()
    box.send(store)
    assert numbers(store.taken) == [0, 1, 2, 3, 4]


def test_a_store_that_does_not_answer_does_not_fail_at_a_message(
    box: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if it then takes the next one."""
    store = Failing()
    store.failing = {2}
    text = "API request to http://here failed with exception too many 503 error responses"
    for store.error in (ConnectionError("away"), MlflowException(text)):
        attempts(box, store, 9, monkeypatch)
    assert box.refused() == []
    assert numbers(store.taken) == [0, 1]


def test_numbers_do_not_wait_for_files(box: Outbox, store: Store) -> None:
    store.no_files = True
    box.add(number=5, status="FINISHED")
    with pytest.raises(FilesWait, match="no files"):
        box.send(store)
    assert numbers(store.taken) == [0, 1, 2, 3, 4, 5]
    assert (box.exists, box.pending(), box.refused()) == (True, 5, [])
    store.no_files = False
    assert box.send(store) == 5
    assert [message["files"] for message in store.taken] == [*(file_of(number) for number in range(5)), {}]
    assert left() == []


def test_another_run_gets_everything_again(
    box: Outbox, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.refused = {1: {"metric a": "its name"}}
    box.send(store)
    box.add(number=5)
    store.run, store.taken, store.refused = "another run", [], {}
    assert box.send(store) == 6
    assert numbers(store.taken) == [0, 1, 2, 3, 4, 5]
    assert box.refused() == []
    assert "the MLflow run the run was deleted: a new run, another run, gets" in capsys.readouterr().err


def test_a_run_that_is_ended_for_good_leaves_nothing(box: Outbox, store: Store) -> None:
    box.add(number=5, status="FAILED", final=True)
    assert box.send(store) == 6
    assert left() == []


def test_what_a_kill_left_of_a_finished_run_goes(
    box: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.add(number=5, status="FINISHED")
    with monkeypatch.context() as patched:
        patched.setattr(Outbox, "forget", lambda _: None)
        box.send(store)
    assert left() != []
    assert waiting() == []
    assert left() == []


def test_the_progress_of_a_journal_that_was_removed_is_not_used(box: Outbox, store: Store) -> None:
    box.send(store)
    (box.folder / "journal.jsonl").unlink()
    time.sleep(0.001)
    box.add(number=7, **OPEN)
    assert box.send(store) == 1
    assert numbers(store.taken)[5:] == [7]


# --- what is removed ----------------------------------------------------------------------------


def test_without_the_count_all_is_sent_again(box: Outbox, store: Store) -> None:
    box.send(store)
    progress = box.folder / "progress"
    for damaged in (b"", progress.read_bytes().replace(b'"sent": 5', b'"sent": 7'), b"\xff\x00 {}"):
        progress.write_bytes(damaged)
        assert box.pending() == len(box.messages())


def test_what_a_kill_left_of_a_removed_outbox_goes(box: Outbox) -> None:
    left = box.folder.with_name("other-1.gone")
    left.mkdir()
    waiting()
    assert not left.exists()
