from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from reconciler.sources import folder as folder_module
from reconciler.sources.folder import DEPTH_LIMIT, Folder, FolderWalk, Found, Reading, read
from reconciler.sources.layout import INSTANCE_RULES

NONE_IS_RACY = 2**62
ALL_ARE_RACY = 0


class Pass:
    """One folder, read as often as a test likes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = Folder("instances", INSTANCE_RULES)

    def walk(self, racy_from_ns: int = NONE_IS_RACY) -> FolderWalk:
        real = os.path.realpath(self.root)
        walk = FolderWalk("instances", f"{real}/instances", 1000, racy_from_ns)
        self.folder.read(walk.top, walk)
        return walk

    def found(self) -> dict[str, Found]:
        self.walk()
        return {found.path: found for found in self.folder}

    def error(self, path: str) -> str:
        found = self.found()[path]
        assert found.data is None
        return found.error


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "instances" / "desk" / "majors").mkdir(parents=True)
    (tmp_path / "instances" / "a.yaml").write_text("a\n")
    (tmp_path / "instances" / "desk" / "majors" / "b.yml").write_text("b\n")
    return tmp_path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really read, as they are."""
    names: list[str] = []

    def counted(name: str, folder_fd: int | None, limit_bytes: int) -> Reading:
        names.append(os.path.basename(name))
        return read(name, folder_fd, limit_bytes)

    monkeypatch.setattr(folder_module, "read", counted)
    return names


def test_files_are_found_in_folders_of_any_depth(root: Path) -> None:
    found = Pass(root).found()
    assert {path: file.data for path, file in found.items()} == {
        "instances/a.yaml": b"a\n",
        "instances/desk/majors/b.yml": b"b\n",
    }


def test_an_unchanged_file_is_not_read_again(root: Path, reads: list[str]) -> None:
    files = Pass(root)
    first = files.found()
    assert sorted(reads) == ["a.yaml", "b.yml"]
    second = files.walk()
    assert not second.changed
    assert len(reads) == 2
    assert all(first[found.path] is found for found in files.folder)


def test_a_changed_file_is_read_again_and_only_it(root: Path, reads: list[str]) -> None:
    files = Pass(root)
    first = files.found()
    reads.clear()
    (root / "instances" / "a.yaml").write_text("new\n")
    assert files.walk().changed
    assert reads == ["a.yaml"]
    second = {found.path: found for found in files.folder}
    assert second["instances/a.yaml"].data == b"new\n"
    assert second["instances/desk/majors/b.yml"] is first["instances/desk/majors/b.yml"]


def test_a_change_that_keeps_size_and_mtime_is_seen(root: Path) -> None:
    files, path = Pass(root), root / "instances" / "a.yaml"
    files.walk()
    before = path.stat()
    path.write_text("z\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    assert files.found()["instances/a.yaml"].data == b"z\n"


def test_a_file_touched_without_a_change_stays_the_same_object(root: Path, reads: list[str]) -> None:
    files = Pass(root)
    first = files.found()
    os.utime(root / "instances" / "a.yaml")
    assert not files.walk().changed
    assert reads.count("a.yaml") == 2
    assert files.found()["instances/a.yaml"] is first["instances/a.yaml"]


def test_a_racily_clean_file_is_read_again(root: Path, reads: list[str]) -> None:
    files = Pass(root)
    files.walk(ALL_ARE_RACY)
    files.walk(NONE_IS_RACY)
    assert sorted(reads) == ["a.yaml", "a.yaml", "b.yml", "b.yml"]
    files.walk(NONE_IS_RACY)
    assert len(reads) == 4


def test_what_is_removed_is_forgotten(root: Path) -> None:
    files = Pass(root)
    files.walk()
    (root / "instances" / "a.yaml").unlink()
    assert files.walk().changed
    assert set(files.found()) == {"instances/desk/majors/b.yml"}
    (root / "instances" / "desk").rename(root / "instances" / "_desk")
    assert files.walk().changed
    assert files.found() == {}
    assert not files.walk().changed


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
def test_a_thing_with_a_records_name_that_is_no_file_is_unreadable(
    root: Path, kind: str, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root / "instances")
    if kind == "folder":
        os.mkdir("x.yaml")
        expected = "expected a file, was a folder"
    elif kind == "pipe":
        os.mkfifo("x.yaml")
        expected = "expected a file, was a named pipe"
    else:
        expected = "expected a file, was a socket"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("x.yaml")
    files = Pass(root)
    assert files.error("instances/x.yaml") == expected
    assert "x.yaml" not in reads
    assert not files.walk().changed


def test_a_file_that_becomes_a_folder_and_a_file_again_is_followed(root: Path) -> None:
    files, path = Pass(root), root / "instances" / "a.yaml"
    files.walk()
    path.unlink()
    path.mkdir()
    assert files.error("instances/a.yaml") == "expected a file, was a folder"
    path.rmdir()
    path.write_text("a\n")
    assert files.found()["instances/a.yaml"].data == b"a\n"


def test_a_link_that_leaves_the_directory_is_refused(root: Path) -> None:
    (root / "elsewhere.yaml").write_text("x\n")
    (root / "instances" / "x.yaml").symlink_to("../elsewhere.yaml")
    files = Pass(root)
    assert files.error("instances/x.yaml") == "is a link to ../elsewhere.yaml, which leaves instances/"
    assert files.walk().doubts() == []


def test_a_link_inside_is_followed_and_its_target_watched_for_changes(root: Path) -> None:
    (root / "instances" / "_shared").mkdir()
    target = root / "instances" / "_shared" / "c.yaml"
    target.write_text("c\n")
    (root / "instances" / "c.yaml").symlink_to("_shared/c.yaml")
    files = Pass(root)
    first = files.found()["instances/c.yaml"]
    assert first.data == b"c\n"
    assert files.found()["instances/c.yaml"] is first
    target.write_text("changed\n")
    assert files.found()["instances/c.yaml"].data == b"changed\n"


def test_links_through_a_hidden_folder_swapped_in_one_go_are_followed(root: Path) -> None:
    instances = root / "instances"
    for version in ("1", "2"):
        (instances / f"..{version}").mkdir()
        (instances / f"..{version}" / "c.yaml").write_text(version)
    (instances / "..data").symlink_to("..1")
    (instances / "c.yaml").symlink_to("..data/c.yaml")
    files = Pass(root)
    assert files.found()["instances/c.yaml"].data == b"1"
    (instances / "..new").symlink_to("..2")
    (instances / "..new").rename(instances / "..data")
    assert files.found()["instances/c.yaml"].data == b"2"


@pytest.mark.parametrize("text", ["nowhere.yaml", "x.yaml"])
def test_a_link_that_leads_nowhere_is_unreadable(root: Path, text: str) -> None:
    (root / "instances" / "x.yaml").symlink_to(text)
    assert Pass(root).error("instances/x.yaml") == f"is a link to {text}, which leads nowhere"


def test_a_link_to_a_folder_with_a_records_name_is_unreadable(root: Path) -> None:
    (root / "instances" / "x.yaml").symlink_to("desk")
    assert Pass(root).error("instances/x.yaml") == "is a link to desk: expected a file, was a folder"


def test_a_linked_folder_inside_is_read_and_one_that_leaves_makes_the_pass_doubtful(root: Path, tmp_path: Path) -> None:
    (root / "instances" / "_shared").mkdir()
    (root / "instances" / "_shared" / "c.yaml").write_text("c\n")
    (root / "instances" / "team").symlink_to("_shared")
    files = Pass(root)
    assert files.found()["instances/team/c.yaml"].data == b"c\n"
    (root / "instances" / "team").unlink()
    (root / "outside").mkdir()
    (root / "instances" / "team").symlink_to(root / "outside")
    assert files.error("instances/team") == f"is a link to {root}/outside, which leaves instances/"
    assert files.walk().doubts() == [f"instances/team is a link to {root}/outside, which leaves instances/"]


@pytest.mark.parametrize("text", [".", "..", "../desk"])
def test_a_linked_folder_that_holds_itself_is_not_entered(root: Path, text: str) -> None:
    (root / "instances" / "desk" / "again").symlink_to(text)
    assert Pass(root).error("instances/desk/again") == ("could not be read: a link leads back to a folder around it")


def test_links_and_pipes_that_are_no_records_are_passed_over(root: Path) -> None:
    (root / "instances" / "README.md").symlink_to("../../README.md")
    (root / "instances" / "notes").symlink_to("nowhere")
    os.mkfifo(root / "instances" / "pipe")
    assert set(Pass(root).found()) == {"instances/a.yaml", "instances/desk/majors/b.yml"}


def test_folders_nested_too_deep_are_unreadable_and_make_the_pass_doubtful(root: Path) -> None:
    deep = "/".join(["d"] * DEPTH_LIMIT)
    (root / "instances" / deep).mkdir(parents=True)
    walk = Pass(root).walk()
    assert walk.doubts() == [f"instances/{deep} is nested deeper than 32 folders"]


def test_a_folder_that_cannot_be_opened_is_unreadable_and_makes_the_pass_doubtful(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_desk(path: str, flags: int, *, dir_fd: int | None = None, really: object = os.open) -> int:
        if path.endswith("/desk"):
            raise PermissionError(13, "Permission denied", path)
        assert callable(really)
        fd: int = really(path, flags, dir_fd=dir_fd)
        return fd

    files = Pass(root)
    before = files.found()
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.sources.folder.os.open", refuse_desk)
        walk = files.walk()
        assert walk.doubts() == ["instances/desk could not be read: Permission denied"]
        assert {found.path for found in files.folder} == {"instances/a.yaml", "instances/desk"}
    assert files.found() == before
    assert files.walk().doubts() == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_unreadable(root: Path) -> None:
    (root / "instances" / "a.yaml").chmod(0)
    files = Pass(root)
    assert files.error("instances/a.yaml") == "could not be read: Permission denied"
    assert files.walk().doubts() == []


def test_a_name_that_cannot_be_printed_is_refused(root: Path) -> None:
    os.close(os.open(os.fsencode(root / "instances") + b"/caf\xe9.yaml", os.O_CREAT))
    (root / "instances" / "two\nlines.yaml").touch()
    files = Pass(root)
    assert files.error("instances/caf\\udce9.yaml") == "has a name that cannot be printed"
    assert files.error("instances/two\\nlines.yaml") == "has a name that cannot be printed"
    assert not files.walk().changed


def test_a_folder_or_file_named_with_an_emoji_put_together_is_read(root: Path) -> None:
    (root / "instances" / "👩‍💻").mkdir()
    (root / "instances" / "👩‍💻" / "❤️‍🔥.yaml").write_text("x\n")
    assert Pass(root).found()["instances/👩‍💻/❤️‍🔥.yaml"].data == b"x\n"


def test_a_file_that_vanishes_before_it_is_read_is_unreadable_not_absent(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlink_then_read(name: str, folder_fd: int | None, limit_bytes: int) -> Reading:
        if name == "a.yaml":
            os.unlink(name, dir_fd=folder_fd)
        return read(name, folder_fd, limit_bytes)

    files = Pass(root)
    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "read", unlink_then_read)
        walk = files.walk()
    assert {f.path: f.error for f in files.folder}["instances/a.yaml"] == "vanished while it was being read"
    assert "instances/a.yaml vanished while it was being read" in walk.doubts()
    assert set(files.found()) == {"instances/desk/majors/b.yml"}
    assert files.walk().doubts() == []


def test_a_file_moved_behind_the_walks_back_makes_the_pass_doubtful(root: Path) -> None:
    files = Pass(root)
    walk = files.walk()
    assert walk.doubts() == []
    (root / "instances" / "a.yaml").rename(root / "instances" / "desk" / "a.yaml")
    assert walk.doubts() == ["instances/ changed while it was read"]
