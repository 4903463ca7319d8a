import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from taskqueue.backends import filepipes
from taskqueue.backends.filepipes import Pipe, tell

from .processes import Child, Fork

DEADLINE = 10.0
TOPIC, OTHER_TOPIC = "a" * 16, "b" * 16


@pytest.fixture
def file(tmp_path):
    """What the pipes lie beside."""
    found = tmp_path / "tasks.db"
    found.touch()
    return str(found)


@pytest.fixture
def folder(file):
    return f"{file}.waiting"


@pytest.fixture
def make(file, folder):
    made = []

    def make(topic=TOPIC):
        made.append(Pipe(folder, file, topic))
        return made[-1]

    yield make
    for pipe in made:
        pipe.close()


def abandon(folder, topic=TOPIC):
    """Leave a pipe as a process does that is killed."""
    Path(folder).mkdir(mode=0o700, exist_ok=True)
    path = Path(folder, f"{topic}-{'0' * 16}")
    os.mkfifo(path, 0o600)
    return path


def test_everybody_who_listens_for_a_topic_is_told(make, file, folder):
    first, second, other = make(), make(), make(OTHER_TOPIC)
    tell(folder, file, TOPIC)
    assert first.listen(DEADLINE)
    assert second.listen(DEADLINE)
    assert not other.listen(0.0)


def test_who_tells_can_leave_itself_out(make, file, folder):
    own, other = make(), make()
    tell(folder, file, TOPIC, but=own.name)
    assert other.listen(DEADLINE)
    assert not own.listen(0.0)


def test_what_was_told_several_times_is_heard_once(make, file, folder):
    pipe = make()
    for _ in range(3):
        tell(folder, file, TOPIC)
    pipe.ring()
    assert pipe.listen(DEADLINE)
    assert not pipe.listen(0.0)


def test_a_full_pipe_keeps_nobody_waiting_and_still_tells(make, file, folder):
    pipe = make()
    for _ in range(filepipes.PIPE_BYTES + 1):
        pipe.ring()
    tell(folder, file, TOPIC)
    assert pipe.listen(0.0)
    assert not pipe.listen(0.0)


def test_nobody_need_listen(file, folder):
    tell(folder, file, TOPIC)
    assert not Path(folder).exists()


def test_a_path_may_be_longer_than_that_of_a_socket(tmp_path):
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    file = str(deep / "tasks.db")
    Path(file).touch()
    pipe = Pipe(f"{file}.waiting", file, TOPIC)
    tell(f"{file}.waiting", file, TOPIC)
    assert pipe.listen(DEADLINE)
    pipe.close()


def test_a_closed_pipe_is_gone(make, folder):
    pipe = make()
    assert pipe.is_in_place()
    pipe.close()
    pipe.close()
    assert os.listdir(folder) == []


def test_a_pipe_that_is_deleted_or_replaced_is_not_in_place(make):
    pipe = make()
    os.unlink(pipe.path)
    assert not pipe.is_in_place()
    os.mkfifo(pipe.path)
    assert not pipe.is_in_place()
    pipe.close()
    assert os.path.exists(pipe.path)


# ---- what the dead leave --------------------------------------------------------------------------------------------


def test_who_tells_deletes_the_pipe_of_a_process_that_was_killed(file, folder):
    code = """
    from taskqueue.backends.filepipes import Pipe
    pipe = Pipe(f"{path}.waiting", path, sys.argv[2])
    say(pipe.name)
    pipe.listen(60.0)
    """
    with Child(code, file, TOPIC) as child:
        assert child.hear() in os.listdir(folder)
        child.kill()
    assert len(os.listdir(folder)) == 1
    tell(folder, file, OTHER_TOPIC)
    assert len(os.listdir(folder)) == 1
    tell(folder, file, TOPIC)
    assert os.listdir(folder) == []


def test_who_makes_a_pipe_deletes_all_that_were_abandoned(make, folder):
    abandon(folder)
    abandon(folder, OTHER_TOPIC)
    pipe = make()
    assert os.listdir(folder) == [pipe.name]


def test_a_pipe_that_nobody_refers_to_any_more_counts_as_abandoned(file, folder):
    Pipe(folder, file, TOPIC)
    tell(folder, file, TOPIC)
    assert os.listdir(folder) == []


def test_a_forked_child_lets_go_of_the_pipe_of_its_parent(make, file, folder):
    pipe = make()

    def let_go():
        pipe.let_go()
        pipe.close()
        tell(folder, file, TOPIC)

    Fork(let_go).end()
    assert pipe.is_in_place()
    assert pipe.listen(DEADLINE)


def test_a_reader_that_dies_before_the_write_kills_nobody(file, folder, monkeypatch):
    real_open = os.open

    def act():
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        pipe = Pipe(folder, file, TOPIC)
        died = []

        def open_and_let_it_die(path, flags, *arguments, **options):
            descriptor = real_open(path, flags, *arguments, **options)
            if flags & os.O_WRONLY:
                died.append(pipe.let_go())
            return descriptor

        monkeypatch.setattr(os, "open", open_and_let_it_die)
        tell(folder, file, TOPIC)
        assert died

    Fork(act).end()


# ---- what others put there ------------------------------------------------------------------------------------------


def _name(number=1):
    return f"{TOPIC}-{number:016x}"


def test_no_symbolic_link_is_followed(make, file, folder, tmp_path):
    make()
    victim, told = tmp_path / "victim", tmp_path / "told"
    victim.write_text("as it was")
    os.symlink(victim, Path(folder, _name(1)))
    elsewhere = Pipe(str(told), file, TOPIC)
    os.symlink(elsewhere.path, Path(folder, _name(2)))
    tell(folder, file, TOPIC)
    assert victim.read_text() == "as it was"
    assert not elsewhere.listen(0.0)
    elsewhere.close()


def test_a_file_under_the_name_of_a_pipe_is_not_written(make, file, folder):
    pipe = make()
    planted = Path(folder, _name())
    planted.write_text("as it was")
    tell(folder, file, TOPIC)
    assert planted.read_text() == "as it was"
    assert pipe.listen(DEADLINE)


@pytest.mark.parametrize("name", [f"{TOPIC}-{'0' * 17}", f"{TOPIC}-..", f"{TOPIC}-{'G' * 16}", TOPIC])
def test_other_names_are_left_alone(make, file, folder, name):
    make()
    os.mkfifo(Path(folder, name))
    tell(folder, file, TOPIC)
    make()
    assert Path(folder, name).exists()


def test_a_crowd_keeps_nobody_waiting(make, file, folder, monkeypatch):
    monkeypatch.setattr(filepipes, "MOST_PIPES", 3)
    pipes = [make() for _ in range(5)]
    tell(folder, file, TOPIC)
    assert sum(pipe.listen(0.0) for pipe in pipes) == 3


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_where_others_can_write_is_not_used(make, file, folder, mode):
    pipe = make()
    os.chmod(folder, mode)
    tell(folder, file, TOPIC)
    assert not pipe.listen(0.0)
    with pytest.raises(PermissionError):
        make()
    assert len(os.listdir(folder)) == 1


def test_a_folder_that_is_a_symbolic_link_is_not_used(file, folder, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(tmp_path / "elsewhere", folder)
    with pytest.raises((NotADirectoryError, OSError)):
        Pipe(folder, file, TOPIC)
    left = abandon(tmp_path / "elsewhere")
    tell(folder, file, TOPIC)
    assert left.exists()


def test_a_file_in_place_of_the_folder_is_told(file, folder):
    Path(folder).touch()
    with pytest.raises((NotADirectoryError, OSError)):
        Pipe(folder, file, TOPIC)
    tell(folder, file, TOPIC)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
class TestOwners:
    def test_the_folder_of_a_stranger_is_not_used(self, make, file, folder):
        pipe = make()
        os.chown(folder, 65534, 65534)
        tell(folder, file, TOPIC)
        assert not pipe.listen(0.0)

    def test_the_folder_of_the_owner_of_the_file_is_used(self, make, file, folder):
        pipe = make()
        os.chown(file, 65534, 65534)
        os.chown(folder, 65534, 65534)
        tell(folder, file, TOPIC)
        assert pipe.listen(DEADLINE)

    def test_the_pipe_of_a_stranger_is_not_written(self, make, file, folder):
        pipe = make()
        os.chown(pipe.path, 65533, 65533)
        tell(folder, file, TOPIC)
        assert not pipe.listen(0.0)

    def test_what_root_makes_belongs_to_the_owner_of_the_folder_above(self):
        above = Path(tempfile.mkdtemp(prefix="taskqueue-"))
        os.chown(above, 65534, 65534)
        (above / "tasks.db").touch()
        os.chown(above / "tasks.db", 65534, 65534)
        pipe = Pipe(str(above / "waiting"), str(above / "tasks.db"), TOPIC)
        assert {os.stat(pipe.path).st_uid, os.stat(above / "waiting").st_uid} == {65534}
        pipe.close()
        shutil.rmtree(above)
