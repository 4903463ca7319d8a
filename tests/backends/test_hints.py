import threading

from taskqueue.backends.hints import Hints

DEADLINE = 10.0


def test_everybody_who_waits_already_is_woken():
    hints = Hints()
    waiting, woken = threading.Semaphore(0), threading.Semaphore(0)
    wait = hints._given.wait

    def wait_and_say_so(timeout):
        waiting.release()  # the lock is still held: whoever gives a hint now gets in only when this thread waits
        return wait(timeout)

    hints._given.wait = wait_and_say_so
    for _ in range(3):
        threading.Thread(target=lambda: hints.wait(0, DEADLINE) and woken.release(), daemon=True).start()
    for _ in range(3):
        assert waiting.acquire(timeout=DEADLINE), "a thread never came to wait"
    hints.give()
    for _ in range(3):
        assert woken.acquire(timeout=DEADLINE / 2), "a thread was not woken"


def test_a_hint_before_the_wait_is_not_missed():
    hints = Hints()
    hints.give()
    assert hints.wait(0, 0.0) == 1


def test_a_hint_that_was_seen_is_not_seen_again():
    hints = Hints()
    hints.give()
    assert hints.wait(hints.wait(0, 0.0), 0.0) == 1


def test_a_negative_timeout_is_none():
    assert Hints().wait(0, -1.0) == 0
