"""What a gallery keeps of its model: on every backend, through compaction and copies, and only what is known."""

import json

import pytest

from crossreid.data.records import DataError
from crossreid.galleries import GalleryError, add_folder, open_gallery, restore
from crossreid.galleries.errors import GalleryFault
from crossreid.galleries.importing import card_of
from crossreid.galleries.model_card import ModelCard, in_words
from crossreid.inference.embedding_files import EMBEDDINGS, RECORDS, as_metadata, read_about, write_rows
from crossreid.runs.preprocessing import Preprocessing
from embedded import MODEL as OTHER
from embedded import write_folder
from opened_gallery import vectors

SEEN = Preprocessing(128, 64).to_json()
STOPPED = "not finished: 6 of 144 steps, 0 of 24 epochs"


def test_it_is_kept_and_what_is_told_last_holds(opened, tmp_path):
    gallery = opened()
    assert gallery.model_card() == ModelCard()
    gallery.note_model(ModelCard(STOPPED))
    gallery.note_model(ModelCard(STOPPED, SEEN))
    gallery.note_run(tmp_path)
    for again in range(2):
        told = opened(read_only=True, model=None, dimension=None) if again else gallery
        assert told.model_card() == ModelCard(STOPPED, SEEN)
        assert (told.stats().trained, told.stats().preprocessing) == (STOPPED, SEEN)
    told.note_model(ModelCard(STOPPED, SEEN))  # nothing new, and so nothing to write
    with pytest.raises(GalleryError, match="open read-only"):
        told.note_model(ModelCard(None, SEEN))
    gallery = opened()
    gallery.upsert([])
    gallery.note_model(ModelCard())
    assert gallery.model_card() == ModelCard(None, SEEN), "finished since; the preprocessing of a fingerprint stays"
    assert gallery.run() == tmp_path


def test_copies_and_compaction_keep_it(opened, tmp_path):
    gallery = opened()
    gallery.note_model(ModelCard(STOPPED, SEEN))
    gallery.note_run(tmp_path)
    gallery.compact()
    gallery.snapshot(tmp_path / "copy")
    assert gallery.model_card() == ModelCard(STOPPED, SEEN)
    for target in (tmp_path / "back", tmp_path / "back.db"):
        restore(tmp_path / "copy", target)
        with open_gallery(target, read_only=True) as copy:
            assert (copy.model_card(), copy.run()) == (ModelCard(STOPPED, SEEN), tmp_path)


def test_long_texts_fit_beside_one_another(opened, tmp_path):
    gallery = opened()
    run = tmp_path / "/".join(["\u0436" * 90] * 5)  # 900 bytes of two to a letter
    levels = {str(camera): [0, 65535] for camera in range(60)}
    for given, kept in ((levels, levels), (levels | {"x" * 900: [0, 1]}, "by camera")):
        gallery.note_run(run)
        gallery.note_model(ModelCard("n" * 9000, {**SEEN, "levels": given}))
        assert gallery.model_card() == ModelCard("n" * 200, {**SEEN, "levels": kept})
        assert gallery.run() == run


def test_a_card_that_is_none_is_damage(tmp_path):
    with open_gallery(tmp_path / "gallery", model="a", dimension=3) as gallery:
        for text in ("[", "[1]", "[" * 100_000):
            gallery._note({"preprocessing": text})
            with pytest.raises(GalleryFault, match=r"gallery is damaged \(the preprocessing of its model is '\["):
                gallery.stats()
            assert gallery.search(vectors(1)[:, :3]) != [], "and searches go on"


def test_a_folder_says_it_and_one_that_does_not_changes_nothing(tmp_path):
    folder = tmp_path / "folder"
    rows = write_folder(folder)
    where = tmp_path / "gallery"
    with open_gallery(where, model=OTHER, dimension=6) as gallery:
        add_folder(gallery, folder)
        assert card_of(folder) is None
        assert gallery.model_card() == ModelCard()

        def rewritten(**told):
            about = {
                name: value for name, value in read_about(folder).items() if name not in ("trained", "preprocessing")
            }
            write_rows(folder / EMBEDDINGS, [rows], rows.shape, as_metadata(about | told))

        rewritten(trained=STOPPED, preprocessing=SEEN)
        add_folder(gallery, folder, replace=True)
        assert gallery.model_card() == ModelCard(STOPPED, SEEN)
        rewritten()
        add_folder(gallery, folder, replace=True)
        assert gallery.model_card() == ModelCard(STOPPED, SEEN)
        rewritten(preprocessing=SEEN)
        add_folder(gallery, folder, replace=True)
        assert gallery.model_card() == ModelCard(None, SEEN)
        gallery.delete([f"images/{row}.jpg" for row in range(20)])
        rewritten(preprocessing="5")
        with pytest.raises(DataError, match=rf"{EMBEDDINGS} is damaged \(the preprocessing of its model is '5'\)"):
            add_folder(gallery, folder)
        assert len(gallery) == 0
    assert (folder / RECORDS).is_file()


def test_it_is_shown_in_words():
    levels = Preprocessing(80, 40, levels={3: (7300, 8199)}).to_json()
    assert in_words(json.loads(json.dumps(levels))) == (
        "height 80, width 40, interpolation bilinear, mean 0.485 0.456 0.406, std 0.229 0.224 0.225, colours RGB, "
        "levels 3: 7300 8199"
    )
