"""The Chat screen's judgements: good and bad, better and worse, corrections; blind comparison; lanes side by side."""

import random
from typing import TYPE_CHECKING, Any

from tuiwb.base.errors import TuiwbError
from tuiwb.base.tasks import Task
from tuiwb.chat.protocol import AnyLane, EndpointLane
from tuiwb.chat.session import MOST_LANES, Chat

if TYPE_CHECKING:
    from tuiwb.chat.fits import Fit
    from tuiwb.tui.screen import RoomScreen as Base
else:
    Base = object

COMPARING = ("better_left", "better_right", "tie")
JUDGING = ("good", "bad", "correct", *COMPARING)


class JudgeActions(Base):
    """Part of the Chat screen.

    Attributes:
        current: the lane that is judged, edited and shown.
    """

    chat: Chat | None
    current: str
    _mixed: tuple[str, ...] = ()
    """The lanes in the places that a blind comparison gave them; empty where everybody is named."""

    def places(self, asked: tuple[str, ...]) -> tuple[str, ...]:
        """The lanes from left to right."""
        if self._mixed and set(self._mixed) == set(asked):
            return self._mixed
        self._mixed = ()
        return asked

    @property
    def is_blind(self) -> bool:
        return bool(self._mixed)

    def title_of(self, name: str) -> str:
        """What stands over a lane."""
        step = self.chat.target.step if self.chat is not None and name == "tuned" else None
        known = name if step is None else f"{name} · step {step:,}"
        shown = f"answer {'ABCD'[self._mixed.index(name)]}" if self._mixed else known
        marked = self.chat is not None and len(self.chat.asked) > 1 and name == self.current
        return f"▸ {shown}" if marked else shown

    def judge_reason(self, action: str) -> str | None:
        """Why a judgement cannot be made now."""
        assert self.chat is not None
        if action in ("lane", "blind", "remove", *COMPARING) and len(self.chat.asked) < 2:
            return "One alone answers: a adds another one, b shows the base beside."
        if action == "add" and len(self.chat.asked) >= MOST_LANES:
            return f"{MOST_LANES} answer side by side already; d hides one."
        if action in JUDGING and not all(
            lane.conversation.turns and lane.conversation.turns[-1].role == "assistant"
            for name, lane in self.chat.lanes.items()
            if name in (self.chat.asked if action in COMPARING else (self.current,))
        ):
            return "There is no answer to judge yet."
        return None

    # Lanes

    def action_lane(self) -> None:
        assert self.chat is not None
        names = self.places(self.chat.asked)
        self.current = names[(names.index(self.current) + 1) % len(names)]
        self._arrange()

    def action_remove(self) -> None:
        assert self.chat is not None
        self.chat.hide_lane(self.current)
        self._arrange()

    def action_add(self) -> None:
        assert self.chat is not None
        target = self.chat.target
        here = {f"step-{target.step}", *self.chat.lanes}
        self.start("lanes", lambda task: _lanes_for(task, target.run_id, here), self._choose_lane)

    def _choose_lane(self, choices: list[tuple[str, str, str]]) -> None:
        from tuiwb.tui.dialogs import OTHER

        assert self.chat is not None
        hidden = [name for name in self.chat.lanes if name not in self.chat.asked]
        # The newest checkpoint first, which is what one comes for while the run goes on.
        first = 1 if choices and choices[0][0].isdigit() else 0
        shown = [*choices[:first], *((name, name, "loaded, not asked now") for name in hidden), *choices[first:]]
        shown.append(("", OTHER, "a path of an adapter, an address, a run or a model"))

        def take(at: int) -> None:
            if shown[at][0] in hidden:
                self._add(self._lanes()[shown[at][0]])
            elif shown[at][0]:
                self._find_lane(shown[at][0])
            else:
                self.ask("Who else", lambda text: self._find_lane(text.strip()), hint="folder, address, run or model")

        self.choose("Who answers beside", [(name, about) for _, name, about in shown], take)

    def _lanes(self) -> dict[str, AnyLane]:
        assert self.chat is not None
        return {name: each.lane for name, each in self.chat.lanes.items()}

    def _find_lane(self, ref: str) -> None:
        assert self.chat is not None
        target, loaded = self.chat.target, {each.model for each in self.chat.local}

        def work(task: Task) -> "tuple[AnyLane, Fit | None]":
            from tuiwb import chat
            from tuiwb.chat.fits import fit_of

            lane = chat.further(target, ref, task=task)
            # An adapter on what is loaded takes next to nothing.
            light = isinstance(lane, EndpointLane) or lane.model in loaded
            return lane, None if light else fit_of(chat.Target(lane.name, (lane,), target.run_id))

        def found(what: "tuple[AnyLane, Fit | None]") -> None:
            lane, fit = what
            if fit is None or fit.ok:
                self._add(lane)
            else:
                said = fit.sentence[0].upper() + fit.sentence[1:]
                self.confirm("Load it all the same?", lambda: self._add(lane), detail=f"{said}.", yes="Load")

        if ref:
            self.start("lane", work, found)

    def _add(self, lane: AnyLane) -> None:
        assert self.chat is not None
        try:
            self.chat.add_lane(lane)
        except TuiwbError as error:
            self.problem(error)
        self._arrange()

    # Judgements

    def action_blind(self) -> None:
        assert self.chat is not None
        if self._mixed:
            self._reveal()
            return
        names = list(self.chat.asked)
        random.SystemRandom().shuffle(names)
        self._mixed = tuple(names)
        self._arrange()
        self.app.notify("Who is who is hidden until you judge: [ left, ] right, = neither.")

    def _reveal(self) -> None:
        names = self._mixed
        self._mixed = ()
        self._arrange()
        if names:
            told = ", ".join(f"{letter} was {name}" for letter, name in zip("ABCD", names, strict=False))
            self.app.notify(told, markup=False)

    def action_good(self) -> None:
        self._label(good=True)

    def action_bad(self) -> None:
        self._label(good=False)

    def _label(self, *, good: bool) -> None:
        from tuiwb.chat import feedback

        assert self.chat is not None
        name = self.current
        conversation = self.chat.lanes[name].conversation
        self._kept(lambda: feedback.judge(conversation, good, whom=self._who(name)), "good" if good else "bad")

    def action_better_left(self) -> None:
        self._better(left=True)

    def action_better_right(self) -> None:
        self._better(left=False)

    def _better(self, *, left: bool) -> None:
        """Of two, the left or the right one; of more, the user says which."""
        assert self.chat is not None
        names = self.places(self.chat.asked)
        if len(names) == 2:
            self._prefer(names[0 if left else 1])
        else:
            shown = [(self.title_of(name).removeprefix("▸ "), "") for name in names]
            self.choose("Which answer is the best", shown, lambda at: self._prefer(names[at]))

    def _prefer(self, name: str) -> None:
        from tuiwb.chat import feedback

        assert self.chat is not None
        chat = self.chat
        others = [each for each in chat.asked if each != name]

        def act() -> Any:
            return feedback.prefer(
                chat.lanes[name].conversation,
                [chat.lanes[each].conversation for each in others],
                whom=self._who(name),
                instead_of=[self._who(each) for each in others],
                blind=self.is_blind,
            )

        if self._kept(act, "better"):
            chat.adopt(name)
            self._reveal()

    def action_tie(self) -> None:
        from tuiwb.chat import feedback

        assert self.chat is not None
        chat = self.chat
        names = [self._who(name) for name in chat.asked]
        conversation = chat.lanes[chat.asked[0]].conversation
        if self._kept(lambda: feedback.tie(conversation, names=names, blind=self.is_blind), "neither"):
            self._reveal()

    def keep_correction(self, text: str) -> None:
        """The current lane's answer should have been `text`."""
        from tuiwb.chat import feedback

        assert self.chat is not None
        lane, name = self.chat.lanes[self.current], self.current
        if self._kept(lambda: feedback.correct(lane.conversation, text, whom=self._who(name)), "corrected"):
            self.chat.edit(len(lane.conversation.turns) - 1, text, lane=name)
            self._draw()

    def _who(self, name: str) -> str:
        """A lane by a name that tells runs apart."""
        assert self.chat is not None
        run = self.chat.target.run_id
        return f"{run}/{name}" if run else name

    def _kept(self, act: Any, what: str) -> bool:
        try:
            file = act()
        except TuiwbError as error:
            self.problem(error)
            return False
        self.app.notify(f"{what}: kept in {file}" if file else f"{what}: noted", markup=False)
        return True

    if TYPE_CHECKING:

        def _arrange(self) -> None: ...

        def _draw(self) -> None: ...


def _lanes_for(task: Task, run_id: str | None, here: set[str]) -> list[tuple[str, str, str]]:
    """What can answer beside those that are here, as (ref, name, what it is)."""
    from tuiwb import chat, endpoints, models

    task.step("looking for models")
    found = []
    if run_id is not None:
        steps = [each.step for each in reversed(chat.run_checkpoints(run_id))]
        found += [
            (str(step), f"step {step:,}", "checkpoint" if number else "checkpoint, the newest")
            for number, step in enumerate(steps)
            if f"step-{step}" not in here
        ]
    found += [(each.name, each.name, f"endpoint at {each.place}") for each in endpoints.profiles().values()]
    found += [(info.name, info.name, f"model {info.architecture}") for info in models.installed()]
    return found
