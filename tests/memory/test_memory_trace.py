"""The model of automatic differentiation: what lives when."""

from tuiwb.memory.trace import Extent, Ledger, Tape, features


def top(ledger: Ledger) -> float:
    return max(moment.total.per_token for moment in ledger.moments())


def test_a_tensor_lives_as_long_as_it_is_named() -> None:
    ledger = Ledger()
    tape = Tape(ledger)
    x = tape.graph_input(features(10), 2, requires_grad=False, tag="x")
    y = tape.op([x], features(10), 2)
    assert ledger.now().total.per_token == 40
    del x
    assert ledger.now().total.per_token == 20
    del y
    assert ledger.now().total.per_token == 0
    assert top(ledger) == 40


def test_a_saved_tensor_lives_until_its_node_has_run() -> None:
    ledger = Ledger()
    tape = Tape(ledger)
    x = tape.graph_input(features(10), 4, requires_grad=True, tag="x")
    y = tape.op([x], features(10), 4, saved=[x])
    del x
    assert ledger.now().total.per_token == 80
    root = y.node
    del y
    assert ledger.now().total.per_token == 40
    assert root is not None
    ledger.restart()
    tape.backward(root, features(40))
    # what was saved, the gradient that comes in, the one that goes out
    assert top(ledger) == 120
    del root
    assert ledger.now().total.per_token == 0


def test_a_sum_hands_its_gradient_on_without_a_copy() -> None:
    ledger = Ledger()
    tape = Tape(ledger)
    x = tape.graph_input(features(10), 2, requires_grad=True, tag="x")
    branch = tape.op([x], features(10), 2)
    total = tape.op([x, branch], features(10), 2, grads=[None, None])
    root = total.node
    del x, branch, total
    assert root is not None
    ledger.restart()
    tape.backward(root, features(20))
    assert top(ledger) == 40


def test_without_gradients_nothing_is_recorded() -> None:
    ledger = Ledger()
    tape = Tape(ledger)
    x = tape.graph_input(features(10), 2, requires_grad=True, tag="x")
    with tape.no_grad():
        y = tape.op([x], features(10), 2, saved=[x])
    assert y.node is None


def test_moments_that_may_be_the_highest_are_kept() -> None:
    ledger = Ledger()
    tape = Tape(ledger)
    wide = tape.allocate(Extent(per_token=10))
    del wide
    long = tape.allocate(Extent(per_pair=1))
    del long
    highest = {length: max(moment.total.at(1, length) for moment in ledger.moments()) for length in (1, 100)}
    assert highest == {1: 10, 100: 100}
