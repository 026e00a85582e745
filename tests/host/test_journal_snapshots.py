import os

import pytest
from hawse.journal import Snapshot, Snapshots


def snapshot(slot):
    return Snapshot(slot, bytes([slot]) * 32, b"state of %d" % slot)


def test_the_newest_is_returned_and_the_last_few_are_kept(tmp_path):
    snapshots = Snapshots(tmp_path / "new", keep=2)
    assert snapshots.latest() is None
    for slot in (3, 9, 12):
        snapshots.save(snapshot(slot))
        assert snapshots.latest() == snapshot(slot)
    assert len(os.listdir(tmp_path / "new")) == 2
    assert snapshots.latest(through=11) == snapshot(9)
    assert snapshots.latest(through=8) is None


def test_damaged_ones_are_skipped_whatever_byte_it_is(tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.save(snapshot(1))
    snapshots.save(snapshot(2))
    path = max(tmp_path.iterdir())
    data = path.read_bytes()
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert snapshots.latest() == snapshot(1)
        path.write_bytes(data[:at])
        assert snapshots.latest() == snapshot(1)
    path.write_bytes(min(tmp_path.iterdir()).read_bytes())  # intact, under another's name
    assert snapshots.latest() == snapshot(1)
    path.write_bytes(data)
    assert snapshots.latest() == snapshot(2)


def test_an_interrupted_save_leaves_the_old_ones(tmp_path, monkeypatch):
    snapshots = Snapshots(tmp_path)
    snapshots.save(snapshot(1))

    def killed(fd):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        snapshots.save(snapshot(2))
    assert snapshots.latest() == snapshot(1)
    monkeypatch.undo()
    snapshots.save(snapshot(2))
    assert snapshots.latest() == snapshot(2)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="keep"):
        Snapshots(tmp_path, keep=0)
    with pytest.raises(ValueError, match="slot"):
        Snapshots(tmp_path).save(Snapshot(-1, bytes(32), b""))
    with pytest.raises(ValueError, match="chain"):
        Snapshots(tmp_path).save(Snapshot(1, b"", b""))
