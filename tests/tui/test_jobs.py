"""Work in threads: the latest wins, a bug is a sentence, and leaving a screen cancels it."""

import threading

from pilot import bench

from tuiwb.base.errors import EnvironmentFault
from tuiwb.base.tasks import Task


def until_cancelled(task: Task) -> None:
    while True:
        task.step("waiting")


async def test_the_result_reaches_the_handler_in_the_event_loop() -> None:
    async with bench("settings") as pilot:
        got: list[tuple[object, str]] = []
        pilot.room.start("sum", lambda _: 40 + 2, lambda value: got.append((value, threading.current_thread().name)))
        await pilot.until(lambda: got)
        assert got == [(42, "MainThread")]
        assert pilot.room.task_of("sum") is None


async def test_the_latest_job_of_a_name_wins() -> None:
    async with bench("settings") as pilot:
        got: list[int] = []
        gate = threading.Event()

        def slow(_: Task) -> int:
            gate.wait(20)
            return 1

        first = pilot.room.start("plan", slow, got.append)
        pilot.room.start("plan", lambda _: 2, got.append)
        assert first.cancelled
        await pilot.until(lambda: got == [2])
        gate.set()
        await pilot.until(lambda: len([m for m in pilot.messages if type(m).__name__ == "JobDone"]) == 2)
        assert got == [2]


async def test_leaving_the_screen_cancels_what_only_it_needs() -> None:
    async with bench("settings") as pilot:
        room = pilot.room
        mine = room.start("render", until_cancelled, lambda _: None)
        kept = room.start("download", until_cancelled, lambda _: None, keep=True)
        await pilot.press("4")
        await pilot.until(lambda: mine.cancelled)
        assert not kept.cancelled
        room.cancel("download")


async def test_a_fault_is_a_toast_or_goes_to_its_handler() -> None:
    async with bench("settings") as pilot:

        def fail(_: Task) -> None:
            raise EnvironmentFault("the disk is full", file="x")

        got: list[str] = []
        pilot.room.start("one", fail, lambda _: None)
        pilot.room.start("two", fail, lambda _: None, lambda error: got.append(str(error)))
        await pilot.until(lambda: got == ["x: the disk is full"] and "x: the disk is full" in pilot.toasts())


async def test_a_bug_is_a_sentence_that_names_the_log() -> None:
    async with bench("settings") as pilot:
        pilot.room.start("bug", lambda _: [][0], lambda _: None)
        await pilot.until(lambda: any("this is a bug in tuiwb (IndexError)" in toast for toast in pilot.toasts()))


async def test_a_cancelled_job_says_nothing() -> None:
    async with bench("settings") as pilot:
        task = pilot.room.start("quiet", until_cancelled, lambda _: None)
        task.cancel()
        await pilot.until(lambda: pilot.room.task_of("quiet") is None)
        assert pilot.toasts() == []
