"""Conversations are frozen, and what is sent to a template keeps its order."""

from tuiwb.chat.conversation import Conversation


def test_messages_begin_with_the_system_prompt() -> None:
    talk = Conversation(system="Be brief.").asked("Hello?").answered("Hi.", None).asked("And?")
    assert [(each["role"], each["content"]) for each in talk.messages()] == [
        ("system", "Be brief."),
        ("user", "Hello?"),
        ("assistant", "Hi."),
        ("user", "And?"),
    ]


def test_asking_again_drops_the_answer_and_keeps_the_question() -> None:
    talk = Conversation().asked("One?").answered("1", None).asked("Two?").answered("2", None)
    assert [turn.content for turn in talk.without_last_answer().turns] == ["One?", "1", "Two?"]
    assert talk.without_last_answer().without_last_answer() == talk.without_last_answer()


def test_a_question_that_was_never_answered_does_not_stand_before_the_next() -> None:
    talk = Conversation().asked("One?").answered("1", None).asked("Lost?")
    assert [turn.content for turn in talk.without_unanswered().asked("Two?").turns] == ["One?", "1", "Two?"]
