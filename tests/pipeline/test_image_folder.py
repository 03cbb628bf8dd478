"""Folders: names, resuming, processes that die, reports."""

import csv
import io
import json
import os
from pathlib import Path

import pytest
import still_pictures
from still_pictures import file_of, photo

from idse.codecs.jpeg import read
from idse.errors import InputError, ModelError, OutputError
from idse.pipeline.folders.files import find_pictures, output_names
from idse.pipeline.folders.manifest import NAME, Manifest
from idse.pipeline.folders.report import check_table
from idse.pipeline.folders.run import FolderRun
from idse.pipeline.folders.work import shared_scale
from idse.pipeline.images.options import ImageSteering, JpegOptions

FAST, FULL = pytest.mark.fast, pytest.mark.full
LEFT = ImageSteering(models=("still_pictures:left",))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Four pictures, one of them broken, and a file that is none."""
    monkeypatch.chdir(Path(still_pictures.__file__).parent)  # where the networks are found
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    (source / "a.png").write_bytes(file_of(photo(96, 64)))
    (source / "a.jpg").write_bytes(file_of(photo(96, 64, seed=1), "JPEG", quality=95))
    (source / "sub" / "b.JPEG").write_bytes(file_of(photo(64, 64, seed=2), "JPEG", quality=95))
    (source / "sub" / "broken.png").write_bytes(file_of(photo(64, 64))[:2000])
    (source / "labels.csv").write_text("file\n")
    return source


def run(source, target, *, jobs=1, overwrite=False, steering=LEFT, **options):
    return FolderRun(
        source,
        target,
        jpeg=JpegOptions(**options),
        steering=steering,
        jobs=jobs,
        overwrite=overwrite,
    ).run()


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def statuses(report):
    return {row.source: row.status for row in report.rows}


OUTPUTS = [NAME, "a.jpg", "a.png.jpg", "sub/b.JPEG"]


@FAST
def test_names_depend_on_the_files_only():
    names = ["a.png", "b.webp", "b.PNG", "c.jpg", "c.JPEG", "d.jpeg", "d.png", "x/a.png", "e"]
    paths = [Path(name) for name in names[:-1]]
    found = {str(k): str(v) for k, v in output_names(paths).items()}
    assert found == {
        "a.png": "a.jpg",
        "b.webp": "b.webp.jpg",
        "b.PNG": "b.PNG.jpg",
        "c.jpg": "c.jpg",
        "c.JPEG": "c.JPEG",
        "d.jpeg": "d.jpeg",
        "d.png": "d.jpg",
        "x/a.png": "x/a.jpg",
    }
    assert output_names(reversed(paths)) == output_names(paths)
    clash = [Path(name) for name in ("a.png", "a.webp", "a.png.jpg")]
    assert len(set(output_names(clash).values())) == 3
    assert output_names(clash)[Path("a.png.jpg")] == Path("a.png.jpg")


@FAST
def test_a_folder_is_mirrored_and_what_fails_is_listed(folder, tmp_path):
    target = tmp_path / "out"
    report = run(folder, target, target_bytes=1500)
    assert statuses(report) == {
        "a.jpg": "encoded",
        "a.png": "encoded",
        "sub/b.JPEG": "encoded",
        "sub/broken.png": "failed",
    }
    assert files(target) == OUTPUTS
    assert report.others == 1
    (failed,) = report.failed
    assert "cannot read" in failed.error
    for row in report.rows:
        if row.output is not None:
            data = (target / row.output).read_bytes()
            assert len(data) == row.bytes <= 1500
            assert read(data).layout.width == row.width


@FAST
def test_a_second_run_keeps_what_is_there(folder, tmp_path):
    target = tmp_path / "out"
    first = run(folder, target)
    times = {name: (target / name).stat().st_mtime_ns for name in OUTPUTS[1:]}
    (target / "sub" / "b.JPEG").unlink()  # as if the run had been interrupted before it
    (target / "a.jpg").write_bytes(b"cut")
    second = run(folder, target)
    assert statuses(second) == {
        "a.jpg": "encoded",
        "a.png": "kept",
        "sub/b.JPEG": "encoded",
        "sub/broken.png": "failed",
    }
    assert (target / "a.png.jpg").stat().st_mtime_ns == times["a.png.jpg"]
    # One scale for the set, also for what is encoded later.
    assert len({row.scale for row in [*first.rows, *second.rows] if row.bytes}) == 1
    assert [row.bytes for row in first.rows] == [row.bytes for row in second.rows]


@FAST
def test_other_settings_replace_nothing_unasked(folder, tmp_path):
    target = tmp_path / "out"
    run(folder, target, quality=50)
    before = (target / "a.jpg").read_bytes()
    with pytest.raises(InputError, match=r"out/a\.jpg and 2 more would be replaced"):
        run(folder, target, quality=80)
    assert (target / "a.jpg").read_bytes() == before
    run(folder, target, quality=80, overwrite=True)
    assert len((target / "a.jpg").read_bytes()) > len(before)


@FAST
def test_a_source_that_changed_is_encoded_again(folder, tmp_path):
    target = tmp_path / "out"
    run(folder, target)
    (folder / "a.png").write_bytes(file_of(photo(48, 40)))
    assert statuses(run(folder, target))["a.png"] == "encoded"
    assert read((target / "a.png.jpg").read_bytes()).layout.width == 48


@FAST
def test_files_of_others_are_not_replaced(folder, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    (target / "a.jpg").write_text("precious")
    with pytest.raises(InputError, match=r"a\.jpg would be replaced"):
        run(folder, target)
    assert (target / "a.jpg").read_text() == "precious"


@FAST
def test_a_record_that_was_cut_off_costs_one_picture(folder, tmp_path):
    target = tmp_path / "out"
    run(folder, target)
    record = target / NAME
    *lines, _ = record.read_bytes().splitlines(keepends=True)  # the last is the broken picture's
    record.write_bytes(b"".join(lines)[:-40])
    found = statuses(run(folder, target))
    assert sorted(found.values()) == ["encoded", "failed", "kept", "kept"]
    assert sum(not line.endswith("}") for line in record.read_text().splitlines()) == 1


@FAST
def test_two_runs_do_not_share_a_folder(folder, tmp_path):
    target = tmp_path / "out"
    with Manifest(target), pytest.raises(OutputError, match="another run"):
        run(folder, target)


@FAST
def test_a_network_that_fails_is_counted_and_told_once(folder, tmp_path, caplog):
    steering = ImageSteering(models=("still_pictures:fails",))
    report = run(folder, tmp_path / "out", steering=steering, target_bytes=1500)
    assert report.unsteered == 3
    assert len(caplog.records) == 1
    assert "3 of 4 pictures were not steered" in caplog.text
    assert report.summary()["unsteered"] == 3
    strict = ImageSteering(models=("still_pictures:fails",), strict=True)
    report = run(folder, tmp_path / "strict", steering=strict, target_bytes=1500)
    assert len(report.failed) == 4
    assert files(tmp_path / "strict") == [NAME]


@FAST
def test_bad_folders_are_refused(folder, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for source, target, word in (
        (tmp_path / "file", tmp_path / "out", "no folder"),
        (folder, tmp_path / "file", "no folder"),
        (folder, folder, "another folder"),
        (folder / "sub", folder, "another folder"),
        (tmp_path / "empty", tmp_path / "out", "no picture"),
    ):
        with pytest.raises(InputError, match=word):
            run(source, target)
    with pytest.raises(ModelError, match="nonesuch"):
        run(folder, tmp_path / "out", steering=ImageSteering(models=("nonesuch",)))


@FAST
def test_a_target_inside_the_source_is_no_input(folder):
    target = folder / "small"
    run(folder, target, target_bytes=1500)
    assert len(run(folder, target, target_bytes=1500).rows) == 4
    assert find_pictures(folder, leave_out=target).others == 1


@FAST
def test_stock_needs_no_network(folder, tmp_path):
    report = run(folder, tmp_path / "out", steering=None, quality=40)
    assert {row.quality for row in report.rows if row.bytes} == {40}
    assert report.unsteered == 0


@FAST
def test_tables(folder, tmp_path):
    from pyarrow import parquet

    report = run(folder, tmp_path / "out", steering=None)
    rows = list(csv.DictReader(io.StringIO(report.table("a.csv").decode())))
    assert [row["source"] for row in rows] == ["a.jpg", "a.png", "sub/b.JPEG", "sub/broken.png"]
    assert rows[0]["bytes"] == str(report.rows[0].bytes)
    table = parquet.read_table(io.BytesIO(report.table("a.parquet"))).to_pylist()
    assert [row["bytes"] for row in table] == [row.bytes for row in report.rows]
    assert table[3]["bytes"] is None
    assert json.loads(report.to_json())["failed"] == 1
    with pytest.raises(InputError, match=r"a\.xlsx"):
        check_table("a.xlsx")


@FAST
def test_a_picture_of_a_strange_name(folder, tmp_path):
    name = os.fsdecode(b"\xff \n'.png")
    (folder / name).write_bytes(file_of(photo(16, 16)))
    report = run(folder, tmp_path / "out", steering=None)
    assert len(report.failed) == 1
    assert report.table("a.csv")
    assert report.table("a.parquet")
    assert statuses(run(folder, tmp_path / "out", steering=None))[name] == "kept"


@FAST
def test_a_full_disk_ends_the_run(folder, tmp_path, monkeypatch):
    import errno

    from idse.pipeline.folders import work as folder_work

    def full(path, data):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}") from error

    monkeypatch.setattr(folder_work, "write_atomically", full)
    with pytest.raises(OutputError, match="No space left"):
        run(folder, tmp_path / "out", steering=None)


@FAST
def test_the_scale_of_a_set_is_the_geometric_mean():
    assert shared_scale([1.0, 4.0]) == pytest.approx(2)
    assert shared_scale([]) is None


@FULL
def test_processes_give_the_same_files(folder, tmp_path):
    alone = run(folder, tmp_path / "one", jobs=1)
    together = run(folder, tmp_path / "two", jobs=2)
    assert statuses(alone) == statuses(together)
    for name in OUTPUTS[1:]:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@FULL
def test_a_picture_that_kills_its_process_costs_only_itself(folder, tmp_path):
    # Only pictures as wide as this one reach the part of the network that ends the process.
    (folder / "killer.png").write_bytes(file_of(photo(200, 20)))
    steering = ImageSteering(models=("still_pictures:kills_wide",))
    report = run(folder, tmp_path / "out", jobs=2, steering=steering, target_bytes=1500)
    found = statuses(report)
    assert found.pop("killer.png") == found.pop("sub/broken.png") == "failed"
    assert set(found.values()) == {"encoded"}
    (row,) = (row for row in report.rows if row.source == "killer.png")
    assert "died" in row.error
    assert files(tmp_path / "out") == OUTPUTS
